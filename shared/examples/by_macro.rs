//! Every macro form, as an application writes it; `by_hand.rs` is the same program without macros.

use coati_shared::prelude::*;
use futures::stream;

/// Greets, and counts.
#[contract]
pub trait Greeter {
    /// Greets somebody.
    async fn hello(&self, name: String, #[caller] caller: Caller) -> Result<String>;
    /// The numbers up to one.
    fn count(&self, to: u32) -> impl Stream<Item = Result<u32>>;
}

/// Keeps a list of its guests.
#[node(Greeter, register = "each")]
pub struct Desk {
    #[signal(replay = 2)]
    on_hello: Signal<String>,
    #[mirror]
    guests: Value<Vec<String>>,
    opened: Value<u32>,
    greeting: String,
}

#[handlers]
impl Desk {
    #[handler(on_node_bind)]
    fn open(&self) {
        self.opened.update(|times| *times += 1);
    }

    #[handler(Self::on_hello)]
    fn note(&self, name: String) {
        self.guests.update(|guests| guests.push(name));
    }
}

impl Greeter for Desk {
    async fn hello(&self, name: String, caller: Caller) -> Result<String> {
        self.on_hello.notify(name.clone()).await?;
        let role = caller.authrole.unwrap_or_default();
        Ok(format!("{} {name} of {role}!", self.greeting))
    }

    fn count(&self, to: u32) -> impl Stream<Item = Result<u32>> {
        stream::iter((1..=to).map(Ok))
    }
}

/// Listens.
#[node(new = make)]
pub struct Visitor {
    heard: Value<Vec<String>>,
}

#[handlers]
impl Visitor {
    #[handler(Desk::on_hello, at = "@desk")]
    async fn hear(&self, name: String) -> Result<()> {
        self.heard.update(|heard| heard.push(format!("typed {name}")));
        Ok(())
    }

    #[handler("@desk.on_hello")]
    fn overhear(&self, name: String) {
        self.heard.update(|heard| heard.push(format!("by text {name}")));
    }
}

#[path = "twins/story.rs"]
pub mod story;

fn main() -> Result<()> {
    story::tell()
}
