//! Who may know whom: crates, targets, features and where SQL stands.

use std::collections::{BTreeMap, BTreeSet};

use super::{Source, check, proves};

/// Where `cfg(target…)` may stand beside `shared/src/platform` and the first lines of browser tests, and why.
const TARGET_EXCEPTIONS: &[(&str, &str)] = &[(
    "shared/macros/src/test.rs",
    "writes a test for either target into the code that it makes",
)];

fn names_targets_in_platform_only(file: &Source) -> Vec<String> {
    let excepted = file.is_this_test() || TARGET_EXCEPTIONS.iter().any(|(path, _)| file.path == *path);
    if !file.is_rust() || excepted || file.path.starts_with("shared/src/platform") {
        return Vec::new();
    }
    let complaints = file.complain(
        |line| line.contains("target_arch") || line.contains("target_os") || line.contains("target_family"),
        "`cfg(target…)` belongs into shared/src/platform",
    );
    // A browser test says so in one line at its top, or it would be compiled for the machine too.
    let browser_test = file.path.contains("/tests/") && file.path.ends_with("_browser.rs");
    let top = file
        .code()
        .filter(|(_, line)| line.contains("target_arch"))
        .all(|(_, line)| line.starts_with("#![cfg(target_arch"));
    if browser_test && top && complaints.len() == 1 {
        Vec::new()
    } else {
        complaints
    }
}

fn names_features_on_mod_lines_only(file: &Source) -> Vec<String> {
    if !file.is_rust() || file.is_this_test() || file.path == "app/build.rs" {
        return Vec::new();
    }
    let lines: Vec<(usize, &str)> = file.code().collect();
    let mut complaints = Vec::new();
    for (index, (number, line)) in lines.iter().enumerate() {
        if !line.contains("cfg") || !line.contains("feature = ") {
            continue;
        }
        let allowed = file.below("app/src/") || file.below("server/src/") || file.below("server/tests/");
        let whole_file = line.trim_start().starts_with("#![cfg(");
        let named = lines[index + 1..]
            .iter()
            .map(|(_, line)| line.trim_start())
            .find(|line| !line.is_empty() && !line.starts_with("#["));
        let module = named.is_some_and(|line| {
            ["mod ", "pub mod ", "pub(crate) mod ", "use ", "pub use "]
                .iter()
                .any(|start| line.starts_with(start))
        });
        if !allowed || !(module || whole_file) {
            complaints.push(format!(
                "{}:{number}: `cfg(feature…)` stands on `mod` and `use` lines of app and server only",
                file.path
            ));
        }
    }
    complaints
}

#[test]
fn targets_are_named_in_the_platform_only() {
    let line = "#[cfg(target_arch = \"wasm32\")]\nmod x;";
    let browser = "//! Says hello.\n#![cfg(target_arch = \"wasm32\")]\n";
    proves(
        names_targets_in_platform_only,
        "shared/src/platform/native.rs",
        &[line],
        &[],
    );
    proves(
        names_targets_in_platform_only,
        "shared/src/node.rs",
        &["// cfg(target_arch)"],
        &[line],
    );
    proves(
        names_targets_in_platform_only,
        "shared/tests/node_browser.rs",
        &[browser],
        &[line, &browser.repeat(2)],
    );
    check(names_targets_in_platform_only);
}

#[test]
fn features_are_named_on_mod_lines_of_app_and_server_only() {
    let module = "#[cfg(feature = \"client\")]\n#[path = \"x\"]\nmod view;";
    let function = "#[cfg(feature = \"client\")]\nfn view() {}";
    proves(
        names_features_on_mod_lines_only,
        "app/src/lib.rs",
        &[module, "#![cfg(feature = \"x\")]"],
        &[function],
    );
    proves(
        names_features_on_mod_lines_only,
        "shared/src/lib.rs",
        &["mod a;"],
        &[module, function],
    );
    check(names_features_on_mod_lines_only);
}

/// The names after which a manifest's sections list dependencies, by section.
fn dependencies(manifest: &str) -> BTreeMap<String, BTreeSet<String>> {
    let (mut found, mut section) = (BTreeMap::<String, BTreeSet<String>>::new(), String::new());
    for line in manifest.lines() {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.trim_end().strip_suffix(']'))
        {
            name.clone_into(&mut section);
            found.entry(section.clone()).or_default();
        } else if let Some((name, _)) = line
            .split_once(['.', '=', ' '])
            .filter(|_| line.starts_with(char::is_alphabetic))
        {
            found.entry(section.clone()).or_default().insert(name.to_owned());
        }
    }
    found
}

fn keeps_the_crate_walls(file: &Source) -> Vec<String> {
    let forbidden: &[&str] = match file.path.as_str() {
        "shared/Cargo.toml" => &[
            "app",
            "safety",
            "server",
            "client",
            "axum",
            "tower",
            "tower-http",
            "sqlx",
            "sea-query",
            "leptos",
        ],
        "shared/macros/Cargo.toml" => &[
            "app", "safety", "server", "client", "shared", "axum", "sqlx", "leptos", "tokio",
        ],
        "server/Cargo.toml" => &["app", "safety", "client", "leptos", "web-sys", "wasm-bindgen"],
        "client/Cargo.toml" => &["app", "safety", "server", "axum", "sqlx", "sea-query", "tokio"],
        _ => return Vec::new(),
    };
    let sections = dependencies(&file.text);
    let mut complaints = Vec::new();
    for (section, names) in sections.iter().filter(|(section, _)| section.ends_with("dependencies")) {
        // A test may drive its subject by a runtime.
        let tests_only = |name: &str| section.ends_with("dev-dependencies") && name == "tokio";
        for name in names
            .iter()
            .filter(|name| forbidden.contains(&name.as_str()) && !tests_only(name))
        {
            complaints.push(format!("{}: [{section}] must not name {name}", file.path));
        }
        let target_only = ["tokio", "web-sys", "js-sys", "wasm-bindgen", "wasm-bindgen-futures"];
        if file.path == "shared/Cargo.toml" && !section.starts_with("target.") {
            for name in names.iter().filter(|name| target_only.contains(&name.as_str())) {
                complaints.push(format!("{}: {name} may be a dependency of one target only", file.path));
            }
        }
    }
    if file.path.starts_with("shared/") && sections.contains_key("features") {
        complaints.push(format!("{}: shared has no features", file.path));
    }
    complaints
}

/// The platform is the only door of `shared` to the machine; its test kit brings another platform.
fn keeps_the_machine_out_of_shared(file: &Source) -> Vec<String> {
    let door = ["shared/src/platform", "shared/src/testing"]
        .iter()
        .any(|start| file.path.starts_with(start));
    if !file.is_rust() || !file.below("shared/src/") || door {
        return Vec::new();
    }
    let words = [
        "tokio::",
        "web_sys",
        "js_sys",
        "wasm_bindgen",
        "axum::",
        "sqlx::",
        "leptos::",
        "Instant::now",
        "SystemTime::now",
        "Utc::now",
    ];
    // A unit test may drive its subject by a runtime.
    let tests = file
        .text
        .find("#[cfg(test)]")
        .map_or(usize::MAX, |at| file.text[..at].lines().count());
    file.complain(
        |line| words.iter().any(|word| line.contains(word)),
        "shared reaches the machine through its platform only",
    )
    .into_iter()
    .filter(|complaint| {
        complaint
            .split(':')
            .nth(1)
            .and_then(|number| number.parse().ok())
            .unwrap_or(0)
            <= tests
    })
    .collect()
}

fn keeps_sql_in_its_places(file: &Source) -> Vec<String> {
    let place = file.below("server/src/data/") || (file.below("app/src/") && file.path.ends_with("/source.rs"));
    if !file.is_rust() || place || !file.path.contains("/src/") {
        return Vec::new();
    }
    let words = [
        "\"select ",
        "insert into ",
        "delete from ",
        "create table",
        "create index",
        "create trigger",
        "pragma ",
        "\"update ",
    ];
    file.complain(
        |line| {
            let line = line.to_lowercase();
            line.contains('"') && words.iter().any(|word| line.contains(word))
        },
        "SQL belongs into server/src/data, app/src/*/source.rs and migrations",
    )
}

#[test]
fn crates_keep_their_walls() {
    let good = "[dependencies]\nserde.workspace = true\n[target.'cfg(not(target_arch = \"wasm32\"))'.dependencies]\ntokio.workspace = true\n";
    let bad = [
        "[dependencies]\naxum.workspace = true\n",
        "[dev-dependencies]\nserver = { path = \"../server\" }\n",
        "[dependencies]\ntokio = \"1\"\n",
        "[features]\nx = []\n",
    ];
    proves(keeps_the_crate_walls, "shared/Cargo.toml", &[good], &bad);
    proves(
        keeps_the_crate_walls,
        "server/Cargo.toml",
        &[good],
        &["[dependencies]\nclient.workspace = true\n"],
    );
    proves(
        keeps_the_crate_walls,
        "client/Cargo.toml",
        &[],
        &[
            "[dependencies]\nserver.workspace = true\n",
            "[dependencies]\nsafety = \"1\"",
        ],
    );
    check(keeps_the_crate_walls);
}

#[test]
fn shared_reaches_the_machine_through_its_platform_only() {
    let call = "tokio::spawn(x);";
    let tested = "fn a() {}\n#[cfg(test)]\nmod tests { use tokio::test; }";
    proves(
        keeps_the_machine_out_of_shared,
        "shared/src/node.rs",
        &["// tokio::spawn", tested],
        &[call, "web_sys::window()"],
    );
    proves(
        keeps_the_machine_out_of_shared,
        "shared/src/platform/native.rs",
        &[call],
        &[],
    );
    check(keeps_the_machine_out_of_shared);
}

#[test]
fn sql_stands_in_its_places_only() {
    let line = "query(\"SELECT a FROM b\")";
    proves(
        keeps_sql_in_its_places,
        "server/src/http/login.rs",
        &["// \"select a\""],
        &[line, "\"delete from x\"", "\"insert into x\""],
    );
    proves(keeps_sql_in_its_places, "server/src/data/pool.rs", &[line], &[]);
    proves(keeps_sql_in_its_places, "app/src/hazards/source.rs", &[line], &[]);
    proves(keeps_sql_in_its_places, "app/src/hazards/view.rs", &[], &[line]);
    check(keeps_sql_in_its_places);
}
