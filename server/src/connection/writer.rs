//! The writing half of a socket: the queue to frames.

use std::sync::Arc;

use shared::wamp::{CodecId, Message, message::code, router::Outgoing as Queued, uri::error};

use super::{
    reader::refusal,
    wire::{Gone, Outgoing},
};
use crate::router::{
    queue::{Next, Outbound},
    realm::Attached,
};

/// Why a socket is closed that sent text which is no UTF-8; WebSocket has a close code of its own for it.
pub(super) const INVALID_TEXT: &str = "coati.close.invalid_text";

/// Writes what is queued until the farewell is out or the socket takes no more.
pub(super) async fn run(mut sink: impl Outgoing, codec: CodecId, queue: &Outbound, attached: &Attached) {
    loop {
        let mut next = Some(queue.next().await);
        // Everything that is there goes into as few system calls as possible.
        while let Some((action, room)) = next {
            if room {
                attached.has_room();
            }
            let written = match action {
                Next::Message(message) => write(&mut sink, codec, &message, attached).await,
                Next::Ping => sink.ping().await,
                Next::Pong(bytes) => sink.pong(bytes).await,
                Next::Close(reason) => return sink.farewell(reason.as_str()).await,
            };
            if written.is_err() {
                return;
            }
            next = queue.try_next();
        }
        if sink.flush().await.is_err() {
            return;
        }
    }
}

async fn write(
    sink: &mut impl Outgoing,
    codec: CodecId,
    message: &Arc<Queued>,
    attached: &Attached,
) -> Result<(), Gone> {
    let bytes = message.frame(codec);
    if bytes.len() <= sink.largest() {
        return sink.message(bytes).await;
    }
    // The peer has said what it takes. Whoever waits for an answer gets one; an event is lost to this peer alone.
    let text = "A message was larger than its receiver takes.";
    let reason = error::PAYLOAD_SIZE_EXCEEDED;
    tracing::info!(
        bytes = bytes.len(),
        largest = sink.largest(),
        "a message is too large for its receiver"
    );
    if let Message::Invocation(invocation) = message.message() {
        let answer = refusal(codec, code::INVOCATION, invocation.request, reason, text);
        attached.deliver(Message::Error(answer)).end().await;
        return Ok(());
    }
    let instead = if let Message::Result(result) = message.message() {
        refusal(codec, code::CALL, result.request, reason, text)
    } else if let Message::Error(error) = message.message() {
        refusal(codec, error.request_type, error.request, reason, text)
    } else {
        return Ok(());
    };
    sink.message(codec.encode(&Message::Error(instead))).await
}
