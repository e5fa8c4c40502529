//! Billing on the real ledger and projection: runs, corrections, proofs and exports.
//! Needs what `make setup` fetches and `cargo build -p clickhouse-embedded` builds.

mod books;

mod exports;
mod proofs;
mod runs;
