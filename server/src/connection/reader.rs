//! The reading half of a socket: frames to messages to the realm. The only place that waits for room.

use std::sync::Arc;

use axum::body::Bytes;
use shared::wamp::{
    CodecId, Message, Payload, Uri,
    message::{ErrorDetails, ErrorMessage, code},
    router::{Class, Outgoing},
    uri::error,
};
use tokio::time::Instant;

use super::{
    batch,
    rate::CallRate,
    wire::{Came, Incoming, Silence},
    writer::INVALID_TEXT,
};
use crate::{
    config::ConnectionLimits,
    router::{SocketLimits, queue::Outbound, realm::Attached, realms::Usher},
    telemetry::{self, AUDIT},
};

/// Reads one socket until its end.
pub(super) struct Reader<'a, I> {
    pub(super) incoming: I,
    pub(super) codec: CodecId,
    pub(super) batched: bool,
    pub(super) queue: &'a Outbound,
    pub(super) attached: &'a Attached,
    /// Where there are several realms.
    pub(super) usher: Option<Usher>,
    pub(super) limits: &'a ConnectionLimits,
    /// What the role of the session allows.
    pub(super) granted: SocketLimits,
    /// The name of a user whose requests are logged.
    pub(super) audited: Option<String>,
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
    pub(super) async fn run(mut self) -> End {
        // Until then the peer must have joined, whatever else comes: neither pings nor half a login buy time.
        let mut hello_by = Some(Instant::now() + self.limits.handshake);
        loop {
            // Who does not read the answers may not ask for more.
            self.queue.relief().await;
            let came = self.frame(hello_by).await;
            let largest = match self.queue.granted() {
                Some(granted) => {
                    hello_by = None;
                    self.adopt(granted);
                    granted.message.unwrap_or(usize::MAX)
                }
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

    fn adopt(&mut self, granted: SocketLimits) {
        if granted.calls_per_second != self.granted.calls_per_second {
            self.rate = granted.calls_per_second.map(CallRate::per_second);
        }
        self.granted = granted;
    }

    async fn violated(mut self, reason: String) -> End {
        self.attached.malformed(reason);
        self.incoming.drain().await;
        End::Refused
    }

    /// Ends the connection for what the router cannot see. What still comes is read and ignored: otherwise the system
    /// may take the farewell back. The farewell's time bounds it.
    async fn refuse(mut self, reason: &'static str, text: &str, closing: &'static str) -> End {
        metrics::counter!(telemetry::VIOLATIONS).increment(1);
        tracing::info!(reason, text, "a socket is closed for what it sent");
        let abort = Arc::new(Outgoing::new(Message::abort(reason, text)));
        self.queue.push(abort, Class::Control);
        self.queue.close(Uri::unchecked(closing));
        self.incoming.drain().await;
        End::Refused
    }

    /// The next frame. Asks a silent peer whether it is there.
    async fn frame(&mut self, hello_by: Option<Instant>) -> Result<Came, Silence> {
        if let Some(deadline) = hello_by {
            let first = tokio::time::timeout_at(deadline, self.incoming.next()).await;
            return first.unwrap_or_else(|_| {
                if self.queue.is_welcomed() {
                    return Ok(Came::Nothing);
                }
                Err(Silence::Broken(
                    "HELLO and what the login needs did not come in time".to_owned(),
                ))
            });
        }
        if let Ok(frame) = tokio::time::timeout(self.limits.ping_after, self.incoming.next()).await {
            return frame;
        }
        self.queue.ping();
        let answer = tokio::time::timeout(self.limits.pong_within, self.incoming.next()).await;
        answer.unwrap_or_else(|_| {
            tracing::info!("a peer does not answer any more");
            Err(Silence::Gone)
        })
    }

    /// Hands on what a frame holds.
    async fn messages(&mut self, mut bytes: Bytes) -> Result<(), String> {
        if !self.batched {
            return self.message(bytes).await;
        }
        if bytes.is_empty() {
            return Err("A batch is not empty.".to_owned());
        }
        while !bytes.is_empty() {
            let message = batch::take(self.codec, &mut bytes)?;
            self.message(message).await?;
            self.queue.relief().await;
        }
        Ok(())
    }

    async fn message(&mut self, bytes: Bytes) -> Result<(), String> {
        let message = self.codec.decode(bytes).map_err(|error| error.text)?;
        if let Some(usher) = &mut self.usher {
            usher.sees(&message, self.attached);
        }
        if let Some(user) = &self.audited {
            audit(user, &message);
        }
        if let (Message::Call(call), Some(rate)) = (&message, &mut self.rate)
            && !rate.take()
        {
            metrics::counter!(telemetry::CALLS_REFUSED).increment(1);
            let text = format!("More than {} calls per second.", rate.average());
            let refusal = refusal(self.codec, code::CALL, call.request, error::BUSY, &text);
            self.queue
                .push(Arc::new(Outgoing::new(Message::Error(refusal))), Class::Reply);
            return Ok(());
        }
        self.attached.deliver(message).await;
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
