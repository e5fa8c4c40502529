//! What must be told, and what was told, as lines that can be compared.

use serde_json::Value;

use super::reading::Limit;

/// A threshold that was reached or is over.
pub(super) struct Crossing<'a> {
    pub(super) tenant: &'a str,
    pub(super) meter: &'a str,
    pub(super) period_start_ms: i64,
    pub(super) percent: i128,
    pub(super) reached: bool,
    pub(super) limit: i128,
    pub(super) used: i128,
}

/// Where something happened.
#[derive(Clone, Copy)]
pub(super) struct Spot {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) at_ms: i64,
}

impl Spot {
    fn words(self) -> String {
        format!("at {}/{} ({})", self.partition, self.offset, self.at_ms)
    }
}

pub(super) fn crossing(spot: Spot, crossing: &Crossing<'_>) -> String {
    let Crossing { tenant, meter, period_start_ms, percent, reached, limit, used } = crossing;
    let way = if *reached { "reached" } else { "resolved" };
    format!("{way} {tenant} {meter} {period_start_ms} {percent}% of {limit}, used {used}, {}", spot.words())
}

pub(super) fn conflict(spot: Spot, tenant: &str, source: &str, id: &str) -> String {
    format!("conflict {tenant} {source} {id}, {}", spot.words())
}

pub(super) fn series(spot: Spot, tenant: &str, meter: &str, most: u32) -> String {
    format!("series {tenant} {meter} {most}, {}", spot.words())
}

/// The thresholds that usage reaches under a limit.
pub(super) fn reached(limit: &Limit, used: i128) -> impl Iterator<Item = i128> + '_ {
    limit.percents.iter().copied().filter(move |percent| used * 100 >= limit.nanos * percent)
}

/// The line of an alert as it was told.
pub(super) fn told(event_type: &str, body: &Value) -> Option<String> {
    let data = body.get("data")?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let tenant = text(data.get("tenant")?)?;
    let position = data.get("position")?;
    let spot = Spot {
        partition: i32::try_from(position.get("partition")?.as_i64()?).ok()?,
        offset: position.get("offset")?.as_i64()?,
        at_ms: millis(body.get("timestamp")?)?,
    };
    match event_type {
        "quota.threshold.reached" | "quota.threshold.resolved" => {
            let nanos = |name: &str| super::reading::nanos(data.get(name)?.as_str()?);
            Some(crossing(
                spot,
                &Crossing {
                    tenant: &tenant,
                    meter: data.get("meter")?.as_str()?,
                    period_start_ms: millis(data.get("period")?.get("start")?)?,
                    percent: i128::from(data.get("threshold_percent")?.as_i64()?),
                    reached: event_type.ends_with("reached"),
                    limit: nanos("limit")?,
                    used: nanos("used")?,
                },
            ))
        }
        "usage.conflict" => {
            Some(conflict(spot, &tenant, data.get("source")?.as_str()?, data.get("event_id")?.as_str()?))
        }
        "usage.series.bounded" => {
            let most = u32::try_from(data.get("series_max")?.as_i64()?).ok()?;
            Some(series(spot, &tenant, data.get("meter")?.as_str()?, most))
        }
        _ => None,
    }
}

fn millis(value: &Value) -> Option<i64> {
    weir_core::Timestamp::parse(value.as_str()?).ok().map(weir_core::Timestamp::millis)
}
