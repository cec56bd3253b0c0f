-- Version 7: records that a commit brings are appended as they come, and filed under their keys behind it, many at a time.
CREATE TABLE record (
    id    INTEGER PRIMARY KEY,         -- rises with every one that comes
    room  INTEGER NOT NULL,
    key   TEXT    NOT NULL,
    sum   INTEGER NOT NULL,
    value BLOB    NOT NULL
);

-- Up to where they are filed; those beyond are found by reading them, when the database is opened.
CREATE TABLE record_filed (
    through INTEGER NOT NULL
);
INSERT INTO record_filed VALUES (0);

-- Where the value of a record is, in `record`; null: in the row itself, as that of every row of an older version.
ALTER TABLE kv ADD COLUMN at INTEGER;

CREATE TRIGGER record_deleted AFTER DELETE ON kv WHEN old.at IS NOT NULL BEGIN
    DELETE FROM record WHERE id = old.at;
END;

CREATE TRIGGER record_replaced AFTER UPDATE OF at ON kv WHEN old.at IS NOT NULL AND old.at IS NOT new.at BEGIN
    DELETE FROM record WHERE id = old.at;
END;
