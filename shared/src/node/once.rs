//! Calls that may be repeated but must run once: the answer is kept and given again.

use std::{cell::RefCell, collections::BTreeMap, fmt, future::Future};

use futures::{
    FutureExt,
    future::{LocalBoxFuture, Shared},
};

use super::fault::{self, Fault};
use crate::{
    error::{Error, ErrorKind, Result},
    platform::PlatformRef,
};

/// Answers by what identifies a call: usually the caller's base and a number that the caller counts.
///
/// A caller that lost its link cannot know whether its call has run, and repeats it. The first call with a key runs, to
/// its end even if the caller vanishes meanwhile; every later one waits for the same answer. An error is an answer, too.
///
/// Answers are kept until [`AnswerTable::retain`] drops them: when the caller says up to where it has them.
pub struct AnswerTable<K, T> {
    platform: PlatformRef,
    answers: RefCell<BTreeMap<K, Shared<LocalBoxFuture<'static, Result<T>>>>>,
}

impl<K: Ord, T: Clone + 'static> AnswerTable<K, T> {
    /// An empty table.
    #[must_use]
    pub fn new(platform: PlatformRef) -> Self {
        Self {
            platform,
            answers: RefCell::default(),
        }
    }

    /// Runs `work` unless that was done before under this key; gives its answer.
    ///
    /// # Errors
    /// What the work ended with, each time.
    pub fn once<F>(&self, key: K, work: impl FnOnce() -> F) -> Shared<LocalBoxFuture<'static, Result<T>>>
    where
        F: Future<Output = Result<T>> + 'static,
    {
        let known = self.answers.borrow().get(&key).cloned();
        if let Some(answer) = known.filter(|_| !fault::is(Fault::AnswerTableOff)) {
            return answer;
        }
        let (sender, answer) = futures::channel::oneshot::channel();
        let answer = answer
            .map(|answer| answer.unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "The work broke off."))))
            .boxed_local()
            .shared();
        self.answers.borrow_mut().insert(key, answer.clone());
        // Nothing is borrowed now: the work may come back here.
        self.platform
            .spawn_local(work().map(|answer| drop(sender.send(answer))).boxed_local());
        answer
    }

    /// Drops the answers that nobody will ask for again.
    pub fn retain(&self, mut keep: impl FnMut(&K) -> bool) {
        self.answers.borrow_mut().retain(|key, _| keep(key));
    }

    /// How many answers are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.answers.borrow().len()
    }

    /// Whether no answer is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K, T> fmt::Debug for AnswerTable<K, T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AnswerTable")
            .field("answers", &self.answers.borrow().len())
            .finish_non_exhaustive()
    }
}
