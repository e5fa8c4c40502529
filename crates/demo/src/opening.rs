//! The first act: an empty Weir gets its catalogue, a key, tenants, a limit and a webhook.

use std::time::Duration;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use local_stack::repository;

use crate::api::Api;
use crate::decimal;
use crate::ledger::Ledger;
use crate::place::{Place, Servers};
use crate::platform;
use crate::print::{self, Stopwatch};
use crate::producers;
use crate::scene::Scene;
use crate::tally::Tally;
use crate::tenants::PROFILES;
use crate::wait::{Look, until};
use crate::webhook::Receiver;
use crate::weir::{Serving, Weir};

/// Whose quota will trip, and on which meter.
pub(crate) const LIMITED: (&str, &str) = ("hudson-data", "api_calls");
/// The limit, in per cent of what the tenant will have used when everything is sent.
const LIMIT_PERCENT: i128 = 70;
/// What the demo's key may do.
const SCOPES: [&str; 6] =
    ["events:write", "usage:read", "tenants:read", "tenants:write", "invoices:read", "webhooks:write"];
const LIMIT_MAX: Duration = Duration::from_secs(20);

/// Sets everything up and starts Weir. The process is handed to the caller at once, so that it
/// is stopped whatever happens afterwards.
pub(crate) async fn open(
    place: &Place,
    servers: &Servers,
    serving: &mut Option<Serving>,
    now: DateTime<Utc>,
    mut watch: Stopwatch,
) -> Result<Scene> {
    if let Some(schema) = place.schema() {
        Ledger::make_schema(&servers.postgres, &schema).await?;
    }
    let weir = Weir::new(place.environment(servers))?;
    print::doing("weir migrate");
    weir.run(&["migrate"]).await?;
    let catalog = repository().join("crates/demo/data/catalog.toml");
    let catalog = catalog.to_str().context("the path of the checkout is not UTF-8")?;
    let plan = weir.run(&["catalog", "plan", catalog]).await?;
    weir.run(&["catalog", "apply", catalog]).await?;
    let scopes = SCOPES.iter().flat_map(|scope| ["--scope", *scope]);
    let create: Vec<&str> =
        ["key", "create", "--name", "demo", "--platform"].into_iter().chain(scopes).collect();
    let key = weir.run(&create).await?;
    let key = key.stdout.trim().to_owned();
    watch.lap("migrations, catalogue, key");

    print::doing("weir serve");
    let started = serving.insert(weir.serve(place)?);
    started.ready().await?;
    watch.lap("start of weir serve");

    let api = Api::new(&format!("http://{}", place.api), &key)?;
    for profile in &PROFILES {
        platform::create_tenant(&api, profile, now).await?;
    }
    let receiver = Receiver::listen().await?;
    let types = ["quota.threshold.reached", "quota.threshold.resolved", "usage.conflict"];
    let (webhook, secret) = platform::register_webhook(&api, receiver.url(), &types).await?;
    receiver.trust(&secret)?;
    let ledger = Ledger::connect(&place.ledger_url(servers)).await?;
    let partitions = producers::partitions(&servers.kafka, &place.usage_topic()).await?;
    watch.lap("tenants, webhook");
    let (place, servers) = (place.clone(), servers.clone());
    let scene = Scene {
        place,
        servers,
        weir,
        ledger,
        api,
        key,
        receiver,
        webhook,
        now,
        partitions,
        produced: Vec::new(),
        watch,
    };
    print_catalogue(&plan.stdout);
    print_tenants(&scene)?;
    Ok(scene)
}

/// Sets the limit that will trip, and waits until the journal has carried it to the counter.
/// `planned` is the count of everything that will be sent.
pub(crate) async fn limit(scene: &mut Scene, planned: &Tally) -> Result<String> {
    let (tenant, meter) = LIMITED;
    let used = planned.running.get(&(tenant.to_owned(), meter.to_owned())).map_or(0, |usage| usage.nanos);
    let units = (used / 1_000_000_000 * LIMIT_PERCENT / 100).max(1);
    platform::limit(&scene.api, tenant, meter, &units.to_string()).await?;
    let ledger = &scene.ledger;
    let in_force = || async {
        let there = ledger.has_limits(tenant).await?;
        Ok(if there { Look::Yes(()) } else { Look::NotYet("not yet".to_owned()) })
    };
    until("the limit to come into force", LIMIT_MAX, in_force).await?;
    scene.watch.lap("a limit, through the journal");
    Ok(decimal::thousands(&units.to_string()))
}

fn print_catalogue(plan: &str) {
    print::title("The catalogue (weir catalog plan)");
    print::indented(plan);
}

fn print_tenants(scene: &Scene) -> Result<()> {
    print::title("The tenants, and their billing period that has just ended");
    let mut rows = Vec::new();
    for profile in &PROFILES {
        let period = profile.period(scene.now, 0)?;
        let text = |at: DateTime<Utc>| at.format("%Y-%m-%d %H:%M").to_string();
        rows.push(vec![
            profile.id.to_owned(),
            profile.plan.to_owned(),
            profile.currency.to_owned(),
            profile.zone.to_owned(),
            text(period.start),
            text(period.end),
        ]);
    }
    print::table(&["tenant", "plan", "currency", "zone", "from (UTC)", "to (UTC)"], rows);
    Ok(())
}
