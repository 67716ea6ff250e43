//! One living page for a session root: a duplicated tab begins a session of its own.
//!
//! A browser copies a tab's storage with the tab, and with it the secret of the root. The two pages would take the root
//! from each other for ever; a lock with the root's name, held for as long as a page lives, tells which one has it.

use futures::channel::oneshot;
use js_sys::{Function, Object, Promise, Reflect};
use leptos::prelude::window;
use wasm_bindgen::{JsCast, JsValue, prelude::Closure};

/// Whether no other page holds this root. If so, this page holds it from now on. True where the browser has no locks.
pub async fn claim(base: &str) -> bool {
    let (tell, told) = oneshot::channel();
    let answer = Closure::once_into_js(move |lock: JsValue| -> JsValue {
        let free = !lock.is_null();
        let _ = tell.send(free);
        // The lock is held until this promise settles, which it never does.
        if free {
            Promise::new(&mut |_, _| {}).into()
        } else {
            JsValue::UNDEFINED
        }
    });
    match request(&format!("coati:{base}"), &answer) {
        Some(()) => told.await.unwrap_or(true),
        None => true,
    }
}

fn request(name: &str, answer: &JsValue) -> Option<()> {
    let locks = Reflect::get(&window().navigator(), &"locks".into()).ok()?;
    let request: Function = Reflect::get(&locks, &"request".into()).ok()?.dyn_into().ok()?;
    let options = Object::new();
    Reflect::set(&options, &"ifAvailable".into(), &JsValue::TRUE).ok()?;
    request.call3(&locks, &name.into(), &options, answer).ok().map(drop)
}
