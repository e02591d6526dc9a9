-- Accounts: identities of other providers, mail tokens, roles, the audit log and counters of limits.

-- Whoever signs in with WeChat has no mail address. A deleted account keeps its row, without anything that names a person and without
-- its key, until its libraries are purged.
ALTER TABLE users ALTER COLUMN email DROP NOT NULL;
ALTER TABLE users ALTER COLUMN email_key DROP NOT NULL;
ALTER TABLE users ALTER COLUMN wrapped_key DROP NOT NULL;
ALTER TABLE users ALTER COLUMN key_id DROP NOT NULL;
ALTER TABLE users ADD COLUMN email_verified_at timestamptz;          -- null: nobody has shown that the mailbox is theirs
ALTER TABLE users ADD COLUMN role text NOT NULL DEFAULT 'user' CHECK (role IN ('user', 'admin'));
ALTER TABLE users ADD COLUMN deleted_at timestamptz;
CREATE INDEX users_deleted ON users (deleted_at) WHERE deleted_at IS NOT NULL;

ALTER TABLE sessions ADD COLUMN authenticated_at timestamptz;        -- when a password or a provider was last shown
UPDATE sessions SET authenticated_at = created_at;
ALTER TABLE sessions ALTER COLUMN authenticated_at SET NOT NULL;
ALTER TABLE sessions ADD COLUMN method text NOT NULL DEFAULT 'password';  -- what was shown

-- An account elsewhere that signs in here. `identity_keys` are the names it is known by: one for Google (issuer, sub), for WeChat
-- the unionid and an openid for each app. A name belongs to one identity, so whoever signs in is found by any of them.
CREATE TABLE identities (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    provider text NOT NULL CHECK (provider IN ('google', 'wechat')),
    email text,                               -- as the provider said, shown to the user; never what anybody is found by
    name text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL,
    last_used_at timestamptz NOT NULL
);
CREATE INDEX identities_user ON identities (user_id);
CREATE TABLE identity_keys (
    provider text NOT NULL,
    namespace text NOT NULL,                  -- Google: the issuer. WeChat: 'unionid', or 'openid:' and the app's id
    subject text NOT NULL,
    identity_id uuid NOT NULL REFERENCES identities ON DELETE CASCADE,
    PRIMARY KEY (provider, namespace, subject)
);
CREATE INDEX identity_keys_identity ON identity_keys (identity_id);

-- A sign-in that has gone to another provider's page. The browser's cookie is kept as a hash; nonce and code verifier are made from
-- the cookie, so that nothing here signs anybody in.
CREATE TABLE social_states (
    state_hash bytea PRIMARY KEY,
    provider text NOT NULL,
    cookie_hash bytea NOT NULL,
    user_id uuid REFERENCES users ON DELETE CASCADE,  -- null: to sign in; else the account that links
    session_id uuid,                          -- the session that links
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX social_states_expires ON social_states (expires_at);

-- What is to be mailed. The token is minted when the mail is sent, and kept as SHA-256 only. `details` never has a secret.
CREATE TABLE mails (
    id uuid PRIMARY KEY,
    kind text NOT NULL,
    user_id uuid REFERENCES users ON DELETE CASCADE,
    address text NOT NULL,
    language text NOT NULL DEFAULT 'en',
    details jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL,
    sent_at timestamptz,
    token_hash bytea UNIQUE,
    expires_at timestamptz,
    used_at timestamptz
);
CREATE INDEX mails_user ON mails (user_id, kind);
CREATE INDEX mails_created ON mails (created_at);

-- An account that is made when its mailbox has been shown to be its owner's (registration `verified`).
CREATE TABLE registrations (
    mail_id uuid PRIMARY KEY REFERENCES mails ON DELETE CASCADE,
    email text NOT NULL,
    email_key text NOT NULL,
    name text,
    password_hash text NOT NULL
);

-- Who did what, and from where; written in the transaction of what it tells. Rows are never changed, and go by age only.
-- Without foreign keys: it outlives what it tells of.
CREATE TABLE audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL,
    event text NOT NULL,
    user_id uuid,                             -- whose account it concerns
    actor_id uuid,                            -- who did it, if it was somebody else; null with `actor` 'operator' for the terminal
    actor text NOT NULL DEFAULT 'user' CHECK (actor IN ('user', 'admin', 'operator', 'server')),
    session_id uuid,
    address text NOT NULL DEFAULT '',
    user_agent text NOT NULL DEFAULT '',
    target text,                              -- the id of what it was done to, if that is not the account itself
    details jsonb NOT NULL DEFAULT '{}'       -- never a secret
);
CREATE INDEX audit_user ON audit (user_id, id);
CREATE INDEX audit_at ON audit (at);

CREATE FUNCTION audit_is_append_only() RETURNS trigger AS $$
BEGIN
    IF TG_OP = 'DELETE' AND OLD.at < now() - interval '30 days' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'insufficient_privilege';
END;
$$ LANGUAGE plpgsql;
CREATE TRIGGER audit_rows BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION audit_is_append_only();
CREATE TRIGGER audit_table BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();

-- Counters of limits, where no Redis is configured. Unlogged: a crash of the database forgets them, and each is over within hours.
CREATE UNLOGGED TABLE limit_counters (
    key text PRIMARY KEY,
    amount bigint NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX limit_counters_expires ON limit_counters (expires_at);
