-- Version 3: checksums (CRC-32), so that a damaged row is not taken for another one. Rows of an older version have none.
ALTER TABLE room ADD COLUMN sum INTEGER;
ALTER TABLE log ADD COLUMN sum INTEGER;
ALTER TABLE kv ADD COLUMN sum INTEGER;
