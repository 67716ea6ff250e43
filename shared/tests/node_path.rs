//! Paths: what is one, what is none and why, and how queries resolve.

use coati_shared::{
    node::NodeContext,
    path::{PATH_LIMIT, Path, PathError, Query},
    testing,
    wamp::uri::Uri,
};
use proptest::prelude::*;

fn context() -> NodeContext {
    testing::local_context()
}

/// One to four names.
fn names() -> impl Strategy<Value = String> {
    proptest::collection::vec("[a-z0-9_]{1,5}", 1..4).prop_map(|names| names.join("."))
}

/// Names that do not start with WAMP's own.
fn absolute() -> impl Strategy<Value = String> {
    names().prop_filter("reserved", |text| text.split('.').next() != Some("wamp"))
}

proptest! {
    #[test]
    fn any_text_is_a_path_or_a_typed_error(text in "[a-z0-9_.@#A-Z \\-é*]{0,12}") {
        match Path::new(&text) {
            Ok(path) => {
                prop_assert_eq!(path.as_str(), &text);
                prop_assert!(Uri::strict(&text).is_ok(), "a path is a strict URI");
            }
            Err(PathError::BadCharacter { character, .. }) => prop_assert!(text.contains(character)),
            Err(PathError::EmptyName(_)) => prop_assert!(text.split('.').any(str::is_empty)),
            Err(PathError::Reserved(_)) => prop_assert!(text.starts_with("wamp")),
            Err(other) => prop_assert!(false, "unexpected {other}"),
        }
    }

    #[test]
    fn joining_and_going_up_are_inverse(start in absolute(), name in "[a-z0-9_]{1,8}") {
        let start = Path::root(&start).expect("an absolute path");
        let joined = start.join(&name).expect("a name");
        prop_assert_eq!(joined.parent(), Some(start.clone()));
        prop_assert_eq!(joined.name(), &name);
        prop_assert_eq!(joined.base(), Some(start.clone()));
        prop_assert!(joined.is_within(&start) && !start.is_within(&joined));
    }

    #[test]
    fn an_at_query_starts_from_the_base_wherever_it_is_asked(base in absolute(), here in names(), there in names()) {
        let base = Path::root(&base).expect("an absolute path");
        let here = base.join(&here).expect("names");
        let expected = base.join(&there).expect("names");
        for query in [format!("@{there}"), format!("@.{there}")] {
            let found = here.resolve(&query, None).expect("resolves");
            prop_assert_eq!(&found, &expected);
            prop_assert_eq!(found.base(), Some(base.clone()));
        }
        prop_assert_eq!(here.resolve("@", None).expect("the base"), base);
    }

    #[test]
    fn an_absolute_query_is_itself(base in absolute(), text in absolute()) {
        let here = Path::root(&base).expect("an absolute path");
        let found = here.resolve(&text, Some(&context())).expect("resolves");
        prop_assert_eq!(found.as_str(), &text);
    }

    #[test]
    fn a_reference_resolves_to_what_the_context_says_now(name in "[a-z]{1,6}", target in absolute(), rest in names()) {
        let (here, target) = (Path::new("here").expect("a path"), Path::new(&target).expect("a path"));
        let outer = context();
        let inner = outer.child();
        let query = format!("#{name}.{rest}");
        let is_unknown = matches!(here.resolve(&query, Some(&inner)), Err(PathError::UnknownReference { .. }));
        prop_assert!(is_unknown);
        outer.set_reference(&name, target.clone());
        let expected = target.join(&rest).expect("names");
        prop_assert_eq!(here.resolve(&query, Some(&inner)), Ok(expected), "what an ancestor gets later is seen");
        inner.hide_reference(&name);
        prop_assert!(here.resolve(&query, Some(&inner)).is_err());
        prop_assert!(here.resolve(&query, Some(&outer)).is_ok(), "hiding concerns the inner level only");
        inner.remove_reference(&name);
        prop_assert!(here.resolve(&query, Some(&inner)).is_ok());
    }

    #[test]
    fn order_and_equality_are_those_of_the_text(one in absolute(), other in absolute()) {
        let (left, right) = (Path::root(&one).expect("a path"), Path::new(&other).expect("a path"));
        prop_assert_eq!(left.cmp(&right), one.cmp(&other));
        prop_assert_eq!(left == right, one == other);
    }

    #[test]
    fn a_path_survives_its_serialised_form(text in absolute()) {
        let path = Path::new(&text).expect("a path");
        let json = serde_json::to_string(&path).expect("serialises");
        prop_assert_eq!(serde_json::from_str::<Path>(&json).expect("deserialises"), path);
    }
}

#[test]
fn every_query_form_is_held_to_the_same_alphabet() {
    for bad in [
        "@Foo", "#Foo", "Foo", "@a..b", "#a.", ".a", "a.", "", "@a b", "@@x", "a#b",
    ] {
        assert!(Query::parse(bad).is_err(), "{bad:?} is no query");
    }
    assert_eq!(
        Query::parse("#"),
        Ok(Query::Reference {
            name: "context".to_owned(),
            rest: String::new()
        })
    );
    assert_eq!(Query::parse("@"), Ok(Query::Base(String::new())));
}

#[test]
fn errors_name_what_is_wrong() {
    let here = Path::new("a.b").expect("a path");
    assert!(
        matches!(here.resolve("@x", None), Err(PathError::NoBase { .. })),
        "a path made of text has no base"
    );
    assert!(matches!(here.resolve("#view", None), Err(PathError::UnknownReference { name, .. }) if name == "view"));
    assert!(matches!(Path::new("wamp.session"), Err(PathError::Reserved(_))));
    assert!(Path::new("wampum").is_ok());
    assert!(matches!(
        Path::new(&"a".repeat(PATH_LIMIT + 1)),
        Err(PathError::TooLong(_))
    ));
    assert!(matches!(here.join(&"a".repeat(PATH_LIMIT)), Err(PathError::TooLong(_))));
    let elsewhere = Path::new("a.bc").expect("a path");
    assert!(
        matches!(elsewhere.with_base(&here), Err(PathError::NotBelow { .. })),
        "a prefix counts whole names"
    );
}

#[test]
fn the_resolver_of_the_innermost_context_is_asked_first() {
    use std::rc::Rc;

    struct To(&'static str);

    impl coati_shared::path::PathResolver for To {
        fn resolve(&self, _: &Path, query: &Query, _: &NodeContext) -> Option<Result<Path, PathError>> {
            matches!(query, Query::Reference { name, .. } if name == "x").then(|| Path::new(self.0))
        }
    }

    let outer = context();
    let inner = outer.child();
    let here = Path::new("here").expect("a path");
    outer.add_resolver(Rc::new(To("outer")));
    assert_eq!(here.resolve("#x", Some(&inner)).expect("resolves"), "outer");
    inner.add_resolver(Rc::new(To("inner")));
    assert_eq!(here.resolve("#x", Some(&inner)).expect("resolves"), "inner");
    assert_eq!(here.resolve("#x", Some(&outer)).expect("resolves"), "outer");
    assert!(here.resolve("#y", Some(&inner)).is_err());
}
