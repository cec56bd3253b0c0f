-- Every statement of the SQLite engine, by name. `:rows` is repeated for as many rows as one execution stores; see `Statements`.

-- name: rooms
SELECT name, id, epoch, folded, first, bytes, sum FROM room;

-- name: tail
-- Where the log ends, and what it takes beyond a sequence.
SELECT max(id), coalesce(sum(length(events)), 0) FROM log WHERE id > ? AND id < ?;

-- name: room
SELECT id FROM room WHERE name = ?;

-- name: create_room
INSERT INTO room (name, epoch) VALUES (?, ?);

-- name: sum_room
UPDATE room SET sum = ? WHERE id = ?;

-- name: set_epoch
UPDATE room SET epoch = ?, sum = ? WHERE id = ?;

-- name: heads
SELECT key, value, sum FROM kv WHERE room = ? AND space = 0 AND key > ? ORDER BY key LIMIT ?;

-- name: rooms_with
SELECT id FROM room WHERE EXISTS (SELECT 1 FROM kv WHERE kv.room = room.id AND space = 0 AND key >= ? AND key < ?);

-- name: append
INSERT INTO log (id, first, events, sum) VALUES :rows;

-- name: set_folded
UPDATE room SET folded = new.column2, bytes = new.column3, sum = new.column4 FROM (VALUES :rows) AS new WHERE room.id = new.column1;

-- name: put
INSERT INTO kv (room, space, key, value, sum) VALUES :rows ON CONFLICT DO UPDATE SET value = excluded.value, sum = excluded.sum;

-- name: file
-- Records in their places: with their values, or where these are appended.
INSERT INTO kv (room, space, key, value, sum, at) VALUES :rows
ON CONFLICT DO UPDATE SET value = excluded.value, sum = excluded.sum, at = excluded.at;

-- name: append_record
INSERT INTO record (id, room, key, sum, value) VALUES :rows;

-- name: appended
SELECT value, sum FROM record WHERE id = ?;

-- name: drop_record
DELETE FROM record WHERE id IN (VALUES :rows);

-- name: filed
SELECT through FROM record_filed;

-- name: set_filed
UPDATE record_filed SET through = ?;

-- name: loose
-- Appended records that are not filed, in the order in which they came.
SELECT id, room, key, sum FROM record WHERE id > ? ORDER BY id;

-- name: delete
-- One room's rows of one space.
DELETE FROM kv WHERE room = ? AND space = ? AND key IN (:keys);

-- name: delete_range
DELETE FROM kv WHERE room = ? AND space = 1 AND key >= ? AND key < ?;

-- name: nth_key
-- Of a range of records, the key that so many stand before.
SELECT key FROM kv WHERE room = ? AND space = 1 AND key >= ? AND key < ? ORDER BY key LIMIT 1 OFFSET ?;

-- name: batch
-- The batch that holds the first sequence after one, or begins after it.
SELECT id, first, events, sum FROM log WHERE id > ? AND id < ? ORDER BY id LIMIT 1;

-- name: batches
-- What the batches after a sequence are, not what is in them.
SELECT id, first, length(events) FROM log WHERE id > ? AND id < ? ORDER BY id LIMIT ?;

-- name: trim
DELETE FROM log WHERE id IN (VALUES :rows);

-- name: set_first
UPDATE room SET first = ?, bytes = ? WHERE id = ?;

-- name: record
SELECT coalesce(record.value, kv.value), kv.sum FROM kv LEFT JOIN record ON record.id = at WHERE kv.room = ? AND space = 1 AND kv.key = ?;

-- name: scan_up
SELECT kv.key, coalesce(record.value, kv.value), kv.sum FROM kv LEFT JOIN record ON record.id = at
WHERE kv.room = ? AND space = 1 AND kv.key >= ? AND kv.key < ? ORDER BY kv.key LIMIT ?;

-- name: scan_down
SELECT kv.key, coalesce(record.value, kv.value), kv.sum FROM kv LEFT JOIN record ON record.id = at
WHERE kv.room = ? AND space = 1 AND kv.key >= ? AND kv.key < ? ORDER BY kv.key DESC LIMIT ?;

-- name: scan_keys_up
SELECT key, NULL, NULL FROM kv WHERE room = ? AND space = 1 AND key >= ? AND key < ? ORDER BY key LIMIT ?;

-- name: scan_keys_down
SELECT key, NULL, NULL FROM kv WHERE room = ? AND space = 1 AND key >= ? AND key < ? ORDER BY key DESC LIMIT ?;

-- name: last_blob
SELECT coalesce(max(id), 0) FROM blob;

-- name: bytes_of_blobs
SELECT room, sum(size) FROM blob WHERE hash IS NOT NULL GROUP BY room;

-- name: begin_blob
INSERT INTO blob (id, room) VALUES (?, ?);

-- name: add_piece
INSERT INTO blob_piece (id, bytes, sum) VALUES (?, ?, ?);

-- name: name_blob
-- Does nothing where the room has one of this hash.
UPDATE OR IGNORE blob SET hash = ?, size = ? WHERE id = ?;

-- name: blob
SELECT id, size FROM blob WHERE room = ? AND hash = ?;

-- name: piece
SELECT bytes, sum FROM blob_piece WHERE id = ?;

-- name: refer
INSERT INTO blob_ref (room, seq, blob) SELECT ?, ?, id FROM blob WHERE room = ? AND hash = ?;

-- name: refs
SELECT seq FROM blob_ref WHERE room = ? AND seq >= ? AND seq < ?;

-- name: refs_down
SELECT seq, blob.id, size FROM blob_ref JOIN blob ON blob.id = blob_ref.blob WHERE blob_ref.room = ? AND seq < ? ORDER BY seq DESC LIMIT ?;

-- name: release
DELETE FROM blob_ref WHERE (room, seq) IN (VALUES :rows);

-- name: rooms_with_blob_keys
SELECT id FROM room WHERE EXISTS (SELECT 1 FROM blob_key WHERE blob_key.room = room.id);

-- name: refer_key
INSERT INTO blob_key (room, key, blob) SELECT ?, ?, id FROM blob WHERE room = ? AND hash = ?;

-- name: release_key
DELETE FROM blob_key WHERE room = ? AND key = ?;

-- name: release_range
DELETE FROM blob_key WHERE room = ? AND key >= ? AND key < ?;

-- name: unreferred
SELECT blob.id, room.id, room.name, hash, size FROM blob JOIN room ON room.id = blob.room
WHERE refs = 0 AND blob.id > ? ORDER BY blob.id LIMIT 1;

-- name: unname
UPDATE blob SET hash = NULL WHERE id = ? AND refs = 0;

-- name: drop_pieces
DELETE FROM blob_piece WHERE id IN (SELECT id FROM blob_piece WHERE id >= ? AND id < ? LIMIT ?);

-- name: drop_blob
DELETE FROM blob WHERE id = ?;

-- name: checkpoint
PRAGMA wal_checkpoint(PASSIVE);
