//! Ten-line invoices of a month that is over: counted from Kafka first, then billed by
//! `weir bill run` and proved by `weir verify`, both of which are timed as a whole.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use weir_load::sender::Sender;
use weir_load::{Event, Kind, Totals};

use crate::house::House;
use crate::results::Measured;
use crate::settled::{compare, float, judged, number, projected};

/// How many are billed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Billing {
    /// Tenants at scale 1, an invoice each.
    pub tenants: u32,
}

/// Nine meters and the flat fee are ten lines.
pub(crate) const METERS: u32 = 9;
const LINES: i64 = 10;
/// Events of each tenant and meter.
const EVENTS: u32 = 1;

/// Noon of the last day of the month before, in milliseconds since 1970.
const EVENT_TIME: &str = "SELECT (extract(epoch FROM date_trunc('month', now() AT TIME ZONE 'UTC')
    - interval '12 hours') * 1000)::float8";
const FINALIZED: &str = "SELECT count(*) FROM invoice WHERE status = 'finalized'";
const WRITTEN_LINES: &str = "SELECT count(*) FROM invoice_line";

/// Runs it once.
pub(crate) async fn run(billing: &Billing, scale: f64) -> Result<Vec<Measured>> {
    let tenants: u32 = format!("{:.0}", (f64::from(billing.tenants) * scale).max(1.0)).parse()?;
    let house = House::build_since(tenants, METERS, 1).await?;
    let expected = fill(&house, tenants).await?;
    let mut serving = house.weir.serve("aggregator")?;
    judged(&house.ledger, &mut serving, expected.events()).await?;
    projected(&house.ledger, &mut serving).await?;
    compare(&house.ledger, &expected).await?;
    drop(serving);
    let billed_in = bill(&house, tenants).await?;
    let began = Instant::now();
    house.weir.succeed(&["verify", "--all"])?;
    let verified_in = began.elapsed().as_secs_f64();
    Ok(vec![
        Measured::new("invoices written", "invoices/s", f64::from(tenants) / billed_in),
        Measured::new("weir bill run", "s", billed_in),
        Measured::new("invoices verified", "invoices/s", f64::from(tenants) / verified_in),
        Measured::new("weir verify --all", "s", verified_in),
    ])
}

/// Writes an invoice of ten lines for each tenant; how many seconds `weir bill run` took.
pub(crate) async fn bill(house: &House, tenants: u32) -> Result<f64> {
    let began = Instant::now();
    house.weir.succeed(&["bill", "run"])?;
    let billed_in = began.elapsed().as_secs_f64();
    let (invoices, lines) =
        (number(&house.ledger, FINALIZED).await?, number(&house.ledger, WRITTEN_LINES).await?);
    ensure!(invoices == i64::from(tenants), "{invoices} invoices were written for {tenants} tenants");
    ensure!(lines == LINES * invoices, "{lines} lines were written on {invoices} invoices");
    Ok(billed_in)
}

/// One event of each tenant and meter, of last month.
async fn fill(house: &House, tenants: u32) -> Result<Totals> {
    let time = float(&house.ledger, EVENT_TIME).await?;
    let time_ms = format!("{time:.0}").parse().context("a time")?;
    let to = house.to_kafka(None);
    let sending = tokio::task::spawn_blocking(move || {
        let sender = Sender::connect(&to, 5)?;
        let mut totals = Totals::new(tenants, METERS);
        for serial in 0..u64::from(tenants) * u64::from(METERS * EVENTS) {
            let event = event(serial, time_ms);
            sender.put(&event)?;
            totals.add(&event);
        }
        sender.flush()?;
        Ok::<_, anyhow::Error>(totals)
    });
    sending.await.context("fill the topic")?
}

fn event(serial: u64, time_ms: i64) -> Event {
    let meters = u64::from(METERS);
    let meter = u32::try_from(serial % meters).unwrap_or(0);
    Event {
        seed: 1,
        serial,
        tenant: u32::try_from(serial / meters / u64::from(EVENTS)).unwrap_or(0),
        meter,
        kind: if meter % 3 == 1 { Kind::Count } else { Kind::Sum },
        region: None,
        thousandths: u32::try_from(serial % 999_983 + 1).unwrap_or(1),
        time_ms,
        gateway: 0,
        counts: true,
    }
}
