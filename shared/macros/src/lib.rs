//! The macros of `coati-shared`. They only remove typing: `shared/examples/by_hand.rs` does without them.

use proc_macro::TokenStream;
use proc_macro_crate::{FoundCrate, crate_name};
use proc_macro2::Span;
use quote::quote;
use syn::{Ident, ItemImpl, ItemStruct, ItemTrait, parse_macro_input};

mod contract;
mod handlers;
mod node;
mod test;

/// Makes a trait of `async fn`s, and of functions that return streams, callable across the wire.
///
/// ```ignore
/// #[contract]
/// pub trait Greeter {
///     /// Greets somebody.
///     async fn hello(&self, name: String) -> Result<String>;
/// }
/// ```
///
/// A method that answers by many values returns a stream of them: `fn rows(&self) -> impl Stream<Item = Result<Row>>;`.
///
/// The trait stays a trait, which nodes implement; `GreeterRemote` with the same methods is what
/// `node.remote::<dyn Greeter>("@greeter")` gives. Arguments and results are serialisable and `'static`; each method
/// returns `Result<T>`. An argument `#[caller] caller: Caller` is filled in on the callee's side.
#[proc_macro_attribute]
pub fn contract(attributes: TokenStream, item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as ItemTrait);
    let result = no_arguments(attributes, "#[contract]").and_then(|()| contract::expand(item));
    result.unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Makes a struct a node that implements the contracts in brackets: `#[node(Greeter, Other)]`.
///
/// Fields of type `Signal<T>` are signals, and constants of their names appear on the type. One that is marked
/// `#[signal(replay)]` keeps its last event for those who connect later, `#[signal(replay = 3)]` the last three. Fields
/// of type `Value<T>` and `Computed<T>` are state that can be read by name, also by operators: `#[secret]` on such a field
/// keeps its value from them; one that is marked `#[mirror]` other nodes may show, by the constant of its name. A hidden
/// field `node_core` is added, and a
/// function `new(...) -> Rc<Self>` that takes the fields that are neither signals nor values, in order;
/// `#[init(expression)]` on a field gives it that value instead of an argument or a default; it may name the arguments
/// and the fields before it. `#[node(new = make)]` names the function `make`, `#[node(no_new)]` leaves it out.
/// `#[node(register = "each")]` registers each call by itself, for others to find it.
#[proc_macro_attribute]
pub fn node(attributes: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = parse_macro_input!(attributes as node::Arguments);
    let item = parse_macro_input!(item as ItemStruct);
    node::expand(arguments, item)
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}

/// Collects the methods of an `impl` block that are marked as handlers.
///
/// * `#[handler(Second::on_foo, at = "@first.second")]`: a signal of the node at a path; the argument must be what the
///   signal carries.
/// * `#[handler(Self::on_foo)]`: a signal of the node itself.
/// * `#[handler(on_node_bind)]`, `on_node_add`, `on_node_unbind`: moments of the node's life; the argument, if any, is
///   a `NodeEvent`.
/// * `#[handler("@first.second.on_foo")]`: a topic by text, for nodes in other languages.
///
/// A handler may be `async`, and may return `Result<()>`.
#[proc_macro_attribute]
pub fn handlers(attributes: TokenStream, item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as ItemImpl);
    let result = no_arguments(attributes, "#[handlers]").and_then(|()| handlers::expand(item));
    result.unwrap_or_else(|error| error.to_compile_error()).into()
}

/// A test of nodes: an `async fn` that runs on a `LocalSet` natively, and in the browser for WASM.
#[proc_macro_attribute]
pub fn test(attributes: TokenStream, item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as syn::ItemFn);
    let result = no_arguments(attributes, "#[test]").and_then(|()| test::expand(&item));
    result.unwrap_or_else(|error| error.to_compile_error()).into()
}

fn no_arguments(attributes: TokenStream, name: &str) -> syn::Result<()> {
    if attributes.is_empty() {
        Ok(())
    } else {
        let tokens = proc_macro2::TokenStream::from(attributes);
        Err(syn::Error::new_spanned(tokens, format!("{name} takes no arguments")))
    }
}

/// The same tokens, said to stand where `span` is: an error about them is shown there.
fn at(span: Span, tokens: proc_macro2::TokenStream) -> proc_macro2::TokenStream {
    let moved = tokens.into_iter().map(|mut token| {
        if let proc_macro2::TokenTree::Group(group) = &token {
            let mut moved = proc_macro2::Group::new(group.delimiter(), at(span, group.stream()));
            moved.set_span(span);
            token = moved.into();
        } else {
            token.set_span(span);
        }
        token
    });
    moved.collect()
}

/// How the user's crate calls `coati-shared`.
fn shared() -> proc_macro2::TokenStream {
    match crate_name("coati-shared") {
        // Also for its own tests and examples, where `crate` would be wrong: the crate knows itself by this name.
        Ok(FoundCrate::Itself) | Err(_) => quote!(::coati_shared),
        Ok(FoundCrate::Name(name)) => {
            let name = Ident::new(&name, Span::call_site());
            quote!(::#name)
        }
    }
}
