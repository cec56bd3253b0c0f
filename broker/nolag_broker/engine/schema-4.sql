-- Version 4: blobs, the large values of a room.
CREATE TABLE blob (
    id   INTEGER PRIMARY KEY,
    room INTEGER NOT NULL,
    hash BLOB,                         -- SHA-256 of the value; null: not whole yet, or given up
    size INTEGER NOT NULL DEFAULT 0,
    refs INTEGER NOT NULL DEFAULT 0,   -- events that refer to it; kept by the triggers
    UNIQUE (room, hash)
);

CREATE INDEX blob_unreferred ON blob (id) WHERE refs = 0;

CREATE TABLE blob_piece (
    id    INTEGER PRIMARY KEY,         -- blob << 20 | number of the piece
    bytes BLOB    NOT NULL,
    sum   INTEGER NOT NULL
);

-- Which events refer to which blob: written with the event, gone with it.
CREATE TABLE blob_ref (
    room INTEGER NOT NULL,
    seq  INTEGER NOT NULL,
    blob INTEGER NOT NULL,
    PRIMARY KEY (room, seq)
) WITHOUT ROWID;

CREATE TRIGGER blob_referred AFTER INSERT ON blob_ref BEGIN
    UPDATE blob SET refs = refs + 1 WHERE id = new.blob;
END;

CREATE TRIGGER blob_released AFTER DELETE ON blob_ref BEGIN
    UPDATE blob SET refs = refs - 1 WHERE id = old.blob;
END;
