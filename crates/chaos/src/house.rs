//! A Weir of its own for one round: database, topics, catalogue, tenants with limits on every meter,
//! a webhook, and the members that serve. It knows nothing of faults.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use chrono::{DateTime, SubsecRound, Utc};
use local_stack::{Ports, repository};
use serde_json::json;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::task::JoinHandle;
use weir_demo::api::Api;
use weir_demo::ledger::Ledger;
use weir_demo::projection::Reader;
use weir_demo::tally::Tally;
use weir_demo::tenants::PROFILES;
use weir_demo::wait::{Look, until};
use weir_demo::webhook::Receiver;
use weir_demo::weir::{self, Weir};
use weir_demo::{platform, producers};

use crate::member::{Description, Member};
use crate::site::{Site, address};

/// How long a member may take until it is ready.
const READY_MAX: Duration = Duration::from_secs(60);
/// Every limit in per cent of what a tenant will use, so that alerts fall on both sides of it.
const LIMIT_PERCENT: i128 = 70;
/// The thresholds of every limit, in per cent.
pub(crate) const THRESHOLDS: std::ops::RangeInclusive<i128> = 1..=20;
/// Thresholds are this far apart.
pub(crate) const THRESHOLD_STEP: i128 = 10;
const SCOPES: [&str; 6] =
    ["events:write", "usage:read", "tenants:read", "tenants:write", "invoices:read", "webhooks:write"];
const WEBHOOK_TYPES: [&str; 2] = ["quota.threshold.reached", "usage.conflict"];

/// A limit that was set.
#[derive(Clone, Debug)]
pub(crate) struct Limit {
    pub(crate) tenant: String,
    pub(crate) meter: String,
    /// In whole units.
    pub(crate) units: i128,
}

/// The house.
#[derive(Debug)]
pub(crate) struct House {
    pub(crate) name: String,
    /// The program, straight at the servers.
    pub(crate) weir: Weir,
    /// The two aggregators that are always there, and the API.
    pub(crate) members: Vec<Arc<Member>>,
    /// An aggregator that comes and goes.
    pub(crate) guest: Arc<Member>,
    /// The ledger, straight.
    pub(crate) ledger: Ledger,
    pub(crate) pool: PgPool,
    pub(crate) projection: Reader,
    pub(crate) api: Api,
    pub(crate) receiver: Receiver,
    pub(crate) limits: Vec<Limit>,
    pub(crate) now: DateTime<Utc>,
    pub(crate) partitions: i32,
    pub(crate) bootstrap: String,
    pub(crate) topic: String,
    pub(crate) invoices_topic: String,
    /// Its configuration, straight at the servers.
    pub(crate) environment: Vec<(String, String)>,
    keepers: Vec<JoinHandle<()>>,
}

impl House {
    /// Builds it and waits until everyone is ready. `planned` says what will be used, from which
    /// the limits follow.
    pub(crate) async fn build(
        site: &Site,
        name: &str,
        planned: impl FnOnce(DateTime<Utc>, i32) -> Result<Tally>,
    ) -> Result<Self> {
        let now = Utc::now().trunc_subsecs(3);
        let postgres = address(site.postgres().url()).to_owned();
        create_database(site.postgres().url(), name).await?;
        let url = format!("postgres://weir@{postgres}/{name}");
        let (ports, admins) = (Ports::free()?, Ports::free()?);
        let api_address = format!("127.0.0.1:{}", ports.kafka);
        let mut environment = environment(site, name, &api_address);
        let straight =
            [("WEIR_POSTGRES__URL", url.as_str()), ("WEIR_CLICKHOUSE__URL", site.clickhouse().url())];
        let members = members(site, name, &environment, [ports.postgres, admins.kafka, admins.postgres])?;
        let guest = guest(site, name, &environment, admins.clickhouse)?;
        environment.extend(straight.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let weir = Weir::new(environment.clone())?;
        let key = prepare(&weir).await?;
        let keepers =
            members.iter().chain([&guest]).map(|one| tokio::spawn(Arc::clone(one).keep())).collect();
        for member in &members {
            member.want(true);
        }
        let api = Api::new(&format!("http://{api_address}"), &key)?;
        let bootstrap = site.kafka().url().to_owned();
        let topic = format!("{name}.usage.v1");
        let partitions = producers::partitions(&bootstrap, &topic).await?;
        let pool = PgPoolOptions::new().max_connections(4).connect(&url).await.context("reach the ledger")?;
        let mut house = Self {
            name: name.to_owned(),
            weir,
            members,
            guest,
            ledger: Ledger::connect(&url).await?,
            pool,
            projection: reader(site, name),
            api,
            receiver: Receiver::listen().await?,
            limits: Vec::new(),
            now,
            partitions,
            bootstrap,
            topic,
            invoices_topic: format!("{name}.invoices.v1"),
            environment,
            keepers,
        };
        house.all_ready().await?;
        house.populate(&planned(now, partitions)?).await?;
        Ok(house)
    }

    /// Waits until every member that is wanted is ready.
    pub(crate) async fn all_ready(&self) -> Result<()> {
        for member in self.everyone().filter(|member| member.is_wanted()) {
            let ready = || async {
                Ok(match member.ready().await {
                    Ok(()) => Look::Yes(()),
                    Err(why) => Look::NotYet(why),
                })
            };
            until(&format!("{} to be ready", member.name), READY_MAX, ready).await?;
        }
        Ok(())
    }

    /// Everyone who serves or may serve.
    pub(crate) fn everyone(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.members.iter().chain([&self.guest])
    }

    async fn populate(&mut self, planned: &Tally) -> Result<()> {
        for profile in &PROFILES {
            platform::create_tenant(&self.api, profile, self.now).await?;
        }
        let (_, secret) = platform::register_webhook(&self.api, self.receiver.url(), &WEBHOOK_TYPES).await?;
        self.receiver.trust(&secret)?;
        for ((tenant, meter), usage) in &planned.running {
            let units = (usage.nanos / 1_000_000_000 * LIMIT_PERCENT / 100).max(1);
            self.limits.push(Limit { tenant: tenant.clone(), meter: meter.clone(), units });
        }
        for profile in &PROFILES {
            let limits = self.limits.iter().filter(|limit| limit.tenant == profile.id);
            let thresholds: Vec<String> =
                THRESHOLDS.map(|step| (step * THRESHOLD_STEP).to_string()).collect();
            let thresholds: serde_json::Value = format!("[{}]", thresholds.join(",")).parse()?;
            let limits: Vec<_> = limits
                .map(|limit| {
                    let units = limit.units.to_string();
                    json!({"meter": limit.meter, "limit": units, "enforcement": "hard",
                        "thresholds_percent": thresholds})
                })
                .collect();
            let path = format!("/api/v1/platform/tenants/{}/limits", profile.id);
            self.api.replace(&path, &json!({ "limits": limits })).await?;
            let in_force = || async {
                let there = self.ledger.has_limits(profile.id).await?;
                Ok(if there { Look::Yes(()) } else { Look::NotYet("not yet".to_owned()) })
            };
            until("a limit to come into force", READY_MAX, in_force).await?;
        }
        Ok(())
    }
}

impl Drop for House {
    fn drop(&mut self) {
        for keeper in &self.keepers {
            keeper.abort();
        }
        for member in self.members.iter().chain([&self.guest]) {
            member.want(false);
            member.kill();
        }
    }
}

async fn create_database(url: &str, name: &str) -> Result<()> {
    let pool = PgPoolOptions::new().max_connections(1).connect(url).await.context("reach Postgres")?;
    let statement = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
    sqlx::query(statement).execute(&pool).await.with_context(|| format!("create the database {name}"))?;
    pool.close().await;
    Ok(())
}

/// What all members are told.
fn environment(site: &Site, name: &str, api: &str) -> Vec<(String, String)> {
    let topic = |kind: &str| format!("{name}.{kind}");
    let variables = [
        ("WEIR_ENV", "chaos".to_owned()),
        ("WEIR_API__LISTEN", api.to_owned()),
        ("WEIR_API__ALLOW_PRIVATE_WEBHOOKS", "true".to_owned()),
        ("WEIR_LEDGER__SINGLE_NODE", "true".to_owned()),
        ("WEIR_KAFKA__BOOTSTRAP_SERVERS", site.kafka().url().to_owned()),
        ("WEIR_KAFKA__USAGE_TOPIC", topic("usage.v1")),
        ("WEIR_KAFKA__DEAD_LETTER_TOPIC", topic("usage.dlq.v1")),
        ("WEIR_KAFKA__QUOTA_TOPIC", topic("quota.v1")),
        ("WEIR_KAFKA__ALERTS_TOPIC", topic("alerts.v1")),
        ("WEIR_KAFKA__INVOICES_TOPIC", topic("invoices.v1")),
        ("WEIR_KAFKA__GROUP", topic("group")),
        ("WEIR_CLICKHOUSE__DATABASE", name.to_owned()),
    ];
    variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn members(
    site: &Site,
    name: &str,
    environment: &[(String, String)],
    admins: [u16; 3],
) -> Result<Vec<Arc<Member>>> {
    let [one, two, api] = admins;
    let parts = [
        ("one", "aggregator,delivery", one, true),
        ("two", "aggregator,delivery", two, true),
        ("api", "api", api, false),
    ];
    parts
        .into_iter()
        .map(|(who, roles, admin, named)| member(site, name, environment, (who, roles, admin, named)))
        .collect()
}

/// A process without a name in Kafka's group: its leaving is noticed at once, its death after ten seconds.
fn guest(site: &Site, name: &str, environment: &[(String, String)], admin: u16) -> Result<Arc<Member>> {
    member(site, name, environment, ("guest", "aggregator,delivery", admin, false))
}

fn member(
    site: &Site,
    name: &str,
    environment: &[(String, String)],
    (who, roles, admin, named): (&'static str, &'static str, u16, bool),
) -> Result<Arc<Member>> {
    let mut environment = environment.to_vec();
    if named {
        environment.push(("WEIR_KAFKA__GROUP_INSTANCE_ID".to_owned(), who.to_owned()));
    }
    Member::new(Description {
        name: who,
        roles,
        program: weir::program()?,
        environment,
        admin: format!("127.0.0.1:{admin}"),
        log: site.folder.join(format!("{name}-{who}.log")),
        postgres: (address(site.postgres().url()).to_owned(), name.to_owned()),
        clickhouse: address(site.clickhouse().url()).to_owned(),
    })
}

/// Tables, topics, catalogue; returns a key of the platform.
async fn prepare(weir: &Weir) -> Result<String> {
    weir.run(&["migrate"]).await?;
    let catalog = repository().join("crates/demo/data/catalog.toml");
    let catalog = catalog.to_str().context("the path of the checkout is not UTF-8")?;
    weir.run(&["catalog", "apply", catalog]).await?;
    let scopes = SCOPES.iter().flat_map(|scope| ["--scope", *scope]);
    let create: Vec<&str> =
        ["key", "create", "--name", "chaos", "--platform"].into_iter().chain(scopes).collect();
    Ok(weir.run(&create).await?.stdout.trim().to_owned())
}

fn reader(site: &Site, name: &str) -> Reader {
    let url = site.clickhouse().url().to_owned();
    Reader { url, database: name.to_owned(), user: "default".to_owned(), password: String::new() }
}
