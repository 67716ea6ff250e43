//! Where assessments and what they refer to are stored, and who may see and edit them.

use std::collections::BTreeMap;

use server::data::{Column, DataSource, Join, Mapping, Migrations, Rights, Rule, Viewer};
use shared::data::{Cell, Entity, Field, FieldError};

use super::entity::{Assessment, rights};

/// The schema of Safety, for both databases.
#[must_use]
pub fn migrations() -> Migrations {
    Migrations {
        sqlite: sqlx::migrate!("../migrations/sqlite"),
        postgres: sqlx::migrate!("../migrations/postgres"),
    }
}

/// Everybody with a known role sees everything.
fn known_roles(viewer: &Viewer) -> Rule {
    match viewer.role.as_str() {
        "admin" | "assessor" | "reader" => Rule::All,
        _ => Rule::Deny,
    }
}

/// The assessments.
#[derive(Clone, Copy, Debug, Default)]
pub struct Assessments;

const ASSESSMENTS: Mapping = Mapping {
    table: "assessment",
    key: "id",
    joins: &[
        Join {
            table: "site",
            alias: "s",
            from: "",
            column: "site_id",
            key: "id",
            optional: false,
        },
        Join {
            table: "department",
            alias: "d",
            from: "",
            column: "department_id",
            key: "id",
            optional: false,
        },
        Join {
            table: "hazard",
            alias: "h",
            from: "",
            column: "hazard_id",
            key: "id",
            optional: false,
        },
    ],
    columns: &[
        Column::base("id"),
        Column::base("title"),
        Column::base("site_id"),
        Column::joined_unique("site", "s", "name"),
        Column::base("department_id"),
        Column::joined_unique("department", "d", "name"),
        Column::base("hazard_id"),
        Column::joined_unique("hazard", "h", "name"),
        Column::base("probability"),
        Column::base("severity"),
        Column::base("risk"),
        Column::base("status"),
        Column::base("responsible"),
        Column::base("due"),
        Column::base("notes"),
    ],
};

impl DataSource for Assessments {
    fn name(&self) -> &'static str {
        Assessment::NAME
    }
    fn fields(&self) -> &'static [Field] {
        Assessment::fields()
    }
    fn mapping(&self) -> &'static Mapping {
        &ASSESSMENTS
    }
    fn rule(&self, viewer: &Viewer) -> Rule {
        known_roles(viewer)
    }
    fn rights(&self, viewer: &Viewer) -> Rights {
        rights(&viewer.role)
    }
    fn validate(&self, values: &BTreeMap<String, Cell>) -> Vec<FieldError> {
        let is_closed = values.get("status") == Some(&Cell::Text("closed".into()));
        let nobody = values
            .get("responsible")
            .is_none_or(|cell| cell.as_text().is_none_or(|text| text.trim().is_empty()));
        if is_closed && nobody {
            return vec![FieldError::new(
                "responsible",
                "A closed assessment names who was responsible.",
            )];
        }
        Vec::new()
    }
}

/// A table of names that assessments refer to.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    name: &'static str,
    mapping: &'static Mapping,
}

const NAME_FIELDS: &[Field] = &[Field::integer("id", "Id").read_only(), Field::text("name", "Name", 200)];

const NAME_COLUMNS: &[Column] = &[Column::base("id"), Column::base("name")];

const fn names(table: &'static str) -> Mapping {
    Mapping {
        table,
        key: "id",
        joins: &[],
        columns: NAME_COLUMNS,
    }
}

static SITES: Mapping = names("site");
static DEPARTMENTS: Mapping = names("department");
static HAZARDS: Mapping = names("hazard");

impl Names {
    /// The sites.
    pub const SITES: Self = Self {
        name: "sites",
        mapping: &SITES,
    };
    /// The departments.
    pub const DEPARTMENTS: Self = Self {
        name: "departments",
        mapping: &DEPARTMENTS,
    };
    /// The hazards.
    pub const HAZARDS: Self = Self {
        name: "hazards",
        mapping: &HAZARDS,
    };
}

impl DataSource for Names {
    fn name(&self) -> &'static str {
        self.name
    }
    fn fields(&self) -> &'static [Field] {
        NAME_FIELDS
    }
    fn mapping(&self) -> &'static Mapping {
        self.mapping
    }
    fn rule(&self, viewer: &Viewer) -> Rule {
        known_roles(viewer)
    }
    fn display(&self) -> Option<&'static str> {
        Some("name")
    }
}

/// All sources of Safety.
#[must_use]
pub fn sources() -> Vec<std::sync::Arc<dyn DataSource>> {
    vec![
        std::sync::Arc::new(Assessments),
        std::sync::Arc::new(Names::SITES),
        std::sync::Arc::new(Names::DEPARTMENTS),
        std::sync::Arc::new(Names::HAZARDS),
    ]
}
