//! The reading half of a socket: frames to messages to the realm. The only place that waits for room.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    extract::ws::{Message as Frame, WebSocket},
};
use futures::{StreamExt, stream::SplitStream};
use shared::wamp::{
    CodecId, Message, Payload, Uri,
    message::{ErrorDetails, ErrorMessage, code},
    router::{Class, Outgoing},
    uri::error,
};

use super::rate::CallRate;
use crate::{
    config::ConnectionLimits,
    router::{
        queue::Outbound,
        realm::{Attached, Received},
    },
    telemetry,
};

/// Reads one socket until its end.
pub(super) struct Reader<'a> {
    pub(super) stream: SplitStream<WebSocket>,
    pub(super) codec: CodecId,
    pub(super) queue: &'a Outbound,
    pub(super) attached: &'a Attached,
    pub(super) limits: &'a ConnectionLimits,
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

/// What came instead of a frame.
enum Silence {
    /// Nothing, for too long, or the end.
    Gone,
    /// The socket's layer says that what came breaks its rules.
    Broken(String),
    /// A message or frame over the limit; it was not read.
    TooLarge,
}

impl Reader<'_> {
    /// Reads until the peer is gone. After a violation it goes on reading and ignores what comes, so that the reason can
    /// reach the peer.
    pub(super) async fn run(mut self) -> End {
        let mut patience = self.limits.handshake;
        loop {
            // Who does not read the answers may not ask for more.
            self.queue.relief().await;
            match self.frame(patience).await {
                Ok(None) => {}
                Ok(Some(Ok(message))) => {
                    patience = self.limits.ping_after;
                    if !self.take(message).await {
                        return End::Gone;
                    }
                }
                Ok(Some(Err(reason))) | Err(Silence::Broken(reason)) => {
                    self.attached.deliver(Received::Malformed(reason)).await;
                    return self.ignore_the_rest().await;
                }
                Err(Silence::TooLarge) => {
                    let text = "A message was larger than the server takes.";
                    let abort = Arc::new(Outgoing::new(Message::abort(error::PAYLOAD_SIZE_EXCEEDED, text)));
                    self.queue.push(abort, Class::Control);
                    self.queue.close(Uri::unchecked(error::PAYLOAD_SIZE_EXCEEDED));
                    return self.ignore_the_rest().await;
                }
                Err(Silence::Gone) => return End::Gone,
            }
        }
    }

    /// Keeps the socket from being reset before the peer has read why it is closed. The farewell's time bounds it.
    async fn ignore_the_rest(mut self) -> End {
        while let Some(Ok(_)) = self.stream.next().await {}
        End::Refused
    }

    /// The next message or the reason why a frame is none; nothing for frames that carry no message.
    async fn frame(&mut self, patience: Duration) -> Result<Option<Result<Message, String>>, Silence> {
        let frame = match tokio::time::timeout(patience, self.stream.next()).await {
            Ok(frame) => frame,
            Err(_) if patience == self.limits.handshake => {
                return Err(Silence::Broken("HELLO did not come".to_owned()));
            }
            Err(_) => {
                self.queue.ping();
                match tokio::time::timeout(self.limits.pong_within, self.stream.next()).await {
                    Ok(frame) => frame,
                    Err(_) => {
                        tracing::info!("a peer does not answer any more");
                        return Err(Silence::Gone);
                    }
                }
            }
        };
        match frame {
            Some(Ok(frame)) => self.decode(frame),
            Some(Err(error)) => Err(broken(error)),
            None => Err(Silence::Gone),
        }
    }

    fn decode(&self, frame: Frame) -> Result<Option<Result<Message, String>>, Silence> {
        let bytes = match (frame, self.codec) {
            (Frame::Text(text), CodecId::Json) => Bytes::from(text),
            (Frame::Binary(bytes), CodecId::Msgpack | CodecId::Cbor) => bytes,
            (Frame::Text(_), CodecId::Msgpack | CodecId::Cbor) => {
                return Ok(Some(Err("This sub-protocol has binary frames.".to_owned())));
            }
            (Frame::Binary(_), CodecId::Json) => return Ok(Some(Err("This sub-protocol has text frames.".to_owned()))),
            // The answer to a ping or a close goes out by itself.
            (Frame::Ping(_) | Frame::Pong(_) | Frame::Close(_), _) => return Ok(None),
        };
        Ok(Some(self.codec.decode(bytes).map_err(|error| error.text)))
    }

    /// Hands a message on. False when the realm has ended.
    async fn take(&mut self, message: Message) -> bool {
        if let (Message::Call(call), Some(rate)) = (&message, &mut self.rate)
            && !rate.take()
        {
            metrics::counter!(telemetry::CALLS_REFUSED).increment(1);
            let text = format!("More than {} calls per second.", self.limits.calls_per_second);
            let refusal = ErrorMessage {
                request_type: code::CALL,
                request: call.request,
                details: ErrorDetails::default(),
                error: Uri::unchecked(error::BUSY),
                payload: Payload::encode(self.codec, &(text,)).unwrap_or_else(|_| Payload::empty(self.codec)),
            };
            self.queue
                .push(Arc::new(Outgoing::new(Message::Error(refusal))), Class::Reply);
            return true;
        }
        self.attached.deliver(Received::Message(message)).await
    }
}

fn broken(error: axum::Error) -> Silence {
    use tokio_tungstenite::tungstenite::Error as Socket;
    let text = error.to_string();
    match error.into_inner().downcast::<Socket>() {
        Ok(error) => match *error {
            Socket::Capacity(_) => Silence::TooLarge,
            Socket::Protocol(_) | Socket::Utf8(_) => Silence::Broken(text),
            // The rest is about the connection: nobody is there to be told.
            _ => Silence::Gone,
        },
        Err(_) => Silence::Gone,
    }
}
