//! `weir adjust` and `weir void-event`: usage that someone decided. Both say what they change,
//! then ask for it; it is counted through the journal, as the API's adjustments are.

use weir_backends::catalog;
use weir_backends::journal::topics::TopicEnds;
use weir_backends::postgres::{self, Pool};
use weir_backends::projection::Projection;
use weir_backends::tenants::TenantError;
use weir_backends::tenants::adjustments::{self, Asked, UsageChange};
use weir_backends::tenants::voids::{self, Places, Wanted};
use weir_core::{HashKey, Timestamp};
use weir_metering::adjustment::{Adjustment, Change, Entry, void_id};
use weir_metering::catalogue::Catalogue;

use crate::cli::adjust::{Adjust, Because, VoidEvent};
use crate::config::Config;
use crate::table::{self, Cell};

use super::{known_tenant, ledger_pool, now};

/// `weir adjust`.
pub(crate) async fn adjust(config: &Config, asked: &Adjust) -> anyhow::Result<bool> {
    let pool = ledger_pool(config).await?;
    let tenant = known_tenant(&pool, &asked.tenant).await?;
    let (key, catalogue) = (postgres::identity_key(&pool).await?, catalog::load(&pool).await?);
    let unless_given = || Entry::events_unless_given(&catalogue, &asked.meter, asked.quantity);
    let mut dimensions = asked.dimensions.clone();
    dimensions.sort();
    let entry = Entry {
        meter: asked.meter.clone(),
        dimensions,
        at: asked.at,
        quantity: asked.quantity,
        event_count: asked.events.unwrap_or_else(unless_given),
    };
    let adjustment = Adjustment {
        id: asked.id.clone().unwrap_or_else(adjustments::fresh_id),
        tenant,
        who: asked.because.who.clone(),
        why: asked.because.why.clone(),
        change: Change::Entry(entry),
    };
    ask(&pool, &catalogue, &key, &adjustment, &asked.because).await
}

/// `weir void-event`.
pub(crate) async fn void_event(config: &Config, asked: &VoidEvent) -> anyhow::Result<bool> {
    let pool = ledger_pool(config).await?;
    let tenant = known_tenant(&pool, &asked.tenant).await?;
    let (key, catalogue) = (postgres::identity_key(&pool).await?, catalog::load(&pool).await?);
    let wanted = Wanted { tenant: &tenant, source: &asked.source, id: &asked.id, position: asked.position };
    let (projection, ends) = (Projection::new(&config.clickhouse), TopicEnds::connect(&config.kafka)?);
    let places = Places { pool: &pool, projection: &projection, ends: &ends };
    let found = voids::find(&places, &key, &wanted).await?;
    eprintln!(
        "The event at {}, of type {}, arrived at {} and counts at {}.",
        found.position,
        found.event.event_type,
        found.arrived_at,
        found.event.time_or(found.arrived_at)
    );
    let adjustment = Adjustment {
        id: void_id(found.position),
        tenant,
        who: asked.because.who.clone(),
        why: asked.because.why.clone(),
        change: Change::Void { position: found.position, event: found.event },
    };
    ask(&pool, &catalogue, &key, &adjustment, &asked.because).await
}

/// Says what would change, and asks for it unless that is all that was wanted.
async fn ask(
    pool: &Pool,
    catalogue: &Catalogue,
    key: &HashKey,
    adjustment: &Adjustment,
    because: &Because,
) -> anyhow::Result<bool> {
    let changes = adjustments::preview(catalogue, adjustment, now())?;
    let (id, tenant) = (&adjustment.id, &adjustment.tenant);
    // What would be refused is not shown as if it could be done.
    let before = adjustments::asked_before(pool, adjustment, key).await?;
    show(adjustment, &changes, because)?;
    if because.dry_run {
        if before {
            eprintln!("It was asked for before, as {id}.");
        }
        eprintln!("Nothing was changed (--dry-run).");
        return Ok(true);
    }
    let asked = adjustments::ask(pool, adjustment, key, now()).await;
    match asked.map_err(|error| refused_or_open(adjustment, error))? {
        Asked::Anew => {
            eprintln!("Asked for as {id}: it is counted as soon as `weir serve` has delivered it.")
        }
        Asked::Again => eprintln!(
            "It was asked for before, as {id}, and is not counted: its record is delivered again, and counts once.\n\
             `weir dlq list --tenant {tenant}` says why, if counting refused it."
        ),
        Asked::Before => eprintln!("It was asked for before, as {id}: nothing was changed."),
    }
    Ok(true)
}

fn show(adjustment: &Adjustment, changes: &[UsageChange], because: &Because) -> anyhow::Result<()> {
    if changes.is_empty() {
        eprintln!("No meter took the event: no usage changes.");
    }
    let columns = ["id", "tenant", "meter", "hour", "dimensions", "quantity", "events"];
    let row = |change: &UsageChange| -> Vec<Cell> {
        vec![
            adjustment.id.clone().into(),
            adjustment.tenant.to_string().into(),
            change.meter.clone().into(),
            Timestamp::from(change.hour).to_string().into(),
            change.dimensions.clone().into(),
            change.quantity.clone().into(),
            change.event_count.into(),
        ]
    };
    let rows: Vec<_> = changes.iter().map(row).collect();
    table::print(because.output.output, &columns, &rows)
}

/// A ledger that failed may have taken it all the same: the same call again, with the id, counts
/// it once.
fn refused_or_open(adjustment: &Adjustment, error: TenantError) -> anyhow::Error {
    let open = matches!(error, TenantError::Store(_));
    let error = anyhow::Error::from(error);
    match &adjustment.change {
        _ if !open => error,
        Change::Entry(_) => error.context(format!(
            "it may have been asked for or not: run again with --id {}, so that it is counted once",
            adjustment.id
        )),
        Change::Void { .. } => error.context("it may have been asked for or not: run the same again"),
    }
}

#[cfg(test)]
mod tests {
    use weir_backends::StoreError;
    use weir_core::{Quantity, TenantId};
    use weir_metering::meter::MeterKey;

    use super::*;

    #[test]
    fn an_open_outcome_names_the_id_to_run_again_with() {
        let entry = Entry {
            meter: MeterKey::new("bandwidth").unwrap(),
            dimensions: vec![],
            at: Timestamp::EPOCH,
            quantity: Quantity::from_units(1),
            event_count: 0,
        };
        let adjustment = Adjustment {
            id: "adj_made".into(),
            tenant: TenantId::new("acme").unwrap(),
            who: "cli".into(),
            why: "a test".into(),
            change: Change::Entry(entry),
        };
        let check = |error: TenantError, named: bool| {
            let words = format!("{:#}", refused_or_open(&adjustment, error));
            assert_eq!(words.contains("run again with --id adj_made"), named, "{words}");
        };
        let reason = "the connection was lost".to_owned();
        check(StoreError::Transient { attempt: "ask", reason }.into(), true);
        check(TenantError::State("the tenant is deleted".into()), false);
    }
}
