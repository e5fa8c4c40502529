//! Adjustments as the commit keeps them beside its batch: who decided what and why, and what
//! it added to usage. The batches' deltas hold the same usage; these rows say which part of it
//! no event made.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::{FromRow, PgConnection};
use weir_core::{Generation, Partition, Quantity, TenantId, Timestamp};
use weir_metering::adjustment::Change;
use weir_metering::aggregate::UsageKey;
use weir_metering::meter::MeterKey;
use weir_metering::outcome::Adjusted;

use crate::StoreError;

const ATTEMPT: &str = "read the adjustments";

/// What one adjustment added to the usage of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdjustedUsage {
    /// Which life of the topic its record stands in.
    pub generation: Generation,
    /// Where.
    pub offset: i64,
    /// Whose usage, of what.
    pub key: UsageKey,
    /// How much.
    pub quantity: Quantity,
    /// From how many events.
    pub event_count: i64,
}

#[derive(FromRow)]
struct UsageLine {
    tenant: String,
    meter: String,
    hour: DateTime<Utc>,
    dimensions: String,
    generation: Generation,
    #[sqlx(rename = "offset")]
    offset: i64,
    quantity: String,
    event_count: i64,
}

const USAGE: &str = "SELECT tenant, meter, hour, dimensions, generation, \"offset\",
        quantity::text AS quantity, event_count
    FROM adjustment_usage WHERE partition = $1 ORDER BY generation, \"offset\", meter";

/// What all adjustments of a partition added, by rising position.
pub(crate) async fn usage(
    conn: &mut PgConnection,
    partition: Partition,
) -> Result<Vec<AdjustedUsage>, StoreError> {
    let lines: Vec<UsageLine> = sqlx::query_as(USAGE)
        .bind(partition)
        .fetch_all(conn)
        .await
        .map_err(|error| StoreError::postgres(ATTEMPT, &error))?;
    lines.into_iter().map(UsageLine::read).collect()
}

impl UsageLine {
    fn read(self) -> Result<AdjustedUsage, StoreError> {
        let corrupt = |error: &dyn std::fmt::Display| StoreError::corrupt(ATTEMPT, error);
        Ok(AdjustedUsage {
            generation: self.generation,
            offset: self.offset,
            key: UsageKey {
                tenant: TenantId::new(&self.tenant).map_err(|error| corrupt(&error))?,
                meter: MeterKey::new(&self.meter).map_err(|error| corrupt(&error))?,
                hour: Timestamp::from(self.hour),
                dimensions: self.dimensions,
            },
            quantity: Quantity::parse_total(&self.quantity).map_err(|error| corrupt(&error))?,
            event_count: self.event_count,
        })
    }
}

/// The rows of `adjustment`, without what the commit's batch says.
pub(super) fn rows(adjustments: &[Adjusted]) -> Value {
    let row = |adjusted: &Adjusted| {
        let adjustment = &adjusted.adjustment;
        let mut row = json!({
            "tenant": adjustment.tenant.as_str(),
            "id": adjustment.id,
            "offset": adjusted.position.offset,
            "broker_time": adjusted.at.to_string(),
            "who": adjustment.who,
            "why": adjustment.why,
        });
        if let Change::Void { position, event } = &adjustment.change {
            row["void_generation"] = position.generation.into();
            row["void_offset"] = position.offset.into();
            row["void_source"] = event.source.as_str().into();
            row["void_event_id"] = event.id.as_str().into();
        }
        row
    };
    adjustments.iter().map(row).collect()
}

/// The rows of `adjustment_usage`, likewise.
pub(super) fn usage_rows(adjustments: &[Adjusted]) -> Value {
    let rows = adjustments.iter().flat_map(|adjusted| {
        adjusted.usage.iter().map(|(key, usage)| {
            json!({
                "tenant": key.tenant.as_str(),
                "meter": key.meter.as_str(),
                "hour": key.hour.to_string(),
                "dimensions": key.dimensions,
                "offset": adjusted.position.offset,
                "quantity": usage.quantity().to_string(),
                "event_count": usage.count(),
            })
        })
    });
    rows.collect()
}
