-- What a process asks when it takes a partition must cost what the partition has in its window,
-- not what the ledger has ever held: batches are found by the time that they reach, series stand
-- in a table of their own, and no billing period is longer than a month, so that totals need only
-- the newest months of usage.

CREATE INDEX batch_reaching ON batch (partition, generation, broker_time_max, from_offset);

-- Every series that was ever counted in a partition; written when usage gets a new row.
CREATE TABLE series (
    partition    integer NOT NULL,
    tenant       text NOT NULL,
    meter        text NOT NULL,
    dimensions   text NOT NULL,                -- canonical JSON
    PRIMARY KEY (partition, tenant, meter, dimensions)
);
INSERT INTO series (partition, tenant, meter, dimensions)
    SELECT DISTINCT partition, tenant, meter, dimensions FROM usage;

-- ledger::standing relies on it.
ALTER TABLE billing_period
    ADD CONSTRAINT billing_period_is_a_month CHECK (ends_at - starts_at <= interval '32 days');
