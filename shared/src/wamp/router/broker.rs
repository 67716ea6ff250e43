//! stub
#[derive(Default)]
pub(super) struct Broker;
