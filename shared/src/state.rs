//! Reactive state of nodes: values, what is computed from them, and effects, with no reactive library in sight.
//!
//! Views read a [`Value`] inside their own reactive closures and are re-run when it changes; code elsewhere reads it
//! without being tracked. An effect belongs to a node and ends when the node is unbound.

use std::{cell::RefCell, fmt, rc::Rc};

use any_spawner::{CustomExecutor, Executor, PinnedFuture, PinnedLocalFuture};
use reactive_graph::{
    computed::ArcMemo,
    diagnostics::SpecialNonReactiveZone,
    effect::RenderEffect,
    graph::{Observer, untrack},
    owner::Owner,
    signal::ArcRwSignal,
    traits::{ReadUntracked, Set, Track, Update, With, WithUntracked},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    error::{Error, ErrorKind, Result},
    platform::PlatformRef,
    wamp::{codec::CodecId, payload::Payload, value::Dynamic},
};

mod dictionary;
pub(crate) mod mirror;

pub use dictionary::Dictionary;
pub use mirror::MirrorStatus;

/// A cell of reactive state. Clones are the same cell.
pub struct Value<T>(ArcRwSignal<T>);

/// State that follows from other state: computed when read, kept until something it read changes.
pub struct Computed<T: Send + Sync + 'static>(ArcMemo<T>);

impl<T: Send + Sync + 'static> Value<T> {
    /// A cell that holds `value`.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self(ArcRwSignal::new(value))
    }

    /// A copy of what the cell holds. Inside a view, computed value or effect, that one is re-run upon change.
    #[must_use]
    pub fn get(&self) -> T
    where
        T: Clone,
    {
        self.with(T::clone)
    }

    /// A copy of what the cell holds, never tracked.
    #[must_use]
    pub fn get_untracked(&self) -> T
    where
        T: Clone,
    {
        self.0.with_untracked(T::clone)
    }

    /// Looks at what the cell holds, without copying it. Tracked as [`Value::get`].
    pub fn with<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        if Observer::get().is_some() {
            self.0.with(look)
        } else {
            self.0.with_untracked(look)
        }
    }

    /// Puts a value in, and tells all readers.
    pub fn set(&self, value: T) {
        self.0.set(value);
    }

    /// Puts a value in, and tells readers only if it differs.
    pub fn set_if_new(&self, value: T)
    where
        T: PartialEq,
    {
        if self.0.with_untracked(|old| *old != value) {
            self.0.set(value);
        }
    }

    /// Changes the value in place, and tells all readers. `change` must not read or write this cell itself.
    pub fn update(&self, change: impl FnOnce(&mut T)) {
        self.0.update(change);
    }

    /// Says that the caller depends on this cell, without reading it.
    pub fn track(&self) {
        if Observer::get().is_some() {
            self.0.track();
        }
    }
}

impl<T> Clone for Value<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Default + Send + Sync + 'static> Default for Value<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: fmt::Debug + Send + Sync + 'static> fmt::Debug for Value<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .with_untracked(|value| formatter.debug_tuple("Value").field(value).finish())
    }
}

impl<T: Send + Sync + 'static> From<T> for Value<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: Send + Sync + 'static> Computed<T> {
    /// State computed by `compute` from the values it reads. Readers are told only if the result differs.
    #[must_use]
    pub fn new(compute: impl Fn() -> T + Send + Sync + 'static) -> Self
    where
        T: PartialEq,
    {
        Self(ArcMemo::new(move |_| compute()))
    }

    /// A copy of the result. Tracked as [`Value::get`].
    #[must_use]
    pub fn get(&self) -> T
    where
        T: Clone,
    {
        self.with(T::clone)
    }

    /// Looks at the result without copying it. Tracked as [`Value::get`].
    pub fn with<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        if Observer::get().is_some() {
            self.0.with(look)
        } else {
            look(&self.0.read_untracked())
        }
    }
}

impl<T: Send + Sync + 'static> Clone for Computed<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: fmt::Debug + Send + Sync + 'static> fmt::Debug for Computed<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("Computed")
            .field(&*self.0.read_untracked())
            .finish()
    }
}

/// Runs a piece of code without tracking what it reads.
pub fn untracked<R>(run: impl FnOnce() -> R) -> R {
    untrack(run)
}

/// The same for code that is seldom watched by anything: then there is nothing to put aside and to bring back.
#[inline]
pub(crate) fn unobserved<R>(run: impl FnOnce() -> R) -> R {
    // Reading without an observer is on purpose here, of which the reactive library warns in debug builds.
    let _zone = cfg!(debug_assertions).then(SpecialNonReactiveZone::enter);
    if Observer::get().is_some() { untrack(run) } else { run() }
}

/// Runs code when the node, watch or view whose code runs now ends. Outside of them it does nothing.
pub fn on_cleanup(run: impl FnOnce() + Send + Sync + 'static) {
    Owner::on_cleanup(run);
}

/// A piece of code that runs at once and again after anything it read has changed; ends when dropped.
pub struct Watch(#[allow(dead_code, reason = "held, never read")] RenderEffect<()>);

impl Watch {
    /// Starts watching. Inside a node use `node_watch`, which ends with the node.
    pub fn new(mut run: impl FnMut() + 'static) -> Self {
        Self(RenderEffect::new(move |_| run()))
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Watch")
    }
}

/// One named piece of a node's state, as inspectors and session stores see it.
pub trait StateCell {
    /// What the cell holds, as JSON; tracked as [`Value::get`].
    ///
    /// # Errors
    /// If the type cannot be serialised.
    fn read_json(&self) -> Result<String>;

    /// Puts a value in.
    ///
    /// # Errors
    /// If the text is no JSON of the cell's type, or the cell is computed.
    fn write_json(&self, json: &str) -> Result<()>;

    /// Says that the caller depends on the cell, without reading it.
    fn track(&self);

    /// What the cell holds as the argument of an event or the answer of a call: `[epoch, version, [value]]`.
    ///
    /// # Errors
    /// If the type cannot be serialised.
    fn encode_update(&self, codec: CodecId, epoch: &str, version: u64) -> Result<Payload>;
}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> StateCell for Value<T> {
    fn read_json(&self) -> Result<String> {
        self.with(to_json)
    }

    fn write_json(&self, json: &str) -> Result<()> {
        self.set(from_json(json)?);
        Ok(())
    }

    fn track(&self) {
        self.track();
    }

    fn encode_update(&self, codec: CodecId, epoch: &str, version: u64) -> Result<Payload> {
        self.with(|value| Payload::encode(codec, &((epoch, version, [value]),)))
    }
}

impl<T: Serialize + Send + Sync + 'static> StateCell for Computed<T> {
    fn read_json(&self) -> Result<String> {
        self.with(to_json)
    }

    fn write_json(&self, _json: &str) -> Result<()> {
        Err(Error::new(
            ErrorKind::Refused,
            "This state is computed, and cannot be set.",
        ))
    }

    fn track(&self) {
        self.with(|_| ());
    }

    fn encode_update(&self, codec: CodecId, epoch: &str, version: u64) -> Result<Payload> {
        self.with(|value| Payload::encode(codec, &((epoch, version, [value]),)))
    }
}

/// The JSON writer and reader are compiled for [`Dynamic`] only, not for every type that is some node's state.
fn to_json<T: Serialize>(value: &T) -> Result<String> {
    let json = Dynamic::of(value).and_then(|value| serde_json::to_string(&value).map_err(|error| error.to_string()));
    json.map_err(|text| Error::new(ErrorKind::Internal, text))
}

fn from_json<T: DeserializeOwned>(json: &str) -> Result<T> {
    let value = serde_json::from_str::<Dynamic>(json).map_err(|error| error.to_string());
    let value = value.and_then(Dynamic::read);
    value.map_err(|text| Error::new(ErrorKind::InvalidArgument, text))
}

/// A named cell of a node.
#[derive(Clone)]
pub struct StateEntry {
    /// Name of the field.
    pub name: &'static str,
    /// The cell; `None` if its type does not serialise.
    pub cell: Option<Rc<dyn StateCell>>,
    /// Whether other nodes may show it.
    pub mirrored: bool,
    /// Marked `#[secret]`: inspectors name it and show nothing of it.
    pub is_secret: bool,
}

impl fmt::Debug for StateEntry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("StateEntry")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Lets generated code find out whether a field's type can be a [`StateCell`].
#[doc(hidden)]
pub mod probe {
    use super::{Rc, StateCell};

    #[derive(Debug)]
    pub struct Probe<'a, T>(pub &'a T);

    pub trait Serialises {
        fn cell(&self) -> Option<Rc<dyn StateCell>>;
    }

    impl<T: StateCell + Clone + 'static> Serialises for Probe<'_, T> {
        fn cell(&self) -> Option<Rc<dyn StateCell>> {
            Some(Rc::new(self.0.clone()))
        }
    }

    pub trait Opaque {
        fn cell(&self) -> Option<Rc<dyn StateCell>>;
    }

    impl<T> Opaque for &Probe<'_, T> {
        fn cell(&self) -> Option<Rc<dyn StateCell>> {
            None
        }
    }
}

thread_local! {
    // The reactive library wants one executor per thread, for good; trees, and in tests whole simulations, come and go.
    static PLATFORM: RefCell<Option<PlatformRef>> = const { RefCell::new(None) };
}

struct PlatformExecutor;

impl PlatformExecutor {
    fn start(future: PinnedLocalFuture<()>) {
        let platform = PLATFORM.with_borrow(Clone::clone);
        if let Some(platform) = platform {
            platform.spawn_local(future);
        }
    }
}

impl CustomExecutor for PlatformExecutor {
    fn spawn(&self, future: PinnedFuture<()>) {
        Self::start(future);
    }

    fn spawn_local(&self, future: PinnedLocalFuture<()>) {
        Self::start(future);
    }

    fn poll_local(&self) {}
}

/// Makes effects on this thread run on `platform` from now on.
pub(crate) fn init_executor(platform: &PlatformRef) {
    let old = PLATFORM.replace(Some(platform.clone()));
    drop(old);
    // An error says that the thread, or the process, has one already: both are fine.
    drop(Executor::init_local_custom_executor(PlatformExecutor));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_computed_value_follows_what_it_read() {
        let value = Value::new(2);
        let doubled = Computed::new({
            let value = value.clone();
            move || value.get() * 2
        });
        assert_eq!(doubled.get(), 4);
        value.set(5);
        assert_eq!(doubled.get(), 10);
    }

    #[test]
    fn state_is_read_and_written_by_name_as_json() {
        let value = Value::new(vec![1]);
        let cell = {
            use probe::Serialises as _;
            probe::Probe(&value).cell()
        };
        let cell = cell.expect("a vector serialises");
        cell.write_json("[1,2]").expect("of the type");
        assert_eq!(value.get(), [1, 2]);
        assert_eq!(cell.read_json().expect("serialises"), "[1,2]");
        assert_eq!(
            cell.write_json("{}").map_err(|error| error.kind),
            Err(ErrorKind::InvalidArgument)
        );
    }
}
