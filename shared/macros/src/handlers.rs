//! `#[handlers]`: the list of an impl block's handlers.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::{
    Error, ExprPath, FnArg, Ident, ImplItem, ImplItemFn, ItemImpl, LitStr, Result, Token, Type,
    parse::{Parse, ParseStream},
    spanned::Spanned,
};

use crate::{at, shared};

/// What stands in `#[handler(...)]`.
enum Event {
    Life(Ident),
    Own(ExprPath),
    At(ExprPath, LitStr),
    Topic(LitStr),
}

impl Parse for Event {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        if input.peek(LitStr) {
            return Ok(Self::Topic(input.parse()?));
        }
        let path: ExprPath = input.parse()?;
        let last = path.path.segments.last().map(|segment| segment.ident.clone());
        let life = last.filter(|last| {
            ["on_node_bind", "on_node_add", "on_node_unbind"]
                .iter()
                .any(|name| last == name)
        });
        if let Some(life) = life {
            return Ok(Self::Life(life));
        }
        if path.path.segments.len() < 2 {
            return Err(Error::new_spanned(
                path,
                "name the signal with its node, as in `Self::on_foo` or `Second::on_foo`",
            ));
        }
        if input.is_empty() {
            return Ok(Self::Own(path));
        }
        input.parse::<Token![,]>()?;
        let keyword: Ident = input.parse()?;
        if keyword != "at" {
            return Err(Error::new_spanned(keyword, "expected `at = \"path\"`"));
        }
        input.parse::<Token![=]>()?;
        Ok(Self::At(path, input.parse()?))
    }
}

pub(crate) fn expand(mut item: ItemImpl) -> Result<TokenStream> {
    let shared = shared();
    if let Some((_, path, _)) = &item.trait_ {
        return Err(Error::new_spanned(
            path,
            "#[handlers] stands before an impl block of the node itself",
        ));
    }
    let mut specs = Vec::new();
    for member in &mut item.items {
        let ImplItem::Fn(function) = member else { continue };
        let Some(position) = function
            .attrs
            .iter()
            .position(|attribute| attribute.path().is_ident("handler"))
        else {
            continue;
        };
        let event = function.attrs.remove(position).parse_args::<Event>()?;
        specs.push(spec(&event, function, &shared)?);
    }
    let (impl_generics, _, clause) = item.generics.split_for_impl();
    let node = &item.self_ty;
    Ok(quote! {
        #item

        impl #impl_generics #node #clause {
            #[doc(hidden)]
            pub fn __coati_handlers(__node: &::std::rc::Rc<Self>) -> ::std::vec::Vec<#shared::signal::HandlerSpec> {
                ::std::vec![#(#specs),*]
            }
        }
    })
}

fn spec(event: &Event, function: &ImplItemFn, shared: &TokenStream) -> Result<TokenStream> {
    let signature = &function.sig;
    let mut inputs = signature.inputs.iter();
    if !matches!(inputs.next(), Some(FnArg::Receiver(_))) {
        return Err(Error::new_spanned(&signature.ident, "a handler takes `&self`"));
    }
    let payload: Option<&Type> = match (inputs.next(), inputs.next()) {
        (Some(FnArg::Typed(typed)), None) => Some(&typed.ty),
        (None, _) => None,
        _ => {
            return Err(Error::new_spanned(
                &signature.inputs,
                "a handler takes `&self` and the payload",
            ));
        }
    };
    let name = &signature.ident;
    let payload_name = format_ident!("__payload");
    let passed = payload.map(|_| &payload_name);
    let outcome = quote!(#shared::signal::HandlerOutcome::into_result);
    let body = if signature.asyncness.is_some() {
        quote! {
            #shared::signal::Handled::Pending(::std::boxed::Box::pin(async move { #outcome(__node.#name(#passed).await) }))
        }
    } else {
        quote!(#shared::signal::Handled::Done(#outcome(__node.#name(#passed))))
    };
    // An error about the payload shows the handler's argument.
    let span = payload.map_or_else(|| name.span(), Spanned::span);
    let kind = payload.map(|payload| quote!(: #payload));
    let run = at(span, quote!(|__node: ::std::rc::Rc<Self>, #payload_name #kind| #body));
    let shared = &at(span, shared.clone());
    Ok(match event {
        Event::Life(moment) => quote_spanned!(span=> #shared::signal::HandlerSpec::#moment(__node, #run)),
        Event::Own(signal) => quote_spanned!(span=> #shared::signal::HandlerSpec::own(__node, #signal, #run)),
        Event::At(signal, query) => {
            check(query, query.value().as_str())?;
            quote_spanned!(span=> #shared::signal::HandlerSpec::at(__node, #signal, #query, #run))
        }
        Event::Topic(topic) => {
            check(topic, topic.value().as_str())?;
            if payload.is_none() {
                return Err(Error::new_spanned(
                    name,
                    "a handler of a topic by text says what the event carries",
                ));
            }
            quote_spanned!(span=> #shared::signal::HandlerSpec::topic(__node, #topic, #run))
        }
    })
}

/// The alphabet of queries is known here: a typing error need not wait for run time.
fn check(query: &LitStr, text: &str) -> Result<()> {
    let names = text.strip_prefix(['@', '#']).unwrap_or(text);
    let is_rooted = names.len() < text.len();
    let names = if is_rooted {
        names.strip_prefix('.').unwrap_or(names)
    } else {
        names
    };
    let fits = |name: &str| !name.is_empty() && name.chars().all(|one| matches!(one, 'a'..='z' | '0'..='9' | '_'));
    if (is_rooted && names.is_empty()) || names.split('.').all(fits) {
        Ok(())
    } else {
        Err(Error::new_spanned(
            query,
            "not a path: names of a-z, 0-9 and _ with dots between, after @, # or nothing",
        ))
    }
}
