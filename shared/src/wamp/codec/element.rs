//! Where the elements of a frame are, and of which kind.

use std::ops::Range;

use super::{DecodeError, DecodeErrorKind};

/// The kind of an encoded value, as far as message layouts tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Number,
    Text,
    Binary,
    List,
    Map,
    Other,
}

/// One element of a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element {
    pub(crate) kind: Kind,
    /// Its bytes stand for themselves: text without escapes.
    pub(crate) plain: bool,
    start: usize,
    end: usize,
}

impl Element {
    const NONE: Self = Self {
        kind: Kind::Other,
        plain: false,
        start: 0,
        end: 0,
    };

    pub(crate) const fn range(self) -> Range<usize> {
        self.start..self.end
    }
}

/// No message has more elements: ERROR with both kinds of arguments.
const MOST: usize = 7;

/// The elements of a frame.
#[derive(Debug)]
pub(crate) struct Elements {
    elements: [Element; MOST],
    count: usize,
}

impl Default for Elements {
    fn default() -> Self {
        Self {
            elements: [Element::NONE; MOST],
            count: 0,
        }
    }
}

impl Elements {
    /// Adds an element; false if no message has as many.
    #[must_use]
    pub(crate) fn add(&mut self, kind: Kind, plain: bool, range: Range<usize>) -> bool {
        let Some(slot) = self.elements.get_mut(self.count) else {
            return false;
        };
        let Range { start, end } = range;
        *slot = Element {
            kind,
            plain,
            start,
            end,
        };
        self.count += 1;
        true
    }

    /// As [`Self::add`], of a codec that needs no escapes.
    pub(crate) fn push(&mut self, kind: Kind, range: Range<usize>) -> Result<(), DecodeError> {
        self.add(kind, true, range).then_some(()).ok_or_else(Self::too_many)
    }

    pub(crate) fn too_many() -> DecodeError {
        DecodeError::new(DecodeErrorKind::BadLayout, "more elements than any message has")
    }

    pub(crate) const fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn get(&self, index: usize) -> Option<Element> {
        (index < self.count)
            .then(|| self.elements.get(index).copied())
            .flatten()
    }
}
