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
#[derive(Clone, Debug)]
pub(crate) struct Element {
    pub(crate) kind: Kind,
    pub(crate) range: Range<usize>,
}

/// No message has more elements: ERROR with both kinds of arguments.
const MOST: usize = 7;

/// The elements of a frame.
#[derive(Debug, Default)]
pub(crate) struct Elements {
    elements: [Option<Element>; MOST],
    count: usize,
}

impl Elements {
    pub(crate) fn push(&mut self, kind: Kind, range: Range<usize>) -> Result<(), DecodeError> {
        let slot = self
            .elements
            .get_mut(self.count)
            .ok_or_else(|| DecodeError::new(DecodeErrorKind::BadLayout, "more elements than any message has"))?;
        *slot = Some(Element { kind, range });
        self.count += 1;
        Ok(())
    }

    pub(crate) const fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Element> {
        self.elements.get(index).and_then(Option::as_ref)
    }
}
