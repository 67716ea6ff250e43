//! A stream of a contract says what its items are, and only a plain function returns one.

use coati_shared::prelude::*;

#[contract]
trait Opaque {
    fn rows(&self) -> impl Iterator<Item = Result<u32>>;
}

#[contract]
trait Late {
    async fn rows(&self) -> impl Stream<Item = Result<u32>>;
}

#[contract]
trait Bare {
    fn rows(&self) -> impl Stream<Item = u32>;
}

#[contract]
trait Counter {
    fn count(&self) -> impl Stream<Item = Result<u32>>;
}

fn wrong_item(counter: &CounterRemote) -> impl Stream<Item = Result<String>> {
    counter.count()
}

fn main() {}
