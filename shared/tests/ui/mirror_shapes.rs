//! A mirror holds what the field holds; a marked field is state.

use std::rc::Rc;

use coati_shared::prelude::*;

#[node]
struct Counter {
    #[mirror]
    total: Value<u32>,
}

fn show(panel: Rc<Counter>) -> Result<Mirror<String>> {
    panel.mirror(Counter::total, "@counter")
}

#[node]
struct Plain {
    #[mirror]
    total: u32,
}

fn main() {}
