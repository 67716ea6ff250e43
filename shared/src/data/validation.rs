//! Validation from field metadata, the same on both sides: the form shows what the server would refuse.

use std::collections::BTreeMap;

use super::{Cell, Field, FieldError, FieldKind, field};

/// What is wrong with a value for a field, as a sentence; `None` if nothing is.
#[must_use]
pub fn validate_value(field: &Field, value: &Cell) -> Option<String> {
    let label = field.label;
    if value.is_null() {
        return (!field.nullable).then(|| format!("{label} is required."));
    }
    match (field.kind, value) {
        (FieldKind::Integer { min, max }, Cell::Integer(number)) => {
            (*number < min || *number > max).then(|| match (min, max) {
                (i64::MIN, _) => format!("{label} must be at most {max}."),
                (_, i64::MAX) => format!("{label} must be at least {min}."),
                (_, _) => format!("{label} must be between {min} and {max}."),
            })
        }
        (FieldKind::Integer { .. }, _) => Some(format!("{label} must be a whole number.")),
        (FieldKind::Text { max_length, multiline }, Cell::Text(text)) => {
            validate_text(field, text, max_length, multiline)
        }
        (FieldKind::Text { .. }, _) => Some(format!("{label} must be text.")),
        (FieldKind::Date, Cell::Date(day)) => {
            let year = chrono::Datelike::year(day);
            (!(1000..=9999).contains(&year)).then(|| format!("{label} must have a year from 1000 to 9999."))
        }
        (FieldKind::Date, _) => Some(format!("{label} must be a date.")),
        (FieldKind::Real, Cell::Real(number)) => (!number.is_finite()).then(|| format!("{label} must be a number.")),
        (FieldKind::Real, Cell::Integer(_)) | (FieldKind::Boolean, Cell::Boolean(_)) => None,
        (FieldKind::Real, _) => Some(format!("{label} must be a number.")),
        (FieldKind::Boolean, _) => Some(format!("{label} must be yes or no.")),
        (FieldKind::Choice(choices), Cell::Text(text)) => {
            (!choices.iter().any(|choice| choice.value == text)).then(|| format!("{label} must be one of the choices."))
        }
        (FieldKind::Choice(_), _) => Some(format!("{label} must be one of the choices.")),
        (FieldKind::Lookup { .. }, Cell::Integer(_) | Cell::Text(_)) => None,
        (FieldKind::Lookup { .. }, _) => Some(format!("{label} must be chosen from the list.")),
    }
}

fn validate_text(field: &Field, text: &str, max_length: usize, multiline: bool) -> Option<String> {
    let label = field.label;
    if text.trim().is_empty() && !field.nullable {
        return Some(format!("{label} is required."));
    }
    let length = text.chars().count();
    if length > max_length {
        return Some(format!(
            "{label} has {length} characters; at most {max_length} are allowed."
        ));
    }
    // A zero byte cuts text short in more than one database; line breaks do not survive a one-line input.
    let bad = |character: char| character == '\0' || (!multiline && (character == '\n' || character == '\r'));
    text.contains(bad)
        .then(|| format!("{label} contains a character that is not allowed."))
}

/// What is wrong with the values of a row. With `complete`, fields that are not named count as null: that is a new row.
#[must_use]
pub fn validate_values(fields: &[Field], values: &BTreeMap<String, Cell>, complete: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (name, value) in values {
        let Some(field) = field(fields, name).filter(|field| !field.hidden) else {
            errors.push(FieldError::new(
                name.chars().take(60).collect::<String>(),
                "There is no such field.",
            ));
            continue;
        };
        if field.read_only {
            errors.push(FieldError::new(name, format!("{} cannot be changed.", field.label)));
        } else if let Some(message) = validate_value(field, value) {
            errors.push(FieldError::new(name, message));
        }
    }
    if complete {
        let missing = fields
            .iter()
            .filter(|field| !field.hidden && !field.read_only && !values.contains_key(field.name));
        errors
            .extend(missing.filter_map(|field| Some(FieldError::new(field.name, validate_value(field, &Cell::Null)?))));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Choice;

    const FIELDS: &[Field] = &[
        Field::integer("id", "Id").read_only(),
        Field::text("title", "Title", 5),
        Field::integer_within("severity", "Severity", 1, 5),
        Field::choice(
            "status",
            "Status",
            &[Choice {
                value: "open",
                label: "Open",
            }],
        ),
        Field::multiline("notes", "Notes", 100).nullable(),
        Field::text("secret", "Secret", 80).hidden(),
    ];

    fn errors(values: &[(&str, Cell)], complete: bool) -> Vec<String> {
        let values = values
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        validate_values(FIELDS, &values, complete)
            .into_iter()
            .map(|error| error.message)
            .collect()
    }

    #[test]
    fn each_rule_has_its_sentence() {
        assert_eq!(errors(&[("title", "".into())], false), ["Title is required."]);
        assert_eq!(
            errors(&[("title", "Äpfel!".into())], false),
            ["Title has 6 characters; at most 5 are allowed."]
        );
        assert_eq!(
            errors(&[("title", "a\nb".into())], false),
            ["Title contains a character that is not allowed."]
        );
        assert_eq!(
            errors(&[("severity", 6.into())], false),
            ["Severity must be between 1 and 5."]
        );
        assert_eq!(
            errors(&[("severity", "3".into())], false),
            ["Severity must be a whole number."]
        );
        assert_eq!(
            errors(&[("status", "shut".into())], false),
            ["Status must be one of the choices."]
        );
        assert_eq!(errors(&[("id", 3.into())], false), ["Id cannot be changed."]);
        assert_eq!(errors(&[("secret", "x".into())], false), ["There is no such field."]);
        assert_eq!(
            errors(&[("notes", "a\nb".into()), ("title", "Äpfel".into())], false),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_new_row_needs_its_required_fields() {
        let missing = errors(&[("title", "x".into())], true);
        assert_eq!(missing, ["Severity is required.", "Status is required."]);
    }
}
