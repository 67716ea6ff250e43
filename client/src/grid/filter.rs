//! The filter row: what was typed under a heading, as a condition of the query.

use std::collections::BTreeMap;

use chrono::{Datelike, Days, Months, NaiveDate};
use shared::data::{Cell, Field, FieldKind, Filter, Operator, field};

/// What stands for "no value", as a choice and when typed.
pub const EMPTY: &str = "(empty)";

/// The condition that a text under the heading of `field` means; `None` if it means nothing.
///
/// [`EMPTY`]: no value. Text fields: contained. Numbers and dates: `5`, `>5`, `>=5`, `<5`, `<=5`, `2..5`; a date may be a year or a month.
#[must_use]
pub fn condition(field: &Field, typed: &str) -> Option<Filter> {
    if typed.trim() == EMPTY {
        return Some(Filter::condition(field.name, Operator::IsNull, Vec::new()));
    }
    match field.kind {
        FieldKind::Text { .. } => Some(Filter::contains(field.name, typed)),
        FieldKind::Choice(_) => Some(Filter::equals(field.name, typed)),
        FieldKind::Boolean => Some(Filter::equals(field.name, typed == "true")),
        FieldKind::Integer { .. } | FieldKind::Lookup { .. } => compared(field.name, typed, &|text| {
            text.parse::<i64>().ok().map(|value| (value.into(), value.into()))
        }),
        FieldKind::Real => compared(field.name, typed, &|text| {
            text.parse::<f64>().ok().map(|value| (value.into(), value.into()))
        }),
        FieldKind::Date => compared(field.name, typed, &|text| {
            days(text).map(|(first, last)| (first.into(), last.into()))
        }),
    }
}

/// Reads a value as the first and the last value that it stands for: a year is a range of days.
type Read<'a> = &'a dyn Fn(&str) -> Option<(Cell, Cell)>;

fn compared(name: &str, typed: &str, read: Read<'_>) -> Option<Filter> {
    let typed = typed.trim();
    if let Some((from, to)) = typed.split_once("..") {
        let (from, to) = (read(from.trim())?.0, read(to.trim())?.1);
        return Some(Filter::condition(name, Operator::Between, vec![from, to]));
    }
    for (sign, operator) in [
        (">=", Operator::GreaterOrEqual),
        ("<=", Operator::LessOrEqual),
        (">", Operator::Greater),
        ("<", Operator::Less),
    ] {
        if let Some(rest) = typed.strip_prefix(sign) {
            let (first, last) = read(rest.trim())?;
            let value = if matches!(operator, Operator::Greater | Operator::LessOrEqual) {
                last
            } else {
                first
            };
            return Some(Filter::condition(name, operator, vec![value]));
        }
    }
    let (first, last) = read(typed.trim_start_matches('=').trim())?;
    Some(if first == last {
        Filter::condition(name, Operator::Equals, vec![first])
    } else {
        Filter::condition(name, Operator::Between, vec![first, last])
    })
}

/// `2026`, `2026-03` or `2026-03-31` as first and last day.
fn days(text: &str) -> Option<(NaiveDate, NaiveDate)> {
    let mut parts = text.splitn(3, '-');
    let year = parts.next().filter(|year| year.len() == 4)?.parse().ok()?;
    let (month, day) = (parts.next(), parts.next());
    let first = NaiveDate::from_ymd_opt(
        year,
        month.map_or(Ok(1), str::parse).ok()?,
        day.map_or(Ok(1), str::parse).ok()?,
    )?;
    let last = match (month, day) {
        (_, Some(_)) => first,
        (Some(_), None) => first
            .checked_add_months(Months::new(1))?
            .checked_sub_days(Days::new(1))?,
        (None, None) => NaiveDate::from_ymd_opt(first.year(), 12, 31)?,
    };
    Some((first, last))
}

/// The filter of all that was typed, and the names of the fields where it means nothing.
#[must_use]
pub fn combined<'a>(fields: &[Field], typed: &'a BTreeMap<String, String>) -> (Filter, Vec<&'a str>) {
    let mut all = Filter::All;
    let mut unclear = Vec::new();
    for (name, text) in typed {
        let Some(field) = field(fields, name).filter(|_| !text.trim().is_empty()) else {
            continue;
        };
        match condition(field, text) {
            Some(part) => all = all.and(part),
            None => unclear.push(name.as_str()),
        }
    }
    (all, unclear)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBER: Field = Field::integer("risk", "Risk");
    const DAY: Field = Field::date("due", "Due");

    fn day(text: &str) -> Cell {
        Cell::Date(text.parse().unwrap())
    }

    #[test]
    fn numbers_are_compared_as_typed() {
        let between = Filter::condition("risk", Operator::Between, vec![2.into(), 5.into()]);
        assert_eq!(condition(&NUMBER, " 2 .. 5 "), Some(between));
        assert_eq!(condition(&NUMBER, "7"), Some(Filter::equals("risk", 7)));
        let least = Filter::condition("risk", Operator::GreaterOrEqual, vec![7.into()]);
        assert_eq!(condition(&NUMBER, ">= 7"), Some(least));
        assert_eq!(condition(&NUMBER, "high"), None);
        assert_eq!(condition(&NUMBER, ">"), None);
    }

    #[test]
    fn a_year_and_a_month_are_ranges_of_days() {
        let february = Filter::condition("due", Operator::Between, vec![day("2024-02-01"), day("2024-02-29")]);
        assert_eq!(condition(&DAY, "2024-02"), Some(february));
        let after = Filter::condition("due", Operator::Greater, vec![day("2024-12-31")]);
        assert_eq!(
            condition(&DAY, ">2024"),
            Some(after),
            "after a year is after its last day"
        );
        let before = Filter::condition("due", Operator::Less, vec![day("2024-01-01")]);
        assert_eq!(
            condition(&DAY, "<2024"),
            Some(before),
            "before a year is before its first day"
        );
        assert_eq!(condition(&DAY, "2024-02-30"), None);
        assert_eq!(condition(&DAY, "24"), None);
    }

    #[test]
    fn blanks_are_no_filter_and_nonsense_is_reported() {
        let typed = BTreeMap::from([
            ("due".to_owned(), "soon".to_owned()),
            ("risk".to_owned(), "  ".to_owned()),
        ]);
        assert_eq!(combined(&[NUMBER, DAY], &typed), (Filter::All, vec!["due"]));
    }

    #[test]
    fn every_condition_passes_the_check_of_the_server() {
        let fields = [
            NUMBER,
            DAY,
            Field::text("title", "Title", 80),
            Field::new("weight", "Weight", FieldKind::Real),
        ];
        for (name, text) in [
            ("risk", "<3"),
            ("due", "2026..2027"),
            ("title", "x"),
            ("weight", "1.5"),
            ("due", EMPTY),
        ] {
            let typed = BTreeMap::from([(name.to_owned(), text.to_owned())]);
            let (filter, unclear) = combined(&fields, &typed);
            assert!(unclear.is_empty() && filter != Filter::All);
            filter.validate(&fields).unwrap();
        }
    }
}
