//! What macros write: the same as by hand, and readable messages for mistakes.

#![allow(clippy::duplicate_mod, clippy::print_stdout, reason = "the twins share their story")]

use coati_shared::{
    prelude::*,
    testing::{self, Placement},
};

#[path = "../examples/by_hand.rs"]
#[allow(dead_code)]
mod by_hand;
#[path = "../examples/by_macro.rs"]
#[allow(dead_code)]
mod by_macro;

#[test]
fn mistakes_are_refused_with_readable_messages() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
}

#[testing::test]
async fn what_macros_write_behaves_as_what_is_written_by_hand(at: Placement) -> Result<()> {
    let by_macro = by_macro::story::story(at.near.clone(), at.far.clone()).await?;
    let by_hand = by_hand::story::story(at.near.clone(), at.far.clone()).await?;
    assert_eq!(by_macro, by_hand);
    assert_eq!(by_macro.len(), 12, "{by_macro:#?}");
    Ok(())
}
