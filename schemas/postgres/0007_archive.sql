-- Closed ranges of the journal are kept as files in an archive before Kafka trims them. Which
-- files there are is said here: a file counts for something only when it has its row, which is
-- written after the file was read back, by one statement that compares it with the chain of
-- batches. A file's name follows from its row.

CREATE TABLE archive_file (
    partition           integer NOT NULL,
    generation          integer NOT NULL,
    from_offset         bigint NOT NULL,
    to_offset           bigint NOT NULL,   -- where a batch ended; never beyond next_offset when the row is written
    run_from            bigint NOT NULL,   -- where the run of files begins that follow each other without a gap
    record_count        bigint NOT NULL CHECK (record_count >= 0),
    plain_bytes         bigint NOT NULL CHECK (plain_bytes >= 0),   -- of its records before compression
    file_bytes          bigint NOT NULL CHECK (file_bytes > 0),
    broker_time_min     timestamptz,       -- NULL: it holds no record
    broker_time_max     timestamptz,
    content_sum         bytea NOT NULL CHECK (octet_length(content_sum) = 32),   -- SHA-256 of the file
    recorded_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (partition, generation, from_offset),
    CHECK (run_from <= from_offset AND from_offset < to_offset)
);
