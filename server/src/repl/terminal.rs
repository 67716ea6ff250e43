//! The prompt on a terminal: a line editor with history and completion, on a thread of its own.

use std::path::{Path, PathBuf};

use rustyline::{
    CompletionType, Config, Editor, ExternalPrinter, Helper, Highlighter, Hinter, Validator, completion::Completer,
    error::ReadlineError, history::FileHistory,
};
use tokio::sync::{mpsc, oneshot};

use super::{Names, Typed, command::COMMANDS, hand_over};

/// Writes a line above the one that is being typed.
pub(super) type Printer = Box<dyn ExternalPrinter + Send>;

/// Completes commands and the names that were seen.
#[derive(Helper, Highlighter, Hinter, Validator)]
struct Completing {
    names: Names,
}

impl Completer for Completing {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &rustyline::Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let before = line.get(..position).unwrap_or(line);
        let start = before.rfind(' ').map_or(0, |space| space + 1);
        let word = &before[start..];
        let candidates: Vec<String> = if start == 0 {
            COMMANDS.iter().map(|(name, _, _)| (*name).to_owned()).collect()
        } else {
            self.names.lock().map(|names| names.clone()).unwrap_or_default()
        };
        let fitting = candidates.into_iter().filter(|name| name.starts_with(word)).collect();
        Ok((start, fitting))
    }
}

/// Reads lines from the terminal until the end or Ctrl-C. `ready` is told how to print meanwhile, if that is possible.
pub(super) fn edit(
    history: Option<PathBuf>,
    names: Names,
    lines: &mpsc::Sender<Typed>,
    ready: oneshot::Sender<Option<Printer>>,
) {
    // The other way, going round among the candidates, holds back what is printed meanwhile.
    let config = Config::builder().completion_type(CompletionType::List).build();
    let mut editor: Editor<Completing, FileHistory> = match Editor::with_config(config) {
        Ok(editor) => editor,
        Err(error) => return tracing::error!(%error, "the terminal cannot be used"),
    };
    editor.set_helper(Some(Completing { names }));
    if let Some(file) = &history {
        // There is none the first time.
        let _ = editor.load_history(file);
    }
    // A terminal that cannot do it gets its lines where the cursor is.
    let printer = editor.create_external_printer().ok();
    let _ = ready.send(printer.map(|printer| Box::new(printer) as Printer));
    loop {
        match editor.readline("> ") {
            Ok(line) => {
                // A line that is not remembered is no reason to stop.
                let _ = editor.add_history_entry(&line);
                if !hand_over(line, lines) {
                    break;
                }
            }
            Err(ReadlineError::Interrupted | ReadlineError::Eof) => break,
            Err(error) => {
                tracing::error!(%error, "the terminal cannot be read");
                break;
            }
        }
    }
    if let Some(file) = history.as_deref()
        && let Err(error) = save(&mut editor, file)
    {
        tracing::warn!(%error, "the history was not saved");
    }
}

/// Saves the history where only its owner reads it.
fn save(editor: &mut Editor<Completing, FileHistory>, file: &Path) -> rustyline::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    editor.save_history(file)
}
