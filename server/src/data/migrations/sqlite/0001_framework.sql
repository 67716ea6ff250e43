-- The change log: one row per changed key, written by triggers in the same transaction. No row images.
-- seq is dense and in commit order, because SQLite has one writer at a time.
CREATE TABLE coati_change (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    tbl TEXT NOT NULL,
    key TEXT NOT NULL,
    op TEXT NOT NULL CHECK (op IN ('I', 'U', 'D')),
    -- Which watched columns an update changed, as a bit mask; -1 stands for all.
    columns INTEGER NOT NULL DEFAULT -1,
    -- "client:mutation" of the edit, if it came through Coati.
    origin TEXT
);

-- The origin of the transaction that is running; triggers copy it.
CREATE TABLE coati_origin (id INTEGER PRIMARY KEY CHECK (id = 1), origin TEXT);
INSERT INTO coati_origin (id, origin) VALUES (1, NULL);

-- Which triggers exist, by table and digest of their text, so that a changed schema gets new ones.
CREATE TABLE coati_watch (tbl TEXT NOT NULL PRIMARY KEY, digest TEXT NOT NULL);

CREATE TABLE coati_user (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    login TEXT NOT NULL COLLATE NOCASE UNIQUE,
    name TEXT NOT NULL DEFAULT '',
    password_hash TEXT NOT NULL,
    role TEXT NOT NULL,
    disabled INTEGER NOT NULL DEFAULT 0,
    -- Seconds since 1970, as all times of the framework's tables.
    created INTEGER NOT NULL
);

CREATE TABLE coati_login (
    token_hash TEXT NOT NULL PRIMARY KEY,
    user_id INTEGER NOT NULL REFERENCES coati_user (id) ON DELETE CASCADE,
    created INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    expires INTEGER NOT NULL
);
CREATE INDEX coati_login_user ON coati_login (user_id);
CREATE INDEX coati_login_expires ON coati_login (expires);

CREATE TABLE coati_root (
    base TEXT NOT NULL PRIMARY KEY,
    login TEXT NOT NULL,
    secret_hash TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT '{}',
    created INTEGER NOT NULL,
    seen INTEGER NOT NULL
);
CREATE INDEX coati_root_login ON coati_root (login);

-- Edits exactly once: the last mutation of each client, and what each was answered.
CREATE TABLE coati_client (
    client TEXT NOT NULL PRIMARY KEY,
    login TEXT NOT NULL,
    last INTEGER NOT NULL DEFAULT 0,
    seen INTEGER NOT NULL
);
CREATE TABLE coati_mutation (
    client TEXT NOT NULL REFERENCES coati_client (client) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    result TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (client, number)
) WITHOUT ROWID;
