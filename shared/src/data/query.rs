//! What a window shows: a filter tree and sorters, checked against an entity's fields before they reach a database.

use serde::{Deserialize, Serialize};

use super::{Cell, Field, FieldKind, field};
use crate::error::{Error, ErrorKind, Result};

/// Most conditions in one filter.
pub const MAX_CONDITIONS: usize = 32;
/// Deepest nesting of a filter; a single condition has depth 1.
pub const MAX_DEPTH: usize = 8;
/// Most sorters in one query.
pub const MAX_SORTERS: usize = 8;
/// Most values in one condition.
pub const MAX_VALUES: usize = 500;
/// Most values in all conditions of a filter together: what a statement that judges many filters has room for.
pub const MAX_ALL_VALUES: usize = 1_000;
/// Longest text in a condition, in characters.
pub const MAX_TEXT: usize = 1_000;

/// How a field is compared. A null field matches only [`Operator::IsNull`], [`Operator::NotEquals`],
/// [`Operator::NotIn`], and [`Operator::Equals`] or [`Operator::In`] with a null among the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operator {
    /// Is the value.
    Equals,
    /// Is not the value, or is null.
    NotEquals,
    /// Is below the value.
    Less,
    /// Is at most the value.
    LessOrEqual,
    /// Is above the value.
    Greater,
    /// Is at least the value.
    GreaterOrEqual,
    /// Lies between two values, both included.
    Between,
    /// Has the text anywhere, in upper or lower case. Text fields only.
    Contains,
    /// Begins with the text, in upper or lower case. Text fields only.
    StartsWith,
    /// Is one of the values; matches nothing without values.
    In,
    /// Is none of the values.
    NotIn,
    /// Has no value.
    IsNull,
    /// Has a value.
    IsNotNull,
}

impl Operator {
    /// Least and most values that a condition with this operator carries.
    #[must_use]
    pub const fn arity(self) -> (usize, usize) {
        match self {
            Self::Equals
            | Self::NotEquals
            | Self::Less
            | Self::LessOrEqual
            | Self::Greater
            | Self::GreaterOrEqual
            | Self::Contains
            | Self::StartsWith => (1, 1),
            Self::Between => (2, 2),
            Self::In | Self::NotIn => (0, MAX_VALUES),
            Self::IsNull | Self::IsNotNull => (0, 0),
        }
    }

    const fn takes_null(self) -> bool {
        matches!(self, Self::Equals | Self::NotEquals | Self::In | Self::NotIn)
    }
}

/// One comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// Name of the field.
    pub field: String,
    /// How it is compared.
    pub operator: Operator,
    /// With what; see [`Operator::arity`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<Cell>,
}

/// Which rows match. Encoded as `"all"`, `{"and": […]}`, `{"or": […]}`, `{"not": …}` or `{"condition": {…}}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// Every row.
    #[default]
    All,
    /// Rows that match each; every row if there is none.
    And(Vec<Filter>),
    /// Rows that match at least one; no row if there is none.
    Or(Vec<Filter>),
    /// Rows that do not match.
    Not(Box<Filter>),
    /// Rows that pass one comparison.
    Condition(Condition),
}

impl Filter {
    /// One comparison.
    #[must_use]
    pub fn condition(field: impl Into<String>, operator: Operator, values: Vec<Cell>) -> Self {
        Self::Condition(Condition {
            field: field.into(),
            operator,
            values,
        })
    }
    /// The text is somewhere in the field.
    #[must_use]
    pub fn contains(field: impl Into<String>, text: impl Into<String>) -> Self {
        Self::condition(field, Operator::Contains, vec![Cell::Text(text.into())])
    }
    /// The field has the value.
    #[must_use]
    pub fn equals(field: impl Into<String>, value: impl Into<Cell>) -> Self {
        Self::condition(field, Operator::Equals, vec![value.into()])
    }
    /// The field has one of the values.
    #[must_use]
    pub fn is_in(field: impl Into<String>, values: Vec<Cell>) -> Self {
        Self::condition(field, Operator::In, values)
    }
    /// Rows that match this and the other.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::All, filter) | (filter, Self::All) => filter,
            (Self::And(mut all), other) => {
                all.push(other);
                Self::And(all)
            }
            (one, other) => Self::And(vec![one, other]),
        }
    }

    /// Calls `visit` with each condition, depth first.
    pub fn each_condition<'a>(&'a self, visit: &mut impl FnMut(&'a Condition)) {
        match self {
            Self::All => {}
            Self::And(parts) | Self::Or(parts) => parts.iter().for_each(|part| part.each_condition(visit)),
            Self::Not(part) => part.each_condition(visit),
            Self::Condition(condition) => visit(condition),
        }
    }

    /// Checks limits, names, and that each value fits its field and operator.
    ///
    /// # Errors
    /// `InvalidArgument` with a sentence that says what is wrong; a hidden field is as unknown as one that is not there.
    pub fn validate(&self, fields: &[Field]) -> Result<()> {
        let mut conditions = 0;
        self.validate_at(fields, 1, &mut conditions)?;
        let mut values = 0;
        self.each_condition(&mut |condition| values += condition.values.len());
        if values > MAX_ALL_VALUES {
            return Err(invalid(format!("A filter has at most {MAX_ALL_VALUES} values.")));
        }
        Ok(())
    }

    fn validate_at(&self, fields: &[Field], depth: usize, conditions: &mut usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(invalid(format!("A filter is nested at most {MAX_DEPTH} deep.")));
        }
        match self {
            Self::All => {
                // Counted as the others, except alone: a filter of a thousand of them is a deep statement.
                *conditions += usize::from(depth > 1);
                check_conditions(*conditions)
            }
            Self::And(parts) | Self::Or(parts) => {
                // Empty branches count too, or a filter of a million of them would pass.
                *conditions += usize::from(parts.is_empty());
                check_conditions(*conditions)?;
                parts
                    .iter()
                    .try_for_each(|part| part.validate_at(fields, depth + 1, conditions))
            }
            Self::Not(part) => part.validate_at(fields, depth + 1, conditions),
            Self::Condition(condition) => {
                *conditions += 1;
                check_conditions(*conditions)?;
                condition.validate(fields)
            }
        }
    }
}

fn check_conditions(count: usize) -> Result<()> {
    if count > MAX_CONDITIONS {
        return Err(invalid(format!("A filter has at most {MAX_CONDITIONS} conditions.")));
    }
    Ok(())
}

impl Condition {
    fn validate(&self, fields: &[Field]) -> Result<()> {
        let field = known(fields, &self.field)?;
        let (least, most) = self.operator.arity();
        if self.values.len() < least || self.values.len() > most {
            let operator = self.operator;
            return Err(invalid(format!(
                "{operator:?} on '{}' takes {least} to {most} values.",
                self.field
            )));
        }
        let is_text = matches!(field.kind, FieldKind::Text { .. } | FieldKind::Choice(_));
        if matches!(self.operator, Operator::Contains | Operator::StartsWith) && !is_text {
            return Err(invalid(format!("'{}' is not a text field.", self.field)));
        }
        for value in &self.values {
            let fits = match (value, field.kind) {
                (Cell::Null, _) => self.operator.takes_null(),
                (Cell::Text(text), FieldKind::Text { .. } | FieldKind::Choice(_) | FieldKind::Lookup { .. }) => {
                    text.chars().count() <= MAX_TEXT && !text.contains('\0')
                }
                (Cell::Integer(_), FieldKind::Integer { .. } | FieldKind::Lookup { .. } | FieldKind::Real)
                | (Cell::Real(_), FieldKind::Real)
                | (Cell::Date(_), FieldKind::Date)
                | (Cell::Boolean(_), FieldKind::Boolean) => true,
                (Cell::Text(_) | Cell::Integer(_) | Cell::Real(_) | Cell::Date(_) | Cell::Boolean(_), _) => false,
            };
            if !fits {
                return Err(invalid(format!("A value does not fit the field '{}'.", self.field)));
            }
        }
        Ok(())
    }
}

/// One sort term. Nulls come first when ascending and last when descending.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Sorter {
    /// Name of the field.
    pub field: String,
    /// From the greatest to the smallest.
    #[serde(default)]
    pub descending: bool,
}

impl Sorter {
    /// From the smallest to the greatest.
    #[must_use]
    pub fn ascending(field: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            descending: false,
        }
    }
    /// From the greatest to the smallest.
    #[must_use]
    pub fn descending(field: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            descending: true,
        }
    }
}

/// Which rows, in which order. The order always ends in the primary key, in the direction of the last sorter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Query {
    /// Which rows.
    #[serde(default)]
    pub filter: Filter,
    /// In which order; by key if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sorters: Vec<Sorter>,
}

impl Query {
    /// Checks the whole query against an entity's fields.
    ///
    /// # Errors
    /// `InvalidArgument` as [`Filter::validate`], and for unknown, hidden, repeated or too many sorters.
    pub fn validate(&self, fields: &[Field]) -> Result<()> {
        if self.sorters.len() > MAX_SORTERS {
            return Err(invalid(format!("A query has at most {MAX_SORTERS} sorters.")));
        }
        for (index, sorter) in self.sorters.iter().enumerate() {
            known(fields, &sorter.field)?;
            if self
                .sorters
                .iter()
                .take(index)
                .any(|earlier| earlier.field == sorter.field)
            {
                return Err(invalid(format!("'{}' is sorted by twice.", sorter.field)));
            }
        }
        self.filter.validate(fields)
    }
}

fn known<'a>(fields: &'a [Field], name: &str) -> Result<&'a Field> {
    field(fields, name).filter(|field| !field.hidden).ok_or_else(|| {
        // The name comes from outside: cut it, so that no message grows without bound.
        let name: String = name.chars().take(60).collect();
        invalid(format!("There is no field '{name}'."))
    })
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: &[Field] = &[
        Field::integer("id", "Id").read_only(),
        Field::text("title", "Title", 80),
        Field::date("due", "Due").nullable(),
        Field::text("secret", "Secret", 80).hidden(),
    ];

    fn nested(depth: usize) -> Filter {
        (1..depth).fold(Filter::contains("title", "x"), |inner, _| Filter::And(vec![inner]))
    }

    #[test]
    fn unknown_and_hidden_fields_are_errors_that_read_the_same() {
        for name in ["nowhere", "secret"] {
            let error = Filter::equals(name, "x").validate(FIELDS).unwrap_err();
            assert_eq!(error.kind, ErrorKind::InvalidArgument);
            assert_eq!(error.message, format!("There is no field '{name}'."));
            let query = Query {
                sorters: vec![Sorter::ascending(name)],
                ..Query::default()
            };
            assert!(query.validate(FIELDS).is_err());
        }
    }

    #[test]
    fn the_caps_hold_exactly() {
        let many = |count| Filter::Or(vec![Filter::equals("id", 1); count]);
        assert!(many(MAX_CONDITIONS).validate(FIELDS).is_ok());
        assert!(many(MAX_CONDITIONS + 1).validate(FIELDS).is_err());
        assert!(nested(MAX_DEPTH).validate(FIELDS).is_ok());
        assert!(nested(MAX_DEPTH + 1).validate(FIELDS).is_err());
        assert!(
            Filter::is_in("id", vec![Cell::Integer(1); MAX_VALUES])
                .validate(FIELDS)
                .is_ok()
        );
        assert!(
            Filter::is_in("id", vec![Cell::Integer(1); MAX_VALUES + 1])
                .validate(FIELDS)
                .is_err()
        );
        assert!(
            Filter::contains("title", "x".repeat(MAX_TEXT + 1))
                .validate(FIELDS)
                .is_err()
        );
        assert!(Filter::And(vec![Filter::And(vec![]); 100]).validate(FIELDS).is_err());
    }

    #[test]
    fn a_value_must_fit_its_field_and_operator() {
        assert!(Filter::equals("id", "seven").validate(FIELDS).is_err());
        assert!(Filter::contains("id", "7").validate(FIELDS).is_err());
        assert!(
            Filter::condition("id", Operator::Between, vec![1.into()])
                .validate(FIELDS)
                .is_err()
        );
        assert!(
            Filter::condition("due", Operator::Less, vec![Cell::Null])
                .validate(FIELDS)
                .is_err()
        );
        assert!(
            Filter::condition("due", Operator::Equals, vec![Cell::Null])
                .validate(FIELDS)
                .is_ok()
        );
        assert!(
            Filter::condition("due", Operator::IsNull, vec![])
                .validate(FIELDS)
                .is_ok()
        );
        let twice = Query {
            sorters: vec![Sorter::ascending("id"), Sorter::descending("id")],
            ..Query::default()
        };
        assert!(twice.validate(FIELDS).is_err());
    }

    #[test]
    fn a_query_reads_as_people_would_write_it_in_json() {
        let text = r#"{"filter":{"and":[{"condition":{"field":"title","operator":"contains","values":["x"]}},"all"]},
                       "sorters":[{"field":"due","descending":true}]}"#;
        let query: Query = serde_json::from_str(text).unwrap();
        assert_eq!(query.sorters, [Sorter::descending("due")]);
        assert_eq!(
            query.filter,
            Filter::And(vec![Filter::contains("title", "x"), Filter::All])
        );
        let packed = rmp_serde::to_vec_named(&query).unwrap();
        assert_eq!(rmp_serde::from_slice::<Query>(&packed).unwrap(), query);
    }
}
