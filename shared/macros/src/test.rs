//! `#[test]` of `coati_shared::testing`: one body, both targets.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, ItemFn, Result};

use crate::shared;

pub(crate) fn expand(item: &ItemFn) -> Result<TokenStream> {
    let shared = shared();
    if item.sig.asyncness.is_none() || !item.sig.inputs.is_empty() {
        return Err(Error::new_spanned(
            &item.sig,
            "a test of nodes is an `async fn` without arguments",
        ));
    }
    let (name, body, attributes) = (&item.sig.ident, &item.block, &item.attrs);
    Ok(quote! {
        #[cfg(not(target_arch = "wasm32"))]
        #(#attributes)*
        #[::core::prelude::v1::test]
        fn #name() {
            #shared::testing::run(async #body);
        }

        #[cfg(target_arch = "wasm32")]
        #(#attributes)*
        #[::wasm_bindgen_test::wasm_bindgen_test]
        async fn #name() {
            #body
        }
    })
}
