//! What should have come out, counted independently, beside what the ledger and ClickHouse say.

use std::collections::{BTreeMap, BTreeSet};

use weir_metering::event::UsageEvent;

use crate::house::House;

/// Usage by tenant and meter over all hours: quantity in thousandths and events.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) events: i64,
    pub(crate) calls: i64,
    pub(crate) thousandths: i64,
    pub(crate) users_by_hour: i64,
}

/// An independent count: a plain set of ids.
pub(crate) fn count(events: &[UsageEvent]) -> BTreeMap<String, Count> {
    let mut seen = BTreeSet::new();
    let mut users = BTreeSet::new();
    let mut counts: BTreeMap<String, Count> = BTreeMap::new();
    for event in events {
        if !seen.insert((event.tenant.clone(), event.id.clone())) {
            continue;
        }
        let count = counts.entry(event.tenant.clone()).or_default();
        count.events += 1;
        count.calls += 1;
        let (units, thousandths) = event.value("value").unwrap().split_once('.').unwrap();
        count.thousandths += units.parse::<i64>().unwrap() * 1000 + thousandths.parse::<i64>().unwrap();
        let hour = {
            let shift = if event.tenant[1..].parse::<i64>().unwrap() % 2 == 0 { 0 } else { 1_800_000 };
            (event.time.unwrap().millis() - shift).div_euclid(3_600_000)
        };
        let user = event.value("user").unwrap().to_owned();
        if users.insert((event.tenant.clone(), hour, event.value("region").unwrap().to_owned(), user)) {
            count.users_by_hour += 1;
        }
    }
    counts
}

impl House {
    /// What the usage rows say.
    pub(crate) async fn counted(&self) -> BTreeMap<String, Count> {
        let rows: Vec<(String, i64, i64, i64, i64)> = sqlx::query_as(
            "SELECT tenant, sum(event_count) FILTER (WHERE meter = 'calls')::bigint,
                 sum(quantity) FILTER (WHERE meter = 'calls')::bigint,
                 (sum(quantity) FILTER (WHERE meter = 'bytes') * 1000)::bigint,
                 sum(quantity) FILTER (WHERE meter = 'users')::bigint
             FROM usage GROUP BY tenant",
        )
        .fetch_all(&self.pool)
        .await
        .expect("usage");
        let count = |(tenant, events, calls, thousandths, users_by_hour)| {
            (tenant, Count { events, calls, thousandths, users_by_hour })
        };
        rows.into_iter().map(count).collect()
    }

    /// Waits until everything committed is folded and projected.
    pub(crate) async fn settle(&self, seconds: u64) {
        const OPEN: &str = "SELECT count(*) FROM journal_partition
            WHERE folded_to < next_offset OR projected_to < next_offset OR rolled_to < next_offset";
        self.until(OPEN, 0, seconds).await;
    }

    /// Events and total calls as ClickHouse has them.
    pub(crate) async fn projected(&self) -> (u64, u64) {
        self.try_projected().await.expect("events and rollups")
    }

    /// The same; `None` while a table is missing.
    pub(crate) async fn try_projected(&self) -> Option<(u64, u64)> {
        let client = clickhouse::Client::default()
            .with_url(&self.clickhouse.url)
            .with_database(&self.clickhouse.database)
            .with_compression(clickhouse::Compression::None);
        let events = client.query("SELECT count() FROM events").fetch_one().await.ok()?;
        let calls = client
            .query("SELECT toUInt64(sum(event_count)) FROM usage_hourly WHERE meter = 'calls'")
            .fetch_one()
            .await
            .ok()?;
        Some((events, calls))
    }
}
