//! Methods that cannot be called across the wire.
use coati_shared::prelude::*;

#[contract]
pub trait Sync {
    fn rpc(&self) -> Result<()>;
}

#[contract]
pub trait Borrowed {
    async fn rpc(&self, text: &str) -> Result<()>;
}

#[contract]
pub trait Plain {
    async fn rpc(&self) -> u32;
}

#[contract]
pub trait Changing {
    async fn rpc(&mut self) -> Result<()>;
}

fn main() {}
