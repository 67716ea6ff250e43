//! The parts that screens are made of. Each returns an erased view, so that screens compile fast and stay small.

pub mod badge;
pub mod button;
pub mod dialog;
pub mod field;
pub mod state_panel;
pub mod tabs;
pub mod toast;
pub mod toolbar;

pub use badge::{Badge, Tone};
pub use button::{Button, ButtonKind};
pub use dialog::{DialogHost, Dialogs, Question};
pub use field::{Choices, FieldFrame, Select, TextArea, TextInput};
pub use state_panel::StatePanel;
pub use tabs::{Tab, Tabs};
pub use toast::{ToastHost, Toasts};
pub use toolbar::Toolbar;
