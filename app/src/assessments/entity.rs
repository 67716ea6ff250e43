//! What both sides know of an assessment: its fields, and the typed value that a row stands for.

use chrono::NaiveDate;
use garde::Validate;
use serde::{Deserialize, Serialize};
use shared::{
    data::{Cell, Choice, Entity, Field, Rights, Row, RowKey},
    error::{Error, ErrorKind, Result},
};

/// Where an assessment stands.
pub const STATUSES: &[Choice] = &[
    Choice {
        value: "draft",
        label: "Draft",
    },
    Choice {
        value: "open",
        label: "Open",
    },
    Choice {
        value: "mitigated",
        label: "Mitigated",
    },
    Choice {
        value: "closed",
        label: "Closed",
    },
];

/// The fields of an assessment, in the order of a row's cells.
pub const FIELDS: &[Field] = &[
    Field::integer("id", "Id").read_only(),
    Field::text("title", "Title", 200).hint("What could happen, in a few words."),
    Field::lookup("site_id", "Site", "sites", "site"),
    Field::text("site", "Site", 200).read_only(),
    Field::lookup("department_id", "Department", "departments", "department"),
    Field::text("department", "Department", 200).read_only(),
    Field::lookup("hazard_id", "Hazard", "hazards", "hazard"),
    Field::text("hazard", "Hazard", 200).read_only(),
    Field::integer_within("probability", "Probability", 1, 5).hint("1 is rare, 5 is almost certain."),
    Field::integer_within("severity", "Severity", 1, 5).hint("1 is negligible, 5 is fatal."),
    Field::integer_within("risk", "Risk", 1, 25)
        .read_only()
        .hint("Probability times severity."),
    Field::choice("status", "Status", STATUSES),
    Field::text("responsible", "Responsible", 100)
        .nullable()
        .hint("Who sees to it."),
    Field::date("due", "Due")
        .nullable()
        .hint("Until when it must be dealt with."),
    Field::multiline("notes", "Notes", 4_000).nullable(),
];

/// What a role may do to assessments, on both sides.
#[must_use]
pub fn rights(role: &str) -> Rights {
    match role {
        "admin" => Rights::ALL,
        "assessor" => Rights {
            delete: false,
            ..Rights::ALL
        },
        _ => Rights::NONE,
    }
}

/// One assessment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate)]
pub struct Assessment {
    /// Primary key; 0 for one that is not saved yet.
    #[garde(skip)]
    pub id: i64,
    /// What could happen.
    #[garde(length(chars, min = 1, max = 200))]
    pub title: String,
    /// Key of the site.
    #[garde(range(min = 1))]
    pub site_id: i64,
    /// Name of the site.
    #[garde(skip)]
    pub site: String,
    /// Key of the department.
    #[garde(range(min = 1))]
    pub department_id: i64,
    /// Name of the department.
    #[garde(skip)]
    pub department: String,
    /// Key of the hazard.
    #[garde(range(min = 1))]
    pub hazard_id: i64,
    /// Name of the hazard.
    #[garde(skip)]
    pub hazard: String,
    /// 1 (rare) to 5 (almost certain).
    #[garde(range(min = 1, max = 5))]
    pub probability: i64,
    /// 1 (negligible) to 5 (fatal).
    #[garde(range(min = 1, max = 5))]
    pub severity: i64,
    /// Probability times severity.
    #[garde(skip)]
    pub risk: i64,
    /// One of [`STATUSES`].
    #[garde(custom(known_status))]
    pub status: String,
    /// Who sees to it.
    #[garde(inner(length(chars, max = 100)))]
    pub responsible: Option<String>,
    /// Until when.
    #[garde(skip)]
    pub due: Option<NaiveDate>,
    /// Anything else.
    #[garde(inner(length(chars, max = 4_000)))]
    pub notes: Option<String>,
}

fn known_status(status: &str, _: &()) -> garde::Result {
    if STATUSES.iter().any(|choice| choice.value == status) {
        return Ok(());
    }
    Err(garde::Error::new("Status must be one of the choices."))
}

impl Entity for Assessment {
    const NAME: &'static str = "assessments";

    fn fields() -> &'static [Field] {
        FIELDS
    }

    fn key(&self) -> RowKey {
        RowKey::Integer(self.id)
    }

    fn from_row(row: &Row) -> Result<Self> {
        let [
            Cell::Integer(id),
            Cell::Text(title),
            Cell::Integer(site_id),
            Cell::Text(site),
            Cell::Integer(department_id),
            Cell::Text(department),
            Cell::Integer(hazard_id),
            Cell::Text(hazard),
            Cell::Integer(probability),
            Cell::Integer(severity),
            Cell::Integer(risk),
            Cell::Text(status),
            responsible,
            due,
            notes,
        ] = row.cells.as_slice()
        else {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("Row {} is no assessment.", row.key),
            ));
        };
        Ok(Self {
            id: *id,
            title: title.clone(),
            site_id: *site_id,
            site: site.clone(),
            department_id: *department_id,
            department: department.clone(),
            hazard_id: *hazard_id,
            hazard: hazard.clone(),
            probability: *probability,
            severity: *severity,
            risk: *risk,
            status: status.clone(),
            responsible: responsible.as_text().map(str::to_owned),
            due: due.as_date(),
            notes: notes.as_text().map(str::to_owned),
        })
    }

    fn to_cells(&self) -> Vec<Cell> {
        vec![
            self.id.into(),
            self.title.clone().into(),
            self.site_id.into(),
            self.site.clone().into(),
            self.department_id.into(),
            self.department.clone().into(),
            self.hazard_id.into(),
            self.hazard.clone().into(),
            self.probability.into(),
            self.severity.into(),
            self.risk.into(),
            self.status.clone().into(),
            self.responsible.clone().into(),
            self.due.into(),
            self.notes.clone().into(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assessment() -> Assessment {
        Assessment {
            id: 7,
            title: "Slip on wet floor".into(),
            site_id: 1,
            site: "Turin 1".into(),
            department_id: 2,
            department: "Maintenance, Turin 1".into(),
            hazard_id: 3,
            hazard: "Slips and trips".into(),
            probability: 2,
            severity: 4,
            risk: 8,
            status: "open".into(),
            responsible: None,
            due: NaiveDate::from_ymd_opt(2026, 5, 1),
            notes: Some("Near the door.".into()),
        }
    }

    #[test]
    fn an_assessment_survives_the_way_through_a_row() {
        let row = Row::new(assessment().key(), assessment().to_cells());
        assert_eq!(row.cells.len(), FIELDS.len());
        assert_eq!(Assessment::from_row(&row).unwrap(), assessment());
    }

    #[test]
    fn the_typed_rules_agree_with_the_field_metadata() {
        assert!(assessment().validate().is_ok());
        let wrong = [
            Assessment {
                probability: 6,
                ..assessment()
            },
            Assessment {
                severity: 0,
                ..assessment()
            },
            Assessment {
                title: String::new(),
                ..assessment()
            },
            Assessment {
                status: "gone".into(),
                ..assessment()
            },
            Assessment {
                notes: Some("x".repeat(4_001)),
                ..assessment()
            },
        ];
        for assessment in wrong {
            assert!(assessment.validate().is_err());
            let invalid = FIELDS
                .iter()
                .zip(assessment.to_cells())
                .filter(|(field, _)| !field.read_only);
            assert!(
                invalid
                    .filter_map(|(field, cell)| shared::data::validate_value(field, &cell))
                    .count()
                    == 1
            );
        }
    }
}
