-- Epochs of partitions and versions of the catalogue are compared with what processes and ClickHouse
-- remember. Counted one by one, a ledger that was restored gives some of them a second time: a process
-- that had loaded version 7 before took another version 7 for the same, and rows that a frozen process
-- wrote under a lost epoch stood above those of the next owner. So they do not fall behind the clock
-- of the server, in milliseconds: what is given after a restore is above all that was given before it.

CREATE FUNCTION given_once(last bigint) RETURNS bigint LANGUAGE sql VOLATILE
    RETURN greatest(last + 1, floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint);

UPDATE catalog_head SET version = given_once(version);
UPDATE journal_partition SET epoch = given_once(epoch);
