//! What is fuzzed, as plain functions of bytes that panic when something is wrong.
//!
//! `server/tests/fuzz` replays the seeds and seeded mutations of them on the pinned tool chain; `run/` hands the same
//! functions to libFuzzer (`make fuzz`).

pub mod codec;
pub mod configuration;
pub mod frames;
pub mod names;
pub mod router;

/// A function that is fuzzed.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Also the folder of its seeds.
    pub name: &'static str,
    /// Panics when something is wrong.
    pub run: fn(&[u8]),
    /// Bytes of stack that must do.
    pub stack: usize,
    /// How many mutations `cargo test` tries: fewer where a whole conversation is held.
    pub mutations: u64,
    /// Pieces that random bytes would not find by themselves.
    pub words: &'static [&'static str],
}

/// What whoever decodes has on a small thread.
const SMALL_STACK: usize = 256 * 1024;
/// What a thread has by default, as the one that reads the configuration.
const STACK: usize = 2 * 1024 * 1024;

/// Everything that is fuzzed.
pub const TARGETS: [Target; 10] = [
    Target {
        name: "json",
        run: codec::json,
        stack: SMALL_STACK,
        mutations: 200_000,
        words: codec::JSON_WORDS,
    },
    Target {
        name: "msgpack",
        run: codec::msgpack,
        stack: SMALL_STACK,
        mutations: 200_000,
        words: codec::BINARY_WORDS,
    },
    Target {
        name: "cbor",
        run: codec::cbor,
        stack: SMALL_STACK,
        mutations: 200_000,
        words: codec::BINARY_WORDS,
    },
    Target {
        name: "websocket",
        run: frames::websocket,
        stack: SMALL_STACK,
        mutations: 200_000,
        words: frames::WORDS,
    },
    Target {
        name: "rawsocket",
        run: frames::rawsocket,
        stack: SMALL_STACK,
        mutations: 200_000,
        words: frames::WORDS,
    },
    Target {
        name: "batched",
        run: frames::batched,
        stack: SMALL_STACK,
        mutations: 200_000,
        words: frames::WORDS,
    },
    Target {
        name: "uri",
        run: names::uri,
        stack: SMALL_STACK,
        mutations: 200_000,
        words: names::WORDS,
    },
    Target {
        name: "path",
        run: names::path,
        stack: SMALL_STACK,
        mutations: 200_000,
        words: names::WORDS,
    },
    Target {
        name: "configuration",
        run: configuration::router_file,
        stack: STACK,
        mutations: 200_000,
        words: configuration::WORDS,
    },
    Target {
        name: "router",
        run: router::conversation,
        stack: SMALL_STACK,
        mutations: 10_000,
        words: codec::JSON_WORDS,
    },
];
