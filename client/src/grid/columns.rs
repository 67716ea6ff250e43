//! Columns of the grid: which fields, how wide, how a value reads, what a click on a heading sorts by; no browser types.

use shared::data::{Cell, Field, FieldKind, Sorter, visible};

/// The narrowest column, in CSS pixels.
pub const NARROWEST: f64 = 48.0;
/// The widest column that a user can drag, in CSS pixels.
pub const WIDEST: f64 = 1_200.0;

/// One column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Column {
    /// The field it shows.
    pub field: &'static Field,
    /// Where the field's value stands in a row's cells.
    pub cell: usize,
    /// Least width in CSS pixels.
    pub width: f64,
    /// Its part of the room that is left over; 0 for columns of fixed width.
    pub stretch: u32,
}

impl Column {
    /// Whether values line up at the end, as numbers do.
    #[must_use]
    pub fn is_number(&self) -> bool {
        matches!(self.field.kind, FieldKind::Integer { .. } | FieldKind::Real)
    }
}

/// The columns of an entity: all fields that rows carry, without the keys of lookups, whose text is a field of its own.
/// The first text of the entity's own is what a row is recognised by, and gets most of the room.
#[must_use]
pub fn columns(fields: &'static [Field]) -> Vec<Column> {
    let texts = |field: &Field| match field.kind {
        FieldKind::Lookup { text, .. } => Some(text),
        FieldKind::Integer { .. }
        | FieldKind::Text { .. }
        | FieldKind::Date
        | FieldKind::Real
        | FieldKind::Boolean
        | FieldKind::Choice(_) => None,
    };
    let looked_up: Vec<&str> = fields.iter().filter_map(texts).collect();
    let own_text = |field: &&Field| matches!(field.kind, FieldKind::Text { .. }) && !looked_up.contains(&field.name);
    let title = visible(fields).find(own_text).map(|field| field.name);
    let shown = visible(fields).enumerate().filter(|(_, field)| texts(field).is_none());
    let column = |(cell, field): (usize, &'static Field)| {
        let (least, stretch) = if Some(field.name) == title {
            (260.0, 4)
        } else if looked_up.contains(&field.name) {
            (140.0, 1)
        } else {
            measure(field)
        };
        // About 7 px a character of a heading, and the room for padding and the sign of the sort order.
        let heading = field.label.chars().count() as f64 * 7.0 + 38.0;
        Column {
            field,
            cell,
            width: f64::max(least, heading),
            stretch,
        }
    };
    shown.map(column).collect()
}

/// Least width and stretch of a column by the kind of its field.
fn measure(field: &Field) -> (f64, u32) {
    match field.kind {
        FieldKind::Integer { .. } | FieldKind::Boolean => (84.0, 0),
        FieldKind::Real => (96.0, 0),
        FieldKind::Date => (112.0, 0),
        FieldKind::Choice(_) => (112.0, 0),
        FieldKind::Text { multiline: true, .. } => (220.0, 2),
        FieldKind::Text { .. } | FieldKind::Lookup { .. } => (130.0, 1),
    }
}

/// The value of `grid-template-columns`, and the least width of a line in CSS pixels.
#[must_use]
pub fn template(columns: &[Column]) -> (String, f64) {
    let mut tracks = String::new();
    let mut least = 0.0;
    for column in columns {
        if !tracks.is_empty() {
            tracks.push(' ');
        }
        tracks.push_str(&match column.stretch {
            0 => format!("{}px", column.width),
            stretch => format!("minmax({}px, {stretch}fr)", column.width),
        });
        least += column.width;
    }
    (tracks, least)
}

/// How a value of the field reads in a cell.
#[must_use]
pub fn display(field: &Field, cell: &Cell) -> String {
    match (field.kind, cell) {
        (FieldKind::Choice(choices), Cell::Text(value)) => choices
            .iter()
            .find(|choice| choice.value == value)
            .map_or(value.as_str(), |choice| choice.label)
            .to_owned(),
        (_, Cell::Boolean(true)) => "Yes".to_owned(),
        (_, Cell::Boolean(false)) => "No".to_owned(),
        (_, Cell::Text(text)) if text.contains('\n') => text.replace('\n', " "),
        (_, cell) => cell.to_string(),
    }
}

/// The order after a click on a heading: ascending, descending, none. With `additive` the other terms stay.
#[must_use]
pub fn toggled(sorters: &[Sorter], field: &str, additive: bool) -> Vec<Sorter> {
    let next = match sorters.iter().find(|sorter| sorter.field == field) {
        None => Some(Sorter::ascending(field)),
        Some(sorter) if !sorter.descending => Some(Sorter::descending(field)),
        Some(_) => None,
    };
    if !additive {
        return next.into_iter().collect();
    }
    let mut all = sorters.to_vec();
    match (all.iter().position(|sorter| sorter.field == field), next) {
        (Some(place), Some(next)) => all[place] = next,
        (Some(place), None) => drop(all.remove(place)),
        (None, Some(next)) => all.push(next),
        (None, None) => {}
    }
    all
}

/// A field's place among the sorters from 1, and whether it is descending.
#[must_use]
pub fn order_of(sorters: &[Sorter], field: &str) -> Option<(usize, bool)> {
    let place = sorters.iter().position(|sorter| sorter.field == field)?;
    Some((place + 1, sorters[place].descending))
}

/// Tab-separated lines for the clipboard.
#[must_use]
pub fn as_text<'a>(columns: &[Column], rows: impl Iterator<Item = &'a shared::data::Row>) -> String {
    let line = |cells: Vec<String>| {
        cells
            .iter()
            .map(|cell| cell.replace(['\t', '\n', '\r'], " "))
            .collect::<Vec<_>>()
            .join("\t")
    };
    let mut lines = vec![line(
        columns.iter().map(|column| column.field.label.to_owned()).collect(),
    )];
    lines.extend(rows.map(|row| {
        let cells = columns
            .iter()
            .map(|column| row.cells.get(column.cell).map(|cell| display(column.field, cell)));
        line(cells.map(Option::unwrap_or_default).collect())
    }));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use shared::data::{Choice, Row};

    use super::*;

    const FIELDS: &[Field] = &[
        Field::integer("id", "Number").read_only(),
        Field::text("secret", "Secret", 10).hidden(),
        Field::lookup("site", "Site", "sites", "site_name"),
        Field::text("site_name", "Site", 80).read_only(),
        Field::choice(
            "status",
            "Status",
            &[Choice {
                value: "open",
                label: "Open",
            }],
        ),
    ];

    #[test]
    fn columns_skip_hidden_fields_and_keys_of_lookups_but_know_their_cell() {
        let places: Vec<_> = columns(FIELDS)
            .iter()
            .map(|column| (column.field.name, column.cell))
            .collect();
        assert_eq!(places, [("id", 0), ("site_name", 2), ("status", 3)]);
    }

    #[test]
    fn the_first_text_of_its_own_gets_most_of_the_room() {
        const OF_A_TASK: &[Field] = &[
            Field::lookup("site", "Site", "sites", "site_name"),
            Field::text("site_name", "Site", 200).read_only(),
            Field::text("title", "Title", 200),
            Field::text("who", "Who", 200),
        ];
        let stretches: Vec<_> = columns(OF_A_TASK)
            .iter()
            .map(|column| (column.field.name, column.stretch))
            .collect();
        assert_eq!(stretches, [("site_name", 1), ("title", 4), ("who", 1)]);
    }

    #[test]
    fn a_heading_goes_through_ascending_descending_and_none() {
        let once = toggled(&[], "id", false);
        assert_eq!(once, [Sorter::ascending("id")]);
        let twice = toggled(&once, "id", false);
        assert_eq!(twice, [Sorter::descending("id")]);
        assert_eq!(toggled(&twice, "id", false), []);
        assert_eq!(
            toggled(&once, "status", false),
            [Sorter::ascending("status")],
            "a plain click starts over"
        );
    }

    #[test]
    fn with_shift_the_other_terms_keep_their_place() {
        let two = toggled(&[Sorter::ascending("id")], "status", true);
        assert_eq!(two, [Sorter::ascending("id"), Sorter::ascending("status")]);
        let turned = toggled(&two, "id", true);
        assert_eq!(turned, [Sorter::descending("id"), Sorter::ascending("status")]);
        assert_eq!(toggled(&turned, "id", true), [Sorter::ascending("status")]);
        assert_eq!(order_of(&two, "status"), Some((2, false)));
    }

    #[test]
    fn a_choice_reads_as_its_label_and_an_unknown_value_as_itself() {
        assert_eq!(display(&FIELDS[4], &"open".into()), "Open");
        assert_eq!(display(&FIELDS[4], &"old".into()), "old");
        assert_eq!(display(&FIELDS[4], &Cell::Null), "");
    }

    #[test]
    fn copied_text_has_one_line_a_row_whatever_is_in_the_cells() {
        let row = Row::new(7.into(), vec![7.into(), 1.into(), "a\tb\nc".into(), "open".into()]);
        assert_eq!(
            as_text(&columns(FIELDS), [&row].into_iter()),
            "Number\tSite\tStatus\n7\ta b c\tOpen"
        );
    }
}
