//! URIs, patterns and paths, held against the expressions of the specification.

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash, Hasher},
    sync::LazyLock,
};

use regex::Regex;
use shared::{
    path::{PATH_LIMIT, Path, Query},
    wamp::{
        MatchPolicy, Uri,
        uri::{
            Syntax::{self, Loose, Strict},
            URI_LIMIT,
        },
    },
};

/// Pieces of names.
pub const WORDS: &[&str] = &[
    ".", "..", "#", "@", "wamp", "wamp.", "Wamp.", "a.b.c", " ", "\t", "\u{a0}", "\u{202e}", "\u{2028}", "\u{0}", "_",
    "é", "\u{ff0e}", "itself", "context", "0",
];

/// The expressions of the basic profile, and those for patterns, "URIs" and "Pattern-based Subscriptions". What is loose in
/// the specification is a little less so here: `!` stands for characters that nobody sees.
static RULES: LazyLock<[(Syntax, MatchPolicy, Regex); 6]> = LazyLock::new(|| {
    [
        (Loose, MatchPolicy::Exact, r"\A([^\s.#!]+\.)*([^\s.#!]+)\z"),
        (Strict, MatchPolicy::Exact, r"\A([0-9a-z_]+\.)*([0-9a-z_]+)\z"),
        (Loose, MatchPolicy::Prefix, r"\A([^\s.#!]+\.)*([^\s.#!]+)?\z"),
        (Strict, MatchPolicy::Prefix, r"\A([0-9a-z_]+\.)*([0-9a-z_]+)?\z"),
        (Loose, MatchPolicy::Wildcard, r"\A(([^\s.#!]+\.)|\.)*([^\s.#!]+)?\z"),
        (Strict, MatchPolicy::Wildcard, r"\A(([0-9a-z_]+\.)|\.)*([0-9a-z_]+)?\z"),
    ]
    .map(|(syntax, policy, rule)| {
        let invisible =
            r"\p{Cc}\u{ad}\u{61c}\u{200b}-\u{200f}\u{202a}-\u{202e}\u{2060}-\u{206f}\u{feff}\u{e0000}-\u{e007f}";
        (
            syntax,
            policy,
            Regex::new(&rule.replace('!', invisible)).expect("a rule"),
        )
    })
});

/// The first byte chooses a pattern for the name that the others are.
pub fn uri(bytes: &[u8]) {
    let (choice, text) = bytes.split_first().map_or((0, bytes), |(choice, text)| (*choice, text));
    let Ok(text) = std::str::from_utf8(text) else { return };
    for (syntax, policy, rule) in &*RULES {
        let found = Uri::checked(text, *syntax, *policy);
        let allowed = text.len() <= URI_LIMIT && rule.is_match(text);
        assert_eq!(found.is_ok(), allowed, "{syntax:?} {policy:?} {text:?}");
        if let Ok(uri) = found {
            assert_eq!(uri.as_str(), text);
            assert!(uri.is_valid(Loose, *policy), "{text:?} is strict but not loose");
        }
    }
    if let Ok(name) = Uri::loose(text) {
        patterns(name.as_str(), choice);
    }
}

/// Made of a name, a pattern covers it; made of another, it does not.
fn patterns(name: &str, choice: u8) {
    assert!(Uri::unchecked(name).matches(MatchPolicy::Exact, name));
    let cut = name.floor_char_boundary(usize::from(choice) % (name.len() + 1));
    let prefix = Uri::unchecked(&name[..cut]);
    assert!(prefix.matches(MatchPolicy::Prefix, name), "{prefix} {name}");
    assert!(!prefix.join("#").matches(MatchPolicy::Prefix, name));
    let blanked = name
        .split('.')
        .enumerate()
        .map(|(index, part)| if choice >> (index % 8) & 1 == 1 { "" } else { part });
    let wildcard = Uri::unchecked(blanked.collect::<Vec<_>>().join("."));
    assert!(wildcard.is_valid(Loose, MatchPolicy::Wildcard), "{wildcard}");
    assert!(wildcard.matches(MatchPolicy::Wildcard, name), "{wildcard} {name}");
    for other in [format!("{name}.x"), format!("x.{name}")] {
        assert!(!wildcard.matches(MatchPolicy::Wildcard, &other), "{wildcard} {other}");
        assert_eq!(
            Uri::unchecked(other.as_str()).is_within(name),
            other.starts_with(name) && other[name.len()..].starts_with('.')
        );
    }
}

/// A path, and a query.
pub fn path(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let allowed = RULES[1].2.is_match(text) && text.len() <= PATH_LIMIT && text != "wamp" && !text.starts_with("wamp.");
    let path = Path::new(text);
    assert_eq!(path.is_ok(), allowed, "{text:?}");
    match Query::parse(text) {
        Ok(Query::Absolute(found)) => assert_eq!(Ok(found), path),
        Ok(Query::Base(rest)) => assert!(
            text.starts_with('@') && (rest.is_empty() || RULES[1].2.is_match(&rest)),
            "{text:?}"
        ),
        Ok(Query::Reference { name, rest }) => {
            assert!(
                text.starts_with('#') && RULES[1].2.is_match(&name) && (rest.is_empty() || RULES[1].2.is_match(&rest)),
                "{text:?}"
            );
        }
        Err(error) => assert!(path.is_err() && !error.to_string().is_empty(), "{text:?}"),
    }
    let Ok(path) = path else { return };
    let hash = |path: &Path| {
        let mut hasher = DefaultHasher::new();
        path.hash(&mut hasher);
        hasher.finish()
    };
    let root = path.clone().into_root();
    assert!(root == path && hash(&root) == hash(&path));
    assert_eq!(format!("{path}"), text);
    assert_eq!(path.names().collect::<Vec<_>>().join("."), text);
    if let Some(parent) = path.parent() {
        assert_eq!(parent.join(path.name()), Ok(path.clone()));
        assert!(path.is_within(&parent) && !parent.is_within(&path));
        assert!(
            path.with_base(&parent)
                .is_ok_and(|based| based.base().is_some_and(|base| base == parent))
        );
    }
}
