//! What travels about a window: its snapshot, the frames that follow, and how to catch up.

use serde::{Deserialize, Serialize};

use super::{Cell, RowKey};
use crate::error::{Error, ErrorKind, Result};

/// Names one window on the server; unguessable, but only the topic opens it to a subscriber.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WindowId(pub String);

/// What a client needs to subscribe before it opens the window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowTicket {
    /// The window.
    pub window: WindowId,
    /// The topic its frames are published to.
    pub topic: String,
}

/// Which part of the sorted rows a window shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Range {
    /// Number of rows before the first one shown.
    pub start: u64,
    /// Number of rows shown, 1 to [`Range::MAX_LENGTH`].
    pub length: u32,
}

impl Range {
    /// The longest window.
    pub const MAX_LENGTH: u32 = 500;
    /// The furthest start: what a signed 64-bit offset and a JavaScript number both hold.
    pub const MAX_START: u64 = (1 << 53) - 1;

    /// A range; check it with [`Range::validate`].
    #[must_use]
    pub const fn new(start: u64, length: u32) -> Self {
        Self { start, length }
    }

    /// Checks the limits.
    ///
    /// # Errors
    /// `InvalidArgument` when a limit is broken.
    pub fn validate(&self) -> Result<()> {
        if self.length == 0 || self.length > Self::MAX_LENGTH || self.start > Self::MAX_START {
            let message = format!(
                "A window shows 1 to {} rows, not {} from {}.",
                Self::MAX_LENGTH,
                self.length,
                self.start
            );
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        Ok(())
    }
}

/// One row of a source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Its primary key.
    pub key: RowKey,
    /// A digest of the cells (53 bits): it changes whenever any writer changes what the row shows.
    pub version: i64,
    /// The values of the visible fields, in the order of the entity's fields.
    pub cells: Vec<Cell>,
}

impl Row {
    /// A row with its version computed.
    #[must_use]
    pub fn new(key: RowKey, cells: Vec<Cell>) -> Self {
        let version = digest(&cells);
        Self { key, version, cells }
    }

    /// About how many bytes this takes in a frame.
    #[must_use]
    pub fn weight(&self) -> usize {
        40 + self.cells.iter().map(Cell::weight).sum::<usize>()
    }
}

/// FNV-1a over kind and content of each cell, folded to 53 bits so that every peer holds it exactly.
fn digest(cells: &[Cell]) -> i64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut feed = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    for cell in cells {
        match cell {
            Cell::Null => feed(&[0]),
            Cell::Boolean(value) => feed(&[1, u8::from(*value)]),
            Cell::Integer(value) => {
                feed(&[2]);
                feed(&value.to_le_bytes());
            }
            Cell::Real(value) => {
                feed(&[3]);
                feed(&value.to_bits().to_le_bytes());
            }
            Cell::Date(value) => {
                feed(&[4]);
                feed(&chrono::Datelike::num_days_from_ce(value).to_le_bytes());
            }
            Cell::Text(value) => {
                feed(&[5]);
                feed(&(value.len() as u64).to_le_bytes());
                feed(value.as_bytes());
            }
        }
    }
    i64::try_from((hash ^ (hash >> 53)) & ((1 << 53) - 1)).unwrap_or_default()
}

/// A window in full, at one version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The window.
    pub window: WindowId,
    /// The topic of the frames that follow.
    pub topic: String,
    /// The version of this state; the next frame has the next one.
    pub version: u64,
    /// Position in the change log that this state contains.
    pub position: u64,
    /// How many rows match the filter; may lag behind the rows under load.
    pub total: u64,
    /// The part of the sorted rows that is shown.
    pub range: Range,
    /// The rows, in order.
    pub rows: Vec<Row>,
}

/// One step from a version of a window to the next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    /// The version that this frame leads to: one more than the one before.
    pub version: u64,
    /// Position in the change log that the new state contains.
    pub position: u64,
    /// How many rows match the filter.
    pub total: u64,
    /// All keys shown, in order, when that changed; what is not in it has left the window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Vec<RowKey>>,
    /// Rows that are new in the window or show something else than before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<Row>,
}

impl Frame {
    /// About how many bytes this takes on the wire.
    #[must_use]
    pub fn weight(&self) -> usize {
        60 + self
            .order
            .as_ref()
            .map_or(0, |keys| keys.iter().map(|key| key.to_cell().weight()).sum())
            + self.rows.iter().map(Row::weight).sum::<usize>()
    }
}

/// The answer to a client that lost track: what it missed, or everything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resume {
    /// The frames after the client's version, in order; none if it missed nothing.
    Frames(Vec<Frame>),
    /// The whole state, when the frames are no longer kept.
    Snapshot(Snapshot),
}
