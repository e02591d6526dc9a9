-- Idempotency keys: requests that create something, done once however often they are sent.

-- A row is committed before the work, so that whoever repeats the work after a crash draws the same ids and the same time from it.
-- Both hashes are keyed with the user's data key: the row alone tells nothing of the request.
CREATE TABLE idempotency_keys (
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    key_hash bytea NOT NULL,                  -- of method, route and key
    fingerprint bytea NOT NULL,               -- of the whole request
    seed bytea NOT NULL,                      -- what the work draws its ids from
    claimed_at timestamptz NOT NULL,          -- the time that the work writes
    attempt integer NOT NULL DEFAULT 1,       -- fences out an earlier attempt that was given up too soon
    holder uuid,                              -- the process that works on it; null: nobody does
    held_at timestamptz NOT NULL,
    effect boolean NOT NULL DEFAULT false,    -- the work has committed, whether or not it was answered
    answered_at timestamptz,
    sealed bytea,                             -- the answer, with the user's data key; null where it is too large to keep
    PRIMARY KEY (user_id, key_hash)
);
CREATE INDEX idempotency_keys_claimed ON idempotency_keys (claimed_at);
ALTER TABLE idempotency_keys ALTER COLUMN sealed SET STORAGE EXTERNAL;
