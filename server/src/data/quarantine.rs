//! Keeps one broken window from holding up the feed of all others.

use std::{collections::BTreeMap, sync::Arc};

use shared::{
    data::{Frame, Range, RowKey},
    error::Result,
};

use super::{
    hub::{HubInner, key_from_text},
    reader::{KEYS_PER_STATEMENT, Reader},
    registry::Slot,
};

/// Ends the windows whose statements the database refuses although it answers others.
///
/// Limits on queries keep this from happening; a rule that a source adds, or a database with other limits, may not.
/// Clients of an ended window see a gap in the versions, resume, and are told that it is closed.
///
/// # Errors
/// What the database says if it answers nothing at all: then no window is to blame.
pub(super) async fn end_broken_windows(hub: &HubInner) -> Result<()> {
    let mut groups: BTreeMap<String, Vec<Arc<Slot>>> = BTreeMap::new();
    for slot in hub.loaded() {
        groups.entry(slot.group.clone()).or_default().push(slot);
    }
    for slots in groups.values() {
        let Some(first) = slots.first() else { continue };
        let Err(error) = probe(hub, first).await else { continue };
        hub.db.ping().await?;
        tracing::error!(%error, source = first.source.name(), windows = slots.len(), "windows that cannot be read were ended");
        for slot in slots {
            end(hub, slot).await;
        }
    }
    Ok(())
}

/// Runs each kind of statement that a step runs for a group.
async fn probe(hub: &HubInner, slot: &Slot) -> Result<()> {
    let source = slot.source.as_ref();
    // As many keys as a statement ever has: what fits then fits always.
    let key =
        |number: usize| key_from_text(source, &number.to_string()).unwrap_or_else(|| RowKey::Text(number.to_string()));
    let keys: Vec<_> = (0..KEYS_PER_STATEMENT).map(key).collect();
    let mut transaction = hub.db.read().await?;
    let mut reader = Reader::new(&mut transaction, source);
    reader.rows(&keys, &[&slot.scope]).await?;
    reader.count(&slot.scope).await?;
    reader.keys(&slot.scope, &slot.sorters, Range::new(0, 1)).await?;
    Ok(())
}

async fn end(hub: &HubInner, slot: &Slot) {
    hub.registry().remove(&slot.id);
    let state = slot.window.lock().await.as_ref().map(super::window::Window::snapshot);
    if let Some(state) = state {
        let gap = Frame {
            version: state.version + 2,
            position: state.position,
            total: state.total,
            order: None,
            rows: Vec::new(),
        };
        hub.publisher.publish(&slot.topic, &gap);
    }
}
