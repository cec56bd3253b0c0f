-- The tables of rooms.db, version 1. The version is in `PRAGMA user_version`; a later one adds statements, never edits these.

-- A room and the end of its log. `last` is what an appended turn is compared with.
CREATE TABLE room (
    id    INTEGER PRIMARY KEY,
    name  TEXT    NOT NULL UNIQUE,
    epoch TEXT    NOT NULL,            -- changes if history is lost
    last  INTEGER NOT NULL DEFAULT 0   -- sequence of the last event
);

-- A batch of one commit's events of one room: encoded events, one after the other, at most 256 KiB unless one event is larger.
CREATE TABLE log (
    id     INTEGER PRIMARY KEY,        -- room << 40 | sequence of the last event in it: one search finds the batch of a sequence
    first  INTEGER NOT NULL,           -- sequence of the first event in it
    events BLOB    NOT NULL
);

-- Rows beside the log, in key order (the bytes of the key, as UTF-8).
CREATE TABLE kv (
    room  INTEGER NOT NULL,
    space INTEGER NOT NULL,            -- 0: heads, loaded at recovery; 1: records, read when asked for
    key   TEXT    NOT NULL,
    value BLOB    NOT NULL,
    PRIMARY KEY (room, space, key)
) WITHOUT ROWID;
