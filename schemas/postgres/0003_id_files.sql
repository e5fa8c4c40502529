-- Sealed event ids live in files on the workers' disks. Which of those files belong to this
-- ledger's history is said here, so that a ledger restored to the past takes no file of what
-- was counted after it: its ids would suppress events that must be counted again.

CREATE TABLE id_file (
    partition    integer NOT NULL,
    generation   integer NOT NULL,
    from_offset  bigint NOT NULL,
    to_offset    bigint NOT NULL,          -- never beyond next_offset when the row is written
    arrival_day  integer NOT NULL,         -- days since 1970-01-01
    id_count     bigint NOT NULL CHECK (id_count >= 0),
    content_sum  bytea NOT NULL CHECK (octet_length(content_sum) = 16),
    recorded_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (partition, generation, from_offset, content_sum),
    CHECK (from_offset < to_offset)
);
