//! Postgres: partitions, the chain of batches, usage.
