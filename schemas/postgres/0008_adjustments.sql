-- Adjustments: signed usage that someone decided (history older than the window, an event that
-- is taken out). What is asked for is written here and put into the outbox in one transaction,
-- which delivers it to the tenant's partition; what was counted is written by the commit of the
-- batch that held its record, and never changes: billing rests on it.

-- What was asked for. The id is unique for ever, so that a second request makes no second record.
CREATE TABLE adjustment_request (
    tenant       text NOT NULL REFERENCES tenant (id),
    id           text NOT NULL,
    who          text NOT NULL,
    why          text NOT NULL,
    record       jsonb NOT NULL,               -- wire::adjustment, as it goes into the journal
    asked_at     timestamptz NOT NULL,
    PRIMARY KEY (tenant, id)
);

-- What was counted, at the record's position. No foreign keys: a ledger that was restored counts
-- again what the journal holds, though the request is lost.
CREATE TABLE adjustment (
    tenant          text NOT NULL,
    id              text NOT NULL,
    generation      integer NOT NULL,
    partition       integer NOT NULL,
    "offset"        bigint NOT NULL,
    broker_time     timestamptz NOT NULL,
    who             text NOT NULL,
    why             text NOT NULL,
    -- the event that it takes out, which stood in the same partition; NULL: it takes out none
    void_generation integer,
    void_offset     bigint,
    void_source     text,
    void_event_id   text,
    PRIMARY KEY (tenant, id),
    UNIQUE (partition, generation, "offset"),
    CHECK ((void_generation IS NULL) = (void_offset IS NULL) AND (void_offset IS NULL) = (void_source IS NULL)
        AND (void_source IS NULL) = (void_event_id IS NULL))
);

-- What it added to usage, below zero where it took away: one row for each meter that it changed.
-- The batch's deltas hold the same.
CREATE TABLE adjustment_usage (
    tenant       text NOT NULL,
    meter        text NOT NULL,
    hour         timestamptz NOT NULL,
    dimensions   text NOT NULL,
    generation   integer NOT NULL,
    partition    integer NOT NULL,
    "offset"     bigint NOT NULL,
    quantity     numeric(38,9) NOT NULL,
    event_count  bigint NOT NULL,
    PRIMARY KEY (partition, generation, "offset", meter)
);
CREATE INDEX adjustment_usage_of_tenant ON adjustment_usage (tenant, hour);

CREATE FUNCTION refuse_change_of_adjustment() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'an adjustment of % is counted and never changes; make another one', OLD.tenant;
END $$;
CREATE TRIGGER adjustment_immutable BEFORE UPDATE OR DELETE ON adjustment
    FOR EACH ROW EXECUTE FUNCTION refuse_change_of_adjustment();
CREATE TRIGGER adjustment_usage_immutable BEFORE UPDATE OR DELETE ON adjustment_usage
    FOR EACH ROW EXECUTE FUNCTION refuse_change_of_adjustment();

ALTER TABLE outbox DROP CONSTRAINT outbox_kind_check,
    ADD CONSTRAINT outbox_kind_check
        CHECK (kind IN ('webhook', 'alert_topic', 'control', 'adjustment', 'invoice_topic'));
