//! What proves documents: everything that the ledger holds about them, read in one
//! snapshot. It compares nothing and changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use sqlx::{FromRow, Postgres, Transaction};
use weir_core::{Generation, Hash128, HashKey, Partition, Quantity, TenantId, Timestamp};
use weir_metering::aggregate::UsageKey;
use weir_metering::meter::MeterKey;

use super::documents::{self, DocumentRow, LineRow, Selection};
use super::due::{JournalReach, reach};
use super::failed;
use super::usage::exact;
use crate::StoreError;
use crate::ledger::adjustment::{self, AdjustedUsage};
use crate::ledger::generation;
use crate::ledger_audit::{BatchRow, batches_after};
use crate::postgres::{Pool, SNAPSHOT};

const ATTEMPT: &str = "read the evidence for documents";
/// Batches read at a time.
const PAGE: i64 = 256;

/// One snapshot of the ledger.
#[derive(Debug)]
pub struct Evidence {
    snapshot: Transaction<'static, Postgres>,
}

/// A row of usage by hour; for `unique` meters with its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// The quantity; for `unique` meters it is not looked at.
    pub quantity: Quantity,
    /// How many events.
    pub event_count: i64,
    /// `latest`: time and offset of the value.
    pub latest: Option<(Timestamp, i64)>,
    /// `unique`: the different values.
    pub values: BTreeSet<Hash128>,
}

/// Usage rows by tenant, generation and key.
pub type UsageRows = BTreeMap<TenantId, BTreeMap<(Generation, UsageKey), UsageRow>>;

/// What a document names and another table says.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct SubscriptionFacts {
    /// Its id.
    pub id: String,
    /// Whose.
    pub tenant: String,
    /// For which plan.
    pub plan: String,
    /// IANA name of the tenant's billing zone.
    pub zone: String,
    /// Minutes past the UTC hour at which the tenant's hours begin, 0 to 59.
    pub hour_alignment: i16,
}

const SUBSCRIPTIONS: &str = "SELECT s.id, s.tenant, s.plan, t.zone, t.hour_alignment
    FROM subscription s JOIN tenant t ON t.id = s.tenant WHERE s.id = ANY($1)";
const USAGE: &str = "SELECT tenant, meter, hour, dimensions, generation, quantity::text AS quantity,
        event_count, latest_at, latest_offset
    FROM usage WHERE tenant = ANY ($1) AND partition = $2";
const VALUES: &str = "SELECT tenant, meter, hour, dimensions, generation, value_hash
    FROM usage_unique WHERE tenant = ANY ($1) AND partition = $2";
const IDENTITY_KEY: &str = "SELECT identity_key FROM installation";

type RawUsage = (String, String, DateTime<Utc>, String, i32, String, i64, Option<DateTime<Utc>>, Option<i64>);
type RawValue = (String, String, DateTime<Utc>, String, i32, Vec<u8>);

impl Evidence {
    /// Opens a snapshot. It should not be held for long: it keeps old rows alive.
    pub async fn open(pool: &Pool) -> Result<Self, StoreError> {
        let snapshot = pool.begin_with(SNAPSHOT).await.map_err(failed(ATTEMPT))?;
        Ok(Self { snapshot })
    }

    /// Ends the snapshot.
    pub async fn close(self) -> Result<(), StoreError> {
        self.snapshot.commit().await.map_err(failed(ATTEMPT))
    }

    /// The secret key of content sums.
    pub async fn identity_key(&mut self) -> Result<HashKey, StoreError> {
        let key: Vec<u8> = sqlx::query_scalar(IDENTITY_KEY)
            .fetch_one(&mut *self.snapshot)
            .await
            .map_err(failed("read the installation"))?;
        Ok(HashKey::new(sixteen(&key)?))
    }

    /// Finalized documents, by legal entity and number.
    pub async fn documents(&mut self, selection: &Selection) -> Result<Vec<DocumentRow>, StoreError> {
        documents::documents_in(&mut self.snapshot, selection).await
    }

    /// Their lines.
    pub async fn lines(&mut self, documents: &[DocumentRow]) -> Result<Vec<LineRow>, StoreError> {
        documents::lines_in(&mut self.snapshot, documents).await
    }

    /// The subscriptions that documents name.
    pub async fn subscriptions(&mut self, ids: Vec<String>) -> Result<Vec<SubscriptionFacts>, StoreError> {
        sqlx::query_as(SUBSCRIPTIONS)
            .bind(ids)
            .fetch_all(&mut *self.snapshot)
            .await
            .map_err(failed("read the subscriptions"))
    }

    /// How far a partition has come.
    pub async fn reach(&mut self, partition: Partition) -> Result<Option<JournalReach>, StoreError> {
        reach(&mut self.snapshot, partition).await
    }

    /// How far ClickHouse was filled with each generation of a partition; of earlier ones, when
    /// they ended.
    pub async fn projected(&mut self, partition: Partition) -> Result<BTreeMap<Generation, i64>, StoreError> {
        generation::projected(&mut self.snapshot, partition).await
    }

    /// The next batches of a partition after one, in order; empty at the end. Begin with
    /// generation `i32::MIN`.
    pub async fn batches_after(
        &mut self,
        partition: Partition,
        after: (Generation, i64),
    ) -> Result<Vec<BatchRow>, StoreError> {
        batches_after(&mut self.snapshot, partition, after, PAGE).await
    }

    /// What adjustments added to the usage of a partition, by rising position.
    pub async fn adjusted(&mut self, partition: Partition) -> Result<Vec<AdjustedUsage>, StoreError> {
        adjustment::usage(&mut self.snapshot, partition).await
    }

    /// Usage rows of some tenants in one partition, by tenant, generation and key.
    pub async fn usage_rows(
        &mut self,
        tenants: &[&TenantId],
        partition: Partition,
    ) -> Result<UsageRows, StoreError> {
        let mut rows = UsageRows::new();
        let found: Vec<RawUsage> = self.of_tenants(USAGE, tenants, partition).await?;
        for (tenant, meter, hour, dimensions, generation, quantity, events, latest_at, latest_offset) in found
        {
            let row = UsageRow {
                quantity: exact(Some(&quantity))?,
                event_count: events,
                latest: latest_at.map(Timestamp::from).zip(latest_offset),
                values: BTreeSet::new(),
            };
            let key = usage_key(&tenant, &meter, hour, dimensions)?;
            rows.entry(key.tenant.clone()).or_default().insert((generation, key), row);
        }
        let values: Vec<RawValue> = self.of_tenants(VALUES, tenants, partition).await?;
        for (tenant, meter, hour, dimensions, generation, hash) in values {
            let empty =
                UsageRow { quantity: Quantity::ZERO, event_count: 0, latest: None, values: BTreeSet::new() };
            let key = usage_key(&tenant, &meter, hour, dimensions)?;
            let of_tenant = rows.entry(key.tenant.clone()).or_default();
            of_tenant
                .entry((generation, key))
                .or_insert(empty)
                .values
                .insert(Hash128::from_bytes(sixteen(&hash)?));
        }
        Ok(rows)
    }

    async fn of_tenants<T>(
        &mut self,
        query: &'static str,
        tenants: &[&TenantId],
        partition: Partition,
    ) -> Result<Vec<T>, StoreError>
    where
        T: for<'r> FromRow<'r, sqlx::postgres::PgRow> + Send + Unpin,
    {
        sqlx::query_as(query)
            .bind(tenants.iter().map(|tenant| tenant.as_str()).collect::<Vec<_>>())
            .bind(partition)
            .fetch_all(&mut *self.snapshot)
            .await
            .map_err(failed("read usage rows"))
    }
}

fn usage_key(
    tenant: &str,
    meter: &str,
    hour: DateTime<Utc>,
    dimensions: String,
) -> Result<UsageKey, StoreError> {
    let meter = MeterKey::new(meter).map_err(|error| StoreError::corrupt(ATTEMPT, error))?;
    let tenant = TenantId::new(tenant).map_err(|error| StoreError::corrupt(ATTEMPT, error))?;
    Ok(UsageKey { tenant, meter, hour: hour.into(), dimensions })
}

fn sixteen(bytes: &[u8]) -> Result<[u8; 16], StoreError> {
    <[u8; 16]>::try_from(bytes).map_err(|_| StoreError::corrupt(ATTEMPT, "a hash is not 16 bytes"))
}
