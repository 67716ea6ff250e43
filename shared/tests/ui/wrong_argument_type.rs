//! A call whose argument is not what the contract says.
use coati_shared::prelude::*;

#[contract]
pub trait Third {
    async fn rpc(&self, something: String) -> Result<()>;
}

#[node]
struct Second {}

impl Second {
    async fn call_third(&self) -> Result<()> {
        self.remote::<dyn Third>("@third")?.rpc(5_u32).await
    }
}

fn main() {}
