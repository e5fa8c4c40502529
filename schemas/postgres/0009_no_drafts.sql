-- Documents are drafted and finalized in one transaction, so drafts are not kept any more. Those that
-- runs of earlier versions left behind when they were killed are made again by the next run. A process
-- of an earlier version that bills after this is refused its drafts, in words.

DELETE FROM invoice WHERE status = 'draft';
ALTER TABLE invoice
    DROP CONSTRAINT invoice_status_check,
    DROP CONSTRAINT invoice_check,
    ADD CONSTRAINT invoice_status_check CHECK (status IN ('finalized', 'paid', 'void')),
    ALTER COLUMN number SET NOT NULL,
    ALTER COLUMN finalized_at SET NOT NULL;
