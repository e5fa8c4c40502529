//! Postgres: tenants, API keys, limits, webhook endpoints, idempotency keys.
