-- The ledger, first version: what was counted (partitions, chain of batches, usage),
-- who is counted (tenants, keys, limits), what it costs (catalogue), what was billed
-- (invoices), and what is still to be told (outbox).
-- Instants are timestamptz with millisecond values; quantities numeric(38,9); hashes
-- bytea(16); money numeric with the currency beside it. No foreign keys on the hot path
-- (journal_partition, batch, usage*, outbox).

-- One row for ever: what must be the same for every process that shares this ledger.
CREATE TABLE installation (
    singleton       boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    identity_key    bytea NOT NULL CHECK (octet_length(identity_key) = 16),
    topic           text NOT NULL,
    partitions      integer NOT NULL CHECK (partitions > 0),
    generation      integer NOT NULL DEFAULT 1,
    topic_id        text,                      -- Kafka's id of the topic of this generation; NULL until it is known
    projection_id   text,                      -- the mark in ClickHouse; another one there: project everything again
    created_at      timestamptz NOT NULL
);

-- ---------------------------------------------------------------- counting

-- Where counting stands in each partition. The commit is a compare-and-set on this row.
CREATE TABLE journal_partition (
    partition        integer PRIMARY KEY,
    generation       integer NOT NULL,
    first_offset     bigint NOT NULL,          -- where the chain of batches begins
    next_offset      bigint NOT NULL,          -- the first offset not yet counted
    broker_time_max  timestamptz NOT NULL,     -- running maximum of broker time
    owner            bytea CHECK (octet_length(owner) = 16),
    owner_name       text,                     -- host:pid of the owner, for people
    owned_at         timestamptz,
    -- the record before next_offset, compared when the partition is taken; NULL before the first
    last_offset      bigint,
    last_broker_time timestamptz,
    last_key         bytea,
    last_crc         bigint,                   -- CRC-32 of its value
    folded_to        bigint NOT NULL,          -- usage rows hold everything below
    projected_to     bigint NOT NULL,          -- ClickHouse events hold everything below
    rolled_to        bigint NOT NULL,          -- ClickHouse rollups hold everything below
    epoch            bigint NOT NULL DEFAULT 0, -- rises when the partition is taken or projected again; ClickHouse rows carry it
    CHECK (folded_to <= next_offset AND projected_to <= next_offset AND rolled_to <= folded_to)
) WITH (fillfactor = 50);

-- The chain: one row per committed batch [from_offset, to_offset). Carries every decision,
-- so Kafka plus this table rebuild everything without deciding anything twice.
CREATE TABLE batch (
    partition        integer NOT NULL,
    generation       integer NOT NULL,
    from_offset      bigint NOT NULL,
    to_offset        bigint NOT NULL,
    read_count       bigint NOT NULL,
    accepted_count   bigint NOT NULL,
    duplicate_count  bigint NOT NULL,
    rejected_count   bigint NOT NULL,
    forwarded_count  bigint NOT NULL,
    control_count    bigint NOT NULL,
    rejected_by      jsonb NOT NULL,           -- {"too_late": 3, …}: rejects and conflicts by reason
    exceptions       bytea NOT NULL,           -- wire::batch_blob, which offsets were not accepted and why
    deltas           bytea NOT NULL,           -- wire::batch_blob, what usage grew by
    content_sum      bytea NOT NULL CHECK (octet_length(content_sum) = 16),
    broker_time_max  timestamptz NOT NULL,     -- running maximum after the batch
    catalog_version  bigint NOT NULL,
    engine_version   text NOT NULL,
    committed_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (partition, generation, from_offset),
    CHECK (from_offset < to_offset),
    CHECK (read_count = accepted_count + duplicate_count + rejected_count + forwarded_count + control_count)
);

-- Usage by hour, folded from the batches. One row per key and partition; `hour` is the start
-- of the hour of the tenant's billing zone, as a UTC instant.
CREATE TABLE usage (
    tenant       text NOT NULL,
    meter        text NOT NULL,
    hour         timestamptz NOT NULL,
    dimensions   text NOT NULL,                -- canonical JSON
    generation   integer NOT NULL,
    partition    integer NOT NULL,
    quantity     numeric(38,9) NOT NULL,
    event_count  bigint NOT NULL,
    latest_at    timestamptz,                  -- `latest` meters: event time of the value
    latest_offset bigint,                      -- `latest` meters: offset of the value
    PRIMARY KEY (tenant, meter, hour, dimensions, generation, partition)
) PARTITION BY RANGE (hour);
CREATE TABLE usage_default PARTITION OF usage DEFAULT;

-- The different values of `unique` meters.
CREATE TABLE usage_unique (
    tenant       text NOT NULL,
    meter        text NOT NULL,
    hour         timestamptz NOT NULL,
    dimensions   text NOT NULL,
    value_hash   bytea NOT NULL CHECK (octet_length(value_hash) = 16),
    generation   integer NOT NULL,
    partition    integer NOT NULL,
    PRIMARY KEY (tenant, meter, hour, dimensions, value_hash, generation, partition)
) PARTITION BY RANGE (hour);
CREATE TABLE usage_unique_default PARTITION OF usage_unique DEFAULT;

-- Limits that are in force, written by the commit of the record that carried them.
CREATE TABLE limit_in_force (
    tenant       text PRIMARY KEY,
    revision     bigint NOT NULL,
    limits       jsonb NOT NULL,               -- metering::quota::LimitSet.limits
    generation   integer NOT NULL,
    partition    integer NOT NULL,
    "offset"     bigint NOT NULL
);

-- ---------------------------------------------------------------- outbox

-- What must be told after a commit, at least once, under one id.
CREATE TABLE outbox (
    id               text PRIMARY KEY,         -- message id; a second insert of the same is ignored
    kind             text NOT NULL CHECK (kind IN ('webhook', 'alert_topic', 'control', 'invoice_topic')),
    tenant           text,
    endpoint_id      uuid,                     -- webhook: where to; one row per endpoint
    topic_key        text,                     -- topics: the record's key
    body             jsonb NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    next_attempt_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    attempts         integer NOT NULL DEFAULT 0,
    last_error       text,
    delivered_at     timestamptz,
    failed_at        timestamptz               -- given up; shown, never retried by itself
);
CREATE INDEX outbox_due ON outbox (next_attempt_at) WHERE delivered_at IS NULL AND failed_at IS NULL;

CREATE TABLE webhook_endpoint (
    id           uuid PRIMARY KEY,
    tenant       text,                         -- NULL: the platform's, gets every tenant's
    url          text NOT NULL,
    secret       text NOT NULL,                -- whsec_…, needed to sign
    event_types  text[] NOT NULL DEFAULT '{}', -- empty: all
    disabled_at  timestamptz,
    disabled_why text,
    created_at   timestamptz NOT NULL
);

-- ---------------------------------------------------------------- tenants

CREATE TABLE legal_entity (
    key            text PRIMARY KEY,
    name           text NOT NULL,
    document       jsonb NOT NULL,             -- as in the catalogue file
    number_prefix  text NOT NULL UNIQUE,
    next_number    bigint NOT NULL DEFAULT 1 CHECK (next_number > 0)
);

CREATE TABLE tenant (
    id                 text PRIMARY KEY,
    name               text NOT NULL,
    domain             text NOT NULL,
    admin_email        text NOT NULL,
    status             text NOT NULL CHECK (status IN ('active', 'trial', 'suspended', 'offboarding', 'deleted')),
    status_reason      text,
    zone               text NOT NULL,          -- IANA billing time zone
    hour_alignment     smallint NOT NULL CHECK (hour_alignment BETWEEN 0 AND 59),
    anchor             date NOT NULL,          -- first day of billing period 0, in the zone
    currency           text NOT NULL,
    revision           bigint NOT NULL DEFAULT 1,   -- the strong ETag
    created_at         timestamptz NOT NULL,
    updated_at         timestamptz NOT NULL,
    deleted_at         timestamptz
);
CREATE UNIQUE INDEX tenant_domain ON tenant (lower(domain)) WHERE status <> 'deleted';

CREATE TABLE subscription (
    id            text PRIMARY KEY,            -- sub_…
    tenant        text NOT NULL REFERENCES tenant (id),
    plan          text NOT NULL,
    legal_entity  text NOT NULL REFERENCES legal_entity (key),
    starts_at     timestamptz NOT NULL,
    ends_at       timestamptz,
    created_at    timestamptz NOT NULL
);
CREATE UNIQUE INDEX subscription_running ON subscription (tenant) WHERE ends_at IS NULL;

-- Billing periods, computed once from the anchor and never again.
CREATE TABLE billing_period (
    tenant     text NOT NULL REFERENCES tenant (id),
    number     integer NOT NULL,
    starts_at  timestamptz NOT NULL,
    ends_at    timestamptz NOT NULL CHECK (ends_at > starts_at),
    PRIMARY KEY (tenant, number),
    UNIQUE (tenant, starts_at)
);

-- The limits that someone asked for; they come into force through the journal.
CREATE TABLE tenant_limits (
    tenant     text PRIMARY KEY REFERENCES tenant (id),
    revision   bigint NOT NULL,
    limits     jsonb NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE api_key (
    id               text PRIMARY KEY,         -- the public part of weir_<env>_<id>_<secret>
    secret_hash      bytea NOT NULL CHECK (octet_length(secret_hash) = 32),   -- SHA-256
    name             text NOT NULL,
    tenant           text REFERENCES tenant (id),   -- NULL: the platform's
    scopes           text[] NOT NULL,
    source_prefixes  text[] NOT NULL DEFAULT '{}',  -- empty: any source
    created_at       timestamptz NOT NULL,
    expires_at       timestamptz,
    revoked_at       timestamptz
);

CREATE TABLE idempotency_key (
    credential   text NOT NULL,
    route        text NOT NULL,
    key          text NOT NULL,
    fingerprint  bytea NOT NULL,               -- SHA-256 of the request
    status       integer,                      -- NULL while in flight
    headers      jsonb,
    body         bytea,
    created_at   timestamptz NOT NULL,
    PRIMARY KEY (credential, route, key)
);

CREATE TABLE audit_entry (
    id         uuid PRIMARY KEY,
    at         timestamptz NOT NULL,
    actor      text NOT NULL,                  -- key id or "cli"
    action     text NOT NULL,
    tenant     text,
    detail     jsonb NOT NULL
);

-- ---------------------------------------------------------------- catalogue

-- Rises with every change of meters or tenants; a batch names the version it was judged by.
CREATE TABLE catalog_head (
    singleton  boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    version    bigint NOT NULL
);
INSERT INTO catalog_head (version) VALUES (1);

CREATE TABLE meter_version (
    key         text NOT NULL,
    version     integer NOT NULL,
    definition  jsonb NOT NULL,                -- metering::meter::Meter
    begins_at   timestamptz,
    applied_at  timestamptz NOT NULL,
    PRIMARY KEY (key, version)
);

CREATE TABLE plan_version (
    key           text NOT NULL,
    version       integer NOT NULL,
    definition    jsonb NOT NULL,              -- billing::plan::PlanVersion
    content_hash  text NOT NULL,
    begins_at     timestamptz,
    applied_at    timestamptz NOT NULL,
    PRIMARY KEY (key, version)
);

-- ---------------------------------------------------------------- invoices

-- One row per document. `document` is the whole of it as billed (canonical JSON text, so
-- that comparing is byte for byte); the columns beside it are for finding it.
CREATE TABLE invoice (
    id             text PRIMARY KEY,           -- inv_…
    document_type  text NOT NULL CHECK (document_type IN ('invoice', 'correction')),
    status         text NOT NULL CHECK (status IN ('draft', 'finalized', 'paid', 'void')),
    number         text UNIQUE,
    legal_entity   text NOT NULL REFERENCES legal_entity (key),
    tenant         text NOT NULL REFERENCES tenant (id),
    subscription   text NOT NULL REFERENCES subscription (id),
    period_start   timestamptz NOT NULL,
    period_end     timestamptz NOT NULL,
    sequence       integer NOT NULL,           -- 0 the invoice, 1… its corrections
    currency       text NOT NULL,
    total          numeric(38,9) NOT NULL,
    cut_generation integer NOT NULL,
    cut_partition  integer NOT NULL,
    cut_offset     bigint NOT NULL,
    document       text NOT NULL,
    hash           text NOT NULL,
    created_at     timestamptz NOT NULL,
    finalized_at   timestamptz,
    UNIQUE (subscription, period_start, sequence),
    CHECK ((status = 'draft') = (number IS NULL))
);

CREATE TABLE invoice_line (
    invoice        text NOT NULL REFERENCES invoice (id),
    line           integer NOT NULL,
    meter          text,
    description    text NOT NULL,
    quantity       numeric(38,9) NOT NULL,
    event_count    bigint NOT NULL,
    plan           text NOT NULL,
    plan_version   integer NOT NULL,
    amount         numeric(38,9) NOT NULL,
    document       text NOT NULL,              -- the line, canonical JSON text
    hash           text NOT NULL,
    PRIMARY KEY (invoice, line)
);

-- That a document was paid (or, below zero, paid back): a fact beside it, recorded once.
CREATE TABLE invoice_payment (
    invoice      text PRIMARY KEY REFERENCES invoice (id),
    paid_at      timestamptz NOT NULL,
    reference    text NOT NULL,                -- of the bank or the payment service
    recorded_at  timestamptz NOT NULL,
    recorded_by  text NOT NULL                 -- the id of an API key, or `cli`
);

-- A finalized document never changes; only its payment status may.
CREATE FUNCTION refuse_change_of_finalized() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_TABLE_NAME = 'invoice_line' THEN
        IF EXISTS (SELECT 1 FROM invoice WHERE id = OLD.invoice AND status <> 'draft') THEN
            RAISE EXCEPTION 'invoice % is finalized; correct it with a new document', OLD.invoice;
        END IF;
    ELSIF OLD.status <> 'draft' AND (TG_OP = 'DELETE' OR
          -- everything but the payment status
          (to_jsonb(OLD) - 'status') IS DISTINCT FROM (to_jsonb(NEW) - 'status')) THEN
        RAISE EXCEPTION 'invoice % is finalized; correct it with a new document', OLD.id;
    END IF;
    RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
END $$;
CREATE TRIGGER invoice_immutable BEFORE UPDATE OR DELETE ON invoice
    FOR EACH ROW EXECUTE FUNCTION refuse_change_of_finalized();
CREATE TRIGGER invoice_line_immutable BEFORE UPDATE OR DELETE ON invoice_line
    FOR EACH ROW EXECUTE FUNCTION refuse_change_of_finalized();

CREATE FUNCTION refuse_change_of_published() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% % version % is published; publish a new version', TG_TABLE_NAME, OLD.key, OLD.version;
END $$;
CREATE TRIGGER meter_version_immutable BEFORE UPDATE OR DELETE ON meter_version
    FOR EACH ROW EXECUTE FUNCTION refuse_change_of_published();
CREATE TRIGGER plan_version_immutable BEFORE UPDATE OR DELETE ON plan_version
    FOR EACH ROW EXECUTE FUNCTION refuse_change_of_published();
