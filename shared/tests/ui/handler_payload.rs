//! A handler that takes something else than the signal carries.
use coati_shared::prelude::*;

#[node]
struct Second {
    #[signal]
    on_foo: Signal<String>,
}

#[node]
struct ThirdNode {}

#[handlers]
impl ThirdNode {
    #[handler(Second::on_foo, at = "@first.second")]
    fn on_foo(&self, count: u32) {
        let _ = count;
    }
}

fn main() {}
