//! A call whose result is used as something else.
use coati_shared::prelude::*;

#[contract]
pub trait Third {
    async fn rpc(&self, something: String) -> Result<String>;
}

#[node]
struct Second {}

impl Second {
    async fn call_third(&self) -> Result<u32> {
        self.remote::<dyn Third>("@third")?.rpc("hello".into()).await
    }
}

fn main() {}
