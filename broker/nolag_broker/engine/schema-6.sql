-- Version 6: which records refer to which blob. Written with the record, gone with it.
CREATE TABLE blob_key (
    room INTEGER NOT NULL,
    key  TEXT    NOT NULL,
    blob INTEGER NOT NULL,
    PRIMARY KEY (room, key)
) WITHOUT ROWID;

CREATE TRIGGER blob_key_referred AFTER INSERT ON blob_key BEGIN
    UPDATE blob SET refs = refs + 1 WHERE id = new.blob;
END;

CREATE TRIGGER blob_key_released AFTER DELETE ON blob_key BEGIN
    UPDATE blob SET refs = refs - 1 WHERE id = old.blob;
END;
