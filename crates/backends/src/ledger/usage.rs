//! Folding: the deltas of batches become usage rows, in a transaction of its own, exactly
//! once (invariant 7). Whoever folds holds a lock of the partition and moves `folded_to`
//! from where it found it, so any process may fold at any time. What was read before the
//! ledger went back in time is not folded into it: then the partition has another owner.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection};
use weir_core::{Generation, Partition, Quantity};
use weir_metering::aggregate::{Aggregate, UsageKey, join_deltas};
use weir_metering::meter::Aggregation;
use weir_wire::batch_blob::decode_deltas;

use crate::StoreError;
use crate::postgres::Pool;

const ATTEMPT: &str = "fold usage";

const STANDING: &str =
    "SELECT generation, folded_to, next_offset, owner FROM journal_partition WHERE partition = $1";
pub(super) const DELTAS: &str = "SELECT from_offset, to_offset, deltas FROM batch
    WHERE partition = $1 AND generation = $2 AND from_offset >= $3 AND to_offset <= $4
    ORDER BY from_offset LIMIT $5";
const LOCK: &str = "SELECT pg_advisory_xact_lock(1466262898, $1)";
const FOLDED: &str = "UPDATE journal_partition SET folded_to = $4
    WHERE partition = $1 AND generation = $2 AND folded_to = $3 AND owner IS NOT DISTINCT FROM $5";
const ADD: &str = "INSERT INTO usage AS u (tenant, meter, hour, dimensions, generation, partition,
        quantity, event_count)
    SELECT k.tenant, k.meter, k.hour, k.dimensions, $1, $2, k.quantity::numeric, k.event_count
    FROM unnest($3::text[], $4::text[], $5::timestamptz[], $6::text[], $7::text[], $8::bigint[])
        AS k (tenant, meter, hour, dimensions, quantity, event_count)
    ON CONFLICT (tenant, meter, hour, dimensions, generation, partition) DO UPDATE
    SET quantity = u.quantity + EXCLUDED.quantity, event_count = u.event_count + EXCLUDED.event_count";
const MAX: &str = "INSERT INTO usage AS u (tenant, meter, hour, dimensions, generation, partition,
        quantity, event_count)
    SELECT k.tenant, k.meter, k.hour, k.dimensions, $1, $2, k.quantity::numeric, k.event_count
    FROM unnest($3::text[], $4::text[], $5::timestamptz[], $6::text[], $7::text[], $8::bigint[])
        AS k (tenant, meter, hour, dimensions, quantity, event_count)
    ON CONFLICT (tenant, meter, hour, dimensions, generation, partition) DO UPDATE
    SET quantity = GREATEST(u.quantity, EXCLUDED.quantity),
        event_count = u.event_count + EXCLUDED.event_count";
const MIN: &str = "INSERT INTO usage AS u (tenant, meter, hour, dimensions, generation, partition,
        quantity, event_count)
    SELECT k.tenant, k.meter, k.hour, k.dimensions, $1, $2, k.quantity::numeric, k.event_count
    FROM unnest($3::text[], $4::text[], $5::timestamptz[], $6::text[], $7::text[], $8::bigint[])
        AS k (tenant, meter, hour, dimensions, quantity, event_count)
    ON CONFLICT (tenant, meter, hour, dimensions, generation, partition) DO UPDATE
    SET quantity = LEAST(u.quantity, EXCLUDED.quantity),
        event_count = u.event_count + EXCLUDED.event_count";
const LATEST: &str = "INSERT INTO usage AS u (tenant, meter, hour, dimensions, generation, partition,
        quantity, event_count, latest_at, latest_offset)
    SELECT k.tenant, k.meter, k.hour, k.dimensions, $1, $2, k.quantity::numeric, k.event_count,
        k.latest_at, k.latest_offset
    FROM unnest($3::text[], $4::text[], $5::timestamptz[], $6::text[], $7::text[], $8::bigint[],
        $9::timestamptz[], $10::bigint[])
        AS k (tenant, meter, hour, dimensions, quantity, event_count, latest_at, latest_offset)
    ON CONFLICT (tenant, meter, hour, dimensions, generation, partition) DO UPDATE
    SET quantity = CASE WHEN (EXCLUDED.latest_at, EXCLUDED.latest_offset) > (u.latest_at, u.latest_offset)
            THEN EXCLUDED.quantity ELSE u.quantity END,
        latest_offset = CASE WHEN (EXCLUDED.latest_at, EXCLUDED.latest_offset) > (u.latest_at, u.latest_offset)
            THEN EXCLUDED.latest_offset ELSE u.latest_offset END,
        latest_at = GREATEST(u.latest_at, EXCLUDED.latest_at),
        event_count = u.event_count + EXCLUDED.event_count";
const NEW_VALUES: &str = "WITH fresh AS (
        INSERT INTO usage_unique (tenant, meter, hour, dimensions, value_hash, generation, partition)
        SELECT k.tenant, k.meter, k.hour, k.dimensions, k.value_hash, $1, $2
        FROM unnest($3::text[], $4::text[], $5::timestamptz[], $6::text[], $7::bytea[])
            AS k (tenant, meter, hour, dimensions, value_hash)
        ON CONFLICT DO NOTHING RETURNING tenant, meter, hour, dimensions
    ) SELECT tenant, meter, hour, dimensions, count(*) AS fresh_count
    FROM fresh GROUP BY tenant, meter, hour, dimensions";

/// Series that are known cost one look into the index each.
const SERIES: &str = "INSERT INTO series (partition, tenant, meter, dimensions)
    SELECT $1, s.tenant, s.meter, s.dimensions
    FROM unnest($2::text[], $3::text[], $4::text[]) AS s (tenant, meter, dimensions)
    ON CONFLICT DO NOTHING";

/// Batches folded at once: bounds memory and the length of the transaction.
const BATCHES_MAX: i64 = 64;

/// The deltas of a batch, as it keeps them.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Deltas {
    /// The first offset of the batch.
    #[sqlx(rename = "from_offset")]
    pub from: i64,
    /// The first offset after it.
    #[sqlx(rename = "to_offset")]
    pub to: i64,
    /// `wire::batch_blob` of the deltas.
    pub deltas: Vec<u8>,
}

/// Batches of a partition that are not folded yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfolded {
    /// Which partition.
    pub partition: Partition,
    /// Which life of the topic.
    pub generation: Generation,
    /// Usage rows hold everything below.
    pub from: i64,
    /// The first offset not yet counted.
    pub next_offset: i64,
    /// Who owned the partition when this was read.
    pub owner: Option<Vec<u8>>,
    /// The next batches: at most so many as are folded at once.
    pub batches: Vec<Deltas>,
}

/// Usage to be added to the usage rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folding {
    /// Which partition.
    pub partition: Partition,
    /// Which life of the topic.
    pub generation: Generation,
    /// Usage rows hold everything below.
    pub from: i64,
    /// And will hold everything below this.
    pub to: i64,
    /// Who owned the partition when the batches were read.
    pub owner: Option<Vec<u8>>,
    /// The usage.
    pub usage: BTreeMap<UsageKey, Aggregate>,
}

/// Generation, `folded_to`, `next_offset` and owner of a partition.
type Standing = (Generation, i64, i64, Option<Vec<u8>>);

/// The next batches of a partition that are not folded; `None` when all are.
pub async fn unfolded(pool: &Pool, partition: Partition) -> Result<Option<Unfolded>, StoreError> {
    let failed = |error: sqlx::Error| StoreError::postgres(ATTEMPT, &error);
    let standing: Option<Standing> =
        sqlx::query_as(STANDING).bind(partition).fetch_optional(pool).await.map_err(failed)?;
    let unfolded = standing.filter(|(_, folded, next, _)| folded < next);
    let Some((generation, from, next_offset, owner)) = unfolded else { return Ok(None) };
    let batches = sqlx::query_as(DELTAS)
        .bind(partition)
        .bind(generation)
        .bind(from)
        .bind(next_offset)
        .bind(BATCHES_MAX)
        .fetch_all(pool)
        .await
        .map_err(failed)?;
    Ok(Some(Unfolded { partition, generation, from, next_offset, owner, batches }))
}

/// What batches come to together.
///
/// # Errors
/// When they do not follow each other, or cannot be read.
pub fn merge(unfolded: Unfolded) -> Result<Folding, StoreError> {
    let Unfolded { partition, generation, from, owner, batches, .. } = unfolded;
    let (usage, to) = merge_batches(partition, from, &batches)?;
    Ok(Folding { partition, generation, from, to, owner, usage })
}

/// Adds usage to the usage rows and moves `folded_to`, unless someone else moved it or took
/// the partition meanwhile; then nothing happens, and the answer is false.
pub async fn fold(pool: &Pool, folding: &Folding) -> Result<bool, StoreError> {
    let failed = |error: sqlx::Error| StoreError::postgres(ATTEMPT, &error);
    let Folding { partition, generation, from, to, owner, usage } = folding;
    let mut transaction = pool.begin().await.map_err(failed)?;
    sqlx::query(LOCK).bind(partition).execute(&mut *transaction).await.map_err(failed)?;
    let still: Option<Standing> =
        sqlx::query_as(STANDING).bind(partition).fetch_optional(&mut *transaction).await.map_err(failed)?;
    let still = still.map(|(generation, folded_to, _, owner)| (generation, folded_to, owner));
    if still != Some((*generation, *from, owner.clone())) {
        return Ok(false);
    }
    write(&mut transaction, (*generation, *partition), usage).await.map_err(failed)?;
    let moved = sqlx::query(FOLDED)
        .bind(partition)
        .bind(generation)
        .bind(from)
        .bind(to)
        .bind(owner)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
    if moved.rows_affected() != 1 {
        return Ok(false);
    }
    transaction.commit().await.map_err(failed)?;
    Ok(true)
}

/// Merges the deltas of batches that must follow each other from `from` on.
pub(super) fn merge_batches(
    partition: Partition,
    from: i64,
    rows: &[Deltas],
) -> Result<(BTreeMap<UsageKey, Aggregate>, i64), StoreError> {
    let corrupt = |words: String| StoreError::corrupt(ATTEMPT, format!("partition {partition}: {words}"));
    let mut batches = Vec::with_capacity(rows.len());
    let mut to = from;
    for row in rows {
        if row.from != to {
            return Err(corrupt(format!("a batch should begin at {to}, the next begins at {}", row.from)));
        }
        to = row.to;
        let more = decode_deltas(&row.deltas)
            .map_err(|error| corrupt(format!("the batch at {}: {error}", row.from)))?;
        batches.push(more);
    }
    if to == from {
        return Err(corrupt(format!("there is no batch that begins at {from}")));
    }
    let joined = join_deltas(batches);
    Ok((joined.map_err(|error| corrupt(format!("the batches from {from} to {to}: {error}")))?, to))
}

/// Entries as columns of arrays.
#[derive(Default)]
pub(super) struct Columns {
    pub(super) tenants: Vec<String>,
    pub(super) meters: Vec<String>,
    pub(super) hours: Vec<DateTime<Utc>>,
    pub(super) dimensions: Vec<String>,
    quantities: Vec<String>,
    counts: Vec<i64>,
    latest_at: Vec<DateTime<Utc>>,
    latest_offsets: Vec<i64>,
    hashes: Vec<Vec<u8>>,
}

impl Columns {
    pub(super) fn push_key(&mut self, key: &UsageKey) {
        self.tenants.push(key.tenant.to_string());
        self.meters.push(key.meter.to_string());
        self.hours.push(key.hour.to_chrono());
        self.dimensions.push(key.dimensions.clone());
    }

    fn push(&mut self, key: &UsageKey, quantity: Quantity, aggregate: &Aggregate) {
        self.push_key(key);
        self.quantities.push(quantity.to_string());
        self.counts.push(aggregate.count());
        if let Aggregate::Latest { time, offset, .. } = aggregate {
            self.latest_at.push(time.to_chrono());
            self.latest_offsets.push(*offset);
        }
    }
}

type Place = (Generation, Partition);

async fn write(
    connection: &mut PgConnection,
    place: Place,
    deltas: &BTreeMap<UsageKey, Aggregate>,
) -> Result<(), sqlx::Error> {
    note_series(connection, place.1, deltas).await?;
    let fresh = insert_values(connection, place, deltas).await?;
    let mut by_kind: [Columns; 4] = Default::default();
    let [add, max, min, latest] = &mut by_kind;
    for (key, aggregate) in deltas {
        match aggregate.aggregation() {
            Aggregation::Count | Aggregation::Sum => add.push(key, aggregate.quantity(), aggregate),
            Aggregation::Unique => {
                let fresh = fresh.get(key).copied().unwrap_or(0);
                add.push(key, Quantity::from_units(fresh), aggregate);
            }
            Aggregation::Max => max.push(key, aggregate.quantity(), aggregate),
            Aggregation::Min => min.push(key, aggregate.quantity(), aggregate),
            Aggregation::Latest => latest.push(key, aggregate.quantity(), aggregate),
        }
    }
    for (statement, columns) in [ADD, MAX, MIN, LATEST].into_iter().zip(by_kind) {
        if columns.tenants.is_empty() {
            continue;
        }
        let query = sqlx::query(statement)
            .bind(place.0)
            .bind(place.1)
            .bind(columns.tenants)
            .bind(columns.meters)
            .bind(columns.hours)
            .bind(columns.dimensions)
            .bind(columns.quantities)
            .bind(columns.counts);
        let query = if statement == LATEST {
            query.bind(columns.latest_at).bind(columns.latest_offsets)
        } else {
            query
        };
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Notes the series that were counted.
async fn note_series(
    connection: &mut PgConnection,
    partition: Partition,
    deltas: &BTreeMap<UsageKey, Aggregate>,
) -> Result<(), sqlx::Error> {
    let series: BTreeSet<_> =
        deltas.keys().map(|key| (key.tenant.as_str(), key.meter.as_str(), key.dimensions.as_str())).collect();
    sqlx::query(SERIES)
        .bind(partition)
        .bind(series.iter().map(|(tenant, ..)| *tenant).collect::<Vec<_>>())
        .bind(series.iter().map(|(_, meter, _)| *meter).collect::<Vec<_>>())
        .bind(series.iter().map(|(.., dimensions)| *dimensions).collect::<Vec<_>>())
        .execute(connection)
        .await
        .map(|_| ())
}

#[derive(FromRow)]
struct FreshRow {
    tenant: String,
    meter: String,
    hour: DateTime<Utc>,
    dimensions: String,
    fresh_count: i64,
}

/// Adds the values of `unique` meters; how many of them were new, by key.
async fn insert_values<'a>(
    connection: &mut PgConnection,
    place: Place,
    deltas: &'a BTreeMap<UsageKey, Aggregate>,
) -> Result<BTreeMap<&'a UsageKey, i64>, sqlx::Error> {
    let mut columns = Columns::default();
    let mut by_text = BTreeMap::new();
    for (key, aggregate) in deltas {
        let Aggregate::Unique { hashes, .. } = aggregate else { continue };
        by_text.insert((key.tenant.as_str(), key.meter.as_str(), key.hour, key.dimensions.as_str()), key);
        for hash in hashes {
            columns.push_key(key);
            columns.hashes.push(hash.to_bytes().to_vec());
        }
    }
    if by_text.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows: Vec<FreshRow> = sqlx::query_as(NEW_VALUES)
        .bind(place.0)
        .bind(place.1)
        .bind(columns.tenants)
        .bind(columns.meters)
        .bind(columns.hours)
        .bind(columns.dimensions)
        .bind(columns.hashes)
        .fetch_all(&mut *connection)
        .await?;
    let find = |row: &FreshRow| {
        let text = (row.tenant.as_str(), row.meter.as_str(), row.hour.into(), row.dimensions.as_str());
        by_text.get(&text).map(|key| (*key, row.fresh_count))
    };
    Ok(rows.iter().filter_map(find).collect())
}
