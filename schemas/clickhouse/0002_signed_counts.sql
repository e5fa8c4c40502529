-- Numbers of events have a sign: an adjustment may take away more than an hour had. Each
-- statement may be run again.

ALTER TABLE usage_hourly_raw MODIFY COLUMN event_count Int64;

CREATE OR REPLACE VIEW usage_hourly AS
SELECT tenant, meter, hour, dimensions, partition, quantity, event_count
FROM usage_hourly_raw FINAL;
