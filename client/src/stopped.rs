//! The page that appears when the program itself failed: says so, offers to reload, and tells the server.

use std::panic::PanicHookInfo;

use leptos::prelude::{document, window};
use wasm_bindgen::{JsCast, JsValue, closure::Closure};

/// Where reports go, as plain text.
const REPORT: &str = "/report";
/// Longest report, in characters.
const LONGEST: usize = 2_000;

/// Makes a panic visible. After one, no code of the program runs any more, so nothing of it is used here.
pub fn watch() {
    std::panic::set_hook(Box::new(stopped));
}

fn stopped(info: &PanicHookInfo<'_>) {
    let place = info
        .location()
        .map(|location| format!("{}:{}", location.file(), location.line()))
        .unwrap_or_default();
    let text = info.payload_as_str().unwrap_or("no message");
    let report: String = format!("panic at {place}: {text}").chars().take(LONGEST).collect();
    web_sys::console::error_1(&JsValue::from_str(&report));
    // The page may be in any state: each step is tried, none is needed for the others.
    let _ = window().navigator().send_beacon_with_opt_str(REPORT, Some(&report));
    let _ = show();
}

fn show() -> Result<(), JsValue> {
    let document = document();
    if document.get_element_by_id("stopped").is_some() {
        return Ok(());
    }
    let element = |name: &str, class: &str, text: &str| -> Result<web_sys::Element, JsValue> {
        let element = document.create_element(name)?;
        element.set_class_name(class);
        element.set_text_content(Some(text));
        Ok(element)
    };
    let over = element("div", "blocker blocker-over", "")?;
    let card = element("div", "card", "")?;
    let stack = element("div", "stack", "")?;
    let button = element("button", "button button-primary", "Reload")?;
    over.set_id("stopped");
    for (name, value) in [
        ("role", "alertdialog"),
        ("aria-label", "This page has stopped"),
        ("data-testid", "stopped"),
    ] {
        card.set_attribute(name, value)?;
    }
    button.set_attribute("data-testid", "reload")?;
    let reload = Closure::<dyn FnMut()>::new(|| drop(window().location().reload()));
    button.add_event_listener_with_callback("click", reload.as_ref().unchecked_ref())?;
    // The page lives until it is loaded again, and so must what its button does.
    let _kept: JsValue = reload.into_js_value();
    card.append_child(&*element("h1", "", "This page has stopped")?)?;
    stack.append_child(&*element(
        "p",
        "",
        "Something went wrong in the program. What was saved is safe. Reload the page to go on.",
    )?)?;
    stack.append_child(&button)?;
    card.append_child(&stack)?;
    over.append_child(&card)?;
    document.body().ok_or(JsValue::NULL)?.append_child(&over)?;
    drop(button.unchecked_into::<web_sys::HtmlElement>().focus());
    Ok(())
}
