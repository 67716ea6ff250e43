//! The reading half of a socket: frames to messages to the realm. The only place that waits for room.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
};

use axum::body::Bytes;
use shared::wamp::{
    CodecId, Message, Payload, Uri,
    message::{ErrorDetails, ErrorMessage, code},
    router::{Class, Outgoing},
    uri::error,
};
use tokio::time::{Instant, Sleep};

use super::{
    batch,
    patience::{Patience, Ring},
    rate::CallRate,
    wire::{Came, Incoming, Silence},
    writer::INVALID_TEXT,
};
use crate::{
    config::ConnectionLimits,
    router::{
        SocketLimits,
        queue::Outbound,
        realm::{Attached, Burst},
        realms::Usher,
        wakes::Wakes,
    },
    telemetry::{self, AUDIT},
};

/// Reads one socket until its end.
pub(super) struct Reader<'a, I> {
    pub(super) incoming: &'a mut I,
    pub(super) codec: CodecId,
    pub(super) batched: bool,
    pub(super) queue: &'a Outbound,
    pub(super) attached: &'a Attached,
    /// Where there are several realms.
    pub(super) usher: Option<Box<Usher>>,
    pub(super) limits: &'a ConnectionLimits,
    /// What the role of the session allows; none before the first has joined.
    pub(super) granted: Option<SocketLimits>,
    /// What was handed on since the reader waited last.
    pub(super) burst: Burst,
    /// The name of a user whose requests are logged.
    pub(super) audited: Option<Box<str>>,
    /// None: calls are not counted.
    pub(super) rate: Option<CallRate>,
}

/// Why nothing is read any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The peer is gone; nothing that is queued can reach it.
    Gone,
    /// The peer broke the rules; the reason is on its way to it.
    Refused,
}

impl<I: Incoming> Reader<'_, I> {
    /// Reads until the peer is gone. After a violation it goes on reading and ignores what comes, so that the reason can
    /// reach the peer.
    pub(super) async fn run(&mut self) -> End {
        // It bounds the time until the peer has joined, whatever else comes: neither pings nor half a login buy time.
        let (mut patience, first) = Patience::new(Instant::now(), self.limits);
        let alarm = tokio::time::sleep_until(first);
        tokio::pin!(alarm);
        loop {
            // Who does not read the answers may not ask for more.
            while self.queue.is_held_up() {
                self.burst.flush();
                // Boxed: no idle connection needs room for this.
                if Box::pin(self.reads_nothing()).await {
                    tracing::info!("a peer that does not read its answers counts as gone");
                    self.attached.reads_nothing();
                    return End::Gone;
                }
            }
            let came = self.frame(&mut patience, alarm.as_mut()).await;
            if let Some(granted) = self.queue.newly_granted() {
                self.adopt(granted);
            }
            let largest = match self.granted {
                Some(granted) => granted.message.unwrap_or(usize::MAX),
                // Nobody has a right to much before it is known who that is.
                None => self.limits.browser_message,
            };
            match came {
                Ok(Came::Message(bytes)) if bytes.len() > largest => {
                    let text = format!("A message of {} bytes: {largest} are the most.", bytes.len());
                    let reason = error::PAYLOAD_SIZE_EXCEEDED;
                    return self.refuse(reason, &text, reason).await;
                }
                Ok(Came::Nothing) => {}
                Ok(Came::Ping(bytes)) => self.queue.pong(bytes),
                Ok(Came::Message(bytes)) => {
                    if let Err(reason) = self.messages(bytes).await {
                        return self.violated(reason).await;
                    }
                    if self.queue.is_welcomed()
                        && let Some(due) = patience.joined()
                    {
                        alarm.as_mut().reset(due);
                    }
                }
                Ok(Came::Unfit(reason)) => return self.violated(reason.to_owned()).await,
                Err(Silence::Broken(reason)) => return self.violated(reason).await,
                Err(Silence::NotText) => {
                    return self
                        .refuse(error::PROTOCOL_VIOLATION, "Text must be UTF-8.", INVALID_TEXT)
                        .await;
                }
                Err(Silence::TooLarge) => {
                    let text = "A message was larger than the server takes.";
                    let reason = error::PAYLOAD_SIZE_EXCEEDED;
                    return self.refuse(reason, text, reason).await;
                }
                Err(Silence::Gone) => return End::Gone,
            }
        }
    }

    /// Waits for relief. Who reads none of its answers for so long is gone, as one is who does not answer a ping.
    async fn reads_nothing(&self) -> bool {
        let longest = self.limits.ping_after + self.limits.pong_within;
        tokio::time::timeout(longest, self.queue.relief()).await.is_err() && self.queue.is_unread()
    }

    fn adopt(&mut self, granted: SocketLimits) {
        if granted.calls_per_second != self.granted.and_then(|former| former.calls_per_second) {
            self.rate = granted.calls_per_second.map(CallRate::per_second);
        }
        self.granted = Some(granted);
    }

    async fn violated(&mut self, reason: String) -> End {
        self.burst.flush();
        self.attached.malformed(reason);
        self.incoming.drain().await;
        End::Refused
    }

    /// Ends the connection for what the router cannot see. What still comes is read and ignored: otherwise the system
    /// may take the farewell back. The farewell's time bounds it.
    async fn refuse(&mut self, reason: &'static str, text: &str, closing: &'static str) -> End {
        metrics::counter!(telemetry::VIOLATIONS).increment(1);
        tracing::info!(reason, text, "a socket is closed for what it sent");
        self.burst.flush();
        self.answer(Message::abort(reason, text), Class::Control);
        self.queue.close(Uri::unchecked(closing));
        self.incoming.drain().await;
        End::Refused
    }

    /// The next frame. Asks a silent peer whether it is there.
    async fn frame(&mut self, patience: &mut Patience, mut alarm: Pin<&mut Sleep>) -> Result<Came, Silence> {
        loop {
            // What is there already costs no look at the clock.
            let mut was_silent = false;
            let came = {
                let mut next = pin!(self.incoming.next());
                poll_fn(|context| {
                    if let Poll::Ready(came) = next.as_mut().poll(context) {
                        return Poll::Ready(Some(came));
                    }
                    self.burst.flush();
                    was_silent = true;
                    alarm.as_mut().poll(context).map(|()| None)
                })
                .await
            };
            let Some(came) = came else {
                self.rang(patience, alarm.as_mut())?;
                continue;
            };
            if was_silent {
                patience.heard(Instant::now());
            }
            return came;
        }
    }

    fn rang(&self, patience: &mut Patience, alarm: Pin<&mut Sleep>) -> Result<(), Silence> {
        match patience.rang(Instant::now(), self.queue.is_welcomed()) {
            Ring::Wait(until) => alarm.reset(until),
            Ring::Ask(until) => {
                self.queue.ping();
                alarm.reset(until);
            }
            Ring::TooLate => {
                let text = "HELLO and what the login needs did not come in time";
                return Err(Silence::Broken(text.to_owned()));
            }
            Ring::Gone => {
                tracing::info!("a peer does not answer any more");
                return Err(Silence::Gone);
            }
        }
        Ok(())
    }

    /// Hands on what a frame holds.
    async fn messages(&mut self, mut bytes: Bytes) -> Result<(), String> {
        if !self.batched {
            self.message(bytes)?;
            self.burst.turn().await;
            return Ok(());
        }
        if bytes.is_empty() {
            return Err("A batch is not empty.".to_owned());
        }
        while !bytes.is_empty() {
            let message = batch::take(self.codec, &mut bytes)?;
            self.message(message)?;
            self.burst.turn().await;
            if self.queue.is_held_up() {
                self.burst.flush();
                self.queue.relief().await;
            }
        }
        Ok(())
    }

    /// Puts what is made here and not by the router into the peer's queue.
    fn answer(&self, message: Message, class: Class) {
        // It always has room for this.
        let _ = self
            .queue
            .push(Arc::new(Outgoing::new(message)), class, &mut Wakes::default());
    }

    fn message(&mut self, bytes: Bytes) -> Result<(), String> {
        let message = self.codec.decode_boxed(bytes).map_err(|error| error.text)?;
        if let Some(usher) = &mut self.usher {
            usher.sees(&message, self.attached);
        }
        if let Some(user) = &self.audited {
            audit(user, &message);
        }
        if let (Message::Call(call), Some(rate)) = (&*message, &mut self.rate)
            && !rate.take()
        {
            metrics::counter!(telemetry::CALLS_REFUSED).increment(1);
            let text = format!("More than {} calls per second.", rate.average());
            let refusal = refusal(self.codec, code::CALL, call.request, error::BUSY, &text);
            self.answer(Message::Error(refusal), Class::Reply);
            return Ok(());
        }
        self.attached.deliver(message, &mut self.burst);
        Ok(())
    }
}

/// Logs what somebody asks for; not the arguments, which may be private. The line has the time.
fn audit(user: &str, message: &Message) {
    let (action, uri) = if let Message::Call(call) = message {
        ("call", &call.procedure)
    } else if let Message::Publish(publish) = message {
        ("publish", &publish.topic)
    } else if let Message::Subscribe(subscribe) = message {
        ("subscribe", &subscribe.topic)
    } else if let Message::Register(register) = message {
        ("register", &register.procedure)
    } else {
        return;
    };
    tracing::info!(target: AUDIT, ?user, action, uri = ?uri.as_str(), "request by token");
}

/// An ERROR that is made at the socket and not by the router.
pub(super) fn refusal(
    codec: CodecId,
    request_type: u64,
    request: shared::wamp::RequestId,
    error: &'static str,
    text: &str,
) -> ErrorMessage {
    ErrorMessage {
        request_type,
        request,
        details: ErrorDetails::default(),
        error: Uri::unchecked(error),
        payload: Payload::encode(codec, &(text,)).unwrap_or_else(|_| Payload::empty(codec)),
    }
}

#[cfg(test)]
mod tests {
    use shared::wamp::{
        message::{Hello, HelloDetails},
        router::{Principal, RouterConfig},
    };
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;
    use crate::router::realm::{Place, RealmHandle};

    struct Fed(UnboundedReceiver<Bytes>);

    impl Incoming for Fed {
        async fn next(&mut self) -> Result<Came, Silence> {
            self.0.recv().await.map(Came::Message).ok_or(Silence::Gone)
        }

        async fn drain(&mut self) {}
    }

    #[tokio::test(start_paused = true)]
    async fn a_hello_counts_that_is_read_late_because_the_server_slept() {
        let limits = ConnectionLimits::default();
        let name = Uri::unchecked("realm1");
        let realm = RealmHandle::start(name.clone(), RouterConfig::new(1), &limits);
        let queue = Arc::new(Outbound::new(limits.queue));
        let attached = realm.attach_socket(CodecId::Json, Principal::default(), queue.clone(), Place::Unix);
        let (frames, fed) = unbounded_channel();
        let mut reader = Reader {
            incoming: &mut Fed(fed),
            codec: CodecId::Json,
            batched: false,
            queue: &queue,
            attached: &attached,
            limits: &limits,
            usher: None,
            granted: None,
            burst: Burst::default(),
            audited: None,
            rate: None,
        };
        let sending = async {
            // The alarm rings before what came meanwhile is seen, more than once.
            for _ in 0..3 {
                tokio::time::advance(limits.handshake).await;
                tokio::task::yield_now().await;
            }
            let hello = Hello {
                realm: name,
                details: HelloDetails::default(),
            };
            let hello = CodecId::Json.encode(&Message::Hello(Box::new(hello)));
            assert!(frames.send(hello).is_ok(), "it is still read");
            drop(frames);
        };
        let (end, ()) = tokio::join!(reader.run(), sending);
        assert_eq!(end, End::Gone);
        assert!(queue.is_welcomed());
    }
}
