//! The browser's entry: takes over the page with Safety's views.

use client::{StartOptions, Timing, Views};
use shared::{data::Entity, intent::Intent};
use wasm_bindgen::prelude::wasm_bindgen;

use crate::{
    assessments::{self, entity::Assessment},
    diagnostics,
};

/// Runs when the page has loaded the WASM.
#[wasm_bindgen(start)]
pub fn start() {
    let mut home = vec![Intent::view(Assessment::NAME)];
    if asks_for_diagnostics() {
        home.push(Intent::view("diagnostics"));
    }
    client::start(StartOptions {
        title: "Safety",
        contracts: crate::contracts(),
        views: Views::new()
            .with("assessments", |_offer| assessments::view::page())
            .with("diagnostics", |_offer| diagnostics::page()),
        home,
        timing: Timing::default(),
    });
}

/// Whether the address ends in `#diagnostics`; the server decides whether there is such a page.
fn asks_for_diagnostics() -> bool {
    leptos::prelude::window()
        .location()
        .hash()
        .is_ok_and(|fragment| fragment == "#diagnostics")
}
