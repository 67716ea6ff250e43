//! The row elements: a fixed number of them, each showing another row as the grid scrolls.

use std::time::Duration;

use leptos::prelude::*;

use super::{
    columns::{Column, display},
    model::{GridModel, Slot},
};

/// How long a changed row stays marked; the style sheet fades it in the same time.
const FRESH: Duration = Duration::from_millis(1_600);

/// Id of the element that shows a column of the row in element number `place`.
pub(super) fn cell_id(grid: &str, place: usize, column: usize) -> String {
    format!("{grid}-{place}-{column}")
}

/// All row elements of a grid.
pub(super) fn rows(model: &GridModel, grid: &str) -> AnyView {
    let slots = StoredValue::new(model.slots.clone());
    let (elements, grid) = (model.elements, StoredValue::new(grid.to_owned()));
    let columns = model.columns.get_untracked();
    let row = move |place: usize| match slots.with_value(|slots| slots.get(place).copied()) {
        Some(slot) => grid.with_value(|grid| row_element(slot, place, grid, &columns)),
        None => ().into_any(),
    };
    view! { <For each=move || 0..elements.get() key=|place| *place children=row /> }.into_any()
}

fn row_element(slot: RwSignal<Slot>, place: usize, grid: &str, columns: &[Column]) -> AnyView {
    let fresh = Memo::new(move |_| slot.with(|slot| slot.fresh));
    Effect::new(move |_| {
        if fresh.get() {
            set_timeout(
                move || {
                    slot.try_update(|slot| slot.fresh = false);
                },
                FRESH,
            );
        }
    });
    let cells: Vec<_> = columns
        .iter()
        .enumerate()
        .map(|(number, column)| cell(slot, place, grid, number, *column))
        .collect();
    view! {
        <div
            class="grid-row grid-line"
            role="row"
            data-testid="grid-row"
            hidden=move || slot.with(|slot| slot.index.is_none())
            style:transform=move || slot.with(|slot| format!("translateY({}px)", slot.top))
            aria-rowindex=move || slot.with(|slot| slot.index.map(|index| index + 2))
            aria-selected=move || slot.with(|slot| if slot.selected { "true" } else { "false" })
            aria-busy=move || slot.with(|slot| slot.row.is_none().then_some("true"))
            data-loading=move || slot.with(|slot| slot.row.is_none().then_some("true"))
            data-current=move || slot.with(|slot| slot.focused.is_some().then_some("true"))
            data-fresh=move || fresh.get().then_some("true")
            data-index=move || slot.with(|slot| slot.index)
            data-key=move || slot.with(|slot| slot.row.as_ref().map(|row| row.key.to_string()))
        >
            {cells}
        </div>
    }
    .into_any()
}

fn cell(slot: RwSignal<Slot>, place: usize, grid: &str, number: usize, column: Column) -> impl IntoView + use<> {
    let text = move || {
        slot.with(|slot| {
            let cell = slot.row.as_ref().and_then(|row| row.cells.get(column.cell));
            cell.map(|cell| display(column.field, cell)).unwrap_or_default()
        })
    };
    view! {
        <div
            class=if column.is_number() { "grid-cell grid-number" } else { "grid-cell" }
            role="gridcell"
            id=cell_id(grid, place, number)
            aria-colindex=number + 1
            data-testid="grid-cell"
            data-field=column.field.name
            data-focused=move || slot.with(|slot| (slot.focused == Some(number)).then_some("true"))
        >
            {text}
        </div>
    }
}
