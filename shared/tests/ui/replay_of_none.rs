//! A signal keeps a number of events that makes sense, and says how.

use coati_shared::prelude::*;

#[node]
struct None {
    #[signal(replay = 0)]
    on_foo: Signal<String>,
}

#[node]
struct Unknown {
    #[signal(repeat)]
    on_foo: Signal<String>,
}

fn main() {}
