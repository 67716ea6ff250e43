//! The writing half of a socket: the queue to frames.

use axum::extract::ws::{CloseFrame, Message as Frame, Utf8Bytes, WebSocket};
use futures::{SinkExt, stream::SplitSink};
use shared::wamp::{
    CodecId,
    uri::{close, error},
};

use crate::router::{
    queue::{Next, Outbound},
    realm::Attached,
};

/// Writes what is queued until the farewell is out or the socket takes no more.
pub(super) async fn run(mut sink: SplitSink<WebSocket, Frame>, codec: CodecId, queue: &Outbound, attached: &Attached) {
    loop {
        let mut next = Some(queue.next().await);
        // Everything that is there goes into as few system calls as possible.
        while let Some((action, room)) = next {
            if room {
                attached.has_room();
            }
            let (frame, last) = match action {
                Next::Message(message) => (frame(codec, message.frame(codec)), false),
                Next::Ping => (Some(Frame::Ping(Default::default())), false),
                Next::Close(reason) => (Some(farewell(reason.as_str())), true),
            };
            let Some(frame) = frame else { return };
            if sink.feed(frame).await.is_err() {
                return;
            }
            if last {
                // The peer may be gone already; either way this socket is done.
                let _ = sink.flush().await;
                return;
            }
            next = queue.try_next();
        }
        if sink.flush().await.is_err() {
            return;
        }
    }
}

fn frame(codec: CodecId, bytes: axum::body::Bytes) -> Option<Frame> {
    match codec {
        CodecId::Json => match Utf8Bytes::try_from(bytes) {
            Ok(text) => Some(Frame::Text(text)),
            Err(error) => {
                tracing::error!(%error, "a JSON frame is not text");
                None
            }
        },
        CodecId::Msgpack | CodecId::Cbor => Some(Frame::Binary(bytes)),
    }
}

/// A close frame whose code says whether coming back is worth it, and whose text says why it came to this.
fn farewell(reason: &str) -> Frame {
    let code = match reason {
        close::NORMAL | close::GOODBYE_AND_OUT | close::CLOSE_REALM => 1000,
        error::PROTOCOL_VIOLATION => 1002,
        error::PAYLOAD_SIZE_EXCEEDED => 1009,
        close::SYSTEM_SHUTDOWN => 1012,
        close::TOO_SLOW => 1013,
        _ => 1008,
    };
    // A close frame has room for 123 bytes.
    let mut text = reason;
    while text.len() > 123 {
        text = &text[..text.floor_char_boundary(123)];
    }
    Frame::Close(Some(CloseFrame {
        code,
        reason: text.into(),
    }))
}
