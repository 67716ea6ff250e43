//! Frames of a RawSocket: one octet of kind, three of length, the payload.

use axum::body::Bytes;
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::connection::wire::{Came, Gone, Incoming, Outgoing, Silence};

/// Octets before a payload.
const HEAD: usize = 4;
/// What an idle connection holds for reading.
const READ_BUFFER: usize = 2 * 1024;
/// Written bytes that are collected before they go out; everything goes out when the queue is empty.
const WRITE_BUFFER: usize = 16 * 1024;

const MESSAGE: u8 = 0;
const PING: u8 = 1;
const PONG: u8 = 2;

/// The reading half.
#[derive(Debug)]
pub(in crate::connection) struct RawIncoming<R> {
    reader: R,
    /// What was read and is no whole frame yet. Grows with what has come, not with what is announced.
    buffer: BytesMut,
    largest: usize,
}

impl<R: AsyncRead + Send + Unpin> RawIncoming<R> {
    pub(in crate::connection) fn new(reader: R, largest: usize) -> Self {
        Self {
            reader,
            buffer: BytesMut::new(),
            largest,
        }
    }

    /// The frame at the start of the buffer, if it is whole.
    fn take(&mut self) -> Result<Option<Came>, Silence> {
        let Some(&[kind, lengths @ ..]) = self.buffer.first_chunk::<HEAD>() else {
            return Ok(None);
        };
        let length = lengths.iter().fold(0, |sum, octet| (sum << 8) | usize::from(*octet));
        if kind > PONG {
            return Err(Silence::Broken("A frame is of no known kind.".to_owned()));
        }
        if length > self.largest {
            return Err(Silence::TooLarge);
        }
        if self.buffer.len() < HEAD + length {
            return Ok(None);
        }
        self.buffer.advance(HEAD);
        let payload = self.buffer.split_to(length).freeze();
        Ok(Some(match kind {
            MESSAGE => Came::Message(payload),
            PING => Came::Ping(payload),
            _ => Came::Nothing,
        }))
    }
}

impl<R: AsyncRead + Send + Unpin> Incoming for RawIncoming<R> {
    async fn next(&mut self) -> Result<Came, Silence> {
        loop {
            if let Some(came) = self.take()? {
                return Ok(came);
            }
            self.buffer.reserve(READ_BUFFER);
            match self.reader.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return Err(Silence::Gone),
                Ok(_) => {}
            }
        }
    }

    async fn drain(&mut self) {
        loop {
            self.buffer.clear();
            self.buffer.reserve(READ_BUFFER);
            if let Ok(0) | Err(_) = self.reader.read_buf(&mut self.buffer).await {
                return;
            }
        }
    }
}

/// The writing half.
#[derive(Debug)]
pub(super) struct RawOutgoing<W> {
    writer: W,
    buffer: Vec<u8>,
    largest: usize,
}

impl<W: AsyncWrite + Send + Unpin> RawOutgoing<W> {
    pub(super) fn new(writer: W, largest: usize) -> Self {
        Self {
            writer,
            buffer: Vec::new(),
            largest,
        }
    }

    async fn put(&mut self, kind: u8, payload: &[u8]) -> Result<(), Gone> {
        if self.buffer.len() + payload.len() > WRITE_BUFFER {
            self.send().await?;
        }
        // Whoever calls has compared with `largest`, which fits into three octets.
        let [.., a, b, c] = payload.len().to_be_bytes();
        self.buffer.extend_from_slice(&[kind, a, b, c]);
        if payload.len() <= WRITE_BUFFER {
            self.buffer.extend_from_slice(payload);
            return Ok(());
        }
        self.send().await?;
        self.writer.write_all(payload).await.map_err(|_| Gone)
    }

    async fn send(&mut self) -> Result<(), Gone> {
        let written = self.writer.write_all(&self.buffer).await;
        self.buffer.clear();
        written.map_err(|_| Gone)
    }
}

impl<W: AsyncWrite + Send + Unpin> Outgoing for RawOutgoing<W> {
    fn largest(&self) -> usize {
        self.largest
    }

    async fn message(&mut self, bytes: Bytes) -> Result<(), Gone> {
        self.put(MESSAGE, &bytes).await
    }

    async fn ping(&mut self) -> Result<(), Gone> {
        self.put(PING, &[]).await
    }

    async fn pong(&mut self, bytes: Bytes) -> Result<(), Gone> {
        // What is longer than the other side takes cannot be its own question; it gets what fits.
        let fits = bytes.len().min(self.largest);
        self.put(PONG, &bytes[..fits]).await
    }

    async fn flush(&mut self) -> Result<(), Gone> {
        self.send().await?;
        self.writer.flush().await.map_err(|_| Gone)
    }

    async fn farewell(&mut self, _: &str) {
        // The reason went out as GOODBYE or ABORT; RawSocket itself has no words for it.
        if self.flush().await.is_ok() {
            let _ = self.writer.shutdown().await;
        }
    }
}
