-- The projection, first version. It can be dropped and rebuilt from the journal and the
-- ledger; nothing is counted, answered or billed from it. Whatever is written twice
-- becomes one row: events are keyed by their position, and the highest epoch is the truth.
-- A partition's epoch rises in the ledger whenever it is taken or projected again.
-- Each statement ends with a semicolon at the end of a line and may be run again.

CREATE TABLE IF NOT EXISTS events_raw (
    generation   Int32,
    partition    Int32,
    offset       Int64,
    broker_time  DateTime64(3, 'UTC'),
    tenant       LowCardinality(String),
    source       String,
    id           String,
    type         LowCardinality(String),
    time         DateTime64(3, 'UTC'),
    data         Map(LowCardinality(String), String),
    epoch        Int64,
    -- within a tenant offsets rise, so a range of them is found without reading the rest
    INDEX offsets offset TYPE minmax GRANULARITY 1
) ENGINE = ReplacingMergeTree(epoch)
PARTITION BY toYYYYMMDD(broker_time)
ORDER BY (tenant, generation, partition, offset);

-- Absolute totals of one key, written after each fold; the highest version is the truth: of
-- the highest epoch the one that was folded furthest.
CREATE TABLE IF NOT EXISTS usage_hourly_raw (
    tenant       LowCardinality(String),
    meter        LowCardinality(String),
    hour         DateTime64(3, 'UTC'),
    dimensions   String,
    generation   Int32,
    partition    Int32,
    quantity     Decimal(38, 9),
    event_count  UInt64,
    epoch        Int64,
    folded_to    Int64,
    version      UInt128 MATERIALIZED bitOr(bitShiftLeft(toUInt128(epoch), 64), toUInt128(folded_to))
) ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(hour)
ORDER BY (tenant, meter, hour, dimensions, generation, partition);

-- Which filling this is. The ledger keeps the same id: where it is not found, or a table is
-- missing, everything is projected again.
CREATE TABLE IF NOT EXISTS projection_mark (
    id           String
) ENGINE = MergeTree
ORDER BY id;

-- For people and Grafana: right whatever was written twice.
CREATE VIEW IF NOT EXISTS events AS
SELECT generation, partition, offset, broker_time, tenant, source, id, type, time, data
FROM events_raw FINAL;

CREATE VIEW IF NOT EXISTS usage_hourly AS
SELECT tenant, meter, hour, dimensions, partition, quantity, event_count
FROM usage_hourly_raw FINAL;
