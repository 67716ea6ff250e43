//! Two contracts of one node have a method of the same name: one of them could never be called.

use coati_shared::prelude::*;

#[contract]
trait One {
    async fn same(&self) -> Result<()>;
}

#[contract]
trait Other {
    async fn same(&self) -> Result<()>;
}

#[node(One, Other)]
struct Both {}

impl One for Both {
    async fn same(&self) -> Result<()> {
        Ok(())
    }
}

impl Other for Both {
    async fn same(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
