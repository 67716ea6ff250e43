//! The only door to the target: spawning, time and randomness, handed in and never global.

use std::{rc::Rc, time::Duration};

use futures::future::LocalBoxFuture;

#[cfg(target_arch = "wasm32")]
mod browser;
#[cfg(not(target_arch = "wasm32"))]
mod native;

#[cfg(target_arch = "wasm32")]
pub(crate) use browser::PREFERS_SIZE;
#[cfg(target_arch = "wasm32")]
pub use browser::{BrowserPlatform as DefaultPlatform, run_local};
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use native::PREFERS_SIZE;
#[cfg(not(target_arch = "wasm32"))]
pub use native::{NativePlatform as DefaultPlatform, run_local};

/// What a tree of nodes needs from the machine it runs on.
///
/// A tree lives on one thread, so nothing here is `Send`. Tests pass their own implementation to have virtual time and
/// replayable randomness.
pub trait Platform: 'static {
    /// Runs a future on this thread, beside the caller.
    fn spawn_local(&self, future: LocalBoxFuture<'static, ()>);

    /// Completes after `duration`.
    fn sleep(&self, duration: Duration) -> LocalBoxFuture<'static, ()>;

    /// Monotonic time since an arbitrary origin.
    fn now(&self) -> Duration;

    /// Fills `buffer` with random bytes fit for secrets.
    fn random(&self, buffer: &mut [u8]);
}

/// A platform shared by all nodes of a tree.
pub type PlatformRef = Rc<dyn Platform>;

/// The platform of the target this was compiled for.
#[must_use]
pub fn default_platform() -> PlatformRef {
    Rc::new(DefaultPlatform::default())
}

/// A random number from 1 to 2^53 - 1, fit for WAMP's global scope ids.
pub fn random_id(platform: &dyn Platform) -> u64 {
    let mut bytes = [0; 8];
    platform.random(&mut bytes);
    (u64::from_le_bytes(bytes) >> 11).max(1)
}

/// `length` random bytes as lower-case hexadecimal text.
pub fn random_hex(platform: &dyn Platform, length: usize) -> String {
    let mut bytes = vec![0; length];
    platform.random(&mut bytes);
    bytes.iter().fold(String::new(), |mut text, byte| {
        text.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
        text.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
        text
    })
}

/// Lets every other task that is ready run once.
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}
