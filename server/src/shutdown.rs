//! The orderly end, as one story.

use std::{sync::atomic::Ordering, time::Instant};

use tokio::signal::unix::{SignalKind, signal};

use crate::{
    error::{Error, ErrorKind, Result},
    server::Running,
};

/// Completes at the first SIGTERM or Ctrl-C.
///
/// # Errors
/// [`ErrorKind::Io`] when the system does not let signals be watched.
pub async fn requested() -> Result<()> {
    let watch =
        |kind| signal(kind).map_err(|error| Error::new(ErrorKind::Io, "Cannot watch for signals").because(error));
    let (mut terminate, mut interrupt) = (watch(SignalKind::terminate())?, watch(SignalKind::interrupt())?);
    let name = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "Ctrl-C",
    };
    tracing::info!(signal = name, "stopping");
    Ok(())
}

/// Ends a server:
///
/// 1. `/readyz` says no, so that nobody sends more work here.
/// 2. The listener closes; requests at hand finish.
/// 3. Components are told to end, so that they can leave in order.
/// 4. Everybody in the realm gets GOODBYE `wamp.close.system_shutdown`: browsers know that it is worth coming back, trees
///    finish what they write.
/// 5. Sockets and session trees end.
/// 6. What is left after the time of the configuration is dropped.
pub(crate) async fn end(running: Running) {
    let deadline = Instant::now() + running.app.config.shutdown_within;
    running.app.serving.store(false, Ordering::Release);
    running.stop.cancel();
    running.app.tasks.close();
    if tokio::time::timeout_at(deadline.into(), running.components.stop())
        .await
        .is_err()
    {
        tracing::warn!("components were left behind");
    }
    if tokio::time::timeout_at(deadline.into(), running.app.realms.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("sessions were cut");
    }
    if tokio::time::timeout_at(deadline.into(), running.app.tasks.wait())
        .await
        .is_err()
    {
        tracing::warn!(left = running.app.tasks.len(), "connections were cut");
    }
    let left = running.trees.clone();
    let within = deadline.saturating_duration_since(Instant::now());
    match tokio::task::spawn_blocking(move || left.stop(within)).await {
        Ok(0) => {}
        Ok(threads) => tracing::warn!(threads, "session trees were cut"),
        Err(error) => tracing::error!(%error, "the session trees could not be ended"),
    }
    tracing::info!("stopped");
}
