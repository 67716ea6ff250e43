//! Handlers that own what ends other handlers.
#![allow(missing_docs, reason = "tests")]

use shared::prelude::*;

#[test]
fn a_handler_that_owns_another_connection_can_be_disconnected() {
    let signal = Signal::<u32>::default();
    let inner = signal.connect(|_| {});
    let outer = signal.connect(move |_| {
        let _owned = &inner;
    });
    drop(outer);
}
