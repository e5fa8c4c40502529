//! A ledger and a projection of its own for each test, filled as the counting side fills
//! them: batches with real blobs and sums, metered by the real catalogue, and raw events.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::ensure;
use sqlx::{Connection, Executor, PgConnection};
use weir_backends::config::{ClickHouseConfig, KafkaConfig, PostgresConfig};
use weir_backends::postgres::{self, Installation, Pool};
use weir_backends::projection::{EventRow, Projection};
use weir_backends::{catalog, ledger};
use weir_core::{BillingCalendar, ContentSum, Position, TenantId, Timestamp};
use weir_metering::aggregate::{Aggregate, UsageKey, join_deltas};
use weir_metering::event::{EventBuffer, UsageEvent};
use weir_metering::identity::content_hash;
use weir_pipeline::billing::{self, BillingError, BillingSettings, RunReport, VerifyReport, Which};
use weir_tests::wait::until;
use weir_wire::{batch_blob, catalog_file};

const CATALOGUE: &str = r#"
[[legal_entity]]
key = "mill"
name = "Mill Ltd"
address = ["1 Bank Street"]
country = "GB"
number_prefix = "MILL"

[[meter]]
key = "calls"
version = 1
unit = "calls"
event_type = "call"
aggregation = "count"
dimensions = ["route"]

[[meter]]
key = "bytes"
version = 1
unit = "bytes"
event_type = "call"
aggregation = "sum"
value_property = "bytes"
dimensions = ["route"]

[[meter]]
key = "users"
version = 1
unit = "users"
event_type = "call"
aggregation = "unique"
value_property = "user"
dimensions = ["route"]

[[meter]]
key = "level"
version = 1
unit = "GB"
event_type = "level"
aggregation = "latest"
value_property = "level"

[[meter]]
key = "peak"
version = 1
unit = "GB"
event_type = "level"
aggregation = "max"
value_property = "level"

[[plan]]
key = "pro"
version = 1
name = "=Pro, monthly"
currency = "EUR"
flat_fee = "10.00"

  [[plan.price]]
  meter = "calls"
  description = "Calls"
  model = "per_unit"
  unit_amount = "0.01"

  [[plan.price]]
  meter = "bytes"
  description = "Bytes"
  model = "graduated"
  tiers = [ { up_to = "100", unit_amount = "0.10" }, { unit_amount = "0.05" } ]

  [[plan.price]]
  meter = "users"
  model = "per_unit"
  unit_amount = "1"

  [[plan.price]]
  meter = "level"
  model = "per_unit"
  unit_amount = "0.5"

  [[plan.price]]
  meter = "peak"
  model = "package"
  package_size = "10"
  package_amount = "3"
"#;

/// A ledger with its projection, and the offset after the last record.
pub(crate) struct Books {
    pub(crate) pool: Pool,
    pub(crate) clickhouse: ClickHouseConfig,
    installation: Installation,
    next_offset: i64,
    broker_time_max: Timestamp,
}

pub(crate) fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

/// When the tests bill.
pub(crate) fn now() -> Timestamp {
    at("2026-11-02T00:00:00Z")
}

/// A ledger of that name with its tables, and nothing in them.
pub(crate) async fn empty_ledger(name: &str) -> Pool {
    let stack = local_stack::shared_for_tests().unwrap_or_else(|error| panic!("{error}"));
    let mut admin = PgConnection::connect(&stack.postgres_url()).await.unwrap();
    admin.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
    let url = stack.postgres_url();
    let url = format!("{}/{name}", url.rsplit_once('/').unwrap().0);
    let pool = postgres::connect(&PostgresConfig { url, connections_max: 8 }).await.unwrap();
    postgres::migrate(&pool).await.unwrap();
    pool
}

impl Books {
    /// Empty books with the catalogue, one partition and three tenants whose period is
    /// October 2026 (`kite` lives in Kolkata).
    pub(crate) async fn open(name: &str) -> Self {
        let stack = local_stack::shared_for_tests().unwrap_or_else(|error| panic!("{error}"));
        let pool = empty_ledger(name).await;
        let kafka = KafkaConfig { partitions: 1, ..KafkaConfig::default() };
        let installation = postgres::installation(&pool, &kafka).await.unwrap();
        let clickhouse = ClickHouseConfig {
            url: stack.clickhouse_url(),
            database: name.to_owned(),
            ..ClickHouseConfig::default()
        };
        Projection::new(&clickhouse).prepare().await.unwrap();
        let file = catalog_file::parse(CATALOGUE).unwrap_or_else(|refusals| panic!("{refusals:?}"));
        let difference = catalog::plan(&pool, &file, now(), 0, 0).await.unwrap();
        catalog::apply(&pool, &difference.changes, now(), 0).await.unwrap();
        for (tenant, zone) in [("acme", "UTC"), ("birch", "Europe/Berlin"), ("kite", "Asia/Kolkata")] {
            add_tenant(&pool, tenant, zone).await;
        }
        let next_offset = 0;
        Self { pool, clickhouse, installation, next_offset, broker_time_max: Timestamp::EPOCH }
    }

    /// Commits one batch whose records arrived at `broker_time`, and projects it. Each event
    /// is `tenant type time member=value…`.
    pub(crate) async fn batch(&mut self, broker_time: &str, events: &str) {
        let broker_time = at(broker_time);
        let catalogue = catalog::load(&self.pool).await.unwrap();
        let from = self.next_offset;
        let (mut deltas, mut sum, mut rows) = (Vec::new(), ContentSum::default(), Vec::new());
        for line in events.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let offset = self.next_offset;
            let event = event(line, offset);
            let time = event.time.unwrap();
            let alignment = catalogue.tenant(&event.tenant).unwrap().alignment;
            for measured in catalogue.measure(EventBuffer::of(&event).get(0), time).unwrap() {
                let key = UsageKey {
                    tenant: TenantId::new(&event.tenant).unwrap(),
                    meter: measured.meter.key.clone(),
                    hour: alignment.hour_of(time),
                    dimensions: measured.dimensions(),
                };
                let usage = Aggregate::of(&measured, &self.installation.identity_key, time, offset);
                deltas.push(BTreeMap::from([(key, usage)]));
            }
            sum.add(content_hash(&self.installation.identity_key, &event, time));
            let position = Position { generation: 1, partition: 0, offset };
            rows.push(EventRow::alone(position, broker_time, &event));
            self.next_offset += 1;
        }
        // A tick, so that a batch without events is one too.
        self.next_offset += 1;
        self.broker_time_max = self.broker_time_max.max(broker_time);
        let accepted = i64::try_from(rows.len()).unwrap();
        Projection::new(&self.clickhouse).insert_events(&rows).await.unwrap();
        sqlx::query(
            "INSERT INTO batch (partition, generation, from_offset, to_offset, read_count, accepted_count,
                duplicate_count, rejected_count, forwarded_count, control_count, rejected_by, exceptions,
                deltas, content_sum, broker_time_max, catalog_version, engine_version)
             VALUES (0, 1, $1, $2, $3 + 1, $3, 0, 0, 0, 1, '{}', $4, $5, $6, $7, 1, '1')",
        )
        .bind(from)
        .bind(self.next_offset)
        .bind(accepted)
        .bind(batch_blob::encode_exceptions(from, &[]))
        .bind(batch_blob::encode_deltas(&join_deltas(deltas).unwrap()))
        .bind(&sum.to_bytes()[..])
        .bind(self.broker_time_max.to_chrono())
        .execute(&self.pool)
        .await
        .unwrap();
        sqlx::query(
            "INSERT INTO journal_partition (partition, generation, first_offset, next_offset,
                broker_time_max, folded_to, projected_to, rolled_to)
             VALUES (0, 1, 0, $1, $2, 0, 0, 0)
             ON CONFLICT (partition) DO UPDATE SET next_offset = $1, broker_time_max = $2",
        )
        .bind(self.next_offset)
        .bind(self.broker_time_max.to_chrono())
        .execute(&self.pool)
        .await
        .unwrap();
    }

    /// Usage of October for all tenants, and the records that close it.
    pub(crate) async fn october(&mut self) {
        self.batch(
            "2026-10-20T10:00:00Z",
            "acme  call  2026-10-01T00:00:00Z bytes=70.5 user=ann route=/a
             acme  call  2026-10-20T09:59:00Z bytes=80.000000001 user=ann route=/b
             birch call  2026-10-20T09:59:00Z bytes=1 user=bob route=/a
             acme  level 2026-10-20T09:00:00Z level=40
             kite  call  2026-10-20T09:59:00Z bytes=5 user=eve route=/a",
        )
        .await;
        self.batch(
            "2026-10-21T10:00:00Z",
            "acme  call  2026-10-21T09:59:00Z bytes=10 user=dan route=/a
             acme  call  2026-11-01T00:00:00Z bytes=1000 user=zoe route=/a
             acme  level 2026-10-21T09:00:00Z level=12.5
             kite  call  2026-10-31T18:30:00Z bytes=7 user=eve route=/a",
        )
        .await;
        self.batch("2026-11-01T02:00:00Z", "").await;
    }

    pub(crate) async fn run(&self) -> Result<RunReport, BillingError> {
        billing::run(&self.pool, &BillingSettings::default(), &BTreeMap::new(), now(), None, &()).await
    }

    pub(crate) async fn verify(&self) -> VerifyReport {
        billing::verify(&self.pool, &self.clickhouse, Which::All, &()).await.unwrap()
    }

    /// Runs a statement as someone who may do everything.
    pub(crate) async fn tamper(&self, statement: &'static str) {
        let mut conn = self.pool.acquire().await.unwrap();
        conn.execute("SET session_replication_role = replica").await.unwrap();
        let changed = sqlx::query(statement).execute(&mut *conn).await.unwrap().rows_affected();
        conn.execute("SET session_replication_role = DEFAULT").await.unwrap();
        assert_eq!(changed, 1, "{statement}");
    }

    /// Numbers and totals of all finalized documents, a line each.
    pub(crate) async fn documents(&self) -> String {
        let rows = weir_backends::books::documents(&self.pool, &Default::default()).await.unwrap();
        let line = |row: &weir_backends::books::DocumentRow| {
            let number = row.number.clone();
            format!("{number} {} {} {} {}", row.tenant, row.sequence, row.total, row.currency)
        };
        rows.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// Folds everything, as the process does every few seconds.
pub(crate) async fn fold(books: &Books) {
    while let Some(unfolded) = ledger::usage::unfolded(&books.pool, 0).await.unwrap() {
        let folding = ledger::usage::merge(unfolded).unwrap();
        assert!(ledger::usage::fold(&books.pool, &folding).await.unwrap());
    }
}

fn event(line: &str, offset: i64) -> UsageEvent {
    let mut words = line.split_whitespace();
    let mut word = || words.next().unwrap().to_owned();
    let (tenant, event_type, time) = (word(), word(), word());
    let data = words.map(|member| member.split_once('=').unwrap());
    let data = data.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let identity = (tenant, "//test".to_owned(), offset.to_string());
    UsageEvent::new(identity, event_type, Some(at(&time)), data).unwrap()
}

pub(crate) async fn add_tenant(pool: &Pool, tenant: &str, zone: &str) {
    let calendar = BillingCalendar::new(zone, "2026-10-01".parse().unwrap()).unwrap();
    let alignment = i16::from(calendar.hour_alignment().unwrap().minutes());
    sqlx::query(
        "INSERT INTO tenant (id, name, domain, admin_email, status, zone, hour_alignment, anchor, currency,
            created_at, updated_at)
         VALUES ($1, $1, $1, 'a@b', 'active', $2, $3, '2026-10-01', 'EUR', now(), now())",
    )
    .bind(tenant)
    .bind(zone)
    .bind(alignment)
    .execute(pool)
    .await
    .unwrap();
    let first = calendar.period(0).unwrap();
    sqlx::query(
        "INSERT INTO subscription (id, tenant, plan, legal_entity, starts_at, created_at)
         VALUES ('sub_' || $1, $1, 'pro', 'mill', $2, now())",
    )
    .bind(tenant)
    .bind(first.start.to_chrono())
    .execute(pool)
    .await
    .unwrap();
    for number in 0..3 {
        let period = calendar.period(number).unwrap();
        sqlx::query(
            "INSERT INTO billing_period (tenant, number, starts_at, ends_at) VALUES ($1, $2, $3, $4)",
        )
        .bind(tenant)
        .bind(i32::try_from(number).unwrap())
        .bind(period.start.to_chrono())
        .bind(period.end.to_chrono())
        .execute(pool)
        .await
        .unwrap();
    }
}

/// Waits until a statement of somebody stands behind a lock.
pub(crate) async fn until_one_waits(pool: &Pool) {
    const WAITING: &str = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    until("a statement behind a lock", Duration::from_secs(20), || async {
        let waiting: i64 = sqlx::query_scalar(WAITING).fetch_one(pool).await.unwrap();
        ensure!(waiting > 0, "nobody waits");
        Ok(Some(()))
    })
    .await
    .unwrap();
}
