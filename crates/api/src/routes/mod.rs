//! The handlers, one file a resource. Each checks scope and tenant first, asks the backends,
//! and shapes the answer; the rules of a resource live with its store.

pub mod adjustments;
pub mod alerts;
pub mod catalog;
pub mod invoices;
pub mod keys;
pub mod limits;
pub mod problems;
pub mod quota;
pub mod tenants;
pub mod usage;
pub mod webhook_url;
pub mod webhooks;
