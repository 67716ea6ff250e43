//! `#[contract]`: the trait, its erased dispatch, and the remote with the same methods.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote};
use syn::{
    Attribute, Error, FnArg, GenericArgument, Ident, ItemTrait, Pat, PathArguments, Result, ReturnType, TraitItem,
    TraitItemFn, Type, TypeParamBound, ext::IdentExt, parse_quote,
};

use crate::shared;

/// Names that the remote has for itself.
const RESERVED: [&str; 6] = [
    "remote_path",
    "remote_node",
    "with_timeout",
    "node_contracts",
    "node_inspect",
    "node_follow",
];

/// One method, taken apart.
struct Method {
    ident: Ident,
    name: String,
    docs: Vec<Attribute>,
    arguments: Vec<Argument>,
    /// `Result<T>` as written; of a stream that of its items.
    output: Type,
    /// The `T`.
    answer: Type,
    /// Whether it answers by a stream.
    streams: bool,
}

struct Argument {
    name: Ident,
    kind: Type,
    /// Filled in by the callee's side.
    is_caller: bool,
}

impl Method {
    /// The arguments that callers pass.
    fn sent(&self) -> impl Iterator<Item = &Argument> {
        self.arguments.iter().filter(|argument| !argument.is_caller)
    }

    /// The same as parameters, each with a comma behind it.
    fn parameters(&self) -> TokenStream {
        let parameters = self.sent().map(|Argument { name, kind, .. }| quote!(#name: #kind,));
        quote!(#(#parameters)*)
    }

    /// All arguments, as the callee gets them.
    fn passed(&self, shared: &TokenStream) -> Vec<TokenStream> {
        let passed = self.arguments.iter().map(|argument| {
            if argument.is_caller {
                quote!(#shared::node::Caller::current().unwrap_or_default())
            } else {
                argument.name.to_token_stream()
            }
        });
        passed.collect()
    }

    /// Its name in the face. Nodes have the methods of the contract too, which must not be shadowed.
    fn face(&self) -> Ident {
        format_ident!("__coati_{}", self.name)
    }
}

pub(crate) fn expand(mut item: ItemTrait) -> Result<TokenStream> {
    if !item.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &item.generics,
            "a contract has no generic parameters",
        ));
    }
    let mut methods = Vec::new();
    for member in &mut item.items {
        match member {
            TraitItem::Fn(function) => methods.push(method(function)?),
            other => return Err(Error::new_spanned(other, "a contract has methods only")),
        }
    }
    let shared = shared();
    let (visibility, trait_name) = (&item.vis, item.ident.clone());
    let (remote, face) = (format_ident!("{trait_name}Remote"), format_ident!("{trait_name}Face"));
    let names = methods.iter().map(|method| &method.name);
    let signature = signature(&trait_name, &methods);
    let calls = methods.iter().map(|method| remote_method(method, &trait_name, &shared));
    let heads = methods.iter().map(|method| face_head(method, &shared));
    let bodies = methods.iter().map(|method| face_body(method, &trait_name, &shared));
    item.supertraits.push(parse_quote!('static));
    item.items.extend(hidden(&methods, &face, &shared));
    let about = format!("Calls a node that implements [`{trait_name}`], wherever it is.");
    Ok(quote! {
        // Callers go through the remote, so a method without an implementation here is no dead code.
        #[allow(dead_code)]
        #item

        #[doc = #about]
        #[derive(Clone, Debug)]
        #visibility struct #remote {
            node: #shared::node::RemoteNode,
            here: #shared::node::Here<dyn #face>,
        }

        // The trait itself cannot be an object: its methods return futures of any type. Calls within a tree go through
        // this one.
        #[doc(hidden)]
        #visibility trait #face: #shared::node::Node {
            #(#heads;)*
        }

        impl<N: #trait_name + #shared::node::Node> #face for N {
            #(#bodies)*
        }

        #[allow(dead_code)]
        impl #remote {
            #(#calls)*

            /// Where calls go.
            #[must_use]
            pub fn remote_path(&self) -> &#shared::path::Path {
                self.node.path()
            }

            /// The node itself, if it is in this tree.
            #[must_use]
            pub fn remote_node(&self) -> ::std::option::Option<::std::rc::Rc<dyn #shared::node::Node>> {
                self.node.here()
            }

            /// The same remote with another time-out; `None` waits for ever.
            #[must_use]
            pub fn with_timeout(self, timeout: ::std::option::Option<::std::time::Duration>) -> Self {
                Self { node: self.node.with_timeout(timeout), here: self.here }
            }
        }

        impl #shared::contract::serde::Serialize for #remote {
            fn serialize<S: #shared::contract::serde::Serializer>(
                &self,
                serializer: S,
            ) -> ::std::result::Result<S::Ok, S::Error> {
                self.node.serialize(serializer)
            }
        }

        impl<'de> #shared::contract::serde::Deserialize<'de> for #remote {
            fn deserialize<D: #shared::contract::serde::Deserializer<'de>>(
                deserializer: D,
            ) -> ::std::result::Result<Self, D::Error> {
                <#shared::node::RemoteNode as #shared::contract::serde::Deserialize>::deserialize(deserializer)
                    .map(|node| Self { node, here: ::std::default::Default::default() })
            }
        }

        impl #shared::contract::Contract for dyn #trait_name {
            type Remote = #remote;
            const INFO: #shared::contract::ContractInfo = #shared::contract::ContractInfo {
                name: ::std::stringify!(#trait_name),
                fingerprint: #shared::contract::fingerprint(#signature),
                methods: &[#(#names),*],
            };

            fn remote(node: #shared::node::RemoteNode) -> #remote {
                #remote { node, here: ::std::default::Default::default() }
            }
        }
    })
}

/// What nodes need to be called: by name, and by callers of their own tree.
fn hidden(methods: &[Method], face: &Ident, shared: &TokenStream) -> [TraitItem; 2] {
    let arms = methods.iter().map(|method| dispatch_arm(method, shared));
    let dispatch = parse_quote! {
        #[doc(hidden)]
        fn __coati_dispatch(
            self: ::std::rc::Rc<Self>,
            method: &str,
            arguments: #shared::node::Arguments,
        ) -> ::std::result::Result<#shared::contract::Running, #shared::node::Arguments>
        where
            Self: Sized,
        {
            match method {
                #(#arms)*
                _ => ::std::result::Result::Err(arguments),
            }
        }
    };
    let shown = parse_quote! {
        #[doc(hidden)]
        fn __coati_face(self: ::std::rc::Rc<Self>, face: &mut dyn ::std::any::Any)
        where
            Self: #shared::node::Node + Sized,
        {
            if let ::std::option::Option::Some(face) =
                face.downcast_mut::<::std::option::Option<::std::rc::Rc<dyn #face>>>()
            {
                *face = ::std::option::Option::Some(self);
            }
        }
    };
    [dispatch, shown]
}

/// Takes a method apart, and turns it into one that returns a future.
fn method(function: &mut TraitItemFn) -> Result<Method> {
    if let Some(body) = &function.default {
        return Err(Error::new_spanned(
            body,
            "a contract's method has no body: nodes write it",
        ));
    }
    let signature = &mut function.sig;
    let items = items(&signature.output)?;
    if signature.asyncness.take().is_some() == items.is_some() {
        return Err(Error::new_spanned(
            &signature.ident,
            "a contract's method is an `async fn`, or a plain one that returns `impl Stream<Item = Result<T>>`",
        ));
    }
    if !signature.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &signature.generics,
            "a contract's method has no generic parameters",
        ));
    }
    let name = signature.ident.unraw().to_string();
    if RESERVED.contains(&name.as_str()) {
        return Err(Error::new_spanned(
            &signature.ident,
            format!("remotes have a method `{name}` of their own"),
        ));
    }
    let mut inputs = signature.inputs.iter_mut();
    match inputs.next() {
        Some(FnArg::Receiver(receiver)) if receiver.reference.is_some() && receiver.mutability.is_none() => {}
        _ => {
            return Err(Error::new_spanned(
                &signature.ident,
                "a contract's method takes `&self`",
            ));
        }
    }
    let mut arguments = Vec::new();
    for input in inputs {
        let FnArg::Typed(typed) = input else { continue };
        let before = typed.attrs.len();
        typed.attrs.retain(|attribute| !attribute.path().is_ident("caller"));
        let is_caller = typed.attrs.len() < before;
        let Pat::Ident(pattern) = &*typed.pat else {
            return Err(Error::new_spanned(
                &typed.pat,
                "an argument of a contract is a plain name",
            ));
        };
        if let Type::Reference(reference) = &*typed.ty {
            return Err(Error::new_spanned(
                reference,
                "an argument of a contract is owned: it may cross the wire",
            ));
        }
        arguments.push(Argument {
            name: pattern.ident.clone(),
            kind: (*typed.ty).clone(),
            is_caller,
        });
    }
    let streams = items.is_some();
    let (output, answer) = match items {
        Some(item) => answer_of(&item)?,
        None => answer(&signature.output)?,
    };
    let method = Method {
        ident: signature.ident.clone(),
        name,
        docs: function
            .attrs
            .iter()
            .filter(|attribute| attribute.path().is_ident("doc"))
            .cloned()
            .collect(),
        arguments,
        output: output.clone(),
        answer,
        streams,
    };
    if !streams {
        signature.output = parse_quote!(-> impl ::std::future::Future<Output = #output>);
    }
    signature
        .generics
        .make_where_clause()
        .predicates
        .push(parse_quote!(Self: Sized));
    Ok(method)
}

/// The type of the items, if the output is a stream.
fn items(output: &ReturnType) -> Result<Option<Type>> {
    let ReturnType::Type(_, output) = output else {
        return Ok(None);
    };
    let Type::ImplTrait(stream) = &**output else {
        return Ok(None);
    };
    let item = stream.bounds.iter().find_map(|bound| {
        let TypeParamBound::Trait(bound) = bound else {
            return None;
        };
        let last = bound.path.segments.last().filter(|last| last.ident == "Stream")?;
        let PathArguments::AngleBracketed(arguments) = &last.arguments else {
            return None;
        };
        arguments.args.iter().find_map(|argument| match argument {
            GenericArgument::AssocType(item) if item.ident == "Item" => Some(item.ty.clone()),
            _ => None,
        })
    });
    let text = "a contract's method returns `Result<T>` or `impl Stream<Item = Result<T>>`";
    item.map(Some).ok_or_else(|| Error::new_spanned(output, text))
}

/// `Result<T>` and its `T`.
fn answer(output: &ReturnType) -> Result<(Type, Type)> {
    match output {
        ReturnType::Type(_, output) => answer_of(output),
        ReturnType::Default => Err(Error::new(
            proc_macro2::Span::call_site(),
            "a contract's method returns `Result<T>`",
        )),
    }
}

fn answer_of(output: &Type) -> Result<(Type, Type)> {
    let refuse = || {
        Error::new_spanned(
            output,
            "a contract's method returns `Result<T>`, whose error is coati's own",
        )
    };
    let Type::Path(path) = output else {
        return Err(refuse());
    };
    let Some(last) = path.path.segments.last().filter(|last| last.ident == "Result") else {
        return Err(refuse());
    };
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return Err(refuse());
    };
    match arguments.args.iter().collect::<Vec<_>>().as_slice() {
        [GenericArgument::Type(answer)] => Ok((output.clone(), answer.clone())),
        _ => Err(refuse()),
    }
}

/// What the fingerprint is made of: all that a caller relies on, without white space, which compilers may change.
fn signature(name: &Ident, methods: &[Method]) -> String {
    let mut text = name.to_string();
    for method in methods {
        let sent = method.arguments.iter().filter(|argument| !argument.is_caller);
        let sent: Vec<String> = sent
            .map(|argument| argument.kind.to_token_stream().to_string())
            .collect();
        text += &format!(
            ";{}({})->{}{}",
            method.name,
            sent.join(","),
            if method.streams { "*" } else { "" },
            method.answer.to_token_stream()
        );
    }
    text.retain(|character| !character.is_whitespace());
    text
}

/// A tuple, or, for nothing, an array that serialises as an empty list.
fn tuple(parts: &[TokenStream], empty: &TokenStream) -> TokenStream {
    if parts.is_empty() {
        empty.clone()
    } else {
        quote!((#(#parts,)*))
    }
}

fn remote_method(method: &Method, trait_name: &Ident, shared: &TokenStream) -> TokenStream {
    let Method {
        ident,
        name,
        docs,
        output,
        answer,
        streams,
        ..
    } = method;
    let names: Vec<TokenStream> = method.sent().map(|argument| argument.name.to_token_stream()).collect();
    let (parameters, values) = (method.parameters(), tuple(&names, &quote!([(); 0])));
    let (face_method, contract) = (
        method.face(),
        quote!(&<dyn #trait_name as #shared::contract::Contract>::INFO),
    );
    if *streams {
        return quote! {
            #(#docs)*
            pub fn #ident(&self, #parameters) -> #shared::node::RemoteStream<#answer> {
                let remote = self.clone();
                self.node.stream(async move {
                    match remote.node.find(&remote.here, #contract)? {
                        ::std::option::Option::Some(callee) => {
                            let face = callee.face();
                            let call = |outlet| face.clone().#face_method(#(#names,)* outlet);
                            ::std::result::Result::Ok(remote.node.stream_here(face.clone(), #name, call))
                        }
                        ::std::option::Option::None => {
                            remote.node.stream_away(#contract, #name, #values).await
                        }
                    }
                })
            }
        };
    }
    quote! {
        #(#docs)*
        pub fn #ident(&self, #parameters) -> impl ::std::future::Future<Output = #output> + use<'_> {
            self.node.call(move || {
                ::std::result::Result::Ok(match self.node.find(&self.here, #contract)? {
                    ::std::option::Option::Some(callee) => {
                        callee.call(#name, |face| face.#face_method(#(#names),*))
                    }
                    ::std::option::Option::None => self.node.call_away(#contract, #name, #values),
                })
            })
        }
    }
}

/// A method of the face: as the contract's, but ready to be called through an object.
fn face_head(method: &Method, shared: &TokenStream) -> TokenStream {
    let (ident, parameters, answer) = (method.face(), method.parameters(), &method.answer);
    let (outlet, answer) = if method.streams {
        (quote!(outlet: #shared::node::stream::Outlet<#answer>), quote!(()))
    } else {
        (quote!(), quote!(#answer))
    };
    quote! {
        fn #ident(self: ::std::rc::Rc<Self>, #parameters #outlet) -> #shared::contract::Calling<#answer>
    }
}

fn face_body(method: &Method, trait_name: &Ident, shared: &TokenStream) -> TokenStream {
    let (head, ident, passed) = (face_head(method, shared), &method.ident, method.passed(shared));
    let call = quote!(<N as #trait_name>::#ident(&*self, #(#passed),*));
    let call = if method.streams {
        quote!(#shared::node::stream::pour(#call, outlet))
    } else {
        call
    };
    quote! {
        #head {
            // The room first: then the call is written where it stays, not beside it and copied.
            let room = ::std::boxed::Box::new_uninit();
            let call = ::std::boxed::Box::write(room, async move { #call.await });
            ::std::boxed::Box::into_pin(call)
        }
    }
}

fn dispatch_arm(method: &Method, shared: &TokenStream) -> TokenStream {
    let Method {
        ident, name, answer, ..
    } = method;
    let kinds: Vec<TokenStream> = method.sent().map(|argument| argument.kind.to_token_stream()).collect();
    let names: Vec<TokenStream> = method.sent().map(|argument| argument.name.to_token_stream()).collect();
    let kinds = tuple(&kinds, &quote!([(); 0]));
    let spoken = method.sent().map(|argument| argument.name.unraw().to_string());
    let pattern = tuple(&names, &quote!([]));
    let passed = method.passed(shared);
    if method.streams {
        return quote! {
            #name => ::std::result::Result::Ok(::std::boxed::Box::pin(async move {
                let (#pattern, __outlet, __reply) = arguments.take_stream::<#kinds, #answer>(#name, &[#(#spoken),*])?;
                #shared::node::stream::pour(self.#ident(#(#passed),*), __outlet).await?;
                #shared::node::Answer::new((), __reply)
            })),
        };
    }
    quote! {
        #name => ::std::result::Result::Ok(::std::boxed::Box::pin(async move {
            let (#pattern, __reply) = arguments.take::<#kinds>(#name, &[#(#spoken),*])?;
            let __answer = self.#ident(#(#passed),*).await?;
            #shared::node::Answer::new(__answer, __reply)
        })),
    }
}
