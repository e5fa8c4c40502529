//! The demo: real usage of several tenants goes through Weir, and an independent count of what
//! was produced stands beside Weir's. It sees Weir only from outside: the `weir` program, HTTP,
//! Kafka, SQL for reading, the webhook. It shares no code with Weir's crates.

pub mod story;

pub mod accounts;
mod books;
mod flow;
mod opening;
pub mod projection;
pub mod scene;
pub mod stay;

pub mod tenants;

pub mod calendar;
pub mod decimal;
pub mod event;
pub mod mishaps;
pub mod partition;
pub mod script;
pub mod series;

pub mod tally;

pub mod api;
pub mod ledger;
pub mod place;
pub mod platform;
pub mod print;
pub mod producers;
pub mod wait;
pub mod webhook;
pub mod weir;
