//! The HTTP shell: events in, tenants, limits, quota answers, usage, invoices, alerts, keys,
//! webhooks, health. It takes requests apart, asks the pure crates and the backends, and makes
//! answers; it decides nothing about counting or money, and it names no driver.
//!
//! Invariants: an event is answered with 2xx only after every replica of the journal has it;
//! quota answers come from memory; errors are `application/problem+json`.

pub mod problem;
pub mod state;

pub mod catalogue_feed;
pub mod credentials;
pub mod extract;
pub mod idempotent;
pub mod lingering;
pub mod metrics;
pub mod observed;
pub mod rate_limit;

pub mod admin;
pub mod events;
pub mod openapi;
pub mod router;
pub mod routes;
pub mod server;

pub use admin::{Check, CheckOutcome, admin_router};
pub use openapi::openapi;
pub use problem::Problem;
pub use router::router;
pub use server::serve;
pub use state::{ApiSettings, ApiState};
