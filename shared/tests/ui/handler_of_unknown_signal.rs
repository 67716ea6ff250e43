//! A handler of a signal that the node does not have.
use coati_shared::prelude::*;

#[node]
struct Second {}

#[node]
struct ThirdNode {}

#[handlers]
impl ThirdNode {
    #[handler(Second::on_foo, at = "@first.second")]
    fn on_foo(&self, text: String) {
        let _ = text;
    }
}

fn main() {}
