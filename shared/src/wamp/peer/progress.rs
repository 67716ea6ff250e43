//! Calls with several results: the callee's way to send them, and the caller's stream of them.

use std::{
    cell::RefCell,
    collections::VecDeque,
    pin::Pin,
    rc::{Rc, Weak},
    task::{Context, Poll},
};

use futures::{FutureExt, Stream, future::LocalBoxFuture, stream::FusedStream, task::AtomicWaker};

use crate::{
    error::{Error, ErrorKind, Result},
    wamp::{id::RequestId, message::CallOptions, payload::Payload, uri::Uri},
};

use super::{Peer, inner::Inner};

/// How many results a [`CallStream`] keeps for a reader that is behind.
pub const MOST_WAITING: usize = 1_024;

/// How many messages wait for the link before [`Progress::room`] waits.
pub const AHEAD: usize = 64;

/// A callee's way to send results before the last one. Cheap to clone; useless once the call is over.
#[derive(Clone)]
pub struct Progress {
    inner: Weak<Inner>,
    request: RequestId,
    wanted: bool,
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Progress")
            .field("request", &self.request)
            .field("wanted", &self.wanted)
            .finish_non_exhaustive()
    }
}

impl Progress {
    pub(super) fn new(inner: &Rc<Inner>, request: RequestId, wanted: bool) -> Self {
        Self {
            inner: Rc::downgrade(inner),
            request,
            wanted,
        }
    }

    /// Whether the caller takes more than one result.
    #[must_use]
    pub const fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Waits until at most [`AHEAD`] messages wait for the link: for callees that have results without end.
    pub async fn room(&self) {
        while let Some(inner) = self.inner.upgrade().filter(|inner| inner.is_behind(AHEAD)) {
            inner.link_moves().await;
        }
    }

    /// Sends a result before the last; never waits. Does nothing if the caller does not take more than one.
    ///
    /// # Errors
    /// [`ErrorKind::Canceled`] when the call is over, [`ErrorKind::Busy`] when too much waits for the link.
    pub fn send(&self, payload: Payload) -> Result<()> {
        if !self.wanted {
            return Ok(());
        }
        match self.inner.upgrade() {
            Some(inner) => inner.progresses(self.request, payload),
            None => Err(Error::new(ErrorKind::Canceled, "The call is over.")),
        }
    }
}

/// One of the results of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// More follow.
    Progress(Payload),
    /// The last.
    Last(Payload),
}

#[derive(Default)]
struct Waiting {
    parts: RefCell<VecDeque<Payload>>,
    waker: AtomicWaker,
    overflown: std::cell::Cell<bool>,
}

/// The results of a call as they come. See [`Peer::call_stream`].
#[must_use = "the call is made when the stream is read"]
pub struct CallStream {
    /// None once the last item was given out.
    call: Option<LocalBoxFuture<'static, Result<Payload>>>,
    /// The answer, while parts that came before it still wait.
    answer: Option<Result<Payload>>,
    waiting: Rc<Waiting>,
}

impl CallStream {
    pub(super) fn new(peer: Peer, procedure: Uri, payload: Payload, options: CallOptions) -> Self {
        let waiting = Rc::new(Waiting::default());
        let sink = Rc::clone(&waiting);
        let call = async move {
            let handler = Rc::new(move |part| {
                let mut parts = sink.parts.borrow_mut();
                if parts.len() < MOST_WAITING {
                    parts.push_back(part);
                } else {
                    sink.overflown.set(true);
                }
                drop(parts);
                sink.waker.wake();
            });
            peer.call_progressive(&procedure, payload, options, handler).await
        };
        Self {
            call: Some(call.boxed_local()),
            answer: None,
            waiting,
        }
    }
}

impl Stream for CallStream {
    type Item = Result<Part>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let Some(call) = this.call.as_mut() else {
            return Poll::Ready(None);
        };
        this.waiting.waker.register(context.waker());
        if this.answer.is_none()
            && let Poll::Ready(answer) = call.poll_unpin(context)
        {
            this.answer = Some(answer);
        }
        if let Some(part) = this.waiting.parts.borrow_mut().pop_front() {
            return Poll::Ready(Some(Ok(Part::Progress(part))));
        }
        let last = if this.waiting.overflown.get() {
            let text = "Results came faster than they were read.";
            Some(Err(Error::new(ErrorKind::Busy, text)))
        } else {
            this.answer.take().map(|answer| answer.map(Part::Last))
        };
        match last {
            Some(last) => {
                // Dropping a call without answer gives it up.
                this.call = None;
                Poll::Ready(Some(last))
            }
            None => Poll::Pending,
        }
    }
}

impl FusedStream for CallStream {
    fn is_terminated(&self) -> bool {
        self.call.is_none()
    }
}
