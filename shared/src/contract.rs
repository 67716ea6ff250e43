//! Contracts: traits whose methods can be called across the wire, and the fingerprint that says both sides agree.

use futures::future::LocalBoxFuture;

use crate::{
    error::Result,
    node::{Answer, RemoteNode},
};

/// Name of the built-in call that lists the contracts of a node.
pub(crate) const DESCRIBE: &str = "node_contracts";

/// One contract as it was compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContractInfo {
    /// Name of the trait.
    pub name: &'static str,
    /// Hash of the names and types of all methods.
    pub fingerprint: u64,
    /// Names of the methods.
    pub methods: &'static [&'static str],
}

impl ContractInfo {
    pub(crate) fn is(&self, name: &str, fingerprint: &str) -> bool {
        self.name == name && self.fingerprint_text() == fingerprint
    }

    pub(crate) fn fingerprint_text(&self) -> String {
        format!("{:016x}", self.fingerprint)
    }
}

/// Implemented by `#[contract]` for `dyn Trait`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a contract",
    note = "use the trait object of a trait that is marked #[contract], as in `node.remote::<dyn Greeter>(\"@greeter\")`"
)]
pub trait Contract {
    /// What callers hold: it has the methods of the trait.
    type Remote;
    /// Name, fingerprint and methods.
    const INFO: ContractInfo;
    /// [`ContractInfo::fingerprint`] of this contract.
    const FINGERPRINT: u64 = Self::INFO.fingerprint;

    /// Makes calls by this contract go to a node.
    fn remote(node: RemoteNode) -> Self::Remote;
}

/// One text for a set of contracts, in any order: what HELLO carries.
#[must_use]
pub fn contracts_fingerprint(contracts: &[ContractInfo]) -> String {
    let mut all: Vec<_> = contracts
        .iter()
        .map(|contract| (contract.name, contract.fingerprint))
        .collect();
    all.sort_unstable();
    let text: String = all
        .iter()
        .map(|(name, fingerprint)| format!("{name}:{fingerprint:016x};"))
        .collect();
    format!("{:016x}", fnv1a(text.as_bytes()))
}

/// FNV-1a, 64 bits: stable across compilers, and no secret depends on it.
const fn fnv1a(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut index = 0;
    while index < bytes.len() {
        hash = (hash ^ bytes[index] as u64).wrapping_mul(0x0100_0000_01b3);
        index += 1;
    }
    hash
}

/// For generated code.
#[doc(hidden)]
#[must_use]
pub const fn fingerprint(signature: &str) -> u64 {
    fnv1a(signature.as_bytes())
}

/// For generated code.
#[doc(hidden)]
pub use serde;

/// For generated code: fails to compile if two contracts of one node have a method of the same name, of which one could
/// never be called.
#[doc(hidden)]
pub const fn assert_no_clash(contracts: &[ContractInfo]) {
    let mut one = 0;
    while one < contracts.len() {
        let mut other = one + 1;
        while other < contracts.len() {
            let (mut left, these) = (0, contracts[one].methods);
            while left < these.len() {
                let (mut right, those) = (0, contracts[other].methods);
                while right < those.len() {
                    let clash = same(these[left].as_bytes(), those[right].as_bytes());
                    assert!(!clash, "two contracts of this node have a method of the same name");
                    right += 1;
                }
                left += 1;
            }
            other += 1;
        }
        one += 1;
    }
}

const fn same(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let mut index = 0;
    while index < left.len() {
        if left[index] != right[index] {
            return false;
        }
        index += 1;
    }
    true
}

/// A call that was not polled yet, or runs; for generated code.
#[doc(hidden)]
pub type Calling<T> = LocalBoxFuture<'static, Result<T>>;

/// The same of a call by name.
#[doc(hidden)]
pub type Running = Calling<Answer>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_of_a_set_ignores_order_but_not_content() {
        let one = ContractInfo {
            name: "One",
            fingerprint: 1,
            methods: &[],
        };
        let two = ContractInfo {
            name: "Two",
            fingerprint: 2,
            methods: &[],
        };
        assert_eq!(contracts_fingerprint(&[one, two]), contracts_fingerprint(&[two, one]));
        assert_ne!(
            contracts_fingerprint(&[one, two]),
            contracts_fingerprint(&[one, ContractInfo { fingerprint: 3, ..two }])
        );
    }
}
