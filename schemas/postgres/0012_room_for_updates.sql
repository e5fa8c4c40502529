-- A usage row is updated by every fold of its hour. Where its page has room for one more version,
-- the update stays in the page: no new index entry, less WAL, and the old version goes with the
-- next visit instead of waiting for a vacuum. Pages that are full already stay as they are.
DO $$
DECLARE part regclass;
BEGIN
    FOR part IN SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'usage'::regclass LOOP
        EXECUTE format('ALTER TABLE %s SET (fillfactor = 50)', part);
    END LOOP;
END $$;

-- Deltas are compressed when they come; trying it again costs time alone.
ALTER TABLE batch ALTER COLUMN deltas SET STORAGE EXTERNAL;
