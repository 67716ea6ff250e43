//! What comes from a socket: WebSocket messages, the frame stream of a RawSocket, several messages in one frame.

use std::{
    io::{self, Cursor, Read, Write},
    pin::Pin,
    task::{Context, Poll},
};

use coati_server::fuzzing::{self, RawFrame};
use futures::FutureExt;
use shared::wamp::CodecId;
use tokio::io::{AsyncRead, ReadBuf};
use tokio_tungstenite::tungstenite::{
    Error, Message as Frame,
    protocol::{Role, WebSocket, WebSocketConfig},
};

/// Pieces of frames: heads of WebSocket without a mask to speak of, lengths, the separator of batches.
pub const WORDS: &[&str] = &[
    "\u{0}\u{0}\u{0}\u{0}",
    "\u{0}\u{0}\u{0}\u{1}",
    "\u{1}\u{0}\u{0}\u{2}",
    "\u{2}\u{0}\u{0}\u{0}",
    "\u{0}\u{7f}\u{7f}\u{7f}",
    "\u{1e}",
    "[1]",
    "\u{1}",
    "\u{9}",
    "\u{7f}",
];

/// The largest message that these sockets take.
const LARGEST: usize = 1024;

/// A socket that gives what is there, never waits, and takes everything.
struct Script(Cursor<Vec<u8>>);

impl Read for Script {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Script {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The octets of a WebSocket after its upgrade.
pub fn websocket(bytes: &[u8]) {
    let mut config = WebSocketConfig::default();
    config.read_buffer_size = 256;
    config.max_message_size = Some(LARGEST);
    config.max_frame_size = Some(LARGEST);
    let mut socket = WebSocket::from_raw_socket(Script(Cursor::new(bytes.to_vec())), Role::Server, Some(config));
    // Each frame takes six octets at least.
    for _ in 0..=bytes.len() {
        match socket.read() {
            Ok(Frame::Text(text)) => message(CodecId::Json, text.as_bytes()),
            Ok(Frame::Binary(octets)) => message(CodecId::Msgpack, &octets),
            Ok(Frame::Ping(octets) | Frame::Pong(octets)) => assert!(octets.len() <= 125),
            Ok(Frame::Close(_) | Frame::Frame(_)) => {}
            Err(Error::WriteBufferFull(_)) => panic!("nothing was written"),
            Err(_) => return,
        }
    }
    panic!("more frames than octets");
}

fn message(codec: CodecId, octets: &[u8]) {
    assert!(octets.len() <= LARGEST, "a message of {} octets", octets.len());
    // What is right about a message is the business of `codec`.
    let _ = codec.decode(octets.to_vec().into());
}

/// A socket that gives a few octets at a time.
struct Drip<'a> {
    octets: &'a [u8],
    most: usize,
}

impl AsyncRead for Drip<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let count = self.most.min(self.octets.len()).min(buffer.remaining());
        let (now, later) = self.octets.split_at(count);
        buffer.put_slice(now);
        self.octets = later;
        Poll::Ready(Ok(()))
    }
}

/// The octets of a RawSocket after its handshake; the first one says in how large pieces they come.
pub fn rawsocket(bytes: &[u8]) {
    let Some((pieces, octets)) = bytes.split_first() else {
        return;
    };
    let drip = Drip {
        octets,
        most: usize::from(*pieces).max(1),
    };
    let frames = fuzzing::raw_frames(drip, LARGEST)
        .now_or_never()
        .expect("nothing is waited for");
    assert_eq!(frames, expected(octets));
}

/// The same frames, taken from all octets at once.
fn expected(mut octets: &[u8]) -> Vec<RawFrame> {
    let mut frames = Vec::new();
    loop {
        let [kind @ 0..=2, a, b, c, rest @ ..] = octets else {
            let whole = octets.len() >= 4;
            frames.push(if whole { RawFrame::Broken } else { RawFrame::Gone });
            return frames;
        };
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        if length > LARGEST {
            frames.push(RawFrame::TooLarge);
            return frames;
        }
        let Some((payload, rest)) = rest.split_at_checked(length) else {
            frames.push(RawFrame::Gone);
            return frames;
        };
        frames.push(match kind {
            0 => RawFrame::Message(payload.to_vec()),
            1 => RawFrame::Ping(payload.to_vec()),
            _ => RawFrame::Pong,
        });
        octets = rest;
    }
}

/// One frame of a batched sub-protocol; the first octet chooses the codec.
pub fn batched(bytes: &[u8]) {
    let Some((choice, octets)) = bytes.split_first() else {
        return;
    };
    let codec = CodecId::ALL[usize::from(*choice) % CodecId::ALL.len()];
    let (messages, whole) = fuzzing::unbatch(codec, octets);
    for one in &messages {
        let _ = codec.decode(one.clone().into());
    }
    let again = fuzzing::batch(codec, &messages);
    assert!(octets.starts_with(&again), "{messages:?} became {again:?}");
    assert_eq!(whole, again.len() == octets.len(), "{octets:?} became {messages:?}");
}
