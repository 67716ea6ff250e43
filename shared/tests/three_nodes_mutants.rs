//! The three nodes notice it when the short cut is off, a handler listens beside its topic, or a codec is another one.

use std::panic::{AssertUnwindSafe, catch_unwind};

use coati_shared::{
    prelude::*,
    testing::{self, Fault, Placement, commit},
    wamp::codec::CodecId,
};

#[path = "three_nodes.rs"]
mod three_nodes;

/// Whether the test passes in a placement, with a mistake or without.
fn passes(fault: Option<Fault>, placed: impl AsyncFnOnce() -> Result<Placement>) -> bool {
    commit(fault);
    let run = AssertUnwindSafe(|| {
        testing::run(async { three_nodes::three_nodes_meet_wherever_they_are(placed().await?).await })
    });
    let outcome = catch_unwind(run);
    commit(None);
    matches!(outcome, Ok(Ok(())))
}

#[test]
fn each_mistake_fails_the_test_where_it_matters() {
    for (fault, together, apart) in [
        (None, true, true),
        (Some(Fault::ShortCutOff), false, true),
        (Some(Fault::HandlerPathWrong), false, false),
        (Some(Fault::CodecSwapped), true, false),
    ] {
        assert_eq!(
            passes(fault, async || Placement::together().await),
            together,
            "{fault:?}"
        );
        for codec in CodecId::ALL {
            let placed = async || Placement::apart(codec).await;
            assert_eq!(passes(fault, placed), apart, "{fault:?} in {codec:?}");
        }
    }
}
