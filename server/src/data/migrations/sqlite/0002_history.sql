-- Event history: the events that clients of a realm can catch up with, as JSON, by a number that is counted up.
CREATE TABLE coati_event (
    realm TEXT NOT NULL,
    number INTEGER NOT NULL,
    event TEXT NOT NULL,
    PRIMARY KEY (realm, number)
) WITHOUT ROWID;

-- The highest number that was ever let go: what is older may have holes.
CREATE TABLE coati_event_realm (realm TEXT NOT NULL PRIMARY KEY, forgotten INTEGER NOT NULL) WITHOUT ROWID;
