//! ClickHouse: raw events and rollups.
