//! The writing half of a socket: the queue to frames.

use std::sync::Arc;

use axum::body::Bytes;
use bytes::BytesMut;
use shared::wamp::{CodecId, Message, message::code, router::Outgoing as Queued, uri::error};

use super::{
    reader::refusal,
    wire::{Gone, Outgoing},
};
use crate::router::{
    queue::{Next, Outbound},
    realm::{Attached, Burst},
};

/// Why a socket is closed that sent text which is no UTF-8; WebSocket has a close code of its own for it.
pub(super) const INVALID_TEXT: &str = "coati.close.invalid_text";

/// Writes what is queued until the farewell is out or the socket takes no more.
pub(super) async fn run(sink: &mut impl Outgoing, codec: CodecId, queue: &Outbound, attached: &Attached) {
    let mut batch = Vec::new();
    loop {
        queue.filled().await;
        // Frames are made in it one after the other; an idle connection has none.
        let mut buffer = BytesMut::new();
        // Everything that is there goes into as few system calls as possible.
        loop {
            if queue.take(&mut batch) {
                attached.has_room();
            }
            if batch.is_empty() {
                break;
            }
            for action in batch.drain(..) {
                let written = match action {
                    Next::Message(message) => write(sink, codec, message, attached, &mut buffer).await,
                    Next::Ping => sink.ping().await,
                    Next::Pong(bytes) => sink.pong(bytes).await,
                    Next::Close(reason) => return sink.farewell(reason.as_str()).await,
                };
                if written.is_err() {
                    return;
                }
            }
        }
        if sink.flush().await.is_err() {
            return;
        }
    }
}

async fn write(
    sink: &mut impl Outgoing,
    codec: CodecId,
    mut message: Arc<Queued>,
    attached: &Attached,
    buffer: &mut BytesMut,
) -> Result<(), Gone> {
    if Arc::strong_count(&message) > 1
        && let Some(written) = sink.shared(&message).await
    {
        return written;
    }
    let bytes = Queued::take_frame(&mut message, codec, buffer);
    let largest = sink.largest();
    let fits = if bytes.len() <= largest {
        Some(bytes)
    } else {
        instead(codec, message.message(), attached, (bytes.len(), largest))
    };
    Queued::spend(message);
    match fits {
        Some(bytes) => sink.message(bytes).await,
        None => Ok(()),
    }
}

/// What goes out for a message that is larger than its receiver takes. Whoever waits for an answer gets one; an event is
/// lost to this peer alone.
fn instead(codec: CodecId, message: &Message, attached: &Attached, (bytes, largest): (usize, usize)) -> Option<Bytes> {
    let text = "A message was larger than its receiver takes.";
    let reason = error::PAYLOAD_SIZE_EXCEEDED;
    tracing::info!(bytes, largest, "a message is too large for its receiver");
    let error = if let Message::Invocation(invocation) = message {
        let answer = refusal(codec, code::INVOCATION, invocation.request, reason, text);
        // Turns are for readers: a writer is given no more than it has room for.
        attached.deliver(Box::new(Message::Error(answer)), &mut Burst::default());
        return None;
    } else if let Message::Result(result) = message {
        refusal(codec, code::CALL, result.request, reason, text)
    } else if let Message::Error(error) = message {
        refusal(codec, error.request_type, error.request, reason, text)
    } else {
        return None;
    };
    Some(codec.encode(&Message::Error(error)))
}
