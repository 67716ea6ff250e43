//! `#[node]`: the hidden field, the constants of signals, and the `Node` implementation.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::{
    Attribute, Error, Expr, Field, Fields, GenericArgument, Ident, ItemStruct, LitInt, LitStr, Path, PathArguments,
    Result, Token, Type, Visibility,
    ext::IdentExt,
    parse::{Parse, ParseStream},
    parse_quote,
    spanned::Spanned,
};

use crate::{at, shared};

/// As `signal::REPLAY_LIMIT`, which a macro cannot see.
const REPLAY_LIMIT: usize = 256;

/// What stands in `#[node(...)]`.
pub(crate) struct Arguments {
    contracts: Vec<Path>,
    /// Name of the constructor, if one is wanted.
    constructor: Option<Ident>,
    /// Whether each call is registered by itself.
    registers_each: bool,
}

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut arguments = Self {
            contracts: Vec::new(),
            constructor: Some(format_ident!("new")),
            registers_each: false,
        };
        while !input.is_empty() {
            let path: Path = input.parse()?;
            if path.is_ident("new") && input.peek(Token![=]) {
                input.parse::<Token![=]>()?;
                arguments.constructor = Some(input.parse()?);
            } else if path.is_ident("register") && input.peek(Token![=]) {
                input.parse::<Token![=]>()?;
                let how: LitStr = input.parse()?;
                if how.value() != "each" {
                    return Err(Error::new_spanned(
                        how,
                        "calls are registered by root, or else \"each\"",
                    ));
                }
                arguments.registers_each = true;
            } else if path.is_ident("no_new") {
                arguments.constructor = None;
            } else {
                arguments.contracts.push(path);
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(arguments)
    }
}

/// A signal of the node.
struct Announced {
    field: Field,
    payload: Type,
    replays: bool,
}

/// A piece of state of the node.
struct Held {
    field: Field,
    name: Ident,
    /// What it holds, if other nodes may show it.
    shown: Option<Type>,
    /// Whether operators see its name only.
    is_secret: bool,
}

/// What a field is to the node.
enum Role {
    Signal(Box<Type>),
    State,
    /// State that needs a function, and so comes as an argument.
    Computed,
    Plain,
}

pub(crate) fn expand(arguments: Arguments, mut item: ItemStruct) -> Result<TokenStream> {
    let shared = shared();
    if let Fields::Unit = item.fields {
        item.fields = Fields::Named(parse_quote!({}));
        item.semi_token = None;
    }
    let Fields::Named(fields) = &mut item.fields else {
        return Err(Error::new_spanned(&item.fields, "a node has named fields"));
    };
    let mut signals: Vec<Announced> = Vec::new();
    let mut states = Vec::new();
    let (mut names, mut parameters, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for field in &mut fields.named {
        let marked = take(&mut field.attrs, "signal");
        let mirrored = take(&mut field.attrs, "mirror");
        let init = take(&mut field.attrs, "init")
            .map(|attribute| attribute.parse_args::<Expr>())
            .transpose()?;
        let role = role(&field.ty);
        let replay = marked.as_ref().map(replay).transpose()?.flatten();
        if marked.is_some() && !matches!(role, Role::Signal(_)) {
            return Err(Error::new_spanned(
                &field.ty,
                "a field that is marked #[signal] is a `Signal<T>`",
            ));
        }
        let is_secret = take(&mut field.attrs, "secret").is_some();
        if is_secret {
            check_secret(&field.ty, &role, mirrored.is_some())?;
        }
        let shown = mirrored.map(|mark| shown(&mark, &field.ty)).transpose()?;
        let Some(name) = field.ident.clone() else { continue };
        let kind = &field.ty;
        names.push(name.clone());
        match (init, &role) {
            (Some(init), _) if replay.is_some() => {
                return Err(Error::new_spanned(
                    init,
                    "a signal with `replay` is made by it; leave out #[init]",
                ));
            }
            (Some(init), _) => values.push(quote!(let #name: #kind = #init;)),
            (None, Role::Plain | Role::Computed) => parameters.push(quote!(#name: #kind)),
            (None, Role::Signal(_)) if replay.is_some() => {
                values.push(quote!(let #name: #kind = #shared::signal::Signal::replaying(#replay);));
            }
            (None, Role::Signal(_) | Role::State) => {
                values.push(quote!(let #name: #kind = ::std::default::Default::default();));
            }
        }
        match role {
            Role::Signal(payload) => signals.push(Announced {
                field: field.clone(),
                payload: *payload,
                replays: replay.is_some(),
            }),
            Role::State | Role::Computed => states.push(Held {
                field: field.clone(),
                name,
                shown,
                is_secret,
            }),
            Role::Plain => {}
        }
    }
    fields.named.push(parse_quote! {
        #[doc(hidden)]
        node_core: #shared::node::NodeCore
    });
    let constants = constants(&item, &signals, &states, &shared);
    let constructor = arguments.constructor.map(|constructor| {
        let (visibility, about) = (&item.vis, format!("A [`{}`] that is not bound yet.", item.ident));
        quote! {
            #[doc = #about]
            #[allow(dead_code, clippy::too_many_arguments, clippy::new_ret_no_self)]
            #visibility fn #constructor(#(#parameters),*) -> ::std::rc::Rc<Self> {
                #(#values)*
                ::std::rc::Rc::new(Self { #(#names,)* node_core: ::std::default::Default::default() })
            }
        }
    });
    let implementation = implementation(
        &item,
        &arguments.contracts,
        arguments.registers_each,
        &signals,
        &states,
        &shared,
    );
    let name = &item.ident;
    let (impl_generics, type_generics, clause) = item.generics.split_for_impl();
    Ok(quote! {
        #item

        impl #impl_generics #name #type_generics #clause {
            #constants
            #constructor
        }

        #implementation
    })
}

fn constants(item: &ItemStruct, signals: &[Announced], states: &[Held], shared: &TokenStream) -> TokenStream {
    let (_, type_generics, _) = item.generics.split_for_impl();
    let name = &item.ident;
    let constants = signals.iter().map(
        |Announced {
             field,
             payload,
             replays,
         }| {
            let Field { ident, vis, .. } = field;
            let replayed = replays.then(|| quote!(.replayed()));
            let text = ident.as_ref().map(|ident| ident.unraw().to_string());
            let about = format!(
                "The signal `{}` of [`{name}`], for handlers.",
                text.as_deref().unwrap_or_default()
            );
            let visibility = at_least(vis, &item.vis);
            quote! {
                #[doc = #about]
                #[allow(non_upper_case_globals, dead_code)]
                #visibility const #ident: #shared::signal::SignalRef<#name #type_generics, #payload> =
                    #shared::signal::SignalRef::new(#text)#replayed;
            }
        },
    );
    let shown = states.iter().filter_map(|held| {
        let (value, name_of, visibility) = (held.shown.as_ref()?, &held.name, at_least(&held.field.vis, &item.vis));
        let text = name_of.unraw().to_string();
        let about = format!("The state `{text}` of [`{name}`], for mirrors.");
        Some(quote! {
            #[doc = #about]
            #[allow(non_upper_case_globals, dead_code)]
            #visibility const #name_of: #shared::node::StateRef<#name #type_generics, #value> =
                #shared::node::StateRef::new(#text);
        })
    });
    quote!(#(#constants)* #(#shown)*)
}

/// As visible as the node: code elsewhere names the constant even where the field is private.
fn at_least<'a>(field: &'a Visibility, node: &'a Visibility) -> &'a Visibility {
    if matches!(field, Visibility::Inherited) {
        node
    } else {
        field
    }
}

fn implementation(
    item: &ItemStruct,
    contracts: &[Path],
    registers_each: bool,
    signals: &[Announced],
    states: &[Held],
    shared: &TokenStream,
) -> TokenStream {
    let name = &item.ident;
    let (impl_generics, type_generics, clause) = item.generics.split_for_impl();
    let ports = signals.iter().map(|Announced { field, .. }| {
        let ident = &field.ident;
        let text = ident.as_ref().map(|ident| ident.unraw().to_string());
        quote!((#text, &self.#ident as &dyn #shared::signal::SignalPort))
    });
    let entries = states.iter().map(|held| entry(held, shared));
    let dispatches = contracts.iter().map(|contract| {
        let dispatch = quote_spanned!(contract.span()=> <Self as #contract>::__coati_dispatch);
        quote! {
            let arguments = match #dispatch(self.clone(), method, arguments) {
                ::std::result::Result::Ok(running) => return ::std::result::Result::Ok(running),
                ::std::result::Result::Err(arguments) => arguments,
            };
        }
    });
    let faces: Vec<TokenStream> = contracts
        .iter()
        .map(|contract| quote_spanned!(contract.span()=> <Self as #contract>::__coati_face(self.clone(), face);))
        .collect();
    let contracts = contracts.iter().map(|contract| {
        let shared = at(contract.span(), shared.clone());
        quote_spanned!(contract.span()=> <dyn #contract as #shared::contract::Contract>::INFO)
    });
    let contracts: Vec<TokenStream> = contracts.collect();
    // One method would hide the other: the contracts' names are known only after expansion.
    let no_clash = (contracts.len() > 1).then(|| {
        let first = contracts[0].clone();
        let span = first
            .into_iter()
            .next()
            .map_or_else(proc_macro2::Span::call_site, |token| token.span());
        quote_spanned!(span=> const _: () = #shared::contract::assert_no_clash(&[#(#contracts),*]);)
    });
    quote! {
        #no_clash

        impl #impl_generics #shared::node::Node for #name #type_generics #clause {
            fn node_core(&self) -> &#shared::node::NodeCore {
                &self.node_core
            }

            fn node_type(&self) -> &'static str {
                ::std::stringify!(#name)
            }

            fn node_dispatch(
                self: ::std::rc::Rc<Self>,
                method: &str,
                arguments: #shared::node::Arguments,
            ) -> ::std::result::Result<#shared::contract::Running, #shared::node::Arguments> {
                #(#dispatches)*
                let _ = method;
                ::std::result::Result::Err(arguments)
            }

            fn node_face(self: ::std::rc::Rc<Self>, face: &mut dyn ::std::any::Any) {
                #(#faces)*
                let _ = face;
            }

            fn node_contracts(&self) -> &'static [#shared::contract::ContractInfo] {
                &[#(#contracts),*]
            }

            fn node_registers_each(&self) -> bool {
                #registers_each
            }

            fn node_signals(&self) -> ::std::vec::Vec<(&'static str, &dyn #shared::signal::SignalPort)> {
                ::std::vec![#(#ports),*]
            }

            fn node_handlers(self: ::std::rc::Rc<Self>) -> ::std::vec::Vec<#shared::signal::HandlerSpec> {
                #[allow(unused_imports)]
                use #shared::signal::NoHandlers as _;
                Self::__coati_handlers(&self)
            }

            fn node_state(&self) -> ::std::vec::Vec<#shared::state::StateEntry> {
                #[allow(unused_imports)]
                use #shared::state::probe::{Opaque as _, Serialises as _};
                ::std::vec![#(#entries),*]
            }
        }
    }
}

/// What tells the framework of a piece of state.
fn entry(held: &Held, shared: &TokenStream) -> TokenStream {
    let Held {
        name: state,
        shown,
        is_secret,
        ..
    } = held;
    let (text, mirrored) = (state.unraw().to_string(), shown.is_some());
    let cell = match shown {
        // What others show must serialise: here that is an error.
        Some(value) => {
            quote_spanned!(value.span()=> ::std::option::Option::Some(::std::rc::Rc::new(self.#state.clone())))
        }
        None => quote!((&#shared::state::probe::Probe(&self.#state)).cell()),
    };
    quote! {
        #shared::state::StateEntry {
            name: #text,
            cell: #cell,
            mirrored: #mirrored,
            is_secret: #is_secret,
        }
    }
}

/// What a field that is marked `#[mirror]` holds.
fn shown(mark: &Attribute, kind: &Type) -> Result<Type> {
    mark.meta.require_path_only()?;
    let last = match kind {
        Type::Path(path) => path.path.segments.last(),
        _ => None,
    };
    let last = last.filter(|last| last.ident == "Value" || last.ident == "Computed");
    if let Some(PathArguments::AngleBracketed(arguments)) = last.map(|last| &last.arguments)
        && let Some(GenericArgument::Type(value)) = arguments.args.first()
    {
        return Ok(value.clone());
    }
    Err(Error::new_spanned(
        kind,
        "a field that is marked #[mirror] is a `Value<T>` or a `Computed<T>`",
    ))
}

/// How many events a signal keeps: `#[signal(replay)]` one, `#[signal(replay = 3)]` three.
fn replay(attribute: &Attribute) -> Result<Option<usize>> {
    if matches!(attribute.meta, syn::Meta::Path(_)) {
        return Ok(None);
    }
    let mut most = None;
    attribute.parse_nested_meta(|meta| {
        if !meta.path.is_ident("replay") {
            return Err(meta.error("a signal takes `replay` or `replay = 3`"));
        }
        let number: LitInt = if meta.input.peek(Token![=]) {
            meta.value()?.parse()?
        } else {
            parse_quote!(1)
        };
        let known = number.base10_parse::<usize>()?;
        if !(1..=REPLAY_LIMIT).contains(&known) {
            return Err(Error::new_spanned(
                number,
                format!("a signal keeps 1 to {REPLAY_LIMIT} events"),
            ));
        }
        most = Some(known);
        Ok(())
    })?;
    Ok(most)
}

/// What operators do not see is state that nobody shows.
fn check_secret(kind: &Type, role: &Role, is_mirrored: bool) -> Result<()> {
    match role {
        Role::State | Role::Computed if is_mirrored => Err(Error::new_spanned(
            kind,
            "#[mirror] lets others show the field, which #[secret] forbids",
        )),
        Role::State | Role::Computed => Ok(()),
        Role::Signal(_) | Role::Plain => Err(Error::new_spanned(
            kind,
            "a field that is marked #[secret] is state; operators do not see the others in any case",
        )),
    }
}

/// Takes an attribute off a field.
fn take(attributes: &mut Vec<Attribute>, name: &str) -> Option<Attribute> {
    let position = attributes
        .iter()
        .position(|attribute| attribute.path().is_ident(name))?;
    Some(attributes.remove(position))
}

/// Goes by the last name of the type: a macro sees names only.
fn role(kind: &Type) -> Role {
    let Type::Path(path) = kind else { return Role::Plain };
    let Some(last) = path.path.segments.last() else {
        return Role::Plain;
    };
    match (last.ident.to_string().as_str(), &last.arguments) {
        ("Signal", PathArguments::AngleBracketed(arguments)) => match arguments.args.first() {
            Some(GenericArgument::Type(payload)) => Role::Signal(Box::new(payload.clone())),
            _ => Role::Plain,
        },
        ("Value" | "Dictionary", PathArguments::AngleBracketed(_)) => Role::State,
        ("Computed", PathArguments::AngleBracketed(_)) => Role::Computed,
        _ => Role::Plain,
    }
}
