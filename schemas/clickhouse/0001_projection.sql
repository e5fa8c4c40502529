-- The projection, first version. It can be dropped and rebuilt from the journal and the
-- ledger; nothing is counted, answered or billed from it. Whatever is written twice
-- becomes one row: events are keyed by their position, rollups carry a version.
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
    data         Map(LowCardinality(String), String)
) ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMMDD(broker_time)
ORDER BY (tenant, generation, partition, offset);

-- Absolute totals of one key, written after each fold; the highest version is the truth.
-- version = generation * 2^48 + folded_to.
CREATE TABLE IF NOT EXISTS usage_hourly_raw (
    tenant       LowCardinality(String),
    meter        LowCardinality(String),
    hour         DateTime64(3, 'UTC'),
    dimensions   String,
    generation   Int32,
    partition    Int32,
    quantity     Decimal(38, 9),
    event_count  UInt64,
    version      UInt64
) ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(hour)
ORDER BY (tenant, meter, hour, dimensions, generation, partition);

-- For people and Grafana: right whatever was written twice.
CREATE VIEW IF NOT EXISTS events AS
SELECT generation, partition, offset, broker_time, tenant, source, id, type, time, data
FROM events_raw FINAL;

CREATE VIEW IF NOT EXISTS usage_hourly AS
SELECT tenant, meter, hour, dimensions, partition, quantity, event_count
FROM usage_hourly_raw FINAL;
