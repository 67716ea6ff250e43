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

/// Counts of messages by codec and kind.
#[derive(Clone, Default)]
pub(super) struct Tap(Rc<RefCell<BTreeMap<(CodecId, &'static str), u64>>>);

impl Tap {
    pub(super) fn counts(&self) -> BTreeMap<(CodecId, &'static str), u64> {
        self.0.borrow().clone()
    }

    fn count(&self, codec: CodecId, kind: &'static str) {
        *self.0.borrow_mut().entry((codec, kind)).or_default() += 1;
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
    };
    let outgoing = Sink {
        outgoing,
        codec: link.codec,
        tap: tap.clone(),
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
}

impl MessageSink for Sink {
    fn try_send(&self, message: Message) -> Result<(), SendError> {
        let kind = message.name();
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
                    if let Ok(message) = &message {
                        self.tap.count(self.codec, message.name());
                    }
                    message
                }
            }
        }
        .boxed_local()
    }
}
