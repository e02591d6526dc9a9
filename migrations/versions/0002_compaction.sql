-- Compaction: verified snapshots, pinned restore points, quarantined updates.

-- Null defaults and constant ones: no row is rewritten, so the lock is short however many there are.
ALTER TABLE snapshots
    ADD COLUMN verified_at timestamptz,           -- read back, opened and compared; nothing that it holds may be trimmed before
    ADD COLUMN bytes bigint NOT NULL DEFAULT 0,   -- of the content before it was sealed
    ADD COLUMN pinned boolean NOT NULL DEFAULT false;  -- a restore point that retention keeps

ALTER TABLE libraries
    ADD COLUMN snapshot_seq bigint NOT NULL DEFAULT 0,  -- of the newest verified snapshot: what lies above is to be folded one day
    ADD COLUMN compacted_at timestamptz;

-- Updates that decode but break Yrs. The log's row, copied before the log is trimmed; its sealed bytes stay bound to the update's place.
-- No partitions: it is empty nearly everywhere.
CREATE TABLE quarantined (
    library_id uuid NOT NULL,
    seq bigint NOT NULL,
    epoch bigint NOT NULL,                    -- the one that the update was written in
    reason text NOT NULL,                     -- what Yrs did: never content
    created_at timestamptz NOT NULL DEFAULT now(),
    sealed bytea NOT NULL,
    PRIMARY KEY (library_id, seq)
);
ALTER TABLE quarantined ALTER COLUMN sealed SET STORAGE EXTERNAL;
