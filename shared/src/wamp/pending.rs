//! The requests of a client session that wait for their answer: which ids are out, and what may answer them.

use std::collections::BTreeMap;

use crate::wamp::id::RequestId;

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// PUBLISH with acknowledgement.
    Publish,
    /// SUBSCRIBE.
    Subscribe,
    /// UNSUBSCRIBE.
    Unsubscribe,
    /// CALL.
    Call,
    /// REGISTER.
    Register,
    /// UNREGISTER.
    Unregister,
}

impl Asked {
    /// The code by which ERROR names it.
    #[must_use]
    pub const fn code(self) -> u64 {
        use crate::wamp::message::code;
        match self {
            Self::Publish => code::PUBLISH,
            Self::Subscribe => code::SUBSCRIBE,
            Self::Unsubscribe => code::UNSUBSCRIBE,
            Self::Call => code::CALL,
            Self::Register => code::REGISTER,
            Self::Unregister => code::UNREGISTER,
        }
    }
}

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matched {
    /// It was waited for.
    Expected,
    /// The request was given up; answer and giving up have crossed.
    Late,
    /// There never was such a request, or it was of another kind: the router broke the protocol.
    Wrong,
}

/// The requests that are out.
#[derive(Debug, Default)]
pub struct Pending {
    /// The last id drawn.
    last: u64,
    waiting: BTreeMap<RequestId, Asked>,
}

impl Pending {
    /// Draws the next id, without waiting for an answer.
    pub fn draw(&mut self) -> RequestId {
        self.last += 1;
        RequestId::wrapped(self.last)
    }

    /// Draws the next id and waits for the answer.
    pub fn ask(&mut self, asked: Asked) -> RequestId {
        let request = self.draw();
        self.waiting.insert(request, asked);
        request
    }

    /// An answer came; a final one ends the waiting.
    pub fn answer(&mut self, request: RequestId, asked: Asked, is_final: bool) -> Matched {
        match self.waiting.get(&request) {
            Some(waiting) if *waiting != asked => Matched::Wrong,
            Some(_) => {
                if is_final {
                    self.waiting.remove(&request);
                }
                Matched::Expected
            }
            None if request.get() <= self.last => Matched::Late,
            None => Matched::Wrong,
        }
    }

    /// Stops waiting.
    pub fn forget(&mut self, request: RequestId) -> bool {
        self.waiting.remove(&request).is_some()
    }

    /// How many requests are out.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether no request is out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
