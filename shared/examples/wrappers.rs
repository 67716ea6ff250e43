//! Rules around calls and events, declared once for a whole subtree: `cargo run -p coati-shared --example wrappers`.
#![allow(clippy::print_stdout, reason = "it is what the example does")]

use std::rc::Rc;

use coati_shared::{platform::run_local, prelude::*, testing::Realm};

/// Money, in whole cents.
#[contract]
pub trait Account {
    /// Adds, or takes away.
    async fn book(&self, cents: i64) -> Result<i64>;
}

#[node(Account)]
struct AccountNode {
    #[signal]
    on_booked: Signal<i64>,
    cents: Value<i64>,
}

impl Account for AccountNode {
    async fn book(&self, cents: i64) -> Result<i64> {
        self.cents.update(|sum| *sum += cents);
        self.on_booked.notify(cents);
        if self.cents.get() < 0 {
            return Err(Error::new(ErrorKind::Refused, "The account would be overdrawn."));
        }
        Ok(self.cents.get())
    }
}

/// Who may book here; a value that nodes inherit.
struct Bookkeepers(Vec<&'static str>);

fn log(context: &NodeContext) {
    context.wrap_calls(Rc::new(|info, call| {
        Box::pin(async move {
            let answer = call.await;
            println!(
                "{}.{}: {}",
                info.path(),
                info.method,
                if answer.is_ok() { "done" } else { "failed" }
            );
            answer
        })
    }));
}

fn permission(context: &NodeContext) {
    let level = context.clone();
    context.wrap_calls(Rc::new(move |info, call| {
        let who = info.caller().authid.as_deref().unwrap_or_default();
        match level.get::<Bookkeepers>() {
            Some(bookkeepers) if bookkeepers.0.contains(&who) => call,
            // A call that is dropped never runs.
            _ => Box::pin(async { Err(Error::new(ErrorKind::NotAuthorized, "Only bookkeepers book.")) }),
        }
    }));
}

/// A failed call leaves the account as it was. With a database, `begin` and `commit` stand here.
fn transaction(context: &NodeContext, account: &Rc<AccountNode>) {
    let account = account.clone();
    context.wrap_calls(Rc::new(move |_info, call| {
        let account = account.clone();
        Box::pin(async move {
            let before = account.cents.get();
            let answer = call.await;
            if answer.is_err() {
                account.cents.set(before);
            }
            answer
        })
    }));
}

/// Somebody in another session, who knows the account by its contract and path only.
#[node]
struct Desk {}

fn main() -> Result<()> {
    run_local(async {
        let realm = Realm::new();
        let context = realm.context("bank").await?;
        context.insert(Bookkeepers(vec!["ada", "bob"]));
        let account = AccountNode::new();
        // Outer rules run before, and around, inner ones: even a refused call is in the log.
        log(&context);
        permission(&context);
        let inner = context.child();
        transaction(&inner, &account);
        inner.guard_publications(Rc::new(|topic| {
            println!("{topic} is told");
            Ok(())
        }));
        account.node_bind("bank.account", &inner).await?;

        for (name, cents) in [("ada", 500), ("bob", -900), ("eve", 100)] {
            let desk = Desk::new();
            desk.node_bind(format!("desk.{name}"), &realm.context(name).await?)
                .await?;
            match desk.remote::<dyn Account>("bank.account")?.book(cents).await {
                Ok(sum) => println!("{name}: {sum} cents"),
                Err(error) => println!("{name}: {error}"),
            }
        }
        println!("{} cents", account.cents.get());
        context.shutdown().await
    })
}
