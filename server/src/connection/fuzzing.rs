//! The door through which `fuzz/` and its tests reach what reads sockets. No part of the API.

use axum::body::Bytes;
use shared::wamp::CodecId;
use tokio::io::AsyncRead;

use super::{
    batch,
    rawsocket::RawIncoming,
    wire::{Came, Incoming, Silence},
};

/// What came from a RawSocket.
#[derive(Debug, PartialEq, Eq)]
pub enum RawFrame {
    /// The bytes of a message.
    Message(Vec<u8>),
    /// A ping and what it carries.
    Ping(Vec<u8>),
    /// A pong.
    Pong,
    /// Not a frame.
    Broken,
    /// A frame above the limit.
    TooLarge,
    /// The end.
    Gone,
}

/// What a RawSocket brings after its handshake, up to what ends it.
pub async fn raw_frames(reader: impl AsyncRead + Send + Unpin, largest: usize) -> Vec<RawFrame> {
    let (mut incoming, mut frames) = (RawIncoming::new(reader, largest), Vec::new());
    loop {
        let end = match incoming.next().await {
            Ok(came) => {
                frames.push(match came {
                    Came::Message(octets) => RawFrame::Message(octets.to_vec()),
                    Came::Ping(octets) => RawFrame::Ping(octets.to_vec()),
                    Came::Nothing => RawFrame::Pong,
                    Came::Unfit(_) => RawFrame::Broken,
                });
                continue;
            }
            Err(end) => end,
        };
        frames.push(match end {
            Silence::Gone => RawFrame::Gone,
            Silence::TooLarge => RawFrame::TooLarge,
            Silence::Broken(_) | Silence::NotText => RawFrame::Broken,
        });
        return frames;
    }
}

/// The messages of a batch, and whether there was nothing else in it.
#[must_use]
pub fn unbatch(codec: CodecId, octets: &[u8]) -> (Vec<Vec<u8>>, bool) {
    let (mut octets, mut messages) = (Bytes::copy_from_slice(octets), Vec::new());
    while !octets.is_empty() {
        match batch::take(codec, &mut octets) {
            Ok(message) => messages.push(message.to_vec()),
            Err(_) => return (messages, false),
        }
    }
    (messages, true)
}

/// A batch of messages.
#[must_use]
pub fn batch(codec: CodecId, messages: &[Vec<u8>]) -> Vec<u8> {
    let mut octets = Vec::new();
    for message in messages {
        batch::add(codec, &mut octets, message);
    }
    octets
}
