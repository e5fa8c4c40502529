//! What the end-to-end tests stand on: a real stack with a real `weir` process, producers, a
//! webhook receiver, queries, dashboards. It knows Weir from outside only: its command line, its
//! HTTP interface, its topics and its two databases' documented tables. No crate of Weir's is
//! used, so that nothing is proved by itself.

pub mod house;
pub mod weir;

pub mod avro;
pub mod events;
pub mod kafka;
pub mod receiver;
pub mod wait;

pub mod dashboard;
pub mod json_schema;
pub mod prometheus;

pub mod object_store;
pub mod python;
