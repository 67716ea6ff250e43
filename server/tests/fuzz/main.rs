//! Each fuzz target meets its seeds and 200,000 mutations of them, on the pinned tool chain and with a small stack.
//!
//! A failure names the mutation; `COATI_MUTATION=<number> cargo test -p coati-server --test fuzz <target>` repeats it.

mod mutants;
mod mutate;
#[path = "../../../fuzz/src/lib.rs"]
mod targets;

use std::{fs, ops::Range, panic, path::Path, sync::Arc, thread};

use shared::wamp::CodecId;
use targets::{TARGETS, Target};

/// The mutations of one thread, whose name says which they are: all that is left to read when a stack overflows.
const CHUNK: u64 = 20_000;

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|file| file.expect("a file").path())
        .collect();
    files.sort();
    files.iter().map(|file| fs::read(file).expect("a seed")).collect()
}

/// What went wrong: with which mutation (none = with a seed as it is), on which bytes.
#[derive(Debug)]
struct Failure {
    mutation: Option<u64>,
    bytes: Vec<u8>,
    text: String,
}

fn attempt(run: fn(&[u8]), mutation: Option<u64>, bytes: Vec<u8>) -> Result<(), Failure> {
    let text = match panic::catch_unwind(|| run(&bytes)) {
        Ok(()) => return Ok(()),
        Err(cause) => cause
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| cause.downcast_ref::<&str>().map(|text| (*text).to_owned())),
    };
    Err(Failure {
        mutation,
        bytes,
        text: text.unwrap_or_default(),
    })
}

/// Runs the target on its seeds and on mutations of them, each chunk on a thread with a small stack.
fn search(target: &Target, mutations: Range<u64>) -> Result<(), Failure> {
    let seeds = Arc::new(seeds(target.name));
    assert!(!seeds.is_empty(), "{} has no seeds", target.name);
    for seed in &*seeds {
        attempt(target.run, None, seed.clone())?;
    }
    let mut start = mutations.start;
    while start < mutations.end {
        let chunk = start..mutations.end.min(start + CHUNK);
        start = chunk.end;
        let (target, seeds) = (*target, seeds.clone());
        thread::Builder::new()
            .name(format!("{} mutations {chunk:?}", target.name))
            .stack_size(target.stack)
            .spawn(move || {
                chunk.into_iter().try_for_each(|number| {
                    attempt(target.run, Some(number), mutate::mutation(number, &seeds, target.words))
                })
            })
            .expect("a thread")
            .join()
            .expect("panics are caught")?;
    }
    Ok(())
}

fn target(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).expect("a target")
}

fn replay(name: &str) {
    let target = target(name);
    let mutations = match std::env::var("COATI_MUTATION").map(|number| number.parse::<u64>()) {
        Ok(number) => {
            let number = number.expect("COATI_MUTATION is a number");
            number..number + 1
        }
        Err(_) => 0..target.mutations,
    };
    if let Err(Failure { mutation, bytes, text }) = search(target, mutations) {
        let again = mutation.map_or_else(String::new, |number| format!("COATI_MUTATION={number} repeats it; "));
        panic!("{name}: {again}bytes \"{}\": {text}", bytes.escape_ascii());
    }
}

#[test]
fn json_frames_keep_their_promises() {
    replay("json");
}

#[test]
fn msgpack_frames_keep_their_promises() {
    replay("msgpack");
}

#[test]
fn cbor_frames_keep_their_promises() {
    replay("cbor");
}

#[test]
fn websocket_octets_keep_their_promises() {
    replay("websocket");
}

#[test]
fn rawsocket_octets_keep_their_promises() {
    replay("rawsocket");
}

#[test]
fn batches_keep_their_promises() {
    replay("batched");
}

#[test]
fn uris_keep_their_promises() {
    replay("uri");
}

#[test]
fn paths_keep_their_promises() {
    replay("path");
}

#[test]
fn configurations_keep_their_promises() {
    replay("configuration");
}

#[test]
fn conversations_with_the_router_keep_their_promises() {
    replay("router");
}

#[test]
fn every_target_is_replayed() {
    for target in TARGETS {
        let line = format!("    replay({:?});", target.name);
        assert!(
            include_str!("main.rs").contains(&line),
            "{} is not replayed",
            target.name
        );
    }
}

#[test]
fn many_mutations_get_past_the_first_check() {
    for codec in CodecId::ALL {
        let name = format!("{codec:?}").to_lowercase();
        let (target, seeds) = (target(&name), seeds(&name));
        let messages = (0..2000).map(|number| mutate::mutation(number, &seeds, target.words));
        let taken = messages
            .filter(|bytes| codec.decode(bytes.clone().into()).is_ok())
            .count();
        assert!(taken > 100, "{taken} of 2,000 are messages in {name}");
    }
}
