//! A node that implements half of its contract.
use coati_shared::prelude::*;

#[contract]
pub trait Third {
    async fn rpc(&self, something: String) -> Result<()>;
    async fn other(&self) -> Result<()>;
}

#[node(Third)]
struct ThirdNode {}

impl Third for ThirdNode {
    async fn rpc(&self, _something: String) -> Result<()> {
        Ok(())
    }
}

fn main() {}
