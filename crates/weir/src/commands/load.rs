//! `weir load`: a stream of usage with known totals, for trying out and for measuring. It goes
//! the ways that everybody may go: the topic, the API, ClickHouse's views.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use weir_core::Timestamp;
use weir_load::http::ToHttp;
use weir_load::kafka::ToKafka;
use weir_load::{Profile, Stream, Totals, house};

use crate::cli::load::{Load, LoadApi, LoadCommand, LoadSend, LoadTo};
use crate::config::Config;
use crate::out;

use super::now;

/// Differences that are shown.
const SHOWN_MAX: usize = 20;

/// Sends load, or prepares or compares it.
pub(crate) async fn run(config: &Config, load: &Load) -> anyhow::Result<bool> {
    match &load.other {
        None => send(config, &load.send).await,
        Some(LoadCommand::Catalog { meters, dimensions }) => {
            out::bytes(house::catalogue(*meters, *dimensions > 0).as_bytes())?;
            Ok(true)
        }
        Some(LoadCommand::Tenants { tenants, api }) => create(config, *tenants, api).await,
        Some(LoadCommand::Check { file }) => check(config, file).await,
    }
}

async fn send(config: &Config, send: &LoadSend) -> anyhow::Result<bool> {
    let stream = Arc::new(Stream::new(profile(send)?)?);
    let sent = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let totals = {
        let sending = to(config, send, Arc::clone(&stream), Arc::clone(&sent));
        tokio::pin!(sending);
        loop {
            tokio::select! {
                totals = &mut sending => break totals?,
                () = tokio::time::sleep(Duration::from_secs(1)) => {
                    eprintln!("{} of {} sent", sent.load(Ordering::Relaxed), send.events);
                }
            }
        }
    };
    let seconds = began.elapsed().as_secs_f64();
    eprintln!(
        "{} records acknowledged in {seconds:.1} s; {} of them must be counted, of {} tenants",
        send.events,
        totals.events(),
        totals.active_tenants()
    );
    if let Some(file) = &send.expect {
        totals.write(file)?;
        eprintln!("the totals to expect stand in {}", file.display());
    }
    Ok(true)
}

async fn to(
    config: &Config,
    send: &LoadSend,
    stream: Arc<Stream>,
    sent: Arc<AtomicU64>,
) -> anyhow::Result<Totals> {
    match send.to {
        LoadTo::Http => {
            let (url, key) = api(config, &send.api)?;
            let to = ToHttp { url, key, producers: send.producers, rate: send.rate };
            Ok(weir_load::http::send(stream, &to, &sent).await?)
        }
        LoadTo::Kafka => {
            let to = ToKafka {
                bootstrap_servers: config.kafka.bootstrap_servers.clone(),
                topic: config.kafka.usage_topic.clone(),
                producers: send.producers,
                rate: send.rate,
                settings: config.kafka.settings.clone(),
            };
            let sending = tokio::task::spawn_blocking(move || weir_load::kafka::send(&stream, &to, &sent));
            Ok(sending.await.context("send to Kafka")??)
        }
    }
}

fn profile(send: &LoadSend) -> anyhow::Result<Profile> {
    let span_ms = i64::from(send.span) * 1_000;
    let from_ms = match &send.from {
        Some(text) => Timestamp::parse(text).context("--from")?.millis(),
        None => now().millis() - span_ms,
    };
    Ok(Profile {
        events: send.events,
        tenants: send.tenants,
        skew: send.skew,
        meters: send.meters,
        dimensions: send.dimensions,
        duplicates_ppm: millionths("--duplicates", send.duplicates)?,
        late_ppm: millionths("--late", send.late)?,
        seed: send.seed,
        from_ms,
        span_ms,
    })
}

/// Per cent in millionths.
fn millionths(option: &str, percent: f64) -> anyhow::Result<u32> {
    ensure!((0.0..=100.0).contains(&percent), "{option} is {percent}: 0 to 100");
    format!("{:.0}", percent * 10_000.0).parse().context("a part of a million")
}

fn api(config: &Config, api: &LoadApi) -> anyhow::Result<(String, String)> {
    let url = api.url.clone().unwrap_or_else(|| format!("http://{}", config.api.listen));
    let key = api.key.clone().context(
        "the API wants a key: --key or WEIR_LOAD_KEY; `weir key create --name load --platform --scope all` makes one",
    )?;
    Ok((url.trim_end_matches('/').to_owned(), key))
}

async fn create(config: &Config, tenants: u32, to: &LoadApi) -> anyhow::Result<bool> {
    let (url, key) = api(config, to)?;
    let mut made = 0_u32;
    let count = || {
        made += 1;
        if made.is_multiple_of(1_000) {
            eprintln!("{made} of {tenants} tenants");
        }
    };
    house::create_tenants(&url, &key, 0..tenants, count).await?;
    eprintln!("{tenants} tenants are there");
    Ok(true)
}

async fn check(config: &Config, file: &std::path::Path) -> anyhow::Result<bool> {
    let expected = Totals::read(file)?;
    let at = &config.clickhouse;
    let found = house::projected_totals(&at.url, &at.database, &at.user, &at.password).await?;
    let differences = expected.compare(found.lines())?;
    for difference in differences.iter().take(SHOWN_MAX) {
        out::line(format_args!(
            "{} {}: {} events expected, {} found; {} and {} thousandths",
            difference.tenant,
            difference.meter,
            difference.expected.events,
            difference.found.events,
            difference.expected.thousandths,
            difference.found.thousandths
        ))?;
    }
    let totals = expected.iter().count();
    eprintln!(
        "{} of {totals} totals differ ({} events of {} tenants expected)",
        differences.len(),
        expected.events(),
        expected.active_tenants()
    );
    Ok(differences.is_empty())
}
