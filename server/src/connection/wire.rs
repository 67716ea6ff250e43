//! What reader and writer need of a socket, whatever it is made of.

use axum::body::Bytes;
use shared::wamp::router::Outgoing as Queued;

/// What came from a socket.
#[derive(Debug)]
pub(super) enum Came {
    /// The bytes of a message, or of several where the sub-protocol is batched.
    Message(Bytes),
    /// A sign of life that needs no answer from here.
    Nothing,
    /// A question whether we are there, with what the answer has to repeat.
    Ping(Bytes),
    /// A frame that cannot hold a message here.
    Unfit(&'static str),
}

/// What came instead of a frame.
#[derive(Debug)]
pub(super) enum Silence {
    /// The end.
    Gone,
    /// What came breaks the rules of the transport.
    Broken(String),
    /// Text that is no UTF-8.
    NotText,
    /// A message or frame over the limit; it was not read.
    TooLarge,
}

/// The other side takes nothing any more.
#[derive(Debug)]
pub(super) struct Gone;

/// Where frames come from.
pub(super) trait Incoming: Send {
    /// The next frame. Cancel safe: what was read of a frame is kept.
    fn next(&mut self) -> impl Future<Output = Result<Came, Silence>> + Send;

    /// Reads and forgets until the other side has closed.
    fn drain(&mut self) -> impl Future<Output = ()> + Send;
}

/// Where frames go. What is written may wait in a buffer until [`Self::flush`].
pub(super) trait Outgoing: Send {
    /// The largest message that the other side takes, in bytes.
    fn largest(&self) -> usize;

    /// Writes a message that others get too, if there is a shorter way than by its bytes.
    fn shared(&mut self, _: &Queued) -> impl Future<Output = Option<Result<(), Gone>>> + Send {
        std::future::ready(None)
    }

    /// Writes a message.
    fn message(&mut self, bytes: Bytes) -> impl Future<Output = Result<(), Gone>> + Send;

    /// Asks whether the other side is there.
    fn ping(&mut self) -> impl Future<Output = Result<(), Gone>> + Send;

    /// Answers such a question.
    fn pong(&mut self, bytes: Bytes) -> impl Future<Output = Result<(), Gone>> + Send;

    /// Sends everything that waits.
    fn flush(&mut self) -> impl Future<Output = Result<(), Gone>> + Send;

    /// Sends everything, and why this is the end where the transport can say that.
    fn farewell(&mut self, reason: &str) -> impl Future<Output = ()> + Send;
}
