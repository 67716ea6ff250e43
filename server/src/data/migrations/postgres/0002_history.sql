-- Event history: the events that clients of a realm can catch up with, as JSON, by a number that is counted up.
CREATE TABLE coati_event (
    realm text NOT NULL,
    number bigint NOT NULL,
    event text NOT NULL,
    PRIMARY KEY (realm, number)
);

-- The highest number that was ever let go: what is older may have holes.
CREATE TABLE coati_event_realm (realm text NOT NULL PRIMARY KEY, forgotten bigint NOT NULL);
