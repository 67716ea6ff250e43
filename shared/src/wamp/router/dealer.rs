//! stub
#[derive(Default)]
pub(super) struct Dealer;
