-- Keys and models: what models are called with, and what was called.

-- What a user's model configuration is authorised by: an API key and the values of headers, sealed with the user's data key for this
-- user, configuration and origin. Nothing of it is readable here, not even its last four characters.
CREATE TABLE model_secrets (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    config_id text NOT NULL,
    origin text NOT NULL,                     -- scheme, host and port that it may be sent to
    sealed bytea NOT NULL,
    created_at timestamptz NOT NULL,
    last_used_at timestamptz,
    checked_at timestamptz,
    status text NOT NULL DEFAULT 'unchecked', -- what the provider said when it was last asked
    UNIQUE (user_id, config_id)
);

-- Every call of a model. Never what was said.
CREATE TABLE model_calls (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    at timestamptz NOT NULL,                  -- when it began
    kind text NOT NULL,                       -- what it was for
    config_id text NOT NULL,
    shared boolean NOT NULL,                  -- one of the operator's models, on the operator's account
    provider text NOT NULL,
    model text NOT NULL,
    outcome text NOT NULL,
    milliseconds integer NOT NULL,
    first_milliseconds integer,               -- until the first token; null: there was none
    input_tokens bigint,                      -- null: nobody knows
    output_tokens bigint,
    estimated boolean NOT NULL,               -- the provider did not say, though it has worked: the tokens are a guess of ours
    cost numeric(18, 9),                      -- null: no price is configured
    currency text
);
CREATE INDEX model_calls_user ON model_calls (user_id, at);
CREATE INDEX model_calls_at ON model_calls (at);
