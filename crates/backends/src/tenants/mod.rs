//! Postgres: tenants and what belongs to them. Subscriptions and billing periods, API keys,
//! limits, adjustments, webhook endpoints, idempotency keys, the audit trail; and what the HTTP API reads of
//! usage, alerts, invoices, meters and plans. It counts nothing, rates nothing, and sends nothing.

pub mod error;
pub mod input;
pub mod tenant;

pub mod create;
pub mod lifecycle;
pub mod offboarding;
pub mod update;

pub mod adjustments;
pub mod api_keys;
pub mod audit;
pub mod idempotency;
pub mod limits;
pub mod periods;
pub mod webhooks;

pub mod alerts;
pub mod documents;
pub mod payments;
pub mod usage;
pub mod voids;

pub use create::{NewTenant, create};
pub use error::{FieldProblem, TenantError};
pub use lifecycle::{reactivate, suspend};
pub use offboarding::{Offboarding, offboard};
pub use periods::extend_periods;
pub use tenant::{Status, Tenant, get, list, refused_tenants};
pub use update::{TenantUpdate, update};
