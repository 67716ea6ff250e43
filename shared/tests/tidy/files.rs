//! What each file looks like: its first sentence, its length, no skipped tests, no machine's paths.

use super::{Source, check, proves};

/// No file is longer; most have 100 to 300 lines.
const LONGEST: usize = 600;

fn opens_with_a_sentence(file: &Source) -> Vec<String> {
    if !file.is_rust() {
        return Vec::new();
    }
    let head: Vec<&str> = file.text.lines().map_while(|line| line.strip_prefix("//!")).collect();
    let sentence = head
        .iter()
        .take_while(|line| !line.trim().is_empty())
        .copied()
        .collect::<String>();
    let sentence = sentence.trim();
    let starts_well =
        sentence.starts_with(|first: char| first.is_uppercase() || first == '`' || first == '#' || first == '[');
    if starts_well && sentence.contains(['.', ':', '!', '?']) {
        return Vec::new();
    }
    vec![format!(
        "{}: must open with one `//!` sentence that says what it is for",
        file.path
    )]
}

fn is_short_enough(file: &Source) -> Vec<String> {
    let lines = file.text.lines().count();
    let counted = [".rs", ".ts", ".mjs", ".css", ".sh"]
        .iter()
        .any(|ending| file.path.ends_with(ending));
    if counted && lines > LONGEST {
        vec![format!("{}: {lines} lines, at most {LONGEST}", file.path)]
    } else {
        Vec::new()
    }
}

fn names_no_machine(file: &Source) -> Vec<String> {
    if file.is_this_test() {
        return Vec::new();
    }
    // Put together here, so that this file does not hold what it looks for.
    let wrong = ["work", "farm", "root", "tmp/t", "Users"].map(|folder| format!("/{folder}/"));
    let mut complaints = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        if wrong.iter().any(|path| line.contains(path.as_str())) {
            complaints.push(format!(
                "{}:{}: a path of one machine: {}",
                file.path,
                index + 1,
                line.trim()
            ));
        }
    }
    complaints
}

fn skips_no_test(file: &Source) -> Vec<String> {
    if file.is_this_test() {
        return Vec::new();
    }
    let words: &[&str] = if file.is_rust() {
        &["#[ignore", "todo!(", "unimplemented!("]
    } else {
        &["test.skip", "test.fixme", "test.only", "describe.only"]
    };
    if !file.is_rust() && !file.path.ends_with(".ts") {
        return Vec::new();
    }
    file.complain(
        |line| words.iter().any(|word| line.contains(word)),
        "a skipped test or a stub",
    )
}

#[test]
fn each_file_opens_with_a_sentence_that_says_what_it_is_for() {
    proves(
        opens_with_a_sentence,
        "server/src/new.rs",
        &["//! Counts sheep.\n", "//! `Sheep` are counted\n//! here.\n\n//! more"],
        &[
            "",
            "fn main() {}",
            "//! no capital.\n",
            "//! No end\n",
            "\n//! Too late.\n",
            "/// Wrong kind.\n",
        ],
    );
    check(opens_with_a_sentence);
}

#[test]
fn no_file_is_longer_than_600_lines() {
    let long = "let x = 1;\n".repeat(LONGEST + 1);
    proves(is_short_enough, "client/src/grid.rs", &[&long[11..]], &[&long]);
    check(is_short_enough);
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    proves(
        names_no_machine,
        "README.md",
        &["see `server/src`"],
        &[&format!("see /{}/main", "work"), &format!("cd /{}/x", "root")],
    );
    check(names_no_machine);
}

#[test]
fn no_test_is_skipped_and_nothing_is_a_stub() {
    proves(
        skips_no_test,
        "shared/src/a.rs",
        &["#[test]", "// todo!()"],
        &["    #[ignore = \"slow\"]", "todo!()"],
    );
    proves(
        skips_no_test,
        "end2end/tests/a.spec.ts",
        &["test('x')"],
        &["test.skip('x')", "test.only('x')"],
    );
    check(skips_no_test);
}
