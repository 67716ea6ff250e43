//! `#[test]` of `coati_shared::testing`: one body, both targets, and both placements if it asks for one.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Error, Ident, ItemFn, Result, ReturnType};

use crate::shared;

pub(crate) fn expand(item: &ItemFn) -> Result<TokenStream> {
    let shared = shared();
    if item.sig.asyncness.is_none() || item.sig.inputs.len() > 1 {
        return Err(Error::new_spanned(
            &item.sig,
            "a test of nodes is an `async fn` that takes a `Placement` or nothing",
        ));
    }
    let name = &item.sig.ident;
    if item.sig.inputs.is_empty() {
        return Ok(single(item, name, &quote!()));
    }
    let tests = ["together", "apart"].map(|placement| {
        let (test, placement) = (format_ident!("{name}_{placement}"), format_ident!("{placement}"));
        let placed = quote!(#shared::testing::Placement::#placement().await.expect("a realm in memory"));
        single(item, &test, &placed)
    });
    Ok(quote!(#(#tests)*))
}

fn single(item: &ItemFn, test: &Ident, arguments: &TokenStream) -> TokenStream {
    let shared = shared();
    let (attributes, name) = (&item.attrs, &item.sig.ident);
    let mut inner = item.clone();
    inner.attrs.clear();
    let ended = match item.sig.output {
        ReturnType::Default => quote!(),
        ReturnType::Type(..) => quote!(.unwrap_or_else(|error| ::std::panic!("{error:?}"))),
    };
    let body = quote!(#inner #name(#arguments).await #ended;);
    quote! {
        #[cfg(not(target_arch = "wasm32"))]
        #(#attributes)*
        #[::core::prelude::v1::test]
        fn #test() {
            #shared::testing::run(async { #body });
        }

        #[cfg(target_arch = "wasm32")]
        #(#attributes)*
        #[::wasm_bindgen_test::wasm_bindgen_test]
        async fn #test() {
            #body
        }
    }
}
