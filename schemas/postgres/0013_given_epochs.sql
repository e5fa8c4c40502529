-- Which epochs the ledger gave, and how far usage was folded then. A ledger that went back in time
-- has lost those that it gave since: rollups in ClickHouse that carry one of them, or were folded
-- further than the epoch they carry lasted, are of a time that is lost.

CREATE TABLE given_epoch (
    partition        integer NOT NULL,
    generation       integer NOT NULL,
    epoch            bigint NOT NULL,
    folded_to        bigint NOT NULL,               -- when it was given: the one before it ends here
    earlier          boolean NOT NULL DEFAULT false, -- those below it were given too, and not noted
    PRIMARY KEY (partition, generation, epoch)
);

CREATE FUNCTION note_epoch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO given_epoch (partition, generation, epoch, folded_to)
    VALUES (NEW.partition, NEW.generation, NEW.epoch, NEW.folded_to);
    RETURN NULL;
END
$$;

CREATE TRIGGER epoch_is_noted AFTER UPDATE OF epoch ON journal_partition
    FOR EACH ROW WHEN (NEW.epoch <> OLD.epoch) EXECUTE FUNCTION note_epoch();

INSERT INTO given_epoch (partition, generation, epoch, folded_to, earlier)
SELECT partition, generation, epoch, folded_to, true FROM journal_partition WHERE epoch > 0;
