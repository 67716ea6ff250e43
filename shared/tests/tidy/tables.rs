//! Tables of tests are complete, and each line names tests that exist and are not ignored.

use std::collections::{BTreeMap, BTreeSet};

use super::{Source, sources};

/// What a table must speak of: letter, first and last number, and the numbers in between that it leaves out.
type Numbers = [(char, u32, u32, &'static [u32])];

/// The table of Raccoon's behaviours.
const BEHAVIOURS: &Numbers = &[
    ('N', 1, 53, &[9, 10, 11, 12, 34, 41]),
    ('S', 1, 11, &[]),
    ('G', 1, 27, &[17, 25]),
    ('R', 1, 20, &[6]),
];

/// The table of faults and of abuse of the protocol.
const FAULTS: &Numbers = &[('F', 35, 36, &[]), ('F', 51, 67, &[])];

/// Names of the functions that are tests, and of those that are ignored.
fn tests<'a>(sources: impl Iterator<Item = &'a Source>) -> BTreeMap<String, bool> {
    let mut found = BTreeMap::new();
    for source in sources {
        let (mut is_test, mut is_ignored) = (false, false);
        for line in source.text.lines().map(str::trim_start) {
            if line.starts_with("#[") {
                is_test |= line.contains("test");
                is_ignored |= line.contains("ignore");
            } else if let Some((_, name)) = line.split_once("fn ").filter(|_| is_test) {
                let name = name.split(['(', '<']).next().unwrap_or(name);
                found.insert(name.to_owned(), is_ignored);
                (is_test, is_ignored) = (false, false);
            } else if !line.starts_with("//") && !line.is_empty() {
                (is_test, is_ignored) = (false, false);
            }
        }
    }
    found
}

fn complaints(table: &str, numbers: &Numbers, tests: &BTreeMap<String, bool>) -> Vec<String> {
    let mut missing: BTreeSet<String> = numbers
        .iter()
        .flat_map(|(letter, first, last, left_out)| {
            let numbers = (*first..=*last).filter(|number| !left_out.contains(number));
            numbers.map(move |number| format!("{letter}{number}"))
        })
        .collect();
    let mut complaints = Vec::new();
    for line in table.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [behaviour, _, named] = cells.as_slice() else {
            complaints.push(format!("three columns, please: {line}"));
            continue;
        };
        if ["behaviour", "fault"].contains(behaviour) {
            continue;
        }
        if !missing.remove(*behaviour) {
            complaints.push(format!("{behaviour} is unknown, or there twice"));
        }
        for test in named.split(", ") {
            match tests.get(test.trim_matches('`')) {
                None => complaints.push(format!("{behaviour}: there is no test {test}")),
                Some(true) => complaints.push(format!("{behaviour}: {test} is ignored")),
                Some(false) => {}
            }
        }
    }
    complaints.extend(missing.iter().map(|behaviour| format!("{behaviour} has no line")));
    complaints
}

#[test]
fn each_behaviour_of_raccoon_and_each_fault_names_its_tests() {
    let sources = sources();
    let tests = tests(
        sources
            .iter()
            .filter(|source| source.is_rust() && !source.is_this_test()),
    );
    for (path, numbers) in [
        ("shared/tests/raccoon.md", BEHAVIOURS),
        ("server/tests/faults.md", FAULTS),
    ] {
        let table = sources.iter().find(|source| source.path == path).expect("the table");
        let complaints = complaints(&table.text, numbers, &tests);
        assert!(complaints.is_empty(), "{path}:\n{}", complaints.join("\n"));
    }
}

/// The tests that lines of the limits' table name and that are not there. The node model's table names none.
fn untested_limits(text: &str, tests: &BTreeMap<String, bool>) -> Vec<String> {
    let table = text.split("## Limits of the router").nth(1).unwrap_or_default();
    let lines = table.lines().take_while(|line| !line.starts_with("## "));
    let cells = lines.filter_map(|line| line.strip_prefix("| ")?.trim_end_matches(" |").rsplit_once(" | "));
    let mut untested = Vec::new();
    for (limit, named) in cells.filter(|(limit, _)| !limit.starts_with("what")) {
        for test in named.split(", ").map(|test| test.trim_matches('`')) {
            if tests.get(test) != Some(&false) {
                untested.push(format!("{limit}: there is no test {test}"));
            }
        }
    }
    untested
}

#[test]
fn each_limit_of_the_router_names_its_tests() {
    let sources = sources();
    let tests = tests(
        sources
            .iter()
            .filter(|source| source.is_rust() && !source.is_this_test()),
    );
    let text = &sources
        .iter()
        .find(|source| source.path == "ARCHITECTURE.md")
        .expect("it is there")
        .text;
    assert!(text.contains("## Limits of the router"));
    assert_eq!(untested_limits(text, &tests), Vec::<String>::new());
    let bad = "## Limits of the router\n| what | test |\n|---|---|\n| a | `gone` |\n## More\n| b | c |";
    assert_eq!(untested_limits(bad, &tests).len(), 1);
}

#[test]
fn a_table_that_promises_too_much_is_refused() {
    let code = "#[test]\nfn good() {}\n#[test]\n#[ignore]\nfn bad() {}\nfn none() {}\nproptest! {\n#[test]\nfn wide(x in y) {}\n}";
    let tests = tests([Source::new("a.rs", code)].iter());
    assert_eq!(tests.keys().collect::<Vec<_>>(), ["bad", "good", "wide"]);
    let of = |table: &str| {
        let all = complaints(table, BEHAVIOURS, &tests);
        all.into_iter()
            .filter(|text| !text.ends_with("has no line"))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        of("| N1 | a | `good`, `wide` |\n| N2 | b | `wide` |"),
        Vec::<String>::new()
    );
    for bad in [
        "| N1 | a | `bad` |",
        "| N1 | a | `none` |",
        "| N1 | a | `good`, `gone` |",
        "| N9 | a | `good` |",
        "| N1 | a |",
    ] {
        assert_eq!(of(bad).len(), 1, "{bad}");
    }
    assert!(complaints("", BEHAVIOURS, &tests).contains(&"R20 has no line".to_owned()));
}
