//! Settings of Kafka and Postgres that would break a promise: each row of the tables, on real
//! servers. Nothing is counted on what refuses, and counting goes on once it is corrected.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use rdkafka::admin::ResourceSpecifier;
use weir_backends::config::ArchiveConfig;
use weir_backends::settings::Finding;
use weir_pipeline::CountingSettings;
use weir_pipeline::settings_watch::{Promises, SettingsWatch};
use weir_tests::wait::until;

use crate::admin;
use crate::house::{House, Running};
use crate::scenarios::{ACCEPTED, check, counted, journal, stack};

const WEEK: &str = "604800000";

/// What Weir makes a topic of logs and a compacted one with.
const LOG: &[(&str, &str)] = &admin::MADE;
const COMPACTED: &[(&str, &str)] = &[("cleanup.policy", "compact")];

/// Kind of the topic, what it is made with, the setting that somebody alters, and whether that
/// refuses without an archive and with one; `None` where it is well.
type Row = (&'static str, &'static [(&'static str, &'static str)], (&'static str, &'static str), Effects);
type Effects = (Option<bool>, Option<bool>);

const REFUSED: Effects = (Some(true), Some(true));
const TOLD: Effects = (Some(false), Some(false));
const WELL: Effects = (None, None);

const ROWS: [Row; 25] = [
    ("usage", LOG, ("message.timestamp.type", "CreateTime"), REFUSED),
    ("usage", LOG, ("cleanup.policy", "compact"), REFUSED),
    ("usage", LOG, ("cleanup.policy", "compact,delete"), REFUSED),
    ("usage", LOG, ("retention.ms", "3456000000"), WELL),
    ("usage", LOG, ("retention.ms", "-1"), WELL),
    ("usage", LOG, ("retention.ms", "3113999999"), (Some(true), None)),
    ("usage", LOG, ("retention.ms", "604799999"), (Some(true), Some(false))),
    ("usage", LOG, ("retention.ms", "3600000"), REFUSED),
    ("usage", LOG, ("retention.bytes", "1073741824"), (Some(true), Some(false))),
    ("usage", LOG, ("unclean.leader.election.enable", "true"), REFUSED),
    ("usage", LOG, ("max.message.bytes", "1048588"), TOLD),
    ("usage", LOG, ("min.insync.replicas", "2"), TOLD),
    ("dlq", LOG, ("cleanup.policy", "compact"), REFUSED),
    ("dlq", LOG, ("message.timestamp.type", "CreateTime"), TOLD),
    ("dlq", LOG, ("max.message.bytes", "1048588"), TOLD),
    ("dlq", LOG, ("retention.ms", WEEK), TOLD),
    ("dlq", LOG, ("retention.bytes", "1073741824"), TOLD),
    ("dlq", LOG, ("unclean.leader.election.enable", "true"), TOLD),
    ("dlq", LOG, ("min.insync.replicas", "2"), TOLD),
    ("alerts", LOG, ("retention.ms", WEEK), WELL),
    ("alerts", LOG, ("min.insync.replicas", "2"), TOLD),
    ("quota", COMPACTED, ("cleanup.policy", "delete"), TOLD),
    ("quota", COMPACTED, ("min.insync.replicas", "2"), TOLD),
    ("invoices", COMPACTED, ("cleanup.policy", "delete"), TOLD),
    ("invoices", COMPACTED, ("unclean.leader.election.enable", "true"), TOLD),
];

/// What looks at a house's servers: without an archive, and with one.
async fn watches(house: &House, single_node: bool) -> [SettingsWatch; 2] {
    let settings = CountingSettings::default();
    let connect = async |archiving: Option<&ArchiveConfig>| {
        let promises = Promises::new(&settings, archiving, single_node);
        SettingsWatch::connect(&house.kafka, &house.pool, promises).await.unwrap()
    };
    [connect(None).await, connect(Some(&ArchiveConfig::default())).await]
}

/// Waits until exactly what is wrong is found which holds these words.
async fn until_found(watch: &SettingsWatch, words: &str, refuses: Option<bool>) {
    until(&format!("{words:?}, refusing: {refuses:?}"), Duration::from_secs(20), || async {
        let found = watch.look().await.unwrap();
        let holds = |one: &Finding| one.words.contains(words) && Some(one.refuses) == refuses;
        let exactly = found.len() == usize::from(refuses.is_some()) && found.iter().all(holds);
        ensure!(exactly, "{found:?}");
        Ok(Some(()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_setting_of_a_topic_that_breaks_a_promise_is_found() {
    let house = House::build(stack(), "settings").await;
    let [alone, archived] = watches(&house, true).await;
    for watch in [&alone, &archived] {
        until_found(watch, "what Weir makes is well", None).await;
    }
    for (kind, made, (name, value), (without, with)) in ROWS {
        let topic = format!("settings.{kind}");
        let kept = made.iter().filter(|(made, _)| *made != name);
        let altered: Vec<_> = kept.copied().chain([(name, value)]).collect();
        admin::set(&house.kafka, ResourceSpecifier::Topic(&topic), &altered).await;
        let words = format!("topic {topic} has {name}={value}");
        until_found(&alone, &words, without).await;
        until_found(&archived, &words, with).await;
        admin::set(&house.kafka, ResourceSpecifier::Topic(&topic), made).await;
    }
}

/// Servers of its own: what is altered here is everybody's.
#[tokio::test(flavor = "multi_thread")]
async fn a_brokers_default_and_every_setting_of_postgres_are_found_too() {
    let stack = local_stack::scratch().unwrap_or_else(|error| panic!("{error}"));
    let house = House::build(&stack, "defaults").await;
    let [single, _] = watches(&house, true).await;

    let kept: Vec<_> = LOG.iter().filter(|(name, _)| *name != "retention.bytes").copied().collect();
    admin::set(&house.kafka, ResourceSpecifier::Topic(&house.kafka.usage_topic), &kept).await;
    until_found(&single, "the broker has no bound", None).await;
    let broker = ResourceSpecifier::Broker(1);
    admin::set(&house.kafka, broker, &[("log.retention.bytes", "1073741824")]).await;
    until_found(&single, "topic defaults.usage has retention.bytes=1073741824", Some(true)).await;
    admin::set(&house.kafka, broker, &[]).await;
    until_found(&single, "the broker has no bound", None).await;

    let [doubled, _] = watches(&house, false).await;
    const ALONE: &str = "no synchronous standby";
    until_found(&doubled, ALONE, Some(false)).await;
    let alter = async |change: &str| {
        house.run(format!("ALTER SYSTEM {change}")).await;
        house.run("SELECT pg_reload_conf()".into()).await;
    };
    for (setting, value, refuses) in
        [("fsync", "off", true), ("synchronous_commit", "off", true), ("full_page_writes", "off", false)]
    {
        alter(&format!("SET {setting} = {value}")).await;
        until_found(&single, &format!("Postgres has {setting}={value}"), Some(refuses)).await;
        alter(&format!("RESET {setting}")).await;
        until_found(&single, "set back", None).await;
    }
    // Nobody is waited for, or every commit would wait for a standby that is not there.
    alter("SET synchronous_commit = local").await;
    alter("SET synchronous_standby_names = 'other'").await;
    until_found(&doubled, "synchronous_commit=local", Some(false)).await;
    alter("RESET synchronous_standby_names").await;
    until_found(&doubled, ALONE, Some(false)).await;
    alter("RESET synchronous_commit").await;
}

/// How many settings refuse, and how many are told, by the metrics.
fn measured(running: &Measured) -> (i64, i64) {
    let of = |effect| running.metrics.settings_broken.with_label_values(&[effect]).get();
    (of("refuses"), of("warns"))
}

struct Measured {
    running: Running,
    metrics: Arc<weir_pipeline::PipelineMetrics>,
}

fn start(house: &House) -> Measured {
    let mut metrics = None;
    let running = house.start_with(|aggregator| metrics = Some(Arc::clone(&aggregator.metrics)));
    Measured { running, metrics: metrics.unwrap() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retention_shorter_than_the_window_stops_counting_until_it_is_corrected() {
    let house = House::build(stack(), "retention").await;
    const WORDS: &str =
        "has retention.ms=604800000 (7 d), but needs retention.ms=3114000000 (36 d 1 h) or more";
    admin::alter(&house.kafka, "retention.ms", WEEK).await;
    let started = start(&house);
    // At start it is not even taken.
    let problems = started.running.until_problems(WORDS, 1).await;
    assert!(started.running.status.snapshot().partitions.is_empty(), "{problems:?}");
    assert_eq!(measured(&started), (1, 0));
    let (mut all, records) = journal(&house, 0, 300);
    house.produce(records).await;
    admin::alter(&house.kafka, "retention.ms", "-1").await;
    started.running.until_counting(4).await;
    house.until(ACCEPTED, 300, 60).await;
    assert_eq!(measured(&started), (0, 0));

    admin::alter(&house.kafka, "retention.ms", WEEK).await;
    started.running.until_problems(WORDS, 4).await;
    let (events, records) = journal(&house, 200, 600);
    all.extend(events);
    house.produce(records).await;
    assert_eq!(house.number(ACCEPTED).await, 300);
    admin::alter(&house.kafka, "retention.ms", "3456000000").await;
    house.until(ACCEPTED, 600, 60).await;
    check(&house, &all).await;
    started.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_that_only_may_do_harm_is_told_and_counting_goes_on() {
    let house = House::build(stack(), "harmless").await;
    admin::alter(&house.kafka, "max.message.bytes", "1048588").await;
    let started = start(&house);
    started.running.until_counting(4).await;
    let all = counted(&house, 300).await;
    check(&house, &all).await;
    let told = started.running.status.snapshot().settings.expect("they were looked at");
    assert!(told.len() == 1 && told[0].words.contains("max.message.bytes=1048588"), "{told:?}");
    assert_eq!(measured(&started), (0, 1));
    assert_eq!(started.running.status.problems(), Vec::<String>::new());
    started.running.stop().await;
}

/// The other server's settings are told all the same, what was known stays so, and asking makes
/// no topic, though the broker would make any that it is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_tell_its_settings_is_told_and_hides_nothing() {
    let house = House::build(stack(), "untold").await;
    admin::alter(&house.kafka, "max.message.bytes", "1048588").await;
    let running = house.start_with(|aggregator| aggregator.single_node = false);
    running.until_counting(4).await;
    const TOLD: [&str; 3] =
        ["max.message.bytes=1048588", "no synchronous standby", "Kafka's settings cannot be looked at: "];
    admin::delete_invoices(&house.kafka).await;
    until("all three to be told", Duration::from_secs(40), || async {
        let told = running.status.snapshot().settings.unwrap_or_default();
        let holds = |words: &&str| told.iter().any(|one| !one.refuses && one.words.contains(words));
        ensure!(TOLD.iter().all(holds), "{told:?}");
        Ok(Some(()))
    })
    .await
    .unwrap();
    assert_eq!(admin::partitions(&house.kafka, &house.kafka.invoices_topic), 0);
    running.stop().await;
}
