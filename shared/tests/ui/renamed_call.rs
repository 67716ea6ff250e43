//! A call that the contract does not have any more.
use coati_shared::prelude::*;

#[contract]
pub trait Third {
    async fn tell(&self, something: String) -> Result<()>;
}

#[node]
struct Second {}

impl Second {
    async fn call_third(&self) -> Result<()> {
        self.remote::<dyn Third>("@third")?.rpc("hello".into()).await
    }
}

fn main() {}
