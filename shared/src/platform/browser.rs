//! The platform of a browser's main thread or of a worker.

use std::time::Duration;

use futures::{FutureExt, future::LocalBoxFuture};
use wasm_bindgen::{JsCast, JsValue, prelude::Closure};

use super::Platform;

/// Every byte of code travels to each user, and the calls of one person are few.
pub(crate) const PREFERS_SIZE: bool = true;

/// Starts a future; a browser's thread cannot wait for it.
pub fn run_local<F: Future<Output = ()> + 'static>(future: F) {
    wasm_bindgen_futures::spawn_local(future);
}

/// Promises, `setTimeout` and `performance.now()`.
#[derive(Debug, Default)]
pub struct BrowserPlatform {}

impl Platform for BrowserPlatform {
    fn spawn_local(&self, future: LocalBoxFuture<'static, ()>) {
        wasm_bindgen_futures::spawn_local(future);
    }

    fn sleep(&self, duration: Duration) -> LocalBoxFuture<'static, ()> {
        let millis = duration.as_millis().min(i32::MAX as u128) as i32;
        let promise = js_sys::Promise::new(&mut |resolve, _reject| {
            let wake = Closure::once_into_js(move || {
                let _ = resolve.call0(&JsValue::UNDEFINED);
            });
            let timeout = js_sys::Reflect::get(&js_sys::global(), &"setTimeout".into());
            if let Some(timeout) = timeout.ok().and_then(|value| value.dyn_into::<js_sys::Function>().ok()) {
                let _ = timeout.call2(&JsValue::UNDEFINED, &wake, &millis.into());
            }
        });
        wasm_bindgen_futures::JsFuture::from(promise).map(drop).boxed_local()
    }

    fn now(&self) -> Duration {
        let millis = js_sys::Reflect::get(&js_sys::global(), &"performance".into())
            .ok()
            .and_then(|value| value.dyn_into::<web_sys::Performance>().ok())
            .map_or(0.0, |performance| performance.now());
        Duration::from_secs_f64(millis / 1000.0)
    }

    fn random(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).expect("the browser provides randomness");
    }
}
