-- Accounts, sessions, libraries and their sealed log of updates.

-- One row about the cluster itself: a database put back to an earlier time, or copied, is told by its
-- system identifier and timeline, and every library's epoch rises before anything is served from it.
CREATE TABLE cluster (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    system_identifier bigint NOT NULL,
    timeline bigint NOT NULL
);

-- The key-encryption keys that wrap data keys here. `fingerprint` proves that a key file holds the same key.
CREATE TABLE encryption_keys (
    id text PRIMARY KEY,
    fingerprint bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE users (
    id uuid PRIMARY KEY,
    email text NOT NULL,
    email_key text NOT NULL CONSTRAINT users_email_key UNIQUE,  -- the address as compared: normalised and lower case
    name text NOT NULL,
    password_hash text,
    library_id uuid NOT NULL,                 -- the user's own library
    wrapped_key bytea NOT NULL,               -- data key for the user's secrets
    key_id text NOT NULL,                     -- the encryption key that wraps it
    created_at timestamptz NOT NULL DEFAULT now(),
    last_login_at timestamptz,
    disabled_at timestamptz
);
CREATE INDEX users_key_id ON users (key_id, id);

-- One live row a device. The refresh token itself is stored nowhere: it is made again from the counter and the sealed key.
CREATE TABLE sessions (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    device_id uuid NOT NULL,
    device_name text NOT NULL,
    platform text NOT NULL,
    refresh_counter bigint NOT NULL DEFAULT 0,
    refresh_key bytea NOT NULL,               -- sealed with the user's data key
    rotated_at timestamptz NOT NULL DEFAULT now(),
    current_used boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_seen_at timestamptz NOT NULL DEFAULT now(),
    idle_expires_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    revoke_reason text,
    user_agent text NOT NULL DEFAULT '',
    address text NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX sessions_one_live_a_device ON sessions (user_id, device_id) WHERE revoked_at IS NULL;
CREATE INDEX sessions_user ON sessions (user_id);

CREATE TABLE libraries (
    id uuid PRIMARY KEY,
    owner_id uuid NOT NULL REFERENCES users,
    name text NOT NULL,
    head bigint NOT NULL DEFAULT 0,           -- the last seq given out
    epoch bigint NOT NULL DEFAULT 1,
    server_client_id bigint NOT NULL,         -- what edits made on the server write as
    server_clock bigint NOT NULL DEFAULT 0,
    wrapped_key bytea,                        -- null once destroyed: the content cannot be read any more
    key_id text,
    created_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz
);
CREATE INDEX libraries_owner ON libraries (owner_id);
CREATE INDEX libraries_key_id ON libraries (key_id, id);
CREATE INDEX libraries_deleted ON libraries (deleted_at) WHERE deleted_at IS NOT NULL;

CREATE TABLE members (
    library_id uuid NOT NULL REFERENCES libraries ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    role text NOT NULL CHECK (role IN ('owner', 'editor', 'viewer')),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (library_id, user_id)
);
CREATE INDEX members_user ON members (user_id);

-- Partitioned from the start, since PostgreSQL cannot convert a table in place; without foreign keys, since they would
-- take a lock on the library row for each insert (docs/storage.md).
CREATE TABLE updates (
    library_id uuid NOT NULL,
    seq bigint NOT NULL,
    epoch bigint NOT NULL,
    session_id uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    sealed bytea NOT NULL,
    PRIMARY KEY (library_id, seq)
) PARTITION BY HASH (library_id);

CREATE TABLE snapshots (
    library_id uuid NOT NULL,
    seq bigint NOT NULL,                      -- holds every update up to and including this one
    epoch bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    sealed_knowledge bytea NOT NULL,          -- what the snapshot holds and deletes, so that opening need not read it
    sealed bytea NOT NULL,
    PRIMARY KEY (library_id, seq)
) PARTITION BY HASH (library_id);

-- Sealed bytes do not compress. Before the partitions are made, which take it over; PostgreSQL 15 knows no STORAGE in CREATE TABLE.
ALTER TABLE updates ALTER COLUMN sealed SET STORAGE EXTERNAL;
ALTER TABLE snapshots ALTER COLUMN sealed SET STORAGE EXTERNAL;
ALTER TABLE snapshots ALTER COLUMN sealed_knowledge SET STORAGE EXTERNAL;

DO $$
BEGIN
    FOR part IN 0..15 LOOP
        EXECUTE format('CREATE TABLE updates_%s PARTITION OF updates FOR VALUES WITH (MODULUS 16, REMAINDER %s)', part, part);
        EXECUTE format('CREATE TABLE snapshots_%s PARTITION OF snapshots FOR VALUES WITH (MODULUS 16, REMAINDER %s)', part, part);
    END LOOP;
END
$$;
