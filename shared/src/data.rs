//! Live data as both sides know it: entities and their fields, queries, windows, replicas and change sets; all pure.

pub mod cell;
pub mod change_set;
pub mod cursor;
pub mod entity;
pub mod query;
pub mod replica;
pub mod row;
pub mod validation;

pub use cell::{Cell, RowKey};
pub use change_set::{ChangeSet, Conflict, Delete, EditOutcome, FieldChange, FieldError, Insert, Saved, Update};
pub use entity::{Choice, Entity, Field, FieldKind, LookupItem, Rights, field, visible, visible_index};
pub use query::{Condition, Filter, Operator, Query, Sorter};
pub use replica::{Applied, Replica};
pub use row::{Frame, Range, Resume, Row, Snapshot, WindowId, WindowTicket};
pub use validation::{validate_value, validate_values};
