//! A node that names a contract and does not implement it.
use coati_shared::prelude::*;

#[contract]
pub trait Third {
    async fn rpc(&self, something: String) -> Result<()>;
}

#[node(Third)]
struct ThirdNode {}

fn main() {}
