//! What comes from outside: dependencies with their licences; and that both databases have the same migrations.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use super::{root, sources};

/// Licences that let anybody use, change and sell: the same list as in deny.toml.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// A second TLS provider, or one that is not Rust.
const BANNED: &[&str] = &["openssl", "openssl-sys", "native-tls", "aws-lc-rs", "aws-lc-sys"];

/// Complains about migrations that one database has and the other does not.
fn unpaired(paths: &[&str]) -> Vec<String> {
    let mut kinds: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for path in paths
        .iter()
        .filter(|path| path.contains("migrations/") && path.ends_with(".sql"))
    {
        for kind in ["sqlite", "postgres"] {
            if let Some((place, name)) = path.split_once(&format!("{kind}/")) {
                let number = name.split('_').next().unwrap_or(name).to_owned();
                kinds
                    .entry((place.to_owned(), number))
                    .or_default()
                    .insert(kind.to_owned());
            }
        }
    }
    let alone = kinds.iter().filter(|(_, kinds)| kinds.len() != 2);
    alone
        .map(|((place, number), kinds)| format!("{place}: migration {number} exists for {kinds:?} only"))
        .collect()
}

#[test]
fn both_databases_have_the_same_migrations() {
    assert!(unpaired(&["migrations/sqlite/0001_a.sql", "migrations/postgres/0001_a.sql"]).is_empty());
    assert_eq!(
        unpaired(&["migrations/sqlite/0001_a.sql", "migrations/postgres/0002_a.sql"]).len(),
        2
    );
    let sources = sources();
    let paths: Vec<&str> = sources.iter().map(|file| file.path.as_str()).collect();
    assert!(
        paths.iter().any(|path| path.ends_with(".sql")),
        "the workspace has migrations"
    );
    assert_eq!(unpaired(&paths), Vec::<String>::new());
}

/// Whether an SPDX expression can be met with permissive licences alone.
fn is_permissive(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    let good = |name: &str| LICENCES.contains(&name.trim().trim_matches(['(', ')']));
    let all = |part: &str| part.split(" AND ").all(|part| part.split(" OR ").any(good));
    if expression.contains('(') {
        expression.split(" AND ").all(|part| part.split(" OR ").any(good))
    } else {
        expression.split(" OR ").any(all)
    }
}

#[test]
fn each_dependency_has_a_permissive_licence_and_none_is_banned() {
    for good in [
        "MIT",
        "MIT OR GPL-3.0",
        "Apache-2.0/MIT",
        "(MIT OR Apache-2.0) AND Unicode-3.0",
        "MIT AND BSD-3-Clause",
    ] {
        assert!(is_permissive(good), "{good}");
    }
    for bad in ["GPL-3.0", "MIT AND GPL-3.0", "", "(MIT OR Apache-2.0) AND AGPL-3.0"] {
        assert!(!is_permissive(bad), "{bad}");
    }
    let cargo = option_env!("CARGO").unwrap_or("cargo");
    let arguments = [
        "metadata",
        "--format-version=1",
        "--offline",
        "--all-features",
        "--filter-platform=x86_64-unknown-linux-gnu",
    ];
    let output = Command::new(cargo)
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let resolved: BTreeSet<&str> = metadata["resolve"]["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .filter_map(|node| node["id"].as_str())
        .collect();
    let mut complaints = Vec::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let (id, name) = (
            package["id"].as_str().unwrap_or_default(),
            package["name"].as_str().unwrap_or_default(),
        );
        let licence = package["license"].as_str().unwrap_or_default();
        if resolved.contains(id) && BANNED.contains(&name) {
            complaints.push(format!("{name} is banned: there is one TLS provider"));
        }
        if resolved.contains(id) && !is_permissive(licence) {
            complaints.push(format!("{name}: licence {licence:?}"));
        }
    }
    assert!(resolved.len() > 100, "the graph was read");
    assert_eq!(complaints, Vec::<String>::new());
}
