//! Checks the walls of the whole workspace, and that each check can fail.

use std::{
    fs,
    path::{Path, PathBuf},
};

mod files;
mod outside;
mod tables;
mod walls;

/// A text file of the workspace: its path from the root, with `/`, and its content.
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The rules name the words that they look for.
    fn is_this_test(&self) -> bool {
        self.path.starts_with("shared/tests/tidy/")
    }

    fn below(&self, folder: &str) -> bool {
        self.path.starts_with(folder)
    }

    /// Numbered lines without what follows `//` at a line's start or after a space.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| {
            let trimmed = line.trim_start();
            let code = if trimmed.starts_with("//") {
                ""
            } else {
                line.split(" // ").next().unwrap_or(line)
            };
            (index + 1, code)
        })
    }

    /// One complaint for each line of code that `wrong` names.
    fn complain(&self, wrong: impl Fn(&str) -> bool, text: &str) -> Vec<String> {
        self.code()
            .filter(|(_, line)| wrong(line))
            .map(|(number, line)| format!("{}:{number}: {text}: {}", self.path, line.trim()))
            .collect()
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All text files that belong to the project.
fn sources() -> Vec<Source> {
    fn walk(folder: &Path, root: &Path, found: &mut Vec<Source>) {
        const SKIPPED: [&str; 8] = [
            "target",
            ".git",
            "node_modules",
            "data",
            "test-results",
            "playwright-report",
            "shots",
            "corpus",
        ];
        const ENDINGS: [&str; 13] = [
            "rs", "toml", "md", "sh", "mjs", "ts", "js", "json", "css", "sql", "html", "yml", "stderr",
        ];
        let mut items: Vec<_> = fs::read_dir(folder)
            .expect("a folder")
            .map(|item| item.expect("an item").path())
            .collect();
        items.sort();
        for path in items {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let skipped = SKIPPED.contains(&name.as_str()) && (name != "data" || folder == root);
            if path.is_dir() && !skipped {
                walk(&path, root, found);
            } else if path.is_file() {
                let ending = path.extension().unwrap_or_default().to_string_lossy().into_owned();
                if ENDINGS.contains(&ending.as_str()) || name == "Makefile" || name == "run" {
                    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                    let path = path
                        .strip_prefix(root)
                        .expect("below the root")
                        .to_string_lossy()
                        .replace('\\', "/");
                    found.push(Source { path, text });
                }
            }
        }
    }
    let (root, mut found) = (root(), Vec::new());
    walk(&root, &root, &mut found);
    found
}

/// Runs a rule over the workspace.
fn check(rule: impl Fn(&Source) -> Vec<String>) {
    let complaints: Vec<String> = sources().iter().flat_map(rule).collect();
    assert!(
        complaints.is_empty(),
        "{} complaints:\n{}",
        complaints.len(),
        complaints.join("\n")
    );
}

/// Shows that a rule accepts the good and refuses each of the bad snippets.
fn proves(rule: impl Fn(&Source) -> Vec<String>, path: &str, good: &[&str], bad: &[&str]) {
    for text in good {
        assert_eq!(
            rule(&Source::new(path, text)),
            Vec::<String>::new(),
            "{path} should be accepted: {text}"
        );
    }
    for text in bad {
        assert!(
            !rule(&Source::new(path, text)).is_empty(),
            "{path} should be refused: {text}"
        );
    }
}
