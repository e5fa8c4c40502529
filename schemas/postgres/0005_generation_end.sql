-- How far each partition had come when another topic was accepted in its place: rows of ClickHouse
-- that were never written for it then are told from rows that were lost.

CREATE TABLE generation_end (
    partition     integer NOT NULL,
    generation    integer NOT NULL,
    next_offset   bigint NOT NULL,
    projected_to  bigint NOT NULL,
    ended_at      timestamptz NOT NULL,
    PRIMARY KEY (partition, generation)
);
