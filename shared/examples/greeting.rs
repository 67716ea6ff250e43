//! Two nodes that call and hear each other: `cargo run -p coati-shared --example greeting`.
#![allow(clippy::print_stdout, reason = "it is what the example does")]

use coati_shared::{
    platform::{default_platform, run_local},
    prelude::*,
};

/// Says hello.
#[contract]
pub trait Greeter {
    /// Greets somebody, and tells everybody who listens.
    async fn greet(&self, name: String) -> Result<String>;
}

#[node(Greeter)]
struct Desk {
    #[signal]
    on_greeted: Signal<String>,
}

impl Greeter for Desk {
    async fn greet(&self, name: String) -> Result<String> {
        self.on_greeted.notify(name.clone());
        Ok(format!("Hello, {name}!"))
    }
}

#[node]
struct Diary {
    guests: Value<Vec<String>>,
}

#[handlers]
impl Diary {
    #[handler(Desk::on_greeted, at = "@desk")]
    fn note(&self, name: String) {
        self.guests.update(|guests| guests.push(name));
    }
}

fn main() -> Result<()> {
    run_local(async {
        // With a peer instead of `None`, the other node may live in a browser, or be a Python program.
        let context = NodeContext::root(default_platform(), None);
        let (desk, diary, house) = (Desk::new(), Diary::new(), Path::root("house")?);
        desk.node_bind(house.join("desk")?, &context).await?;
        diary.node_bind(house.join("diary")?, &context).await?;
        println!("{}", diary.remote::<dyn Greeter>("@desk")?.greet("Ada".into()).await?);
        println!("The diary says: {:?}", diary.guests.get());
        context.shutdown().await
    })
}
