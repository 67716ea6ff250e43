//! How the feed learns of changes.

use std::time::Duration;

/// How the feed learns of changes.
#[derive(Clone, Debug)]
pub struct FeedOptions {
    /// Listen to the bell of own commits and to SQLite's commit counter. Off, only the timer looks.
    pub hints: bool,
    /// The timer; it runs with hints as well. At most 500 ms, so that hints change latency and nothing else.
    pub poll: Duration,
    /// How often SQLite's commit counter is asked for commits of other processes.
    pub watch: Duration,
    /// Rows that stay in the change log although this server has read them: for servers that are behind, and whoever
    /// wants to look.
    pub kept: i64,
    /// A deliberate defect, for the test that shows that the tests would notice.
    #[doc(hidden)]
    pub fault: Option<Fault>,
}

/// Defects that the oracle must find.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Deleted rows stay.
    IgnoreDeletes,
    /// Rows that moved into the filter or within the order are only updated in place.
    NeverReRange,
    /// Each step forgets the first key that it should read again.
    DropOneKey,
    /// The position moves before the log is read.
    SkipAhead,
}

impl Default for FeedOptions {
    fn default() -> Self {
        Self {
            hints: true,
            poll: Duration::from_millis(500),
            watch: Duration::from_millis(100),
            kept: 200_000,
            fault: None,
        }
    }
}

impl FeedOptions {
    /// Only the timer, every 400 ms.
    #[must_use]
    pub fn without_hints() -> Self {
        Self {
            hints: false,
            poll: Duration::from_millis(400),
            ..Self::default()
        }
    }

    /// The defaults, with hints off when the environment says `COATI_FEED_HINTS=off`.
    #[must_use]
    pub fn from_environment() -> Self {
        match std::env::var("COATI_FEED_HINTS").as_deref() {
            Ok("off" | "0" | "false") => Self::without_hints(),
            _ => Self::default(),
        }
    }
}
