-- Safety: workplace-risk assessment. Text that people sort by is compared without regard to case.
CREATE TABLE company (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL COLLATE NOCASE UNIQUE
);

CREATE TABLE site (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    company_id INTEGER NOT NULL REFERENCES company (id),
    -- Unique over all companies: it is what grids show and sort by.
    name TEXT NOT NULL COLLATE NOCASE UNIQUE,
    city TEXT NOT NULL COLLATE NOCASE
);
CREATE INDEX site_company ON site (company_id);

CREATE TABLE department (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    site_id INTEGER NOT NULL REFERENCES site (id),
    name TEXT NOT NULL COLLATE NOCASE UNIQUE
);
CREATE INDEX department_site ON department (site_id);

CREATE TABLE hazard (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL COLLATE NOCASE UNIQUE,
    category TEXT NOT NULL COLLATE NOCASE
);

CREATE TABLE assessment (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    title TEXT NOT NULL COLLATE NOCASE,
    site_id INTEGER NOT NULL REFERENCES site (id),
    department_id INTEGER NOT NULL REFERENCES department (id),
    hazard_id INTEGER NOT NULL REFERENCES hazard (id),
    probability INTEGER NOT NULL CHECK (probability BETWEEN 1 AND 5),
    severity INTEGER NOT NULL CHECK (severity BETWEEN 1 AND 5),
    risk INTEGER NOT NULL GENERATED ALWAYS AS (probability * severity) STORED,
    status TEXT NOT NULL CHECK (status IN ('draft', 'open', 'mitigated', 'closed')),
    responsible TEXT COLLATE NOCASE,
    -- ISO 8601 day.
    due TEXT CHECK (due IS NULL OR due GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]'),
    notes TEXT COLLATE NOCASE
);
-- One index per column that a grid sorts by: a range is then a walk along it, from either end. The row id, which ends
-- every order, is part of each index anyway.
CREATE INDEX assessment_title ON assessment (title);
CREATE INDEX assessment_site ON assessment (site_id);
CREATE INDEX assessment_department ON assessment (department_id);
CREATE INDEX assessment_hazard ON assessment (hazard_id);
CREATE INDEX assessment_probability ON assessment (probability);
CREATE INDEX assessment_severity ON assessment (severity);
CREATE INDEX assessment_risk ON assessment (risk);
CREATE INDEX assessment_status ON assessment (status);
CREATE INDEX assessment_responsible ON assessment (responsible);
CREATE INDEX assessment_due ON assessment (due);
CREATE INDEX assessment_notes ON assessment (notes);
