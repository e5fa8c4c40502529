//! The API against real Postgres and Kafka, through its router.

mod adjustments;
mod document;
mod events;
mod journal_away;
mod kept_answers;
mod keys_and_webhooks;
mod periods;
mod quota;
mod refusals;
mod sockets;
mod support;
mod tenants;
mod usage;
