-- The usage topic may be given more partitions. Everything that is known of a tenant is kept by
-- its partition, so a tenant stays where it is: its home follows from its name and from how many
-- partitions there were when it was created, which is written down here and never changes. The
-- ledger fills it in itself, whoever creates the tenant; widening waits for whoever is creating one.
--
-- Limits may be in force for a tenant that is not there yet: a ledger that is restored loses the
-- tenant, and reads its limits again from the journal. Widening keeps that name's home, so that the
-- tenant is created to where its limits are.

ALTER TABLE tenant ADD COLUMN home_width integer CHECK (home_width > 0);
UPDATE tenant SET home_width = (SELECT partitions FROM installation);
ALTER TABLE tenant ALTER COLUMN home_width SET NOT NULL;

-- Names that had limits in force, but no tenant, when the topic was widened.
CREATE TABLE kept_home (
    tenant      text PRIMARY KEY,
    home_width  integer NOT NULL CHECK (home_width > 0)
);

CREATE FUNCTION keep_home_of_tenant() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT partitions INTO NEW.home_width FROM installation FOR SHARE;
        IF NEW.home_width IS NULL THEN
            RAISE EXCEPTION 'no topic is counted yet, so tenant % has no home; run weir migrate first', NEW.id;
        END IF;
        -- By itself: the statement above may have waited for widening, and would not see what it kept.
        SELECT COALESCE((SELECT home_width FROM kept_home WHERE tenant = NEW.id), NEW.home_width)
            INTO NEW.home_width;
    ELSIF NEW.home_width <> OLD.home_width THEN
        RAISE EXCEPTION 'tenant % keeps the partition that it was created into', OLD.id;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER tenant_home BEFORE INSERT OR UPDATE OF home_width ON tenant
    FOR EACH ROW EXECUTE FUNCTION keep_home_of_tenant();
