//! A handler at something that is no path.
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
    #[handler(Second::on_foo, at = "@First..second")]
    fn on_foo(&self, text: String) {
        let _ = text;
    }
}

fn main() {}
