-- Indexes for what the API and billing look up by tenant or by time, so that an answer costs
-- what it returns and not what the ledger holds: a tenant's newest subscription, its documents
-- and keys, its audit trail, alerts by time, and idempotency keys that are to be forgotten.

CREATE INDEX subscription_of_tenant ON subscription (tenant, starts_at DESC, id DESC);
CREATE INDEX invoice_of_tenant ON invoice (tenant, id);
CREATE INDEX api_key_of_tenant ON api_key (tenant, id);
CREATE INDEX audit_entry_of_tenant ON audit_entry (tenant, at DESC, id DESC);
CREATE INDEX outbox_alert ON outbox (created_at DESC, id DESC) WHERE kind = 'alert_topic';
CREATE INDEX outbox_alert_of_tenant ON outbox (tenant, created_at DESC, id DESC) WHERE kind = 'alert_topic';
CREATE INDEX idempotency_key_made ON idempotency_key (created_at);
