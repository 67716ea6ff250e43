//! A message on its way out, encoded once for all its receivers.

use std::{
    any::Any,
    cell::RefCell,
    sync::{Arc, OnceLock},
};

use bytes::{Bytes, BytesMut};

use crate::wamp::{
    codec::CodecId,
    id::PublicationId,
    message::{EventReceived, Message},
};

/// Memory for frames that are written one after the other.
const ROOM: usize = 1024;

/// Messages of which each thread keeps the memory, once they are out, for the next ones.
const KEPT: usize = 64;

/// What is left of them then.
const NOTHING: EventReceived = EventReceived {
    publication: PublicationId::wrapped(1),
};

thread_local! {
    /// A burst makes many messages before the first one is out, and often that is on another thread: what allocators are
    /// slow at.
    static SPENT: RefCell<Vec<Arc<Outgoing>>> = const { RefCell::new(Vec::new()) };
}

/// A message for one or many receivers.
#[derive(Debug)]
pub struct Outgoing {
    message: Message,
    /// Its place among the invocations of one callee; several may belong to one call.
    place: u64,
    /// Receivers of one message nearly always have one codec: the broker makes a message for each. In a box: what goes to
    /// one receiver has none.
    frame: OnceLock<Box<Frame>>,
}

/// A frame that several receivers get.
#[derive(Debug)]
struct Frame {
    codec: CodecId,
    bytes: Bytes,
    /// What a transport has made of it.
    form: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl Outgoing {
    /// Wraps a message.
    #[inline]
    #[must_use]
    pub fn new(message: Message) -> Self {
        Self::at(0, message)
    }

    /// An INVOCATION at its place among those of its callee.
    #[inline]
    pub(super) fn at(place: u64, message: Message) -> Self {
        Self {
            message,
            place,
            frame: OnceLock::new(),
        }
    }

    /// As [`Self::at`], in the memory of a message that is out where there is one.
    pub(super) fn shared(place: u64, message: Message) -> Arc<Self> {
        let spent = SPENT.with_borrow_mut(Vec::pop);
        if let Some(mut spent) = spent
            && let Some(own) = Arc::get_mut(&mut spent)
        {
            (own.message, own.place) = (message, place);
            return spent;
        }
        Arc::new(Self::at(place, message))
    }

    /// Lets go of a message that is out: its memory serves another one.
    pub fn spend(mut this: Arc<Self>) {
        if let Some(own) = Arc::get_mut(&mut this) {
            own.message = Message::EventReceived(NOTHING);
            own.frame = OnceLock::new();
            SPENT.with_borrow_mut(|spent| {
                if spent.len() < KEPT {
                    spent.push(this);
                }
            });
        }
    }

    pub(super) const fn place(&self) -> u64 {
        self.place
    }

    /// The message.
    #[must_use]
    pub const fn message(&self) -> &Message {
        &self.message
    }

    /// The message, without a copy if nobody else holds it. For receivers over memory.
    #[must_use]
    pub fn into_message(this: Arc<Self>) -> Message {
        Arc::try_unwrap(this).map_or_else(|shared| shared.message.clone(), |own| own.message)
    }

    /// The frame in a codec; encoded by whoever asks first, and kept for the others.
    #[must_use]
    pub fn frame(&self, codec: CodecId) -> Bytes {
        let frame = self.kept(codec);
        if frame.codec == codec {
            frame.bytes.clone()
        } else {
            codec.encode(&self.message)
        }
    }

    fn kept(&self, codec: CodecId) -> &Frame {
        self.frame.get_or_init(|| {
            Box::new(Frame {
                codec,
                bytes: codec.encode(&self.message),
                form: OnceLock::new(),
            })
        })
    }

    /// The frame as a transport sends it, made by whoever asks first and kept for the others. None for who wants another
    /// codec or form than they.
    #[must_use]
    pub fn form<T: Any + Clone + Send + Sync>(&self, codec: CodecId, make: impl FnOnce(Bytes) -> T) -> Option<T> {
        let frame = self.kept(codec);
        if frame.codec != codec {
            return None;
        }
        let form = frame.form.get_or_init(|| Box::new(make(frame.bytes.clone())));
        (**form).downcast_ref::<T>().cloned()
    }

    /// As [`Self::frame`], for a receiver that does not need it again: the last one shares it with nobody. What has to be
    /// encoded takes its memory out of `buffer`, which must be empty.
    #[must_use]
    pub fn take_frame(this: &mut Arc<Self>, codec: CodecId, buffer: &mut BytesMut) -> Bytes {
        // Looking alone does not take the count away from the other receivers' processors.
        if Arc::strong_count(this) > 1 {
            return this.frame(codec);
        }
        let Some(own) = Arc::get_mut(this) else {
            return this.frame(codec);
        };
        match own.frame.take() {
            Some(frame) if frame.codec == codec => frame.bytes,
            Some(_) | None => {
                if buffer.capacity() == 0 {
                    buffer.reserve(ROOM);
                }
                own.message.to_frame(codec, buffer)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_made_once_and_only_of_the_frame_that_is_kept() {
        let message = Outgoing::new(Message::goodbye("a.reason", None));
        let long = |bytes: Bytes| bytes.len();
        let length = message.frame(CodecId::Json).len();
        assert_eq!(message.form(CodecId::Json, long), Some(length));
        assert_eq!(message.form(CodecId::Json, |_| 0_usize), Some(length), "made already");
        assert_eq!(message.form(CodecId::Json, |_| "another form"), None);
        assert_eq!(message.form(CodecId::Cbor, long), None);
    }

    #[test]
    fn what_is_out_leaves_the_next_its_memory_and_nothing_else() {
        let message = |reason| Message::goodbye(reason, None);
        let first = Outgoing::shared(7, message("first"));
        let place = Arc::as_ptr(&first);
        assert!(!first.frame(CodecId::Json).is_empty());
        Outgoing::spend(first.clone());
        assert_ne!(
            Arc::as_ptr(&Outgoing::shared(0, message("other"))),
            place,
            "somebody has it"
        );
        Outgoing::spend(first);
        let second = Outgoing::shared(0, message("second"));
        assert_eq!((Arc::as_ptr(&second), second.place()), (place, 0));
        assert_eq!(second.frame(CodecId::Json), CodecId::Json.encode(&message("second")));
        let many: Vec<_> = (0..2 * KEPT).map(|_| Outgoing::shared(0, message("many"))).collect();
        many.into_iter().for_each(Outgoing::spend);
        assert_eq!(SPENT.with_borrow(Vec::len), KEPT);
    }

    #[test]
    fn frames_out_of_one_buffer_are_those_of_a_buffer_each_while_some_are_still_held() {
        let mut buffer = BytesMut::new();
        let mut held = Vec::new();
        for (number, codec) in (0..200).zip(CodecId::ALL.into_iter().cycle()) {
            let text = "x".repeat(number * 7);
            let message = || Message::abort("a.reason", text.clone());
            let frame = Outgoing::take_frame(&mut Arc::new(Outgoing::new(message())), codec, &mut buffer);
            assert!(buffer.is_empty());
            if number % 3 > 0 {
                held.push((frame, codec.encode(&message())));
            }
            held.drain(..held.len().saturating_sub(20));
            assert!(held.iter().all(|(frame, expected)| frame == expected));
        }
    }
}
