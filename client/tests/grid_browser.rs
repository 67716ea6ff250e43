//! The grid in a real browser: a million rows, few elements, exact ends, order and form.
#![cfg(target_arch = "wasm32")]

use std::{rc::Rc, time::Duration};

use coati_client::{
    browse::{Browse, BrowseModel, BrowseProps, BrowseSetup},
    grid::{Hold, Later, RowSource},
    parts::{Dialogs, Toasts},
};
use leptos::prelude::*;
use shared::{
    data::{
        ChangeSet, EditOutcome, Field, Frame, LookupItem, Query, Range, Resume, Rights, Row, RowKey, Snapshot,
        WindowId, WindowTicket,
    },
    error::{Error, ErrorKind, Result},
    platform::default_platform,
};
use wasm_bindgen::JsCast;
use wasm_bindgen_test::wasm_bindgen_test;
use web_sys::{Element, HtmlElement, HtmlInputElement};

wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);

const ROWS: u64 = 1_000_000;
const FIELDS: &[Field] = &[
    Field::integer("id", "Number").read_only(),
    Field::integer_within("severity", "Severity", 1, 5),
];

/// A million rows that nobody stores.
struct Million;

fn now<T: 'static>(answer: Result<T>) -> Later<T> {
    Box::pin(std::future::ready(answer))
}

fn unused<T: 'static>() -> Later<T> {
    now(Err(Error::new(ErrorKind::NotFound, "Not in this test.")))
}

impl RowSource for Million {
    fn prepare(&self, query: Query, range: Range) -> Later<WindowTicket> {
        let order = if query.sorters.first().is_some_and(|sorter| sorter.descending) {
            "down"
        } else {
            "up"
        };
        let name = format!("{order}-{}-{}", range.start, range.length);
        now(Ok(WindowTicket {
            window: WindowId(name.clone()),
            topic: name,
        }))
    }
    fn subscribe(&self, _: String, _: Rc<dyn Fn(Option<Frame>)>) -> Later<Hold> {
        now(Ok(Box::new(())))
    }
    fn open(&self, window: WindowId) -> Later<Snapshot> {
        let mut parts = window.0.split('-');
        let down = parts.next() == Some("down");
        let mut number = || parts.next().and_then(|text| text.parse().ok()).unwrap_or(0_u64);
        let (start, length) = (number(), number());
        let rows = (start..(start + length).min(ROWS)).map(|place| {
            let id = (if down { ROWS - place } else { place + 1 }) as i64;
            Row::new(id.into(), vec![id.into(), (id % 5 + 1).into()])
        });
        let (rows, range) = (rows.collect(), Range::new(start, length as u32));
        now(Ok(Snapshot {
            topic: window.0.clone(),
            window,
            version: 1,
            position: 0,
            total: ROWS,
            range,
            rows,
        }))
    }
    fn resume(&self, _: WindowId, _: u64) -> Later<Resume> {
        unused()
    }
    fn close(&self, _: WindowId) -> Later<()> {
        now(Ok(()))
    }
    fn position(&self, _: Query, _: RowKey) -> Later<Option<u64>> {
        unused()
    }
    fn save(&self, _: ChangeSet) -> Later<EditOutcome> {
        unused()
    }
    fn lookup(&self, _: String, _: String) -> Later<Vec<LookupItem>> {
        unused()
    }
}

/// The screen in a box of 1,000 by 640 pixels. The test kit's page has no style sheet of ours: geometry must do.
fn screen() -> HtmlElement {
    let place: HtmlElement = document().create_element("div").expect("an element").unchecked_into();
    document()
        .body()
        .expect("a body")
        .append_child(&place)
        .expect("appended");
    let style = document().create_element("style").expect("an element");
    style.set_text_content(Some(
        ".grid-scroll { block-size: 640px; overflow: auto; } .grid-canvas { position: relative; } \
         .grid-row { position: absolute; inset-block-start: 0; block-size: 32px; } .grid-head { position: sticky; top: 0; }",
    ));
    place.append_child(&style).expect("appended");
    let model = BrowseModel::new(BrowseSetup {
        title: "Assessments".to_owned(),
        noun: "Assessment".to_owned(),
        fields: FIELDS,
        source: Rc::new(Million),
        platform: default_platform(),
        sorters: Vec::new(),
        allowed: Rights::ALL,
    });
    let (dialogs, toasts) = (Dialogs::default(), Toasts::default());
    leptos::mount::mount_to(place.clone(), move || Browse(BrowseProps { model, dialogs, toasts })).forget();
    place
}

async fn rest() {
    default_platform().sleep(Duration::from_millis(250)).await;
}

fn part(place: &HtmlElement, selector: &str) -> HtmlElement {
    let found: Option<Element> = place.query_selector(selector).expect("a selector");
    found.unwrap_or_else(|| panic!("no {selector}")).unchecked_into()
}

fn keys(place: &HtmlElement) -> Vec<i64> {
    let rows = place
        .query_selector_all("[data-testid=grid-row][data-key]")
        .expect("a selector");
    let key = |row: web_sys::Node| row.unchecked_into::<Element>().get_attribute("data-key")?.parse().ok();
    let mut keys: Vec<i64> = (0..rows.length()).filter_map(|place| key(rows.item(place)?)).collect();
    keys.sort_unstable();
    keys
}

#[wasm_bindgen_test]
async fn a_million_rows_take_few_elements_and_both_ends_are_there() {
    let place = screen();
    rest().await;
    assert_eq!(keys(&place).first(), Some(&1));
    let grid = part(&place, "[data-testid=grid]");
    assert_eq!(grid.get_attribute("aria-rowcount").as_deref(), Some("1000001"));
    grid.set_scroll_top(grid.scroll_height());
    rest().await;
    let shown = keys(&place);
    assert_eq!(shown.last(), Some(&1_000_000));
    assert!(
        shown.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "no row is missing between the others"
    );
    let elements = place
        .query_selector_all("[data-testid=grid-row]")
        .expect("a selector")
        .length();
    assert!(elements <= 200, "{elements} row elements");
    grid.set_scroll_top(0);
    rest().await;
    assert_eq!(keys(&place).first(), Some(&1));
    place.remove();
}

#[wasm_bindgen_test]
async fn a_heading_sorts_and_says_so() {
    let place = screen();
    rest().await;
    let heading = part(&place, "[data-testid=sort-id]");
    heading.click();
    heading.click();
    rest().await;
    assert_eq!(
        part(&place, "[data-testid=grid-row][data-index='0']")
            .get_attribute("data-key")
            .as_deref(),
        Some("1000000")
    );
    assert!(
        place
            .query_selector("[aria-sort=descending]")
            .expect("a selector")
            .is_some()
    );
    place.remove();
}

#[wasm_bindgen_test]
async fn a_field_out_of_bounds_is_refused_with_a_sentence_at_the_field() {
    let place = screen();
    rest().await;
    part(&place, "[data-testid=new]").click();
    rest().await;
    let severity: HtmlInputElement = part(&place, "[data-testid=field-severity]").unchecked_into();
    severity.set_value("9");
    let typed = web_sys::InputEvent::new("input").expect("an event");
    severity.dispatch_event(&typed).expect("dispatched");
    part(&place, "[data-testid=save]").click();
    rest().await;
    assert_eq!(
        part(&place, "[data-testid=error-severity]").inner_text(),
        "Severity must be between 1 and 5."
    );
    let described = severity.get_attribute("aria-describedby").unwrap_or_default();
    let error = part(&place, "[data-testid=error-severity]").id();
    assert!(described.split(' ').any(|id| id == error), "the input names its error");
    assert_eq!(severity.get_attribute("aria-invalid").as_deref(), Some("true"));
    place.remove();
}
