//! What one bad neighbour costs the others: the time from acknowledgement to a quota answer, of
//! tenants in other partitions and of one in the same, before and while the neighbour sends as
//! fast as Kafka takes it. Nothing of anyone is lost, else the bench fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_load::kafka::ToKafka;
use weir_load::sender::Sender;
use weir_load::{Event, Kind, Profile, Stream, Totals};

use crate::backlog::{METERS, profile};
use crate::house::House;
use crate::latency::{places, probe};
use crate::open_house::OpenHouse;
use crate::percentiles::thousandth;
use crate::probes::{self, Places, Probing, Seen};
use crate::results::Measured;
use crate::settled;

/// A bad neighbour.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Adversary {
    /// What it sends.
    pub sends: Sends,
    /// How many records at scale 1.
    pub records: u32,
}

/// What a bad neighbour sends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sends {
    /// Bytes that are no event.
    Garbage,
    /// Events of which each has another value of its dimension.
    Dimensions,
    /// Records as large as Kafka takes them, one every so many milliseconds.
    Enormous(u32),
    /// The same event again and again.
    SameId,
}

const TENANTS: u32 = 10_000;
/// Tenants from which those of the probes are chosen by their partition.
const FURTHER: u32 = 64;
/// What the good tenants send meanwhile, records a second.
const GOOD_RATE: u32 = 10_000;
const PROBE_EVERY: Duration = Duration::from_millis(20);
/// How long probes are sent without the neighbour, and at most with it, at scale 1.
const SECONDS: f64 = 20.0;
/// Below Kafka's limit on a record.
const ENORMOUS_BYTES: usize = 950_000;

const DEAD_LETTERS: &str = "weir.usage.dlq.v1";
const ENDS: &str =
    "SELECT ARRAY[coalesce(sum(accepted_count), 0)::bigint, coalesce(sum(duplicate_count), 0)::bigint,
    coalesce(sum(rejected_count), 0)::bigint] FROM batch";

/// Runs it once.
pub(crate) async fn run(adversary: &Adversary, scale: f64) -> Result<Vec<Measured>> {
    let records: u64 = format!("{:.0}", (f64::from(adversary.records) * scale).ceil()).parse()?;
    let lasting = Duration::from_secs_f64((SECONDS * scale).max(2.0));
    let mut open = OpenHouse::open(House::build(TENANTS + FURTHER, METERS).await?).await?;
    let cast = Cast::choose(&open.to_kafka(None)).await?;
    open.limit(&cast.probed).await?;
    let good = Good::start(open.to_kafka(Some(GOOD_RATE)));
    let places = Places { clickhouse: None, ..places(&open) };
    let probing = Probing { tenants: cast.probed.clone(), lasting, every: PROBE_EVERY, before: 0 };
    let without = probe(&places, &probing).await?;
    let (adversary, to, bad) = (*adversary, open.to_kafka(None), cast.bad);
    let began = Instant::now();
    let attack = tokio::task::spawn_blocking(move || {
        send(&adversary, &to, bad, records).map(|sent| (sent, began.elapsed()))
    });
    let with = probe(&places, &Probing { before: without.sent, ..probing.clone() }).await?;
    let (sent, sent_in) = attack.await.context("send what the neighbour sends")??;
    let (good, good_records) = good.stop().await?;
    let mut expected = Totals::new(TENANTS + FURTHER, METERS);
    expected.merge(&good);
    expected.merge(&sent.totals);
    probes::expect(&mut expected, &cast.probed, with.sent);
    let probes = with.sent * u64::try_from(cast.probed.len())?;
    settled::judged(&open.house.ledger, &mut open.serving, good_records + records + probes).await?;
    let drained_in = began.elapsed();
    settled::projected(&open.house.ledger, &mut open.serving).await?;
    settled::compare(&open.house.ledger, &expected).await?;
    check_ends(&open, &sent, &expected).await?;
    let mut measured = compared(&without, &with);
    measured.push(Measured::new("the neighbour sent", "records/s", number(records)? / sent_in.as_secs_f64()));
    measured.push(Measured::new(
        "all judged after, load that went on included",
        "s",
        drained_in.as_secs_f64(),
    ));
    Ok(measured)
}

/// Who is in which partition.
struct Cast {
    /// The bad neighbour.
    bad: u32,
    /// The first lives in the neighbour's partition, the others do not.
    probed: Vec<u32>,
}

impl Cast {
    async fn choose(to: &ToKafka) -> Result<Self> {
        let to = to.clone();
        let homes = tokio::task::spawn_blocking(move || {
            let sender = Sender::connect(&to, 0)?;
            Ok::<_, anyhow::Error>(
                (TENANTS..TENANTS + FURTHER).map(|tenant| (tenant, sender.home(tenant))).collect::<Vec<_>>(),
            )
        });
        let homes = homes.await.context("ask for partitions")??;
        let (bad, partition) = homes[0];
        let here = homes.iter().skip(1).find(|(_, home)| *home == partition);
        let there = homes.iter().filter(|(_, home)| *home != partition).take(3);
        let probed: Vec<_> = here.into_iter().chain(there).map(|(tenant, _)| *tenant).collect();
        ensure!(probed.len() == 4, "there are too few tenants to choose from");
        Ok(Self { bad, probed })
    }
}

/// What the good tenants send until they are told to stop.
struct Good {
    stop: Arc<AtomicBool>,
    sending: tokio::task::JoinHandle<Result<(Totals, u64)>>,
}

impl Good {
    fn start(to: ToKafka) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let sending = tokio::task::spawn_blocking(move || {
            let mut totals = Totals::new(TENANTS, METERS);
            let (mut seed, mut records) = (10, 0);
            // A second's worth at a time, each with ids of its own.
            while !told.load(Ordering::Acquire) {
                let second = Profile { seed, ..profile(u64::from(GOOD_RATE), TENANTS)? };
                totals.merge(&weir_load::kafka::send(&Stream::new(second)?, &to, &AtomicU64::new(0))?);
                seed += 1;
                records += u64::from(GOOD_RATE);
            }
            Ok((totals, records))
        });
        Self { stop, sending }
    }

    async fn stop(self) -> Result<(Totals, u64)> {
        self.stop.store(true, Ordering::Release);
        self.sending.await.context("send load")?
    }
}

/// What the neighbour sent.
struct Sent {
    totals: Totals,
    rejected: i64,
    duplicate: i64,
}

/// Sends as fast as Kafka takes it.
fn send(adversary: &Adversary, to: &ToKafka, tenant: u32, records: u64) -> Result<Sent> {
    let sender = Sender::connect(to, 5)?;
    let mut sent = Sent { totals: Totals::new(TENANTS + FURTHER, METERS), rejected: 0, duplicate: 0 };
    // One time for all of them: an event that is repeated must be the same.
    let time_ms = profile(records, TENANTS)?.from_ms;
    for number in 0..records {
        match adversary.sends {
            Sends::Garbage => {
                sender.put_raw(
                    tenant,
                    format!("this is no event at all, and it is the {number:09}th").as_bytes(),
                )?;
                sent.rejected += 1;
            }
            Sends::Enormous(every_ms) => {
                sender.put_raw(tenant, &vec![b'x'; ENORMOUS_BYTES])?;
                sent.rejected += 1;
                std::thread::sleep(Duration::from_millis(every_ms.into()));
            }
            Sends::Dimensions => {
                let event = event(tenant, number, Some(u32::try_from(number)?), time_ms);
                sender.put(&event)?;
                sent.totals.add(&event);
            }
            Sends::SameId => {
                let event = event(tenant, 0, None, time_ms);
                sender.put(&event)?;
                if number == 0 {
                    sent.totals.add(&event);
                } else {
                    sent.duplicate += 1;
                }
            }
        }
    }
    sender.flush()?;
    Ok(sent)
}

fn event(tenant: u32, serial: u64, region: Option<u32>, time_ms: i64) -> Event {
    Event {
        seed: 2,
        serial,
        tenant,
        meter: 0,
        kind: Kind::Sum,
        region,
        thousandths: 1_000,
        time_ms,
        gateway: 0,
        counts: true,
    }
}

/// Whether every record ended as it must: counted, known already, or in the dead letters.
async fn check_ends(open: &OpenHouse, sent: &Sent, expected: &Totals) -> Result<()> {
    let ends: Vec<i64> = sqlx::query_scalar(ENDS)
        .fetch_one(&open.house.ledger)
        .await
        .context("ask what became of the records")?;
    let accepted = i64::try_from(expected.events())?;
    ensure!(ends[0] == accepted, "{} events were counted, not {accepted}", ends[0]);
    // The good tenants' load has duplicates of its own.
    ensure!(ends[1] >= sent.duplicate, "{} duplicates were found of {}", ends[1], sent.duplicate);
    ensure!(ends[2] == sent.rejected, "{} records were rejected, not {}", ends[2], sent.rejected);
    let to = ToKafka { topic: DEAD_LETTERS.to_owned(), ..open.to_kafka(None) };
    let letters = tokio::task::spawn_blocking(move || Sender::connect(&to, 0)?.records());
    let letters = letters.await.context("count dead letters")??;
    let rejected = u64::try_from(sent.rejected)?;
    ensure!(letters >= rejected, "{letters} dead letters were written for {rejected} rejected records");
    Ok(())
}

/// p99 without and with the neighbour, and their ratio: in other partitions, and in the same.
fn compared(without: &Seen, with: &Seen) -> Vec<Measured> {
    let p99 = |times: &[Vec<Duration>]| thousandth(&mut times.concat(), 990).as_secs_f64() * 1e3;
    let mut measured = Vec::new();
    for (who, range) in [("in other partitions", 1..4), ("in its partition", 0..1)] {
        let (before, after) = (p99(&without.answered[range.clone()]), p99(&with.answered[range]));
        measured.push(Measured::new(format!("p99 {who}, without"), "ms", before));
        measured.push(Measured::new(format!("p99 {who}, with"), "ms", after));
        measured.push(Measured::new(format!("factor {who}"), "times", after / before));
    }
    measured
}

fn number(count: u64) -> Result<f64> {
    u32::try_from(count).map(f64::from).context("more than four billion records")
}
