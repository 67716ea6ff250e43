//! Paths: what is one, what is none and why, and how queries resolve.

use std::{
    cell::Cell,
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
};

use coati_shared::{
    path::{PATH_LIMIT, PathError, PathResolver, Query},
    prelude::*,
    testing::{self, Fault, commit},
    wamp::uri::Uri,
};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

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
    struct To(&'static str);

    impl PathResolver for To {
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

#[contract]
trait Numbered {
    async fn number(&self) -> Result<usize>;
}

#[contract]
trait Doubled {
    async fn double(&self) -> Result<usize>;
}

#[node(Numbered, Doubled)]
struct Somebody {
    number: usize,
}

impl Numbered for Somebody {
    async fn number(&self) -> Result<usize> {
        Ok(self.number)
    }
}

impl Doubled for Somebody {
    async fn double(&self) -> Result<usize> {
        Ok(2 * self.number)
    }
}

/// Where `#one` leads turns without anybody being told.
struct Tide(Rc<Cell<bool>>);

impl PathResolver for Tide {
    fn resolve(&self, _: &Path, query: &Query, _: &NodeContext) -> Option<Result<Path, PathError>> {
        let is_one = matches!(query, Query::Reference { name, .. } if name == "one");
        is_one.then(|| Path::new(if self.0.get() { "t.x" } else { "u.x" }))
    }
}

/// What may change where a query leads, or who is there.
#[derive(Clone, Debug)]
enum Step {
    /// At a level of the context: a path, or hidden, or taken back.
    Refer(usize, &'static str, Option<Option<&'static str>>),
    Resolver(usize),
    Turn,
    /// Whoever is at a place goes; a new node comes.
    Leave(&'static str),
    Come(&'static str),
    /// One who asks gets a base and a context of its own.
    Move(&'static str),
}

const LEVELS: usize = 5;
const PLACES: [&str; 5] = ["t.x", "t.y", "u.x", "u.y", "t.x.x"];
const QUERIES: [&str; 7] = ["@x", "@.y", "@", "#one", "#two.x", "#", "u.x"];

fn step() -> impl Strategy<Value = Step> {
    let place = || proptest::sample::select(&PLACES[..]);
    let name = proptest::sample::select(&["one", "two", "context"][..]);
    let word = prop_oneof![3 => place().prop_map(|place| Some(Some(place))), 1 => Just(Some(None)), 1 => Just(None)];
    prop_oneof![
        6 => (0..LEVELS, name, word).prop_map(|(level, name, word)| Step::Refer(level, name, word)),
        1 => (0..LEVELS).prop_map(Step::Resolver),
        2 => Just(Step::Turn),
        2 => place().prop_map(Step::Leave),
        4 => place().prop_map(Step::Come),
        1 => proptest::sample::select(&["t", "u"][..]).prop_map(Step::Move),
    ]
}

/// Takes the steps, and after each asks of everybody, by way of what is remembered and anew. Two queries in three ways
/// are less than a node remembers.
async fn agrees(queries: [&str; 2], steps: Vec<Step>) -> Result<()> {
    let outer = testing::local_context();
    let (middle, beside) = (outer.child(), outer.child());
    let (parent, child) = (Somebody::new(0), Somebody::new(0));
    parent.node_bind(Path::root("t")?.join("asks")?, &middle).await?;
    parent.node_add("too", child.clone()).await?;
    let (tide, mut numbers, mut gone) = (Rc::new(Cell::new(false)), BTreeMap::new(), Vec::new());
    for (at, step) in steps.into_iter().enumerate() {
        let levels = [
            outer.clone(),
            middle.clone(),
            beside.clone(),
            parent.node_context().expect("bound"),
            child.node_context().expect("bound"),
        ];
        match step {
            Step::Refer(level, name, Some(Some(path))) => levels[level].set_reference(name, Path::new(path)?),
            Step::Refer(level, name, Some(None)) => levels[level].hide_reference(name),
            Step::Refer(level, name, None) => levels[level].remove_reference(name),
            Step::Resolver(level) => levels[level].add_resolver(Rc::new(Tide(tide.clone()))),
            Step::Turn => tide.set(!tide.get()),
            Step::Leave(place) => {
                if let Some(node) = numbers.remove(place) {
                    let node: Rc<Somebody> = node;
                    node.node_unbind().await?;
                    // Still there, but nowhere.
                    gone.push(node);
                }
            }
            Step::Come(place) => {
                let node = Somebody::new(at + 1);
                if node.node_bind(place, &beside).await.is_ok() {
                    numbers.insert(place, node);
                }
            }
            Step::Move(base) => {
                parent.node_unbind().await?;
                parent.node_bind(Path::root(base)?.join("asks")?, &middle).await?;
                parent.node_add("too", child.clone()).await?;
            }
        }
        for (asker, query) in [&parent, &child]
            .iter()
            .flat_map(|asker| queries.map(|query| (asker, query)))
        {
            let anew = asker.resolve(query);
            let base = |path: &Result<Path>| path.as_ref().ok().and_then(Path::base);
            let dynamic = asker.remote_dyn(query).map(|remote| remote.path().clone());
            let typed = asker.remote::<dyn Numbered>(query);
            let known = typed
                .as_ref()
                .map(|remote| remote.remote_path().clone())
                .map_err(Clone::clone);
            assert_eq!((&known, base(&known)), (&anew, base(&anew)), "{query}");
            assert_eq!((&dynamic, base(&dynamic)), (&anew, base(&anew)), "{query}");
            let (Ok(path), Ok(typed)) = (anew, typed) else { continue };
            let expected = numbers.get(path.as_str()).map(|node| node.number);
            assert_eq!(typed.number().await.ok(), expected, "{query}");
            let twice = asker.remote::<dyn Doubled>(query)?.double().await.ok();
            assert_eq!(twice, expected.map(|number| 2 * number), "{query}");
        }
    }
    Ok(())
}

fn agrees_on_all(cases: u32) -> Result<(), impl std::fmt::Debug> {
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    });
    let query = || proptest::sample::select(&QUERIES[..]);
    let steps = proptest::collection::vec(step(), 1..40);
    runner.run(&([query(), query()], steps), |(queries, steps)| {
        let run = AssertUnwindSafe(|| testing::run(agrees(queries, steps)));
        let outcome = catch_unwind(run).map_err(|_| TestCaseError::fail("not what resolving anew says"))?;
        outcome.map_err(|error| TestCaseError::fail(error.to_string()))
    })
}

#[test]
fn what_a_node_remembers_of_its_queries_is_what_resolving_anew_says() {
    agrees_on_all(300).expect("always the same");
}

#[test]
fn a_node_that_goes_on_with_former_meanings_is_noticed() {
    commit(Some(Fault::StaleMeanings));
    let outcome = agrees_on_all(50);
    commit(None);
    assert!(outcome.is_err());
}
