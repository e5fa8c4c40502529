-- A tenant's billing periods follow each other without gap or overlap: an hour that belonged to
-- two would be billed twice. Each but the first begins where another one ends.
-- Periods that were written before this are left as they are (NOT VALID).

ALTER TABLE billing_period ADD UNIQUE (tenant, ends_at);
ALTER TABLE billing_period ADD COLUMN follows timestamptz
    GENERATED ALWAYS AS (CASE WHEN number > 0 THEN starts_at END) STORED;
ALTER TABLE billing_period ADD CONSTRAINT billing_period_chain
    FOREIGN KEY (tenant, follows) REFERENCES billing_period (tenant, ends_at) NOT VALID;
