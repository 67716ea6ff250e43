//! `#[test]` of `coati_shared::testing`: one body, both targets, and both placements if it asks for one.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote};
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
        return Ok(single(item, name));
    }
    let codecs = [("json", "Json"), ("msgpack", "Msgpack"), ("cbor", "Cbor")];
    let apart = codecs.map(|(name, codec)| {
        let codec = Ident::new(codec, Span::call_site());
        let placed = quote!(#shared::testing::Placement::apart(#shared::wamp::codec::CodecId::#codec));
        (format!("apart_{name}"), placed)
    });
    let together = ("together".to_owned(), quote!(#shared::testing::Placement::together()));
    let tests = std::iter::once(together).chain(apart).map(|(ending, placed)| {
        let (test, placed) = (
            format_ident!("{name}_{ending}"),
            quote!(#placed.await.expect("a realm in memory")),
        );
        let call = quote!(#name(#placed).await);
        harness(item, &test, &quote!(), &call)
    });
    // The body stays a function of its own: other placements, such as over sockets, call it by name.
    let mut body = item.clone();
    body.attrs.clear();
    Ok(quote!(#[allow(missing_docs)] #body #(#tests)*))
}

fn single(item: &ItemFn, test: &Ident) -> TokenStream {
    let name = &item.sig.ident;
    let mut inner = item.clone();
    inner.attrs.clear();
    harness(item, test, &inner.to_token_stream(), &quote!(#name().await))
}

fn harness(item: &ItemFn, test: &Ident, before: &TokenStream, call: &TokenStream) -> TokenStream {
    let shared = shared();
    let attributes = &item.attrs;
    let ended = match item.sig.output {
        ReturnType::Default => quote!(),
        ReturnType::Type(..) => quote!(.unwrap_or_else(|error| ::std::panic!("{error:?}"))),
    };
    let body = quote!(#before #call #ended;);
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
