-- Version 2: where a trimmed log begins. Events below `first` are those that something living still refers to.
ALTER TABLE room ADD COLUMN first INTEGER NOT NULL DEFAULT 1;

-- Of the events from `first` on, in the log.
ALTER TABLE room ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;

UPDATE room SET bytes = (
    SELECT coalesce(sum(length(events)), 0) FROM log WHERE log.id > room.id << 40 AND log.id < (room.id + 1) << 40
);
