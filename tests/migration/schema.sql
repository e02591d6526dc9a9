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

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: alembic_version; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
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
-- Name: libraries; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.libraries (
    id uuid NOT NULL,
    owner_id uuid NOT NULL,
    name text NOT NULL,
    head bigint DEFAULT 0 NOT NULL,
    epoch bigint DEFAULT 1 NOT NULL,
    server_client_id bigint NOT NULL,
    server_clock bigint DEFAULT 0 NOT NULL,
    wrapped_key bytea,
    key_id text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    deleted_at timestamp with time zone,
    snapshot_seq bigint DEFAULT 0 NOT NULL,
    compacted_at timestamp with time zone
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
    address text DEFAULT ''::text NOT NULL
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
    email text NOT NULL,
    email_key text NOT NULL,
    name text NOT NULL,
    password_hash text,
    library_id uuid NOT NULL,
    wrapped_key bytea NOT NULL,
    key_id text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    last_login_at timestamp with time zone,
    disabled_at timestamp with time zone
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
-- Name: alembic_version alembic_version_pkc; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);


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
-- Name: libraries libraries_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.libraries
    ADD CONSTRAINT libraries_pkey PRIMARY KEY (id);


--
-- Name: members members_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.members
    ADD CONSTRAINT members_pkey PRIMARY KEY (library_id, user_id);


--
-- Name: quarantined quarantined_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.quarantined
    ADD CONSTRAINT quarantined_pkey PRIMARY KEY (library_id, seq);


--
-- Name: sessions sessions_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (id);


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
-- Name: members_user; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX members_user ON public.members USING btree (user_id);


--
-- Name: sessions_one_live_a_device; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX sessions_one_live_a_device ON public.sessions USING btree (user_id, device_id) WHERE (revoked_at IS NULL);


--
-- Name: sessions_user; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX sessions_user ON public.sessions USING btree (user_id);


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
-- Name: libraries libraries_owner_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.libraries
    ADD CONSTRAINT libraries_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES public.users(id);


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
-- Name: sessions sessions_user_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;


--
-- PostgreSQL database dump complete
--

\unrestrict x

