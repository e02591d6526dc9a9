--
-- PostgreSQL database dump
--

\restrict x


SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: jobs_pgqueuer_status; Type: TYPE; Schema: public; Owner: -
--

CREATE TYPE public.jobs_pgqueuer_status AS ENUM (
    'queued',
    'picked',
    'successful',
    'exception',
    'canceled',
    'deleted',
    'failed'
);


--
-- Name: audit_is_append_only(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.audit_is_append_only() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF TG_OP = 'DELETE' AND OLD.at < now() - interval '30 days' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'insufficient_privilege';
END;
$$;


--
-- Name: jobs_fn_pgqueuer_changed(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.jobs_fn_pgqueuer_changed() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
DECLARE
    to_emit BOOLEAN := false;  -- Flag to decide whether to emit a notification
BEGIN
    -- Check operation type and set the emit flag accordingly
    IF TG_OP = 'UPDATE' AND OLD IS DISTINCT FROM NEW THEN
        to_emit := true;
    ELSIF TG_OP = 'DELETE' THEN
        to_emit := true;
    ELSIF TG_OP = 'INSERT' THEN
        to_emit := true;
    ELSIF TG_OP = 'TRUNCATE' THEN
        to_emit := true;
    END IF;

    -- Perform notification if the emit flag is set
    IF to_emit THEN
        PERFORM pg_notify(
            'jobs_ch_pgqueuer',
            json_build_object(
                'channel', 'jobs_ch_pgqueuer',
                'operation', lower(TG_OP),
                'sent_at', NOW(),
                'table', TG_TABLE_NAME,
                'type', 'table_changed_event'
            )::text
        );
    END IF;

    -- Return appropriate value based on the operation
    IF TG_OP IN ('INSERT', 'UPDATE') THEN
        RETURN NEW;
    ELSIF TG_OP = 'DELETE' THEN
        RETURN OLD;
    ELSE
        RETURN NULL; -- For TRUNCATE and other non-row-specific contexts
    END IF;

END;
$$;


SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: alembic_version; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);


--
-- Name: audit; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.audit (
    id bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    event text NOT NULL,
    user_id uuid,
    actor_id uuid,
    actor text DEFAULT 'user'::text NOT NULL,
    session_id uuid,
    address text DEFAULT ''::text NOT NULL,
    user_agent text DEFAULT ''::text NOT NULL,
    target text,
    details jsonb DEFAULT '{}'::jsonb NOT NULL,
    CONSTRAINT audit_actor_check CHECK ((actor = ANY (ARRAY['user'::text, 'admin'::text, 'operator'::text, 'server'::text])))
);


--
-- Name: audit_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.audit ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.audit_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: cluster; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.cluster (
    singleton boolean DEFAULT true NOT NULL,
    system_identifier bigint NOT NULL,
    timeline bigint NOT NULL,
    CONSTRAINT cluster_singleton_check CHECK (singleton)
);


--
-- Name: encryption_keys; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.encryption_keys (
    id text NOT NULL,
    fingerprint bytea NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);


--
-- Name: idempotency_keys; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.idempotency_keys (
    user_id uuid NOT NULL,
    key_hash bytea NOT NULL,
    fingerprint bytea NOT NULL,
    seed bytea NOT NULL,
    claimed_at timestamp with time zone NOT NULL,
    attempt integer DEFAULT 1 NOT NULL,
    holder uuid,
    held_at timestamp with time zone NOT NULL,
    effect boolean DEFAULT false NOT NULL,
    answered_at timestamp with time zone,
    sealed bytea
);
ALTER TABLE ONLY public.idempotency_keys ALTER COLUMN sealed SET STORAGE EXTERNAL;


--
-- Name: identities; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.identities (
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    provider text NOT NULL,
    email text,
    name text DEFAULT ''::text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    last_used_at timestamp with time zone NOT NULL,
    CONSTRAINT identities_provider_check CHECK ((provider = ANY (ARRAY['google'::text, 'wechat'::text])))
);


--
-- Name: identity_keys; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.identity_keys (
    provider text NOT NULL,
    namespace text NOT NULL,
    subject text NOT NULL,
    identity_id uuid NOT NULL
);


--
-- Name: jobs_pgqueuer; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.jobs_pgqueuer (
    id bigint NOT NULL,
    priority integer NOT NULL,
    queue_manager_id uuid,
    created timestamp with time zone DEFAULT now() NOT NULL,
    updated timestamp with time zone DEFAULT now() NOT NULL,
    heartbeat timestamp with time zone DEFAULT now() NOT NULL,
    execute_after timestamp with time zone DEFAULT now() NOT NULL,
    status public.jobs_pgqueuer_status NOT NULL,
    entrypoint text NOT NULL,
    dedupe_key text,
    payload bytea,
    headers jsonb,
    attempts integer DEFAULT 0 NOT NULL,
    slot bigint
);


--
-- Name: jobs_pgqueuer_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.jobs_pgqueuer_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: jobs_pgqueuer_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.jobs_pgqueuer_id_seq OWNED BY public.jobs_pgqueuer.id;


--
-- Name: jobs_pgqueuer_log; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.jobs_pgqueuer_log (
    id bigint NOT NULL,
    created timestamp with time zone DEFAULT now() NOT NULL,
    job_id bigint NOT NULL,
    status public.jobs_pgqueuer_status NOT NULL,
    priority integer NOT NULL,
    entrypoint text NOT NULL,
    traceback jsonb,
    aggregated boolean DEFAULT false
);


--
-- Name: jobs_pgqueuer_log_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.jobs_pgqueuer_log ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.jobs_pgqueuer_log_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: jobs_pgqueuer_schedules; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.jobs_pgqueuer_schedules (
    id bigint NOT NULL,
    expression text NOT NULL,
    entrypoint text NOT NULL,
    heartbeat timestamp with time zone DEFAULT now() NOT NULL,
    created timestamp with time zone DEFAULT now() NOT NULL,
    updated timestamp with time zone DEFAULT now() NOT NULL,
    next_run timestamp with time zone DEFAULT now() NOT NULL,
    last_run timestamp with time zone,
    status public.jobs_pgqueuer_status DEFAULT 'queued'::public.jobs_pgqueuer_status
);


--
-- Name: jobs_pgqueuer_schedules_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.jobs_pgqueuer_schedules_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: jobs_pgqueuer_schedules_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.jobs_pgqueuer_schedules_id_seq OWNED BY public.jobs_pgqueuer_schedules.id;


--
-- Name: jobs_pgqueuer_statistics; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.jobs_pgqueuer_statistics (
    id bigint NOT NULL,
    created timestamp with time zone DEFAULT date_trunc('sec'::text, now()) NOT NULL,
    count bigint NOT NULL,
    priority integer NOT NULL,
    status public.jobs_pgqueuer_status NOT NULL,
    entrypoint text NOT NULL
);


--
-- Name: jobs_pgqueuer_statistics_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.jobs_pgqueuer_statistics_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: jobs_pgqueuer_statistics_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.jobs_pgqueuer_statistics_id_seq OWNED BY public.jobs_pgqueuer_statistics.id;


--
-- Name: libraries; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.libraries (
    id uuid NOT NULL,
    owner_id uuid NOT NULL,
    name text NOT NULL,
    head bigint DEFAULT 0 NOT NULL,
    epoch bigint DEFAULT 1 NOT NULL,
    server_client_id bigint NOT NULL,
    wrapped_key bytea,
    key_id text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    deleted_at timestamp with time zone,
    snapshot_seq bigint DEFAULT 0 NOT NULL,
    compacted_at timestamp with time zone
);


--
-- Name: limit_counters; Type: TABLE; Schema: public; Owner: -
--

CREATE UNLOGGED TABLE public.limit_counters (
    key text NOT NULL,
    amount bigint NOT NULL,
    expires_at timestamp with time zone NOT NULL
);


--
-- Name: mails; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.mails (
    id uuid NOT NULL,
    kind text NOT NULL,
    user_id uuid,
    address text NOT NULL,
    language text DEFAULT 'en'::text NOT NULL,
    details jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_at timestamp with time zone NOT NULL,
    sent_at timestamp with time zone,
    token_hash bytea,
    expires_at timestamp with time zone,
    used_at timestamp with time zone
);


--
-- Name: members; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.members (
    library_id uuid NOT NULL,
    user_id uuid NOT NULL,
    role text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT members_role_check CHECK ((role = ANY (ARRAY['owner'::text, 'editor'::text, 'viewer'::text])))
);


--
-- Name: model_calls; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.model_calls (
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    at timestamp with time zone NOT NULL,
    kind text NOT NULL,
    config_id text NOT NULL,
    shared boolean NOT NULL,
    provider text NOT NULL,
    model text NOT NULL,
    outcome text NOT NULL,
    milliseconds integer NOT NULL,
    first_milliseconds integer,
    input_tokens bigint,
    output_tokens bigint,
    estimated boolean NOT NULL,
    cost numeric(18,9),
    currency text
);


--
-- Name: model_secrets; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.model_secrets (
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    config_id text NOT NULL,
    origin text NOT NULL,
    sealed bytea NOT NULL,
    created_at timestamp with time zone NOT NULL,
    last_used_at timestamp with time zone,
    checked_at timestamp with time zone,
    status text DEFAULT 'unchecked'::text NOT NULL
);


--
-- Name: quarantined; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.quarantined (
    library_id uuid NOT NULL,
    seq bigint NOT NULL,
    epoch bigint NOT NULL,
    reason text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    sealed bytea NOT NULL
);
ALTER TABLE ONLY public.quarantined ALTER COLUMN sealed SET STORAGE EXTERNAL;


--
-- Name: registrations; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.registrations (
    mail_id uuid NOT NULL,
    email text NOT NULL,
    email_key text NOT NULL,
    name text,
    password_hash text NOT NULL
);


--
-- Name: sessions; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.sessions (
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    device_id uuid NOT NULL,
    device_name text NOT NULL,
    platform text NOT NULL,
    refresh_counter bigint DEFAULT 0 NOT NULL,
    refresh_key bytea NOT NULL,
    rotated_at timestamp with time zone DEFAULT now() NOT NULL,
    current_used boolean DEFAULT false NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    last_seen_at timestamp with time zone DEFAULT now() NOT NULL,
    idle_expires_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    revoked_at timestamp with time zone,
    revoke_reason text,
    user_agent text DEFAULT ''::text NOT NULL,
    address text DEFAULT ''::text NOT NULL,
    authenticated_at timestamp with time zone NOT NULL,
    method text DEFAULT 'password'::text NOT NULL
);


--
-- Name: shares; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.shares (
    id uuid NOT NULL,
    library_id uuid NOT NULL,
    code_hash bytea NOT NULL,
    prompt_hash bytea NOT NULL,
    sealed bytea NOT NULL,
    created_by uuid,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone,
    revoked_at timestamp with time zone,
    opened bigint DEFAULT 0 NOT NULL,
    last_opened_at timestamp with time zone
);


--
-- Name: snapshots; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.snapshots (
    library_id uuid NOT NULL,
    seq bigint NOT NULL,
    epoch bigint NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    sealed_knowledge bytea NOT NULL,
    sealed bytea NOT NULL,
    verified_at timestamp with time zone,
    bytes bigint DEFAULT 0 NOT NULL,
    pinned boolean DEFAULT false NOT NULL
)
PARTITION BY HASH (library_id);
ALTER TABLE ONLY public.snapshots ALTER COLUMN sealed_knowledge SET STORAGE EXTERNAL;
ALTER TABLE ONLY public.snapshots ALTER COLUMN sealed SET STORAGE EXTERNAL;


--
-- Name: snapshots_0; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.snapshots_0 (
    library_id uuid CONSTRAINT snapshots_library_id_not_null NOT NULL,
    seq bigint CONSTRAINT snapshots_seq_not_null NOT NULL,
    epoch bigint CONSTRAINT snapshots_epoch_not_null NOT NULL,
    created_at timestamp with time zone DEFAULT now() CONSTRAINT snapshots_created_at_not_null NOT NULL,
    sealed_knowledge bytea CONSTRAINT snapshots_sealed_knowledge_not_null NOT NULL,
    sealed bytea CONSTRAINT snapshots_sealed_not_null NOT NULL,
    verified_at timestamp with time zone,
    bytes bigint DEFAULT 0 CONSTRAINT snapshots_bytes_not_null NOT NULL,
    pinned boolean DEFAULT false CONSTRAINT snapshots_pinned_not_null NOT NULL
);
ALTER TABLE ONLY public.snapshots_0 ALTER COLUMN sealed_knowledge SET STORAGE EXTERNAL;
ALTER TABLE ONLY public.snapshots_0 ALTER COLUMN sealed SET STORAGE EXTERNAL;


--
-- Name: snapshots_1; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.snapshots_1 (
    library_id uuid CONSTRAINT snapshots_library_id_not_null NOT NULL,
    seq bigint CONSTRAINT snapshots_seq_not_null NOT NULL,
    epoch bigint CONSTRAINT snapshots_epoch_not_null NOT NULL,
    created_at timestamp with time zone DEFAULT now() CONSTRAINT snapshots_created_at_not_null NOT NULL,
    sealed_knowledge bytea CONSTRAINT snapshots_sealed_knowledge_not_null NOT NULL,
    sealed bytea CONSTRAINT snapshots_sealed_not_null NOT NULL,
    verified_at timestamp with time zone,
    bytes bigint DEFAULT 0 CONSTRAINT snapshots_bytes_not_null NOT NULL,
    pinned boolean DEFAULT false CONSTRAINT snapshots_pinned_not_null NOT NULL
);
ALTER TABLE ONLY public.snapshots_1 ALTER COLUMN sealed_knowledge SET STORAGE EXTERNAL;
ALTER TABLE ONLY public.snapshots_1 ALTER COLUMN sealed SET STORAGE EXTERNAL;


--
-- Name: snapshots_10; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.snapshots_10 (
    library_id uuid CONSTRAINT snapshots_library_id_not_null NOT NULL,
    seq bigint CONSTRAINT snapshots_seq_not_null NOT NULL,
    epoch bigint CONSTRAINT snapshots_epoch_not_null NOT NULL,
    created_at timestamp with time zone DEFAULT now() CONSTRAINT snapshots_created_at_not_null NOT NULL,
    sealed_knowledge bytea CONSTRAINT snapshots_sealed_knowledge_not_null NOT NULL,
    sealed bytea CONSTRAINT snapshots_sealed_not_null NOT NULL,
    verified_at timestamp with time zone,
    bytes bigint DEFAULT 0 CONSTRAINT snapshots_bytes_not_null NOT NULL,
    pinned boolean DEFAULT false CONSTRAINT snapshots_pinned_not_null NOT NULL
);
ALTER TABLE ONLY public.snapshots_10 ALTER COLUMN sealed_knowledge SET STORAGE EXTERNAL;
ALTER TABLE ONLY public.snapshots_10 ALTER COLUMN sealed SET STORAGE EXTERNAL;


--
-- Name: snapshots_11; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.snapshots_11 (
    library_id uuid CONSTRAINT snapshots_library_id_not_null NOT NULL,
    seq bigint CONSTRAINT snapshots_seq_not_null NOT NULL,
    epoch bigint CONSTRAINT snapshots_epoch_not_null NOT NULL,
    created_at timestamp with time zone DEFAULT now() CONSTRAINT snapshots_created_at_not_null NOT NULL,
    sealed_knowledge bytea CONSTRAINT snapshots_sealed_knowledge_not_null NOT NULL,
    sealed bytea CONSTRAINT snapshots_sealed_not_null NOT NULL,
    verified_at timestamp with time zone,
    bytes bigint DEFAULT 0 CONSTRAINT snapshots_bytes_not_null NOT NULL,
    pinned boolean DEFAULT false CONSTRAINT snapshots_pinned_not_null NOT NULL
);
ALTER TABLE ONLY public.snapshots_11 ALTER COLUMN sealed_knowledge SET STORAGE EXTERNAL;
ALTER TABLE ONLY public.snapshots_11 ALTER COLUMN sealed SET STORAGE EXTERNAL;


--
-- Name: snapshots_12; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.snapshots_12 (
    library_id uuid CONSTRAINT snapshots_library_id_not_null NOT NULL,
    seq bigint CONSTRAINT snapshots_seq_not_null NOT NULL,
    epoch bigint CONSTRAINT snapshots_epoch_not_null NOT NULL,
    created_at timestamp with time zone DEFAULT now() CONSTRAINT snapshots_created_at_not_null NOT NULL,
    sealed_knowledge bytea CONSTRAINT snapshots_sealed_knowledge_not_null NOT NULL,
    sealed bytea CONSTRAINT snapshots_sealed_not_null NOT NULL,
    verified_at timestamp with time zone,
    bytes bigint DEFAULT 0 CONSTRAINT snapshots_bytes_not_null NOT NULL,
    pinned boolean DEFAULT false CONSTRAINT snapshots_pinned_not_null NOT NULL
);
ALTER TABLE ONLY public.snapshots_12 ALTER COLUMN sealed_knowledge SET STORAGE EXTERNAL;
ALTER TABLE ONLY public.snapshots_12 ALTER COLUMN sealed SET STORAGE EXTERNAL;


--
-- Name: snapshots_13; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.snapshots_13 (
    library_id uuid CONSTRAINT snapshots_library_id_not_null NOT NULL,
    seq bigint CONSTRAINT snapshots_seq_not_null NOT NULL,
    epoch bigint CONSTRAINT snapshots_epoch_not_null NOT NULL,
    created_at timestamp with time zone DEFAULT now() CONSTRAINT snapshots_created_at_not_null NOT NULL,
    sealed_knowledge bytea CONSTRAINT snapshots_sealed_knowledge_not_null NOT NULL,
    sealed bytea CONSTRAINT snapshots_sealed_not_null NOT NULL,
    verified_at timestamp with time zone,
    bytes bigint DEFAULT 0 CONSTRAINT snapshots_bytes_not_null NOT NULL,
    pinned boolean DEFAULT false CONSTRAINT snapshots_pinned_not_null NOT NULL
);
ALTER TABLE ONLY public.snapshots_13 ALTER COLUMN sealed_knowledge SET STORAGE EXTERNAL;
ALTER TABLE ONLY public.snapshots_13 ALTER COLUMN sealed SET STORAGE EXTERNAL;


--
-- Name: snapshots_14; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.snapshots_14 (
    library_id uuid CONSTRAINT snapshots_library_id_not_null NOT NULL,
    seq bigint CONSTRAINT snapshots_seq_not_null NOT NULL,
    epoch bigint CONSTRAINT snapshots_epoch_not_null NOT NULL,
    created_at timestamp with time zone DEFAULT now() CONSTRAINT snapshots_created_at_not_null NOT NULL,
    sealed_knowledge bytea CONSTRAINT snapshots_sealed_knowledge_not_null NOT NULL,
    sealed bytea CONSTRAINT snapshots_sealed_not_null NOT NULL,
    verified_at timestamp with time zone,
    bytes bigint DEFAULT 0 CONSTRAINT snapshots_bytes_not_null NOT NULL,
    pinned boolean DEFAULT false CONSTRAINT snapshots_pinned_not_null NOT NULL
);
ALTER TABLE ONLY public.snapshots_14 ALTER COLUMN sealed_knowledge SET STORAGE EXTERNAL;
ALTER TABLE ONLY public.snapshots_14 ALTER COLUMN sealed SET STORAGE EXTERNAL;


--
-- Name: snapshots_15; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.snapshots_15 (
    library_id uuid CONSTRAINT snapshots_library_id_not_null NOT NULL,
    seq bigint CONSTRAINT snapshots_seq_not_null NOT NULL,
    epoch bigint CONSTRAINT snapshots_epoch_not_null NOT NULL,
    created_at timestamp with time zone DEFAULT now() CONSTRAINT snapshots_created_at_not_null NOT NULL,
    sealed_knowledge bytea CONSTRAINT snapshots_sealed_knowledge_not_null NOT NULL,
    sealed bytea CONSTRAINT snapshots_sealed_not_null NOT NULL,
    verified_at timestamp with time zone,
    bytes bigint DEFAULT 0 CONSTRAINT snapshots_bytes_not_null NOT NULL,
    pinned boolean DEFAULT false CONSTRAINT snapshots_pinned_not_null NOT NULL
);
ALTER TABLE ONLY public.snapshots_15 ALTER COLUMN sealed_knowledge SET STORAGE EXTERNAL;
ALTER TABLE ONLY public.snapshots_15 ALTER COLUMN sealed SET STORAGE EXTERNAL;


--
-- Name: snapshots_2; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.snapshots_2 (
    library_id uuid CONSTRAINT snapshots_library_id_not_null NOT NULL,
    seq bigint CONSTRAINT snapshots_seq_not_null NOT NULL,
    epoch bigint CONSTRAINT snapshots_epoch_not_null NOT NULL,
    created_at timestamp with time zone DEFAULT now() CONSTRAINT snapshots_created_at_not_null NOT NULL,
    sealed_knowledge bytea CONSTRAINT snapshots_sealed_knowledge_not_null NOT NULL,
    sealed bytea CONSTRAINT snapshots_sealed_not_null NOT NULL,
    verified_at timestamp with time zone,
    bytes bigint DEFAULT 0 CONSTRAINT snapshots_bytes_not_null NOT NULL,
    pinned boolean DEFAULT false CONSTRAINT snapshots_pinned_not_null NOT NULL
);
ALTER TABLE ONLY public.snapshots_2 ALTER COLUMN sealed_knowledge SET STORAGE EXTERNAL;
ALTER TABLE ONLY public.snapshots_2 ALTER COLUMN sealed SET STORAGE EXTERNAL;


--
-- Name: snapshots_3; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.snapshots_3 (
    library_id uuid CONSTRAINT snapshots_library_id_not_null NOT NULL,
    seq bigint CONSTRAINT snapshots_seq_not_null NOT NULL,
    epoch bigint CONSTRAINT snapshots_epoch_not_null NOT NULL,
    created_at timestamp with time zone DEFAULT now() CONSTRAINT snapshots_created_at_not_null NOT NULL,
    sealed_knowledge bytea CONSTRAINT snapshots_sealed_knowledge_not_null NOT NULL,
    sealed bytea CONSTRAINT snapshots_sealed_not_null NOT NULL,
    verified_at timestamp with time zone,
    bytes bigint DEFAULT 0 CONSTRAINT snapshots_bytes_not_null NOT NULL,
    pinned boolean DEFAULT false CONSTRAINT snapshots_pinned_not_null NOT NULL
);
ALTER TABLE ONLY public.snapshots_3 ALTER COLUMN sealed_knowledge SET STORAGE EXTERNAL;
ALTER TABLE ONLY public.snapshots_3 ALTER COLUMN sealed SET STORAGE EXTERNAL;


--
-- Name: snapshots_4; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.snapshots_4 (
    library_id uuid CONSTRAINT snapshots_library_id_not_null NOT NULL,
    seq bigint CONSTRAINT snapshots_seq_not_null NOT NULL,
    epoch bigint CONSTRAINT snapshots_epoch_not_null NOT NULL,
    created_at timestamp with time zone DEFAULT now() CONSTRAINT snapshots_created_at_not_null NOT NULL,
    sealed_knowledge bytea CONSTRAINT snapshots_sealed_knowledge_not_null NOT NULL,
    sealed bytea CONSTRAINT snapshots_sealed_not_null NOT NULL,
    verified_at timestamp with time zone,
    bytes bigint DEFAULT 0 CONSTRAINT snapshots_bytes_not_null NOT NULL,
    pinned boolean DEFAULT false CONSTRAINT snapshots_pinned_not_null NOT NULL
);
ALTER TABLE ONLY public.snapshots_4 ALTER COLUMN sealed_knowledge SET STORAGE EXTERNAL;
ALTER TABLE ONLY public.snapshots_4 ALTER COLUMN sealed SET STORAGE EXTERNAL;


--
-- Name: snapshots_5; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.snapshots_5 (
    library_id uuid CONSTRAINT snapshots_library_id_not_null NOT NULL,
    seq bigint CONSTRAINT snapshots_seq_not_null NOT NULL,
    epoch bigint CONSTRAINT snapshots_epoch_not_null NOT NULL,
    created_at timestamp with time zone DEFAULT now() CONSTRAINT snapshots_created_at_not_null NOT NULL,
    sealed_knowledge bytea CONSTRAINT snapshots_sealed_knowledge_not_null NOT NULL,
    sealed bytea CONSTRAINT snapshots_sealed_not_null NOT NULL,
    verified_at timestamp with time zone,
    bytes bigint DEFAULT 0 CONSTRAINT snapshots_bytes_not_null NOT NULL,
    pinned boolean DEFAULT false CONSTRAINT snapshots_pinned_not_null NOT NULL
);
ALTER TABLE ONLY public.snapshots_5 ALTER COLUMN sealed_knowledge SET STORAGE EXTERNAL;
ALTER TABLE ONLY public.snapshots_5 ALTER COLUMN sealed SET STORAGE EXTERNAL;


--
-- Name: snapshots_6; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.snapshots_6 (
    library_id uuid CONSTRAINT snapshots_library_id_not_null NOT NULL,
    seq bigint CONSTRAINT snapshots_seq_not_null NOT NULL,
    epoch bigint CONSTRAINT snapshots_epoch_not_null NOT NULL,
    created_at timestamp with time zone DEFAULT now() CONSTRAINT snapshots_created_at_not_null NOT NULL,
    sealed_knowledge bytea CONSTRAINT snapshots_sealed_knowledge_not_null NOT NULL,
    sealed bytea CONSTRAINT snapshots_sealed_not_null NOT NULL,
    verified_at timestamp with time zone,
    bytes bigint DEFAULT 0 CONSTRAINT snapshots_bytes_not_null NOT NULL,
    pinned boolean DEFAULT false CONSTRAINT snapshots_pinned_not_null NOT NULL
);
ALTER TABLE ONLY public.snapshots_6 ALTER COLUMN sealed_knowledge SET STORAGE EXTERNAL;
ALTER TABLE ONLY public.snapshots_6 ALTER COLUMN sealed SET STORAGE EXTERNAL;


--
-- Name: snapshots_7; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.snapshots_7 (
    library_id uuid CONSTRAINT snapshots_library_id_not_null NOT NULL,
    seq bigint CONSTRAINT snapshots_seq_not_null NOT NULL,
    epoch bigint CONSTRAINT snapshots_epoch_not_null NOT NULL,
    created_at timestamp with time zone DEFAULT now() CONSTRAINT snapshots_created_at_not_null NOT NULL,
    sealed_knowledge bytea CONSTRAINT snapshots_sealed_knowledge_not_null NOT NULL,
    sealed bytea CONSTRAINT snapshots_sealed_not_null NOT NULL,
    verified_at timestamp with time zone,
    bytes bigint DEFAULT 0 CONSTRAINT snapshots_bytes_not_null NOT NULL,
    pinned boolean DEFAULT false CONSTRAINT snapshots_pinned_not_null NOT NULL
);
ALTER TABLE ONLY public.snapshots_7 ALTER COLUMN sealed_knowledge SET STORAGE EXTERNAL;
ALTER TABLE ONLY public.snapshots_7 ALTER COLUMN sealed SET STORAGE EXTERNAL;


--
-- Name: snapshots_8; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.snapshots_8 (
    library_id uuid CONSTRAINT snapshots_library_id_not_null NOT NULL,
    seq bigint CONSTRAINT snapshots_seq_not_null NOT NULL,
    epoch bigint CONSTRAINT snapshots_epoch_not_null NOT NULL,
    created_at timestamp with time zone DEFAULT now() CONSTRAINT snapshots_created_at_not_null NOT NULL,
    sealed_knowledge bytea CONSTRAINT snapshots_sealed_knowledge_not_null NOT NULL,
    sealed bytea CONSTRAINT snapshots_sealed_not_null NOT NULL,
    verified_at timestamp with time zone,
    bytes bigint DEFAULT 0 CONSTRAINT snapshots_bytes_not_null NOT NULL,
    pinned boolean DEFAULT false CONSTRAINT snapshots_pinned_not_null NOT NULL
);
ALTER TABLE ONLY public.snapshots_8 ALTER COLUMN sealed_knowledge SET STORAGE EXTERNAL;
ALTER TABLE ONLY public.snapshots_8 ALTER COLUMN sealed SET STORAGE EXTERNAL;


--
-- Name: snapshots_9; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.snapshots_9 (
    library_id uuid CONSTRAINT snapshots_library_id_not_null NOT NULL,
    seq bigint CONSTRAINT snapshots_seq_not_null NOT NULL,
    epoch bigint CONSTRAINT snapshots_epoch_not_null NOT NULL,
    created_at timestamp with time zone DEFAULT now() CONSTRAINT snapshots_created_at_not_null NOT NULL,
    sealed_knowledge bytea CONSTRAINT snapshots_sealed_knowledge_not_null NOT NULL,
    sealed bytea CONSTRAINT snapshots_sealed_not_null NOT NULL,
    verified_at timestamp with time zone,
    bytes bigint DEFAULT 0 CONSTRAINT snapshots_bytes_not_null NOT NULL,
    pinned boolean DEFAULT false CONSTRAINT snapshots_pinned_not_null NOT NULL
);
ALTER TABLE ONLY public.snapshots_9 ALTER COLUMN sealed_knowledge SET STORAGE EXTERNAL;
ALTER TABLE ONLY public.snapshots_9 ALTER COLUMN sealed SET STORAGE EXTERNAL;


--
-- Name: social_states; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.social_states (
    state_hash bytea NOT NULL,
    provider text NOT NULL,
    cookie_hash bytea NOT NULL,
    user_id uuid,
    session_id uuid,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL
);


--
-- Name: updates; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.updates (
    library_id uuid NOT NULL,
    seq bigint NOT NULL,
    epoch bigint NOT NULL,
    session_id uuid,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    sealed bytea NOT NULL
)
PARTITION BY HASH (library_id);
ALTER TABLE ONLY public.updates ALTER COLUMN sealed SET STORAGE EXTERNAL;


--
-- Name: updates_0; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.updates_0 (
    library_id uuid CONSTRAINT updates_library_id_not_null NOT NULL,
    seq bigint CONSTRAINT updates_seq_not_null NOT NULL,
    epoch bigint CONSTRAINT updates_epoch_not_null NOT NULL,
    session_id uuid,
    created_at timestamp with time zone DEFAULT now() CONSTRAINT updates_created_at_not_null NOT NULL,
    sealed bytea CONSTRAINT updates_sealed_not_null NOT NULL
);
ALTER TABLE ONLY public.updates_0 ALTER COLUMN sealed SET STORAGE EXTERNAL;


--
-- Name: updates_1; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.updates_1 (
    library_id uuid CONSTRAINT updates_library_id_not_null NOT NULL,
    seq bigint CONSTRAINT updates_seq_not_null NOT NULL,
    epoch bigint CONSTRAINT updates_epoch_not_null NOT NULL,
    session_id uuid,
    created_at timestamp with time zone DEFAULT now() CONSTRAINT updates_created_at_not_null NOT NULL,
    sealed bytea CONSTRAINT updates_sealed_not_null NOT NULL
);
ALTER TABLE ONLY public.updates_1 ALTER COLUMN sealed SET STORAGE EXTERNAL;


--
-- Name: updates_10; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.updates_10 (
    library_id uuid CONSTRAINT updates_library_id_not_null NOT NULL,
    seq bigint CONSTRAINT updates_seq_not_null NOT NULL,
    epoch bigint CONSTRAINT updates_epoch_not_null NOT NULL,
    session_id uuid,
    created_at timestamp with time zone DEFAULT now() CONSTRAINT updates_created_at_not_null NOT NULL,
    sealed bytea CONSTRAINT updates_sealed_not_null NOT NULL
);
ALTER TABLE ONLY public.updates_10 ALTER COLUMN sealed SET STORAGE EXTERNAL;


--
-- Name: updates_11; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.updates_11 (
    library_id uuid CONSTRAINT updates_library_id_not_null NOT NULL,
    seq bigint CONSTRAINT updates_seq_not_null NOT NULL,
    epoch bigint CONSTRAINT updates_epoch_not_null NOT NULL,
    session_id uuid,
    created_at timestamp with time zone DEFAULT now() CONSTRAINT updates_created_at_not_null NOT NULL,
    sealed bytea CONSTRAINT updates_sealed_not_null NOT NULL
);
ALTER TABLE ONLY public.updates_11 ALTER COLUMN sealed SET STORAGE EXTERNAL;


--
-- Name: updates_12; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.updates_12 (
    library_id uuid CONSTRAINT updates_library_id_not_null NOT NULL,
    seq bigint CONSTRAINT updates_seq_not_null NOT NULL,
    epoch bigint CONSTRAINT updates_epoch_not_null NOT NULL,
    session_id uuid,
    created_at timestamp with time zone DEFAULT now() CONSTRAINT updates_created_at_not_null NOT NULL,
    sealed bytea CONSTRAINT updates_sealed_not_null NOT NULL
);
ALTER TABLE ONLY public.updates_12 ALTER COLUMN sealed SET STORAGE EXTERNAL;


--
-- Name: updates_13; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.updates_13 (
    library_id uuid CONSTRAINT updates_library_id_not_null NOT NULL,
    seq bigint CONSTRAINT updates_seq_not_null NOT NULL,
    epoch bigint CONSTRAINT updates_epoch_not_null NOT NULL,
    session_id uuid,
    created_at timestamp with time zone DEFAULT now() CONSTRAINT updates_created_at_not_null NOT NULL,
    sealed bytea CONSTRAINT updates_sealed_not_null NOT NULL
);
ALTER TABLE ONLY public.updates_13 ALTER COLUMN sealed SET STORAGE EXTERNAL;


--
-- Name: updates_14; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.updates_14 (
    library_id uuid CONSTRAINT updates_library_id_not_null NOT NULL,
    seq bigint CONSTRAINT updates_seq_not_null NOT NULL,
    epoch bigint CONSTRAINT updates_epoch_not_null NOT NULL,
    session_id uuid,
    created_at timestamp with time zone DEFAULT now() CONSTRAINT updates_created_at_not_null NOT NULL,
    sealed bytea CONSTRAINT updates_sealed_not_null NOT NULL
);
ALTER TABLE ONLY public.updates_14 ALTER COLUMN sealed SET STORAGE EXTERNAL;


--
-- Name: updates_15; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.updates_15 (
    library_id uuid CONSTRAINT updates_library_id_not_null NOT NULL,
    seq bigint CONSTRAINT updates_seq_not_null NOT NULL,
    epoch bigint CONSTRAINT updates_epoch_not_null NOT NULL,
    session_id uuid,
    created_at timestamp with time zone DEFAULT now() CONSTRAINT updates_created_at_not_null NOT NULL,
    sealed bytea CONSTRAINT updates_sealed_not_null NOT NULL
);
ALTER TABLE ONLY public.updates_15 ALTER COLUMN sealed SET STORAGE EXTERNAL;


--
-- Name: updates_2; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.updates_2 (
    library_id uuid CONSTRAINT updates_library_id_not_null NOT NULL,
    seq bigint CONSTRAINT updates_seq_not_null NOT NULL,
    epoch bigint CONSTRAINT updates_epoch_not_null NOT NULL,
    session_id uuid,
    created_at timestamp with time zone DEFAULT now() CONSTRAINT updates_created_at_not_null NOT NULL,
    sealed bytea CONSTRAINT updates_sealed_not_null NOT NULL
);
ALTER TABLE ONLY public.updates_2 ALTER COLUMN sealed SET STORAGE EXTERNAL;


--
-- Name: updates_3; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.updates_3 (
    library_id uuid CONSTRAINT updates_library_id_not_null NOT NULL,
    seq bigint CONSTRAINT updates_seq_not_null NOT NULL,
    epoch bigint CONSTRAINT updates_epoch_not_null NOT NULL,
    session_id uuid,
    created_at timestamp with time zone DEFAULT now() CONSTRAINT updates_created_at_not_null NOT NULL,
    sealed bytea CONSTRAINT updates_sealed_not_null NOT NULL
);
ALTER TABLE ONLY public.updates_3 ALTER COLUMN sealed SET STORAGE EXTERNAL;


--
-- Name: updates_4; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.updates_4 (
    library_id uuid CONSTRAINT updates_library_id_not_null NOT NULL,
    seq bigint CONSTRAINT updates_seq_not_null NOT NULL,
    epoch bigint CONSTRAINT updates_epoch_not_null NOT NULL,
    session_id uuid,
    created_at timestamp with time zone DEFAULT now() CONSTRAINT updates_created_at_not_null NOT NULL,
    sealed bytea CONSTRAINT updates_sealed_not_null NOT NULL
);
ALTER TABLE ONLY public.updates_4 ALTER COLUMN sealed SET STORAGE EXTERNAL;


--
-- Name: updates_5; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.updates_5 (
    library_id uuid CONSTRAINT updates_library_id_not_null NOT NULL,
    seq bigint CONSTRAINT updates_seq_not_null NOT NULL,
    epoch bigint CONSTRAINT updates_epoch_not_null NOT NULL,
    session_id uuid,
    created_at timestamp with time zone DEFAULT now() CONSTRAINT updates_created_at_not_null NOT NULL,
    sealed bytea CONSTRAINT updates_sealed_not_null NOT NULL
);
ALTER TABLE ONLY public.updates_5 ALTER COLUMN sealed SET STORAGE EXTERNAL;


--
-- Name: updates_6; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.updates_6 (
    library_id uuid CONSTRAINT updates_library_id_not_null NOT NULL,
    seq bigint CONSTRAINT updates_seq_not_null NOT NULL,
    epoch bigint CONSTRAINT updates_epoch_not_null NOT NULL,
    session_id uuid,
    created_at timestamp with time zone DEFAULT now() CONSTRAINT updates_created_at_not_null NOT NULL,
    sealed bytea CONSTRAINT updates_sealed_not_null NOT NULL
);
ALTER TABLE ONLY public.updates_6 ALTER COLUMN sealed SET STORAGE EXTERNAL;


--
-- Name: updates_7; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.updates_7 (
    library_id uuid CONSTRAINT updates_library_id_not_null NOT NULL,
    seq bigint CONSTRAINT updates_seq_not_null NOT NULL,
    epoch bigint CONSTRAINT updates_epoch_not_null NOT NULL,
    session_id uuid,
    created_at timestamp with time zone DEFAULT now() CONSTRAINT updates_created_at_not_null NOT NULL,
    sealed bytea CONSTRAINT updates_sealed_not_null NOT NULL
);
ALTER TABLE ONLY public.updates_7 ALTER COLUMN sealed SET STORAGE EXTERNAL;


--
-- Name: updates_8; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.updates_8 (
    library_id uuid CONSTRAINT updates_library_id_not_null NOT NULL,
    seq bigint CONSTRAINT updates_seq_not_null NOT NULL,
    epoch bigint CONSTRAINT updates_epoch_not_null NOT NULL,
    session_id uuid,
    created_at timestamp with time zone DEFAULT now() CONSTRAINT updates_created_at_not_null NOT NULL,
    sealed bytea CONSTRAINT updates_sealed_not_null NOT NULL
);
ALTER TABLE ONLY public.updates_8 ALTER COLUMN sealed SET STORAGE EXTERNAL;


--
-- Name: updates_9; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.updates_9 (
    library_id uuid CONSTRAINT updates_library_id_not_null NOT NULL,
    seq bigint CONSTRAINT updates_seq_not_null NOT NULL,
    epoch bigint CONSTRAINT updates_epoch_not_null NOT NULL,
    session_id uuid,
    created_at timestamp with time zone DEFAULT now() CONSTRAINT updates_created_at_not_null NOT NULL,
    sealed bytea CONSTRAINT updates_sealed_not_null NOT NULL
);
ALTER TABLE ONLY public.updates_9 ALTER COLUMN sealed SET STORAGE EXTERNAL;


--
-- Name: users; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.users (
    id uuid NOT NULL,
    email text,
    email_key text,
    name text NOT NULL,
    password_hash text,
    library_id uuid NOT NULL,
    wrapped_key bytea,
    key_id text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    last_login_at timestamp with time zone,
    disabled_at timestamp with time zone,
    email_verified_at timestamp with time zone,
    role text DEFAULT 'user'::text NOT NULL,
    deleted_at timestamp with time zone,
    CONSTRAINT users_role_check CHECK ((role = ANY (ARRAY['user'::text, 'admin'::text])))
);


--
-- Name: snapshots_0; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshots ATTACH PARTITION public.snapshots_0 FOR VALUES WITH (modulus 16, remainder 0);


--
-- Name: snapshots_1; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshots ATTACH PARTITION public.snapshots_1 FOR VALUES WITH (modulus 16, remainder 1);


--
-- Name: snapshots_10; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshots ATTACH PARTITION public.snapshots_10 FOR VALUES WITH (modulus 16, remainder 10);


--
-- Name: snapshots_11; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshots ATTACH PARTITION public.snapshots_11 FOR VALUES WITH (modulus 16, remainder 11);


--
-- Name: snapshots_12; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshots ATTACH PARTITION public.snapshots_12 FOR VALUES WITH (modulus 16, remainder 12);


--
-- Name: snapshots_13; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshots ATTACH PARTITION public.snapshots_13 FOR VALUES WITH (modulus 16, remainder 13);


--
-- Name: snapshots_14; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshots ATTACH PARTITION public.snapshots_14 FOR VALUES WITH (modulus 16, remainder 14);


--
-- Name: snapshots_15; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshots ATTACH PARTITION public.snapshots_15 FOR VALUES WITH (modulus 16, remainder 15);


--
-- Name: snapshots_2; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshots ATTACH PARTITION public.snapshots_2 FOR VALUES WITH (modulus 16, remainder 2);


--
-- Name: snapshots_3; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshots ATTACH PARTITION public.snapshots_3 FOR VALUES WITH (modulus 16, remainder 3);


--
-- Name: snapshots_4; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshots ATTACH PARTITION public.snapshots_4 FOR VALUES WITH (modulus 16, remainder 4);


--
-- Name: snapshots_5; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshots ATTACH PARTITION public.snapshots_5 FOR VALUES WITH (modulus 16, remainder 5);


--
-- Name: snapshots_6; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshots ATTACH PARTITION public.snapshots_6 FOR VALUES WITH (modulus 16, remainder 6);


--
-- Name: snapshots_7; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshots ATTACH PARTITION public.snapshots_7 FOR VALUES WITH (modulus 16, remainder 7);


--
-- Name: snapshots_8; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshots ATTACH PARTITION public.snapshots_8 FOR VALUES WITH (modulus 16, remainder 8);


--
-- Name: snapshots_9; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshots ATTACH PARTITION public.snapshots_9 FOR VALUES WITH (modulus 16, remainder 9);


--
-- Name: updates_0; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.updates ATTACH PARTITION public.updates_0 FOR VALUES WITH (modulus 16, remainder 0);


--
-- Name: updates_1; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.updates ATTACH PARTITION public.updates_1 FOR VALUES WITH (modulus 16, remainder 1);


--
-- Name: updates_10; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.updates ATTACH PARTITION public.updates_10 FOR VALUES WITH (modulus 16, remainder 10);


--
-- Name: updates_11; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.updates ATTACH PARTITION public.updates_11 FOR VALUES WITH (modulus 16, remainder 11);


--
-- Name: updates_12; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.updates ATTACH PARTITION public.updates_12 FOR VALUES WITH (modulus 16, remainder 12);


--
-- Name: updates_13; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.updates ATTACH PARTITION public.updates_13 FOR VALUES WITH (modulus 16, remainder 13);


--
-- Name: updates_14; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.updates ATTACH PARTITION public.updates_14 FOR VALUES WITH (modulus 16, remainder 14);


--
-- Name: updates_15; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.updates ATTACH PARTITION public.updates_15 FOR VALUES WITH (modulus 16, remainder 15);


--
-- Name: updates_2; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.updates ATTACH PARTITION public.updates_2 FOR VALUES WITH (modulus 16, remainder 2);


--
-- Name: updates_3; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.updates ATTACH PARTITION public.updates_3 FOR VALUES WITH (modulus 16, remainder 3);


--
-- Name: updates_4; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.updates ATTACH PARTITION public.updates_4 FOR VALUES WITH (modulus 16, remainder 4);


--
-- Name: updates_5; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.updates ATTACH PARTITION public.updates_5 FOR VALUES WITH (modulus 16, remainder 5);


--
-- Name: updates_6; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.updates ATTACH PARTITION public.updates_6 FOR VALUES WITH (modulus 16, remainder 6);


--
-- Name: updates_7; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.updates ATTACH PARTITION public.updates_7 FOR VALUES WITH (modulus 16, remainder 7);


--
-- Name: updates_8; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.updates ATTACH PARTITION public.updates_8 FOR VALUES WITH (modulus 16, remainder 8);


--
-- Name: updates_9; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.updates ATTACH PARTITION public.updates_9 FOR VALUES WITH (modulus 16, remainder 9);


--
-- Name: jobs_pgqueuer id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.jobs_pgqueuer ALTER COLUMN id SET DEFAULT nextval('public.jobs_pgqueuer_id_seq'::regclass);


--
-- Name: jobs_pgqueuer_schedules id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.jobs_pgqueuer_schedules ALTER COLUMN id SET DEFAULT nextval('public.jobs_pgqueuer_schedules_id_seq'::regclass);


--
-- Name: jobs_pgqueuer_statistics id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.jobs_pgqueuer_statistics ALTER COLUMN id SET DEFAULT nextval('public.jobs_pgqueuer_statistics_id_seq'::regclass);


--
-- Name: alembic_version alembic_version_pkc; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);


--
-- Name: audit audit_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.audit
    ADD CONSTRAINT audit_pkey PRIMARY KEY (id);


--
-- Name: cluster cluster_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.cluster
    ADD CONSTRAINT cluster_pkey PRIMARY KEY (singleton);


--
-- Name: encryption_keys encryption_keys_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.encryption_keys
    ADD CONSTRAINT encryption_keys_pkey PRIMARY KEY (id);


--
-- Name: idempotency_keys idempotency_keys_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT idempotency_keys_pkey PRIMARY KEY (user_id, key_hash);


--
-- Name: identities identities_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.identities
    ADD CONSTRAINT identities_pkey PRIMARY KEY (id);


--
-- Name: identity_keys identity_keys_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.identity_keys
    ADD CONSTRAINT identity_keys_pkey PRIMARY KEY (provider, namespace, subject);


--
-- Name: jobs_pgqueuer_log jobs_pgqueuer_log_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.jobs_pgqueuer_log
    ADD CONSTRAINT jobs_pgqueuer_log_pkey PRIMARY KEY (id);


--
-- Name: jobs_pgqueuer jobs_pgqueuer_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.jobs_pgqueuer
    ADD CONSTRAINT jobs_pgqueuer_pkey PRIMARY KEY (id);


--
-- Name: jobs_pgqueuer_schedules jobs_pgqueuer_schedules_expression_entrypoint_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.jobs_pgqueuer_schedules
    ADD CONSTRAINT jobs_pgqueuer_schedules_expression_entrypoint_key UNIQUE (expression, entrypoint);


--
-- Name: jobs_pgqueuer_schedules jobs_pgqueuer_schedules_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.jobs_pgqueuer_schedules
    ADD CONSTRAINT jobs_pgqueuer_schedules_pkey PRIMARY KEY (id);


--
-- Name: jobs_pgqueuer_statistics jobs_pgqueuer_statistics_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.jobs_pgqueuer_statistics
    ADD CONSTRAINT jobs_pgqueuer_statistics_pkey PRIMARY KEY (id);


--
-- Name: libraries libraries_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.libraries
    ADD CONSTRAINT libraries_pkey PRIMARY KEY (id);


--
-- Name: limit_counters limit_counters_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.limit_counters
    ADD CONSTRAINT limit_counters_pkey PRIMARY KEY (key);


--
-- Name: mails mails_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.mails
    ADD CONSTRAINT mails_pkey PRIMARY KEY (id);


--
-- Name: mails mails_token_hash_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.mails
    ADD CONSTRAINT mails_token_hash_key UNIQUE (token_hash);


--
-- Name: members members_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.members
    ADD CONSTRAINT members_pkey PRIMARY KEY (library_id, user_id);


--
-- Name: model_calls model_calls_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.model_calls
    ADD CONSTRAINT model_calls_pkey PRIMARY KEY (id);


--
-- Name: model_secrets model_secrets_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.model_secrets
    ADD CONSTRAINT model_secrets_pkey PRIMARY KEY (id);


--
-- Name: model_secrets model_secrets_user_id_config_id_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.model_secrets
    ADD CONSTRAINT model_secrets_user_id_config_id_key UNIQUE (user_id, config_id);


--
-- Name: quarantined quarantined_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.quarantined
    ADD CONSTRAINT quarantined_pkey PRIMARY KEY (library_id, seq);


--
-- Name: registrations registrations_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.registrations
    ADD CONSTRAINT registrations_pkey PRIMARY KEY (mail_id);


--
-- Name: sessions sessions_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (id);


--
-- Name: shares shares_code_hash; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.shares
    ADD CONSTRAINT shares_code_hash UNIQUE (code_hash);


--
-- Name: shares shares_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.shares
    ADD CONSTRAINT shares_pkey PRIMARY KEY (id);


--
-- Name: snapshots snapshots_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshots
    ADD CONSTRAINT snapshots_pkey PRIMARY KEY (library_id, seq);


--
-- Name: snapshots_0 snapshots_0_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshots_0
    ADD CONSTRAINT snapshots_0_pkey PRIMARY KEY (library_id, seq);


--
-- Name: snapshots_10 snapshots_10_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshots_10
    ADD CONSTRAINT snapshots_10_pkey PRIMARY KEY (library_id, seq);


--
-- Name: snapshots_11 snapshots_11_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshots_11
    ADD CONSTRAINT snapshots_11_pkey PRIMARY KEY (library_id, seq);


--
-- Name: snapshots_12 snapshots_12_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshots_12
    ADD CONSTRAINT snapshots_12_pkey PRIMARY KEY (library_id, seq);


--
-- Name: snapshots_13 snapshots_13_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshots_13
    ADD CONSTRAINT snapshots_13_pkey PRIMARY KEY (library_id, seq);


--
-- Name: snapshots_14 snapshots_14_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshots_14
    ADD CONSTRAINT snapshots_14_pkey PRIMARY KEY (library_id, seq);


--
-- Name: snapshots_15 snapshots_15_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshots_15
    ADD CONSTRAINT snapshots_15_pkey PRIMARY KEY (library_id, seq);


--
-- Name: snapshots_1 snapshots_1_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshots_1
    ADD CONSTRAINT snapshots_1_pkey PRIMARY KEY (library_id, seq);


--
-- Name: snapshots_2 snapshots_2_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshots_2
    ADD CONSTRAINT snapshots_2_pkey PRIMARY KEY (library_id, seq);


--
-- Name: snapshots_3 snapshots_3_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshots_3
    ADD CONSTRAINT snapshots_3_pkey PRIMARY KEY (library_id, seq);


--
-- Name: snapshots_4 snapshots_4_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshots_4
    ADD CONSTRAINT snapshots_4_pkey PRIMARY KEY (library_id, seq);


--
-- Name: snapshots_5 snapshots_5_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshots_5
    ADD CONSTRAINT snapshots_5_pkey PRIMARY KEY (library_id, seq);


--
-- Name: snapshots_6 snapshots_6_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshots_6
    ADD CONSTRAINT snapshots_6_pkey PRIMARY KEY (library_id, seq);


--
-- Name: snapshots_7 snapshots_7_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshots_7
    ADD CONSTRAINT snapshots_7_pkey PRIMARY KEY (library_id, seq);


--
-- Name: snapshots_8 snapshots_8_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshots_8
    ADD CONSTRAINT snapshots_8_pkey PRIMARY KEY (library_id, seq);


--
-- Name: snapshots_9 snapshots_9_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshots_9
    ADD CONSTRAINT snapshots_9_pkey PRIMARY KEY (library_id, seq);


--
-- Name: social_states social_states_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.social_states
    ADD CONSTRAINT social_states_pkey PRIMARY KEY (state_hash);


--
-- Name: updates updates_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.updates
    ADD CONSTRAINT updates_pkey PRIMARY KEY (library_id, seq);


--
-- Name: updates_0 updates_0_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.updates_0
    ADD CONSTRAINT updates_0_pkey PRIMARY KEY (library_id, seq);


--
-- Name: updates_10 updates_10_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.updates_10
    ADD CONSTRAINT updates_10_pkey PRIMARY KEY (library_id, seq);


--
-- Name: updates_11 updates_11_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.updates_11
    ADD CONSTRAINT updates_11_pkey PRIMARY KEY (library_id, seq);


--
-- Name: updates_12 updates_12_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.updates_12
    ADD CONSTRAINT updates_12_pkey PRIMARY KEY (library_id, seq);


--
-- Name: updates_13 updates_13_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.updates_13
    ADD CONSTRAINT updates_13_pkey PRIMARY KEY (library_id, seq);


--
-- Name: updates_14 updates_14_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.updates_14
    ADD CONSTRAINT updates_14_pkey PRIMARY KEY (library_id, seq);


--
-- Name: updates_15 updates_15_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.updates_15
    ADD CONSTRAINT updates_15_pkey PRIMARY KEY (library_id, seq);


--
-- Name: updates_1 updates_1_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.updates_1
    ADD CONSTRAINT updates_1_pkey PRIMARY KEY (library_id, seq);


--
-- Name: updates_2 updates_2_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.updates_2
    ADD CONSTRAINT updates_2_pkey PRIMARY KEY (library_id, seq);


--
-- Name: updates_3 updates_3_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.updates_3
    ADD CONSTRAINT updates_3_pkey PRIMARY KEY (library_id, seq);


--
-- Name: updates_4 updates_4_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.updates_4
    ADD CONSTRAINT updates_4_pkey PRIMARY KEY (library_id, seq);


--
-- Name: updates_5 updates_5_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.updates_5
    ADD CONSTRAINT updates_5_pkey PRIMARY KEY (library_id, seq);


--
-- Name: updates_6 updates_6_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.updates_6
    ADD CONSTRAINT updates_6_pkey PRIMARY KEY (library_id, seq);


--
-- Name: updates_7 updates_7_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.updates_7
    ADD CONSTRAINT updates_7_pkey PRIMARY KEY (library_id, seq);


--
-- Name: updates_8 updates_8_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.updates_8
    ADD CONSTRAINT updates_8_pkey PRIMARY KEY (library_id, seq);


--
-- Name: updates_9 updates_9_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.updates_9
    ADD CONSTRAINT updates_9_pkey PRIMARY KEY (library_id, seq);


--
-- Name: users users_email_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_email_key UNIQUE (email_key);


--
-- Name: users users_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (id);


--
-- Name: audit_at; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX audit_at ON public.audit USING btree (at);


--
-- Name: audit_user; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX audit_user ON public.audit USING btree (user_id, id);


--
-- Name: idempotency_keys_claimed; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX idempotency_keys_claimed ON public.idempotency_keys USING btree (claimed_at);


--
-- Name: identities_user; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX identities_user ON public.identities USING btree (user_id);


--
-- Name: identity_keys_identity; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX identity_keys_identity ON public.identity_keys USING btree (identity_id);


--
-- Name: jobs_pgqueuer_ep_ea_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX jobs_pgqueuer_ep_ea_idx ON public.jobs_pgqueuer USING btree (entrypoint, execute_after) WHERE (status = 'queued'::public.jobs_pgqueuer_status);


--
-- Name: jobs_pgqueuer_ep_prio_id_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX jobs_pgqueuer_ep_prio_id_idx ON public.jobs_pgqueuer USING btree (entrypoint, priority DESC, id) WHERE (status = 'queued'::public.jobs_pgqueuer_status);


--
-- Name: jobs_pgqueuer_log_created; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX jobs_pgqueuer_log_created ON public.jobs_pgqueuer_log USING btree (created);


--
-- Name: jobs_pgqueuer_log_job_id_status; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX jobs_pgqueuer_log_job_id_status ON public.jobs_pgqueuer_log USING btree (job_id, created DESC);


--
-- Name: jobs_pgqueuer_log_not_aggregated; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX jobs_pgqueuer_log_not_aggregated ON public.jobs_pgqueuer_log USING btree ((1)) WHERE (NOT aggregated);


--
-- Name: jobs_pgqueuer_log_status; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX jobs_pgqueuer_log_status ON public.jobs_pgqueuer_log USING btree (status);


--
-- Name: jobs_pgqueuer_picked_heartbeat_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX jobs_pgqueuer_picked_heartbeat_idx ON public.jobs_pgqueuer USING btree (heartbeat) WHERE (status = 'picked'::public.jobs_pgqueuer_status);


--
-- Name: jobs_pgqueuer_picked_slot_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX jobs_pgqueuer_picked_slot_idx ON public.jobs_pgqueuer USING btree (entrypoint, slot) WHERE ((status = 'picked'::public.jobs_pgqueuer_status) AND (slot IS NOT NULL));


--
-- Name: jobs_pgqueuer_priority_id_id1_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX jobs_pgqueuer_priority_id_id1_idx ON public.jobs_pgqueuer USING btree (priority, id DESC) INCLUDE (id) WHERE (status = 'queued'::public.jobs_pgqueuer_status);


--
-- Name: jobs_pgqueuer_queue_manager_id_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX jobs_pgqueuer_queue_manager_id_idx ON public.jobs_pgqueuer USING btree (queue_manager_id) WHERE (queue_manager_id IS NOT NULL);


--
-- Name: jobs_pgqueuer_statistics_unique_count; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX jobs_pgqueuer_statistics_unique_count ON public.jobs_pgqueuer_statistics USING btree (priority, date_trunc('sec'::text, timezone('UTC'::text, created)), status, entrypoint);


--
-- Name: jobs_pgqueuer_unique_dedupe_key; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX jobs_pgqueuer_unique_dedupe_key ON public.jobs_pgqueuer USING btree (dedupe_key) WHERE ((status = ANY (ARRAY['queued'::public.jobs_pgqueuer_status, 'picked'::public.jobs_pgqueuer_status])) AND (dedupe_key IS NOT NULL));


--
-- Name: jobs_pgqueuer_updated_id_id1_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX jobs_pgqueuer_updated_id_id1_idx ON public.jobs_pgqueuer USING btree (updated, id DESC) INCLUDE (id) WHERE (status = 'picked'::public.jobs_pgqueuer_status);


--
-- Name: libraries_deleted; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX libraries_deleted ON public.libraries USING btree (deleted_at) WHERE (deleted_at IS NOT NULL);


--
-- Name: libraries_key_id; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX libraries_key_id ON public.libraries USING btree (key_id, id);


--
-- Name: libraries_owner; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX libraries_owner ON public.libraries USING btree (owner_id);


--
-- Name: limit_counters_expires; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX limit_counters_expires ON public.limit_counters USING btree (expires_at);


--
-- Name: mails_created; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX mails_created ON public.mails USING btree (created_at);


--
-- Name: mails_user; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX mails_user ON public.mails USING btree (user_id, kind);


--
-- Name: members_user; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX members_user ON public.members USING btree (user_id);


--
-- Name: model_calls_at; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX model_calls_at ON public.model_calls USING btree (at);


--
-- Name: model_calls_user; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX model_calls_user ON public.model_calls USING btree (user_id, at);


--
-- Name: sessions_one_live_a_device; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX sessions_one_live_a_device ON public.sessions USING btree (user_id, device_id) WHERE (revoked_at IS NULL);


--
-- Name: sessions_user; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX sessions_user ON public.sessions USING btree (user_id);


--
-- Name: shares_created_by; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX shares_created_by ON public.shares USING btree (created_by);


--
-- Name: shares_library; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX shares_library ON public.shares USING btree (library_id, created_at);


--
-- Name: social_states_expires; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX social_states_expires ON public.social_states USING btree (expires_at);


--
-- Name: users_deleted; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX users_deleted ON public.users USING btree (deleted_at) WHERE (deleted_at IS NOT NULL);


--
-- Name: users_key_id; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX users_key_id ON public.users USING btree (key_id, id);


--
-- Name: snapshots_0_pkey; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.snapshots_pkey ATTACH PARTITION public.snapshots_0_pkey;


--
-- Name: snapshots_10_pkey; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.snapshots_pkey ATTACH PARTITION public.snapshots_10_pkey;


--
-- Name: snapshots_11_pkey; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.snapshots_pkey ATTACH PARTITION public.snapshots_11_pkey;


--
-- Name: snapshots_12_pkey; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.snapshots_pkey ATTACH PARTITION public.snapshots_12_pkey;


--
-- Name: snapshots_13_pkey; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.snapshots_pkey ATTACH PARTITION public.snapshots_13_pkey;


--
-- Name: snapshots_14_pkey; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.snapshots_pkey ATTACH PARTITION public.snapshots_14_pkey;


--
-- Name: snapshots_15_pkey; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.snapshots_pkey ATTACH PARTITION public.snapshots_15_pkey;


--
-- Name: snapshots_1_pkey; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.snapshots_pkey ATTACH PARTITION public.snapshots_1_pkey;


--
-- Name: snapshots_2_pkey; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.snapshots_pkey ATTACH PARTITION public.snapshots_2_pkey;


--
-- Name: snapshots_3_pkey; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.snapshots_pkey ATTACH PARTITION public.snapshots_3_pkey;


--
-- Name: snapshots_4_pkey; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.snapshots_pkey ATTACH PARTITION public.snapshots_4_pkey;


--
-- Name: snapshots_5_pkey; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.snapshots_pkey ATTACH PARTITION public.snapshots_5_pkey;


--
-- Name: snapshots_6_pkey; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.snapshots_pkey ATTACH PARTITION public.snapshots_6_pkey;


--
-- Name: snapshots_7_pkey; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.snapshots_pkey ATTACH PARTITION public.snapshots_7_pkey;


--
-- Name: snapshots_8_pkey; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.snapshots_pkey ATTACH PARTITION public.snapshots_8_pkey;


--
-- Name: snapshots_9_pkey; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.snapshots_pkey ATTACH PARTITION public.snapshots_9_pkey;


--
-- Name: updates_0_pkey; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.updates_pkey ATTACH PARTITION public.updates_0_pkey;


--
-- Name: updates_10_pkey; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.updates_pkey ATTACH PARTITION public.updates_10_pkey;


--
-- Name: updates_11_pkey; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.updates_pkey ATTACH PARTITION public.updates_11_pkey;


--
-- Name: updates_12_pkey; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.updates_pkey ATTACH PARTITION public.updates_12_pkey;


--
-- Name: updates_13_pkey; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.updates_pkey ATTACH PARTITION public.updates_13_pkey;


--
-- Name: updates_14_pkey; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.updates_pkey ATTACH PARTITION public.updates_14_pkey;


--
-- Name: updates_15_pkey; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.updates_pkey ATTACH PARTITION public.updates_15_pkey;


--
-- Name: updates_1_pkey; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.updates_pkey ATTACH PARTITION public.updates_1_pkey;


--
-- Name: updates_2_pkey; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.updates_pkey ATTACH PARTITION public.updates_2_pkey;


--
-- Name: updates_3_pkey; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.updates_pkey ATTACH PARTITION public.updates_3_pkey;


--
-- Name: updates_4_pkey; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.updates_pkey ATTACH PARTITION public.updates_4_pkey;


--
-- Name: updates_5_pkey; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.updates_pkey ATTACH PARTITION public.updates_5_pkey;


--
-- Name: updates_6_pkey; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.updates_pkey ATTACH PARTITION public.updates_6_pkey;


--
-- Name: updates_7_pkey; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.updates_pkey ATTACH PARTITION public.updates_7_pkey;


--
-- Name: updates_8_pkey; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.updates_pkey ATTACH PARTITION public.updates_8_pkey;


--
-- Name: updates_9_pkey; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.updates_pkey ATTACH PARTITION public.updates_9_pkey;


--
-- Name: audit audit_rows; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER audit_rows BEFORE DELETE OR UPDATE ON public.audit FOR EACH ROW EXECUTE FUNCTION public.audit_is_append_only();


--
-- Name: audit audit_table; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER audit_table BEFORE TRUNCATE ON public.audit FOR EACH STATEMENT EXECUTE FUNCTION public.audit_is_append_only();


--
-- Name: jobs_pgqueuer jobs_tg_pgqueuer_changed; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER jobs_tg_pgqueuer_changed AFTER INSERT OR DELETE OR UPDATE OR TRUNCATE ON public.jobs_pgqueuer FOR EACH STATEMENT EXECUTE FUNCTION public.jobs_fn_pgqueuer_changed();


--
-- Name: idempotency_keys idempotency_keys_user_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT idempotency_keys_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;


--
-- Name: identities identities_user_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.identities
    ADD CONSTRAINT identities_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;


--
-- Name: identity_keys identity_keys_identity_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.identity_keys
    ADD CONSTRAINT identity_keys_identity_id_fkey FOREIGN KEY (identity_id) REFERENCES public.identities(id) ON DELETE CASCADE;


--
-- Name: libraries libraries_owner_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.libraries
    ADD CONSTRAINT libraries_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES public.users(id);


--
-- Name: mails mails_user_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.mails
    ADD CONSTRAINT mails_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;


--
-- Name: members members_library_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.members
    ADD CONSTRAINT members_library_id_fkey FOREIGN KEY (library_id) REFERENCES public.libraries(id) ON DELETE CASCADE;


--
-- Name: members members_user_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.members
    ADD CONSTRAINT members_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;


--
-- Name: model_calls model_calls_user_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.model_calls
    ADD CONSTRAINT model_calls_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;


--
-- Name: model_secrets model_secrets_user_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.model_secrets
    ADD CONSTRAINT model_secrets_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;


--
-- Name: registrations registrations_mail_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.registrations
    ADD CONSTRAINT registrations_mail_id_fkey FOREIGN KEY (mail_id) REFERENCES public.mails(id) ON DELETE CASCADE;


--
-- Name: sessions sessions_user_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;


--
-- Name: shares shares_created_by_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.shares
    ADD CONSTRAINT shares_created_by_fkey FOREIGN KEY (created_by) REFERENCES public.users(id) ON DELETE SET NULL;


--
-- Name: shares shares_library_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.shares
    ADD CONSTRAINT shares_library_id_fkey FOREIGN KEY (library_id) REFERENCES public.libraries(id) ON DELETE CASCADE;


--
-- Name: social_states social_states_user_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.social_states
    ADD CONSTRAINT social_states_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;


--
-- PostgreSQL database dump complete
--

\unrestrict x

