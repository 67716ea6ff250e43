//! A link that counts what passes and can be cut.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use futures::{
    FutureExt,
    channel::oneshot,
    future::{Either, LocalBoxFuture, Shared, select},
};

use crate::wamp::{
    codec::CodecId,
    message::Message,
    transport::{Link, LinkError, MessageSink, MessageSource, SendError},
};

/// Counts what passes on links, by codec and kind. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Tap {
    counts: Rc<RefCell<BTreeMap<(CodecId, &'static str), u64>>>,
}

impl Tap {
    /// Puts the tap on a link.
    #[must_use]
    pub fn over(&self, link: Link) -> Link {
        tapped(link, self).0
    }

    /// How many messages of each kind passed, either way, by the codec of the link.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<(CodecId, &'static str), u64> {
        self.counts.borrow().clone()
    }

    /// The message as it arrives after having been bytes. Links in memory carry messages; tests want the bytes, too.
    ///
    /// # Panics
    /// If the codec cannot read what it wrote.
    pub(super) fn on_the_wire(codec: CodecId, message: &Message) -> Message {
        let frame = codec.encode(message);
        codec
            .decode(frame)
            .unwrap_or_else(|error| panic!("{codec:?} cannot read its own {}: {error:?}", message.name()))
    }

    fn count(&self, codec: CodecId, kind: &'static str) {
        *self.counts.borrow_mut().entry((codec, kind)).or_default() += 1;
    }
}

/// Cuts one link.
pub(super) struct Scissors {
    cut: Cell<Option<oneshot::Sender<()>>>,
}

impl Scissors {
    pub(super) fn cut(&self) {
        if let Some(cut) = self.cut.take() {
            let _ = cut.send(());
        }
    }
}

/// Puts a tap on a link.
pub(super) fn tapped(link: Link, tap: &Tap) -> (Link, Scissors) {
    wired(link, tap, false)
}

/// Puts a tap on a link; all that passes becomes bytes and messages again on the way if `is_bytes`.
pub(super) fn wired(link: Link, tap: &Tap, is_bytes: bool) -> (Link, Scissors) {
    let (cut, is_cut) = oneshot::channel();
    let outgoing: Rc<dyn MessageSink> = Rc::from(link.outgoing);
    let incoming = Source {
        incoming: link.incoming,
        outgoing: outgoing.clone(),
        codec: link.codec,
        tap: tap.clone(),
        // A dropped pair of scissors cuts nothing.
        is_cut: async move {
            if is_cut.await.is_err() {
                std::future::pending::<()>().await;
            }
        }
        .boxed_local()
        .shared(),
        is_bytes,
    };
    let outgoing = Sink {
        outgoing,
        codec: link.codec,
        tap: tap.clone(),
        is_bytes,
    };
    let tapped = Link {
        codec: link.codec,
        outgoing: Box::new(outgoing),
        incoming: Box::new(incoming),
    };
    (
        tapped,
        Scissors {
            cut: Cell::new(Some(cut)),
        },
    )
}

struct Sink {
    outgoing: Rc<dyn MessageSink>,
    codec: CodecId,
    tap: Tap,
    is_bytes: bool,
}

impl MessageSink for Sink {
    fn try_send(&self, message: Message) -> Result<(), SendError> {
        let kind = message.name();
        let message = if self.is_bytes {
            Tap::on_the_wire(self.codec, &message)
        } else {
            message
        };
        self.outgoing.try_send(message)?;
        self.tap.count(self.codec, kind);
        Ok(())
    }

    fn room(&self) -> LocalBoxFuture<'_, ()> {
        self.outgoing.room()
    }

    fn close(&self) {
        self.outgoing.close();
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.outgoing.close();
    }
}

struct Source {
    incoming: Box<dyn MessageSource>,
    outgoing: Rc<dyn MessageSink>,
    codec: CodecId,
    tap: Tap,
    is_cut: Shared<LocalBoxFuture<'static, ()>>,
    is_bytes: bool,
}

impl MessageSource for Source {
    fn receive(&mut self) -> LocalBoxFuture<'_, Result<Message, LinkError>> {
        async {
            match select(self.is_cut.clone(), self.incoming.receive()).await {
                Either::Left(((), _)) => {
                    self.outgoing.close();
                    Err(LinkError::Closed(None))
                }
                Either::Right((message, _)) => {
                    let message = message?;
                    self.tap.count(self.codec, message.name());
                    Ok(if self.is_bytes {
                        Tap::on_the_wire(self.codec, &message)
                    } else {
                        message
                    })
                }
            }
        }
        .boxed_local()
    }
}
