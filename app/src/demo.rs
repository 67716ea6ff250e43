//! Demo data of any size, the same each time: a row depends on its number only.

use chrono::{Days, NaiveDate};
use server::data::Db;
use shared::{
    data::Cell,
    error::{Error, ErrorKind, Result},
};

const COMPANIES: [&str; 3] = ["Northwind Castings", "Valle Verde Foods", "Atlas Rail Works"];
const CITIES: [&str; 12] = [
    "Turin", "Lyon", "Gdansk", "Porto", "Leeds", "Graz", "Malmo", "Bilbao", "Ghent", "Brno", "Aarhus", "Verona",
];
const SITES_PER_CITY: u64 = 5;
const DEPARTMENTS: [&str; 8] = [
    "Maintenance",
    "Assembly",
    "Warehouse",
    "Paint shop",
    "Laboratory",
    "Offices",
    "Canteen",
    "Loading bay",
];
const HAZARDS: [(&str, &str); 20] = [
    ("Slips and trips", "Workplace"),
    ("Falls from height", "Workplace"),
    ("Falling objects", "Workplace"),
    ("Moving vehicles", "Transport"),
    ("Fork-lift trucks", "Transport"),
    ("Manual handling", "Ergonomics"),
    ("Repetitive work", "Ergonomics"),
    ("Screen work", "Ergonomics"),
    ("Machinery entanglement", "Mechanical"),
    ("Sharp edges", "Mechanical"),
    ("Pressure vessels", "Mechanical"),
    ("Electric shock", "Electrical"),
    ("Arc flash", "Electrical"),
    ("Noise", "Physical"),
    ("Vibration", "Physical"),
    ("Heat and burns", "Physical"),
    ("Solvents", "Chemical"),
    ("Welding fumes", "Chemical"),
    ("Dust", "Chemical"),
    ("Fire", "Fire"),
];
const THINGS: [&str; 24] = [
    "wet floor",
    "ladder",
    "press brake",
    "conveyor",
    "pallet rack",
    "paint booth",
    "band saw",
    "crane hook",
    "mezzanine",
    "cable tray",
    "grinder",
    "boiler",
    "lathe",
    "scaffold",
    "battery charger",
    "gas cylinder",
    "dock leveller",
    "mixer",
    "oven door",
    "pit cover",
    "roof hatch",
    "stairwell",
    "test bench",
    "drum store",
];
const EVENTS: [&str; 12] = [
    "Person slips near the",
    "Hand caught in the",
    "Contact with the",
    "Object drops from the",
    "Leak at the",
    "Overload of the",
    "Unguarded part of the",
    "Poor light around the",
    "Blocked exit beside the",
    "Missing sign at the",
    "Worn brake of the",
    "Sudden start of the",
];
const FIRST_NAMES: [&str; 20] = [
    "Ada", "Bruno", "Carla", "Dario", "Elena", "Fabio", "Greta", "Hugo", "Irene", "Jonas", "Karin", "Luca", "Marta",
    "Nils", "Olga", "Paolo", "Rita", "Sven", "Tilda", "Ugo",
];
const LAST_NAMES: [&str; 20] = [
    "Albers",
    "Bianchi",
    "Costa",
    "Duarte",
    "Eriksen",
    "Ferraro",
    "Girard",
    "Horak",
    "Ivanova",
    "Jansen",
    "Kowalski",
    "Lindqvist",
    "Moretti",
    "Novak",
    "Olsen",
    "Pereira",
    "Quist",
    "Romano",
    "Silva",
    "Tanner",
];
const NOTES: [&str; 6] = [
    "Seen during the weekly round.",
    "Reported by a contractor; photos are in the shared folder.",
    "Guard ordered, delivery in three weeks.",
    "Training planned with the next shift change.",
    "Measured again after the repair: within limits.",
    "Waits for the landlord's answer.",
];
const STATUSES: [&str; 4] = ["open", "draft", "mitigated", "closed"];
/// Rows per transaction: few enough that other writers get a turn.
const BATCH: u64 = 20_000;

/// Whether there are no assessments yet.
///
/// # Errors
/// What the database says.
pub async fn is_empty(db: &Db) -> Result<bool> {
    db.is_table_empty("assessment").await
}

/// Adds `rows` assessments, and what they refer to if that is missing.
///
/// # Errors
/// What the database says.
pub async fn seed(db: &Db, rows: u64) -> Result<()> {
    if db.is_table_empty("company").await? {
        seed_names(db).await?;
    }
    let first = number(db.highest_key("assessment", "id").await?) + 1;
    let columns = [
        "id",
        "title",
        "site_id",
        "department_id",
        "hazard_id",
        "probability",
        "severity",
        "status",
        "responsible",
        "due",
        "notes",
    ];
    let mut from = first;
    while from < first + rows {
        let to = (from + BATCH).min(first + rows);
        let batch = (from..to).map(assessment).collect::<Result<Vec<_>>>()?;
        let mut transaction = db.write().await?;
        transaction.insert_rows("assessment", &columns, &batch).await?;
        transaction.skip_used_keys("assessment", "id").await?;
        db.commit(transaction).await?;
        from = to;
    }
    db.analyze().await
}

async fn seed_names(db: &Db) -> Result<()> {
    let mut companies = Vec::new();
    let (mut sites, mut departments) = (Vec::new(), Vec::new());
    for (index, name) in (1..).zip(COMPANIES) {
        companies.push(vec![Cell::Integer(index), name.into()]);
    }
    for (city_index, city) in (0_u64..).zip(CITIES) {
        for place in 1..=SITES_PER_CITY {
            let site = city_index * SITES_PER_CITY + place;
            let company = 1 + city_index % 3;
            let name = format!("{city} {place}");
            for (index, department) in (1_u64..).zip(DEPARTMENTS) {
                let id = (site - 1) * DEPARTMENTS.len() as u64 + index;
                departments.push(vec![key(id)?, key(site)?, format!("{department}, {name}").into()]);
            }
            sites.push(vec![key(site)?, key(company)?, name.into(), city.into()]);
        }
    }
    let hazards: Vec<_> = (1..)
        .zip(HAZARDS)
        .map(|(index, (name, category))| vec![Cell::Integer(index), name.into(), category.into()])
        .collect();
    let mut transaction = db.write().await?;
    transaction.insert_rows("company", &["id", "name"], &companies).await?;
    transaction
        .insert_rows("site", &["id", "company_id", "name", "city"], &sites)
        .await?;
    transaction
        .insert_rows("department", &["id", "site_id", "name"], &departments)
        .await?;
    transaction
        .insert_rows("hazard", &["id", "name", "category"], &hazards)
        .await?;
    db.commit(transaction).await
}

/// The assessment of that number.
fn assessment(id: u64) -> Result<Vec<Cell>> {
    let mut dice = Dice(id);
    let site = 1 + dice.roll(CITIES.len() as u64 * SITES_PER_CITY);
    let department = (site - 1) * DEPARTMENTS.len() as u64 + 1 + dice.roll(DEPARTMENTS.len() as u64);
    let hazard = 1 + dice.roll(HAZARDS.len() as u64);
    let title = format!("{} {}", dice.pick(&EVENTS), dice.pick(&THINGS));
    let status = dice.pick(&STATUSES);
    let responsible = format!("{} {}", dice.pick(&FIRST_NAMES), dice.pick(&LAST_NAMES));
    let nobody = status != "closed" && dice.roll(10) == 0;
    let due = NaiveDate::from_ymd_opt(2025, 1, 1).and_then(|day| day.checked_add_days(Days::new(dice.roll(1_100))));
    let has_due = dice.roll(5) > 0;
    let notes = (dice.roll(3) == 0).then(|| dice.pick(&NOTES));
    Ok(vec![
        key(id)?,
        title.into(),
        key(site)?,
        key(department)?,
        key(hazard)?,
        key(1 + dice.roll(5))?,
        key(1 + dice.roll(5))?,
        status.into(),
        if nobody { Cell::Null } else { responsible.into() },
        due.filter(|_| has_due).into(),
        notes.into(),
    ])
}

fn key(number: u64) -> Result<Cell> {
    i64::try_from(number).map(Cell::Integer).map_err(|_| {
        Error::new(
            ErrorKind::InvalidArgument,
            "That is more demo data than there are numbers.",
        )
    })
}

fn number(key: i64) -> u64 {
    u64::try_from(key).unwrap_or_default()
}

/// SplitMix64: well spread for neighbouring seeds, which row numbers are.
struct Dice(u64);

impl Dice {
    /// A number below `sides`.
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides.max(1)
    }

    fn pick(&mut self, list: &[&'static str]) -> &'static str {
        let index = usize::try_from(self.roll(list.len() as u64)).unwrap_or_default();
        list.get(index).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::Arc,
        time::{Duration, Instant},
    };

    use server::data::{DataHub, FeedOptions, FramePublisher, Viewer};
    use shared::data::{Entity, Filter, Frame, Query, Range, RowKey, Sorter, visible};

    use super::*;
    use crate::assessments::{entity::Assessment, source};

    struct Nobody;

    impl FramePublisher for Nobody {
        fn publish(&self, _: &str, _: &Frame) {}
    }

    async fn seeded(folder: &tempfile::TempDir, rows: u64) -> DataHub {
        let db = Db::connect(&format!("sqlite:{}", folder.path().join("demo.db").display()))
            .await
            .unwrap();
        db.migrate(&source::migrations()).await.unwrap();
        assert!(is_empty(&db).await.unwrap());
        seed(&db, rows).await.unwrap();
        DataHub::start(db, source::sources(), Arc::new(Nobody), FeedOptions::default())
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn demo_data_depends_on_the_row_number_only() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let viewer = Viewer::new("ada", "admin");
        let one = seeded(&folders[0], 300).await;
        let other = seeded(&folders[1], 200).await;
        seed(other.db(), 100).await.unwrap();
        for key in [1, 200, 201, 300] {
            let row = one
                .row("assessments", RowKey::Integer(key), viewer.clone())
                .await
                .unwrap()
                .unwrap();
            assert_eq!(
                Some(&row),
                other
                    .row("assessments", RowKey::Integer(key), viewer.clone())
                    .await
                    .unwrap()
                    .as_ref()
            );
            let assessment = Assessment::from_row(&row).unwrap();
            assert!(garde::Validate::validate(&assessment).is_ok(), "{assessment:?}");
        }
        assert_eq!(
            one.row("assessments", RowKey::Integer(301), viewer).await.unwrap(),
            None
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn any_sort_of_a_hundred_thousand_rows_answers_quickly_anywhere() {
        const ROWS: u64 = 100_000;
        let folder = tempfile::tempdir().unwrap();
        let hub = seeded(&folder, ROWS).await;
        let viewer = Viewer::new("ada", "admin");
        let mut times = Vec::new();
        for field in visible(Assessment::fields()) {
            for descending in [false, true] {
                for start in [0, ROWS / 2, ROWS - 60] {
                    let sorters = vec![Sorter {
                        field: field.name.to_owned(),
                        descending,
                    }];
                    let query = Query {
                        filter: Filter::All,
                        sorters,
                    };
                    let ticket = hub
                        .prepare("assessments", query, Range::new(start, 60), &viewer)
                        .unwrap();
                    let started = Instant::now();
                    let snapshot = hub.open(ticket.window.clone()).await.unwrap();
                    times.push((started.elapsed(), field.name, start));
                    assert_eq!((snapshot.rows.len(), snapshot.total), (60, ROWS));
                    hub.close(&ticket.window, &viewer);
                }
            }
        }
        times.sort_unstable();
        let median = times[times.len() / 2];
        // One window may meet a busy machine; a sort without an index would show in all of its windows.
        let slow = times
            .iter()
            .filter(|(time, _, _)| *time > Duration::from_millis(100))
            .count();
        assert!(
            median.0 < Duration::from_millis(50) && slow <= 3,
            "median {median:?}, slowest {:?}",
            times.last()
        );
    }
}
