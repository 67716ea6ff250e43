//! What a user has typed into a form over what is stored: dirty state, checks, change set and clashes; no browser types.

use std::collections::BTreeMap;

use shared::data::{Cell, ChangeSet, EditOutcome, Field, FieldChange, FieldKind, Row, RowKey, validate_value, visible};

/// Name under which a new row's key comes back.
pub const TEMPORARY: &str = "new";

/// A value that somebody else stored while the user was typing another.
#[derive(Clone, Debug, PartialEq)]
pub struct Clash {
    /// What is stored now.
    pub theirs: Cell,
}

/// One row being made or changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    fields: &'static [Field],
    /// The row; none for a new one.
    pub key: Option<RowKey>,
    version: i64,
    base: BTreeMap<&'static str, Cell>,
    typed: BTreeMap<&'static str, String>,
    /// What is wrong, by field.
    pub errors: BTreeMap<String, String>,
    /// What is wrong with the whole row.
    pub notice: Option<String>,
    /// Fields that somebody else changed too.
    pub clashes: BTreeMap<String, Clash>,
    /// Whether the row is no longer there.
    pub gone: bool,
}

/// The fields that a form offers.
pub fn editable(fields: &'static [Field]) -> impl Iterator<Item = &'static Field> {
    visible(fields).filter(|field| !field.read_only)
}

/// A value as the text of an input.
#[must_use]
pub fn text_of(cell: &Cell) -> String {
    cell.to_string()
}

/// The value that a text in an input means, or a sentence that says why it means none.
///
/// # Errors
/// The sentence.
pub fn read(field: &Field, text: &str) -> Result<Cell, String> {
    let label = field.label;
    if text.trim().is_empty() {
        return Ok(Cell::Null);
    }
    let trimmed = text.trim();
    match field.kind {
        FieldKind::Integer { .. } => trimmed
            .parse()
            .map(Cell::Integer)
            .map_err(|_| format!("{label} must be a whole number.")),
        FieldKind::Real => trimmed
            .parse()
            .map(Cell::Real)
            .map_err(|_| format!("{label} must be a number.")),
        FieldKind::Date => trimmed
            .parse()
            .map(Cell::Date)
            .map_err(|_| format!("{label} must be a date.")),
        FieldKind::Boolean => Ok(Cell::Boolean(trimmed == "true")),
        FieldKind::Text { multiline: true, .. } => Ok(Cell::Text(text.replace("\r\n", "\n"))),
        FieldKind::Text { .. } => Ok(Cell::Text(trimmed.to_owned())),
        FieldKind::Choice(_) => Ok(Cell::Text(trimmed.to_owned())),
        // Keys are numbers where they look like one; sources with textual keys do not use bare numbers.
        FieldKind::Lookup { .. } => Ok(trimmed
            .parse()
            .map_or_else(|_| Cell::Text(trimmed.to_owned()), Cell::Integer)),
    }
}

impl Draft {
    /// A new row, with the first choice where a choice is required.
    #[must_use]
    pub fn create(fields: &'static [Field]) -> Self {
        let typed = editable(fields).map(|field| match field.kind {
            FieldKind::Choice([first, ..]) if !field.nullable => (field.name, first.value.to_owned()),
            FieldKind::Boolean if !field.nullable => (field.name, "false".to_owned()),
            FieldKind::Choice(_)
            | FieldKind::Boolean
            | FieldKind::Integer { .. }
            | FieldKind::Text { .. }
            | FieldKind::Date
            | FieldKind::Real
            | FieldKind::Lookup { .. } => (field.name, String::new()),
        });
        let typed: BTreeMap<_, _> = typed.collect();
        // What a new form starts with is not the user's: it does not make it dirty.
        let base = editable(fields).map(|field| {
            (
                field.name,
                typed
                    .get(field.name)
                    .and_then(|text| read(field, text).ok())
                    .unwrap_or_default(),
            )
        });
        Self {
            fields,
            key: None,
            version: 0,
            base: base.collect(),
            typed,
            errors: BTreeMap::new(),
            notice: None,
            clashes: BTreeMap::new(),
            gone: false,
        }
    }

    /// An existing row.
    #[must_use]
    pub fn edit(fields: &'static [Field], row: &Row) -> Self {
        let base: BTreeMap<_, _> = values(fields, row).collect();
        let typed = base.iter().map(|(name, cell)| (*name, text_of(cell))).collect();
        Self {
            key: Some(row.key.clone()),
            version: row.version,
            base,
            typed,
            ..Self::create(fields)
        }
    }

    /// The text in the input of a field.
    #[must_use]
    pub fn typed(&self, name: &str) -> &str {
        self.typed.get(name).map_or("", String::as_str)
    }

    /// The user typed; what was wrong with the field is no longer said.
    pub fn set(&mut self, name: &'static str, text: String) {
        self.typed.insert(name, text);
        self.errors.remove(name);
    }

    fn touched(&self, field: &Field) -> bool {
        let base = self.base.get(field.name);
        read(field, self.typed(field.name)).map_or(true, |value| Some(&value) != base)
    }

    /// Whether anything differs from what is stored.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        editable(self.fields).any(|field| self.touched(field))
    }

    /// Checks a field as the server will, for when the user leaves it.
    pub fn check_field(&mut self, name: &str) {
        if let Some(field) = editable(self.fields).find(|field| field.name == name) {
            match self.wrong(field) {
                Some(message) => drop(self.errors.insert(name.to_owned(), message)),
                None => drop(self.errors.remove(name)),
            }
        }
    }

    fn wrong(&self, field: &Field) -> Option<String> {
        match read(field, self.typed(field.name)) {
            Ok(value) => validate_value(field, &value),
            Err(message) => Some(message),
        }
    }

    /// Checks what is to be saved, as the server will; true if nothing is wrong.
    pub fn check(&mut self) -> bool {
        let new = self.key.is_none();
        let wrong = editable(self.fields).filter(|field| new || self.touched(field));
        let wrong = wrong.filter_map(|field| Some((field.name.to_owned(), self.wrong(field)?)));
        self.errors = wrong.collect();
        self.notice = None;
        self.errors.is_empty()
    }

    /// What is to be saved. To be asked after [`Draft::check`]: what does not read as a value is left out.
    #[must_use]
    pub fn changes(&self) -> ChangeSet {
        let value = |field: &Field| read(field, self.typed(field.name)).ok();
        let Some(key) = &self.key else {
            let values = editable(self.fields).filter_map(|field| Some((field.name.to_owned(), value(field)?)));
            return ChangeSet::insert(TEMPORARY, values.filter(|(_, value)| !value.is_null()).collect());
        };
        let touched = editable(self.fields).filter(|field| self.touched(field));
        let fields = touched.filter_map(|field| {
            let change = FieldChange {
                old: self.base.get(field.name).cloned().unwrap_or_default(),
                new: value(field)?,
            };
            Some((field.name.to_owned(), change))
        });
        ChangeSet::update(key.clone(), fields.collect())
    }

    /// What deletes the row, if there is one.
    #[must_use]
    pub fn deletion(&self) -> Option<ChangeSet> {
        self.key.clone().map(|key| ChangeSet::delete(key, self.version))
    }

    /// The row was changed by somebody: fields that the user did not touch follow, the others clash.
    pub fn follow(&mut self, row: &Row) {
        if self.key.as_ref() != Some(&row.key) || self.version == row.version {
            return;
        }
        self.version = row.version;
        for (name, theirs) in values(self.fields, row) {
            self.meet(name, theirs);
        }
    }

    fn meet(&mut self, name: &'static str, theirs: Cell) {
        let Some(field) = editable(self.fields).find(|field| field.name == name) else {
            return;
        };
        let touched = self.touched(field);
        let mine = read(field, self.typed(name)).ok();
        if self.base.get(name) == Some(&theirs) {
            self.clashes.remove(name);
        } else if !touched || mine.as_ref() == Some(&theirs) {
            self.typed.insert(name, text_of(&theirs));
            self.base.insert(name, theirs);
            self.clashes.remove(name);
        } else {
            self.clashes.insert(name.to_owned(), Clash { theirs });
        }
    }

    /// Ends a clash: with `mine` the user's value is kept and will be saved over theirs, else theirs is taken.
    pub fn resolve(&mut self, name: &str, mine: bool) {
        let Some(field) = editable(self.fields).find(|field| field.name == name) else {
            return;
        };
        let Some(clash) = self.clashes.remove(name) else { return };
        if !mine {
            self.typed.insert(field.name, text_of(&clash.theirs));
            self.errors.remove(name);
        }
        self.base.insert(field.name, clash.theirs);
    }

    /// Takes over what became of saving; the row's key if it was saved.
    pub fn take(&mut self, outcome: &EditOutcome) -> Option<RowKey> {
        if outcome.is_saved() {
            return outcome
                .saved
                .first()
                .map(|saved| saved.key.clone())
                .or_else(|| self.key.clone());
        }
        for conflict in &outcome.conflicts {
            if conflict.gone {
                self.gone = true;
                self.notice = Some("Somebody else deleted this record.".to_owned());
            } else if let Some(field) = editable(self.fields).find(|field| field.name == conflict.field) {
                self.clashes.insert(
                    field.name.to_owned(),
                    Clash {
                        theirs: conflict.theirs.clone(),
                    },
                );
            } else {
                self.notice = Some("Somebody else changed this record. Look at it again before you go on.".to_owned());
            }
        }
        for error in &outcome.invalid {
            if editable(self.fields).any(|field| field.name == error.field) {
                self.errors.insert(error.field.clone(), error.message.clone());
            } else {
                self.notice = Some(error.message.clone());
            }
        }
        None
    }
}

fn values<'a>(fields: &'static [Field], row: &'a Row) -> impl Iterator<Item = (&'static str, Cell)> + use<'a> {
    let cells = visible(fields).zip(&row.cells);
    cells
        .filter(|(field, _)| !field.read_only)
        .map(|(field, cell)| (field.name, cell.clone()))
}

#[cfg(test)]
mod tests {
    use shared::data::{Choice, Conflict, FieldError, Saved};

    use super::*;

    const FIELDS: &[Field] = &[
        Field::integer("id", "Number").read_only(),
        Field::text("title", "Title", 20),
        Field::integer_within("severity", "Severity", 1, 5),
        Field::choice(
            "status",
            "Status",
            &[Choice {
                value: "open",
                label: "Open",
            }],
        ),
        Field::date("due", "Due").nullable(),
    ];

    fn row(title: &str, severity: i64) -> Row {
        Row::new(
            7.into(),
            vec![7.into(), title.into(), severity.into(), "open".into(), Cell::Null],
        )
    }

    #[test]
    fn a_fresh_form_is_clean_and_typing_back_makes_it_clean_again() {
        assert!(!Draft::create(FIELDS).is_dirty());
        let mut draft = Draft::edit(FIELDS, &row("Ladder", 3));
        assert!(!draft.is_dirty());
        draft.set("severity", "4".to_owned());
        assert!(draft.is_dirty());
        draft.set("severity", " 3 ".to_owned());
        assert!(!draft.is_dirty());
    }

    #[test]
    fn only_touched_fields_are_saved_with_what_the_user_saw() {
        let mut draft = Draft::edit(FIELDS, &row("Ladder", 3));
        draft.set("severity", "5".to_owned());
        draft.set("due", "2026-03-31".to_owned());
        assert!(draft.check());
        let changes = draft.changes();
        let fields = &changes.updated[0].fields;
        assert_eq!(
            fields["severity"],
            FieldChange {
                old: 3.into(),
                new: 5.into()
            }
        );
        assert_eq!(fields.keys().collect::<Vec<_>>(), ["due", "severity"]);
    }

    #[test]
    fn a_new_row_needs_what_is_required_and_says_so_at_the_field() {
        let mut draft = Draft::create(FIELDS);
        draft.set("severity", "many".to_owned());
        assert!(!draft.check());
        assert_eq!(draft.errors["title"], "Title is required.");
        assert_eq!(draft.errors["severity"], "Severity must be a whole number.");
        assert_eq!(
            draft.errors.len(),
            2,
            "the first choice is chosen, a day is not required"
        );
        draft.set("title", "Stairs".to_owned());
        draft.set("severity", "2".to_owned());
        assert!(draft.check());
        let values = &draft.changes().inserted[0].values;
        assert_eq!(values["status"], "open".into());
        assert!(!values.contains_key("due"));
    }

    #[test]
    fn out_of_bounds_is_refused_before_the_server_is_asked() {
        let mut draft = Draft::edit(FIELDS, &row("Ladder", 3));
        draft.set("severity", "6".to_owned());
        assert!(!draft.check());
        assert_eq!(draft.errors["severity"], "Severity must be between 1 and 5.");
    }

    #[test]
    fn untouched_fields_follow_and_touched_ones_clash() {
        let mut draft = Draft::edit(FIELDS, &row("Ladder", 3));
        draft.set("severity", "5".to_owned());
        draft.follow(&row("Long ladder", 4));
        assert_eq!(draft.typed("title"), "Long ladder");
        assert_eq!(draft.typed("severity"), "5");
        assert_eq!(draft.clashes["severity"], Clash { theirs: 4.into() });
        let mut mine = draft.clone();
        mine.resolve("severity", true);
        assert_eq!(
            mine.changes().updated[0].fields["severity"],
            FieldChange {
                old: 4.into(),
                new: 5.into()
            }
        );
        draft.resolve("severity", false);
        assert!(!draft.is_dirty());
    }

    #[test]
    fn what_the_server_says_reaches_the_fields() {
        let mut draft = Draft::edit(FIELDS, &row("Ladder", 3));
        draft.set("title", "Scaffold".to_owned());
        let invalid = vec![
            FieldError::new("title", "Title is taken."),
            FieldError::new("", "Not on Sundays."),
        ];
        let conflict = Conflict {
            key: 7.into(),
            field: "severity".to_owned(),
            old: 3.into(),
            theirs: 4.into(),
            mine: 5.into(),
            gone: false,
        };
        let outcome = EditOutcome {
            invalid,
            conflicts: vec![conflict],
            ..EditOutcome::default()
        };
        assert_eq!(draft.take(&outcome), None);
        assert_eq!(draft.errors["title"], "Title is taken.");
        assert_eq!(draft.notice.as_deref(), Some("Not on Sundays."));
        assert!(draft.clashes.contains_key("severity"));
        let saved = vec![Saved {
            temporary: None,
            key: 7.into(),
        }];
        assert_eq!(
            draft.take(&EditOutcome {
                saved,
                ..EditOutcome::default()
            }),
            Some(7.into())
        );
    }
}
