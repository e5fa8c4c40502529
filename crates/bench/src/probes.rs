//! Probes: single events of tenants of their own, sent beside any load, of which it is known when
//! Kafka acknowledged each, when a quota answer first had seen it, and when ClickHouse first
//! showed it. A tenant's probes are counted in their order, so a count says which have been seen;
//! ClickHouse gets them in the order of their offsets, so the highest says it there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use weir_load::answers::quota_request;
use weir_load::connection::{Connection, Request};
use weir_load::kafka::ToKafka;
use weir_load::sender::{Acknowledged, Sender};
use weir_load::{Event, Kind, Totals, tenant_id};

use crate::open_house::used;

/// How often the quota of a probe's tenant is asked for: the precision of what is measured.
const ASK_EVERY: Duration = Duration::from_millis(10);
/// How often ClickHouse is asked: what it takes to answer is part of the load.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long after the last probe all of them must have been seen.
const PATIENCE: Duration = Duration::from_secs(300);
/// The first half of a probe's id; no load has this seed.
const SEED: u32 = 0x7072_6f62;

/// Where everything is.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// The topic.
    pub to: ToKafka,
    /// `host:port` of the API, and a key.
    pub api: (String, String),
    /// `host:port` of ClickHouse; not looked at when it is `None`.
    pub clickhouse: Option<String>,
}

/// A run of probes.
#[derive(Clone, Debug)]
pub(crate) struct Probing {
    /// The tenants; each has a limit on the first meter.
    pub tenants: Vec<u32>,
    /// How long to send.
    pub lasting: Duration,
    /// How far apart probes are sent, whichever tenant's.
    pub every: Duration,
    /// How many probes each tenant has had before.
    pub before: u64,
}

/// What was seen of the probes.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// By tenant: acknowledgement to the first quota answer that had seen it.
    pub answered: Vec<Vec<Duration>>,
    /// Acknowledgement to ClickHouse, of all tenants.
    pub visible: Vec<Duration>,
    /// Probes that each tenant has had by now.
    pub sent: u64,
}

impl Seen {
    /// Acknowledgement to answer, of all tenants.
    pub(crate) fn all_answered(&self) -> Vec<Duration> {
        self.answered.concat()
    }
}

/// Moments at which something of a tenant that rises, a count or an offset, was first seen to be at
/// least so much.
type Sightings<T> = Vec<(Instant, T)>;

/// Sends probes and waits until all of them were seen everywhere.
pub(crate) fn run(places: &Places, probing: &Probing) -> Result<Seen> {
    let stop = AtomicBool::new(false);
    let (acknowledged, answers, views) = thread::scope(|scope| {
        let asking: Vec<_> =
            probing.tenants.iter().map(|tenant| scope.spawn(|| ask(places, *tenant, &stop))).collect();
        let looking =
            places.clickhouse.as_ref().map(|address| scope.spawn(|| look(address, &probing.tenants, &stop)));
        let acknowledged = send(places, probing);
        wait_for_the_last(places, probing, acknowledged.as_deref().unwrap_or_default(), &stop);
        let answers: Result<Vec<_>> = asking.into_iter().map(joined).collect();
        let views = looking.map(joined).transpose();
        Ok::<_, anyhow::Error>((acknowledged?, answers?, views?))
    })?;
    let sent = acknowledged.first().map_or(0, Vec::len);
    let mut seen = Seen { sent: probing.before + u64::try_from(sent)?, ..Seen::default() };
    for (tenant, acknowledged) in acknowledged.iter().enumerate() {
        let moments = acknowledged.iter().map(|one| one.at);
        seen.answered.push(delays(moments.clone().zip(probing.before + 1..), &answers[tenant])?);
        if let Some(views) = &views {
            let offsets = acknowledged.iter().map(|one| one.offset);
            seen.visible.extend(delays(moments.zip(offsets), &views[tenant])?);
        }
    }
    Ok(seen)
}

/// Adds what was sent to the totals to be expected.
pub(crate) fn expect(totals: &mut Totals, tenants: &[u32], sent: u64) {
    for tenant in tenants {
        (0..sent).for_each(|number| totals.add(&probe(*tenant, number)));
    }
}

fn joined<T>(thread: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| Err(anyhow!("a thread ended early")))
}

/// One unit of the first meter.
fn probe(tenant: u32, number: u64) -> Event {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Event {
        seed: SEED,
        serial: number,
        tenant,
        meter: 0,
        kind: Kind::Sum,
        region: None,
        thousandths: 1_000,
        time_ms: i64::try_from(now.as_millis()).unwrap_or(0),
        gateway: 0,
        counts: true,
    }
}

/// Sends a round of probes, one of each tenant, until the time is over; when and where each was
/// acknowledged, by tenant.
fn send(places: &Places, probing: &Probing) -> Result<Vec<Vec<Acknowledged>>> {
    let sender = Sender::connect(&places.to, 0)?;
    let mut acknowledged = vec![Vec::new(); probing.tenants.len()];
    let began = Instant::now();
    let mut due = Duration::ZERO;
    let mut number = probing.before;
    while began.elapsed() < probing.lasting {
        for (at, tenant) in probing.tenants.iter().enumerate() {
            thread::sleep(due.saturating_sub(began.elapsed()));
            acknowledged[at].push(sender.send(&probe(*tenant, number))?);
            due += probing.every;
        }
        number += 1;
    }
    ensure!(number > probing.before, "no probe was sent");
    Ok(acknowledged)
}

/// Tells the watchers to stop when the last probes have been seen, or nobody believes in it any more.
fn wait_for_the_last(places: &Places, probing: &Probing, sent: &[Vec<Acknowledged>], stop: &AtomicBool) {
    let rounds = sent.first().map_or(0, Vec::len);
    let all = probing.before + u64::try_from(rounds).unwrap_or(0);
    let last: Vec<_> = sent.iter().map(|sent| sent.last().map_or(-1, |last| last.offset)).collect();
    let deadline = Instant::now() + PATIENCE;
    let done = || -> Result<bool> {
        let mut connection = Connection::open(&places.api.0)?;
        for tenant in &probing.tenants {
            let request = quota_request(&places.api.0, &places.api.1, *tenant, 0);
            if used(&mut connection, &request)?.unwrap_or(0) < all {
                return Ok(false);
            }
        }
        let Some(address) = &places.clickhouse else { return Ok(true) };
        let before: Vec<_> = last.iter().map(|last| last - 1).collect();
        let highest = highest(&mut Connection::open(address)?, address, &probing.tenants, &before)?;
        Ok(highest.iter().zip(&last).all(|(highest, last)| highest >= last))
    };
    // An error is the watchers' to tell: they ask the same.
    while rounds > 0 && Instant::now() < deadline && matches!(done(), Ok(false)) {
        thread::sleep(Duration::from_millis(100));
    }
    thread::sleep(2 * LOOK_EVERY + Duration::from_millis(200));
    stop.store(true, Ordering::Release);
}

/// Watches a tenant's quota.
fn ask(places: &Places, tenant: u32, stop: &AtomicBool) -> Result<Sightings<u64>> {
    let (address, key) = &places.api;
    let request = quota_request(address, key, tenant, 0);
    let mut connection = Connection::open(address).context("reach the API")?;
    let (mut sightings, mut highest) = (Vec::new(), 0);
    while !stop.load(Ordering::Acquire) {
        let began = Instant::now();
        let now = used(&mut connection, &request)?.unwrap_or(0);
        if now > highest {
            highest = now;
            sightings.push((Instant::now(), now));
        }
        thread::sleep(ASK_EVERY.saturating_sub(began.elapsed()));
    }
    Ok(sightings)
}

/// Watches ClickHouse, for all tenants at once.
fn look(address: &str, tenants: &[u32], stop: &AtomicBool) -> Result<Vec<Sightings<i64>>> {
    let mut connection = Connection::open(address).context("reach ClickHouse")?;
    let mut sightings = vec![Vec::new(); tenants.len()];
    let mut seen = vec![-1; tenants.len()];
    while !stop.load(Ordering::Acquire) {
        let began = Instant::now();
        let now = highest(&mut connection, address, tenants, &seen)?;
        let at = Instant::now();
        for (tenant, offset) in now.into_iter().enumerate() {
            if offset > seen[tenant] {
                seen[tenant] = offset;
                sightings[tenant].push((at, offset));
            }
        }
        thread::sleep(LOOK_EVERY.saturating_sub(began.elapsed()));
    }
    Ok(sightings)
}

/// The highest offset of each tenant's events; where none is above what was seen, that.
fn highest(connection: &mut Connection, address: &str, tenants: &[u32], seen: &[i64]) -> Result<Vec<i64>> {
    // Each with a bound of its own, so that older parts are not read.
    let one = |(number, (tenant, seen)): (usize, (&u32, &i64))| {
        let tenant = tenant_id(*tenant);
        format!(
            "SELECT {number}, max(offset) FROM weir.events_raw WHERE tenant = '{tenant}' AND offset > {seen} \
             HAVING count() > 0"
        )
    };
    let parts: Vec<_> = tenants.iter().zip(seen).enumerate().map(one).collect();
    let body = format!("{} FORMAT TabSeparated", parts.join(" UNION ALL "));
    let (status, body) =
        connection.ask(&Request::new("POST", address, "/", &[], &body)).context("ask ClickHouse")?;
    let text = String::from_utf8_lossy(body);
    ensure!(status == 200, "ClickHouse answered {status}: {text}");
    let mut found = seen.to_vec();
    for line in text.lines() {
        let (number, offset) = line.split_once('\t').with_context(|| format!("an offset: {line}"))?;
        let place = number.parse().ok().and_then(|number: usize| found.get_mut(number));
        *place.with_context(|| format!("a number: {line}"))? = offset.parse().context("an offset")?;
    }
    Ok(found)
}

/// From each acknowledgement to the first sighting that has reached what it is waited for.
fn delays<T: Copy + PartialOrd>(
    waited_for: impl Iterator<Item = (Instant, T)>,
    sightings: &Sightings<T>,
) -> Result<Vec<Duration>> {
    let delay = |(number, (at, least)): (usize, (Instant, T))| {
        let first = sightings.partition_point(|(_, reached)| *reached < least);
        let (seen, _) = sightings.get(first).with_context(|| format!("probe {number} was never seen"))?;
        // It may have been seen before its sender knew that it is in Kafka.
        Ok(seen.saturating_duration_since(at))
    };
    waited_for.enumerate().map(delay).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_seen_by_the_first_count_that_has_it() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let sightings = vec![(at(5), 6), (at(30), 7), (at(40), 9)];
        // Probes 5, 6, 7, 8 of a tenant that had five before: seen when 6, 7, 8, 9 are counted.
        let found = delays([at(1), at(10), at(20), at(50)].into_iter().zip(6..), &sightings).unwrap();
        assert_eq!(found, [4, 20, 20, 0].map(Duration::from_millis));
        assert!(delays([at(1)].into_iter().zip(10..), &sightings).is_err());
    }
}
