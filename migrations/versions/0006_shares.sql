-- Share links: a prompt that is read without an account.

-- The code that opens one is nowhere in clear, nor is which prompt it opens: both are sealed with the library's data key, so they are
-- destroyed with it. Rows go with their library.
CREATE TABLE shares (
    id uuid PRIMARY KEY,
    library_id uuid NOT NULL REFERENCES libraries ON DELETE CASCADE,
    code_hash bytea NOT NULL CONSTRAINT shares_code_hash UNIQUE,  -- SHA-256 of the code, which is random
    prompt_hash bytea NOT NULL,               -- of the prompt's id, keyed with the library's data key
    sealed bytea NOT NULL,                    -- code, prompt, version and note
    created_by uuid REFERENCES users ON DELETE SET NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,                   -- null: never
    revoked_at timestamptz,
    opened bigint NOT NULL DEFAULT 0,         -- how often it was read, counted every few seconds
    last_opened_at timestamptz
);
CREATE INDEX shares_library ON shares (library_id, created_at);
CREATE INDEX shares_created_by ON shares (created_by);
