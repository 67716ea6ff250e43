//! Edits land once: a lost answer is asked for again under the same number, and no number is used for two edits.

use std::{cell::RefCell, rc::Rc};

use coati_client::grid::{CursorAt, CursorSource, RowSource};
use shared::{
    data::{
        ChangeSet, EditOutcome, LookupItem, Query, Range, Resume, RowKey, Saved, Snapshot, WindowId, WindowTicket,
        cursor::{Cursor, Mutation},
    },
    error::{Error, ErrorKind, Result},
    prelude::*,
    testing,
};

/// What happens to an edit on its way.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Arrives,
    AnswerIsLost,
    IsLost,
    IsRefused,
    BreaksAfter,
    Breaks,
    WantsNumber(u64),
}

/// A server that counts what it is asked and what it does.
#[node(Cursor)]
struct Counting {
    fates: RefCell<Vec<Fate>>,
    asked: RefCell<Vec<Mutation>>,
    done: RefCell<Vec<(u64, ChangeSet)>>,
}

fn unused<T>() -> Result<T> {
    Err(Error::new(ErrorKind::NotFound, "Not in this test."))
}

impl Cursor for Counting {
    async fn prepare(&self, _query: Query, _range: Range) -> Result<WindowTicket> {
        unused()
    }
    async fn open(&self, _window: WindowId) -> Result<Snapshot> {
        unused()
    }
    async fn resume(&self, _window: WindowId, _version: u64) -> Result<Resume> {
        unused()
    }
    async fn close(&self, _window: WindowId) -> Result<()> {
        unused()
    }
    async fn position(&self, _query: Query, _key: RowKey) -> Result<Option<u64>> {
        unused()
    }
    async fn lookup(&self, _field: String, _search: String) -> Result<Vec<LookupItem>> {
        unused()
    }

    async fn save(&self, changes: ChangeSet, mutation: Mutation) -> Result<EditOutcome> {
        let number = mutation.number;
        self.asked.borrow_mut().push(mutation);
        let fate = self.fates.borrow_mut().pop().unwrap_or(Fate::Arrives);
        match fate {
            Fate::IsRefused => return Err(Error::new(ErrorKind::Refused, "Not today.")),
            Fate::IsLost => return Err(Error::new(ErrorKind::Disconnected, "The link is gone.")),
            Fate::Breaks => return Err(Error::new(ErrorKind::Internal, "Something went wrong.")),
            Fate::WantsNumber(wanted) => {
                let error = Error::new(ErrorKind::Conflict, "Another number is expected.");
                return Err(error.with_detail("expected", wanted.to_string()));
            }
            Fate::Arrives | Fate::AnswerIsLost | Fate::BreaksAfter => {}
        }
        let known = self.done.borrow().iter().any(|(done, _)| *done == number);
        if !known {
            self.done.borrow_mut().push((number, changes));
        }
        if fate == Fate::AnswerIsLost {
            return Err(Error::new(ErrorKind::Disconnected, "The link is gone."));
        }
        if fate == Fate::BreaksAfter {
            return Err(Error::new(ErrorKind::Internal, "Something went wrong."));
        }
        let saved = vec![Saved {
            temporary: None,
            key: (number as i64).into(),
        }];
        Ok(EditOutcome {
            saved,
            ..EditOutcome::default()
        })
    }
}

/// Somebody who edits.
#[node]
struct Editor {}

async fn pair(fates: &[Fate]) -> (NodeContext, Rc<Counting>, Rc<Editor>, Rc<CursorSource>) {
    let context = testing::local_context();
    let fates = fates.iter().rev().copied().collect();
    let server = Counting::new(RefCell::new(fates), RefCell::default(), RefCell::default());
    let editor = Editor::new();
    let path = |text: &str| Path::root("test").and_then(|base| base.join(text)).expect("a path");
    server.node_bind(path("rows"), &context).await.expect("free");
    editor.node_bind(path("editor"), &context).await.expect("free");
    let source = CursorSource::new(CursorAt::new(&editor, "@rows"), context.platform());
    (context, server, editor, source)
}

fn edit(key: i64) -> ChangeSet {
    ChangeSet::delete(key.into(), 1)
}

fn numbers(server: &Counting) -> Vec<u64> {
    server.asked.borrow().iter().map(|mutation| mutation.number).collect()
}

#[test]
fn an_edit_whose_answer_is_lost_is_asked_for_again_and_done_once() {
    testing::run(async {
        let (_context, server, _editor, source) = pair(&[Fate::IsLost, Fate::AnswerIsLost]).await;
        let outcome = source.save(edit(7)).await.expect("answered in the end");
        assert_eq!(outcome.saved[0].key, 1.into());
        source.save(edit(8)).await.expect("answered");
        assert_eq!(numbers(&server), [1, 1, 1, 2]);
        assert_eq!(*server.done.borrow(), [(1, edit(7)), (2, edit(8))]);
        let clients: Vec<_> = server
            .asked
            .borrow()
            .iter()
            .map(|mutation| mutation.client.clone())
            .collect();
        assert!(clients.iter().all(|client| *client == clients[0] && client.len() >= 32));
    });
}

#[test]
fn edits_that_are_made_at_once_go_one_after_the_other() {
    testing::run(async {
        let (_context, server, _editor, source) = pair(&[Fate::AnswerIsLost, Fate::Arrives, Fate::IsLost]).await;
        let (one, two, three) = futures::join!(source.save(edit(1)), source.save(edit(2)), source.save(edit(3)));
        assert!(one.is_ok() && two.is_ok() && three.is_ok());
        assert_eq!(numbers(&server), [1, 1, 2, 2, 3]);
        assert_eq!(*server.done.borrow(), [(1, edit(1)), (2, edit(2)), (3, edit(3))]);
    });
}

#[test]
fn an_edit_that_is_refused_leaves_its_number_to_the_next() {
    testing::run(async {
        let (_context, server, _editor, source) = pair(&[Fate::IsRefused]).await;
        assert_eq!(
            source.save(edit(1)).await.map_err(|error| error.kind),
            Err(ErrorKind::Refused)
        );
        source.save(edit(2)).await.expect("answered");
        assert_eq!(*server.done.borrow(), [(1, edit(2))]);
    });
}

#[test]
fn an_edit_that_was_given_up_is_settled_before_the_next() {
    testing::run(async {
        let (_context, server, _editor, source) = pair(&[Fate::AnswerIsLost]).await;
        let saving = source.save(edit(1));
        let moment = testing::default_platform().sleep(std::time::Duration::from_millis(50));
        // The form is closed while the answer is out.
        futures::future::select(saving, moment).await;
        source.save(edit(2)).await.expect("answered");
        assert_eq!(numbers(&server), [1, 1, 2]);
        assert_eq!(*server.done.borrow(), [(1, edit(1)), (2, edit(2))]);
    });
}

#[test]
fn after_a_failure_inside_the_next_edit_finds_out_what_happened() {
    testing::run(async {
        let (_context, server, _editor, source) = pair(&[Fate::BreaksAfter]).await;
        assert_eq!(
            source.save(edit(1)).await.map_err(|error| error.kind),
            Err(ErrorKind::Internal)
        );
        let outcome = source.save(edit(2)).await.expect("answered");
        assert_eq!(outcome.saved[0].key, 2.into(), "the answer is that of the second edit");
        assert_eq!(*server.done.borrow(), [(1, edit(1)), (2, edit(2))]);
    });
}

#[test]
fn an_edit_that_always_breaks_does_not_stop_the_next_one() {
    testing::run(async {
        let (_context, server, _editor, source) = pair(&[Fate::Breaks, Fate::Breaks]).await;
        assert_eq!(
            source.save(edit(1)).await.map_err(|error| error.kind),
            Err(ErrorKind::Internal)
        );
        source.save(edit(2)).await.expect("answered");
        assert_eq!(numbers(&server), [1, 1, 1]);
        assert_eq!(*server.done.borrow(), [(1, edit(2))]);
    });
}

#[test]
fn a_server_that_expects_another_number_gets_the_edit_once_under_that() {
    testing::run(async {
        let (_context, server, _editor, source) = pair(&[Fate::WantsNumber(5)]).await;
        source.save(edit(1)).await.expect("answered");
        source.save(edit(2)).await.expect("answered");
        assert_eq!(numbers(&server), [1, 5, 6]);
        assert_eq!(*server.done.borrow(), [(5, edit(1)), (6, edit(2))]);
        let (_context, server, _editor, source) = pair(&[Fate::WantsNumber(5), Fate::WantsNumber(9)]).await;
        assert_eq!(
            source.save(edit(1)).await.map_err(|error| error.kind),
            Err(ErrorKind::Conflict),
            "a server that cannot make up its mind is not asked for ever"
        );
        source.save(edit(2)).await.expect("answered");
        assert_eq!(numbers(&server), [1, 5, 9]);
    });
}
