//! Billing on the real ledger and projection: runs, corrections, proofs and exports.
//! Needs what `make setup` fetches and `cargo build -p clickhouse-embedded` builds.

mod books;

mod asked_again;
mod catalogue;
mod exports;
mod numbers;
mod proofs;
mod restored;
mod runs;
