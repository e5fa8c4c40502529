//! Load for a long time, without faults, with samples of each process's memory, file handles and
//! threads: as a table, as CSV, and with a verdict on growth.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{Instant, sleep_until};
use weir_demo::decimal::thousands;
use weir_demo::print;

use crate::compare;
use crate::house::House;
use crate::load::{Load, Target};
use crate::site::Site;

/// One lap of load; each sends the same usage under other ids.
const LAP: Duration = Duration::from_secs(30);
/// Rows of the table.
const ROWS: usize = 12;
/// Memory that an event may leave behind: its id is remembered (37 to 75 bytes), the rest is the
/// allocator's slack.
const BYTES_AN_EVENT_MAX: i64 = 160;
/// What a process may gain whatever is counted: caches that fill, an allocator that settles.
const BYTES_FREE: i64 = 64 << 20;
/// How many handles and threads may come and go with connections.
const HANDLES_FREE: i64 = 24;

/// A process at an instant.
#[derive(Clone, Copy, Debug)]
struct Sample {
    after: Duration,
    resident_bytes: i64,
    handles: i64,
    threads: i64,
    /// Events counted by then.
    accepted: i64,
}

/// Runs it; true when nothing grew that should not.
pub async fn run(site: &Arc<Site>, seed: u64, time: Duration, csv: &Path) -> Result<bool> {
    let house =
        House::build(site, "soak", |now, partitions| Load::write(seed, now, 1, 0)?.planned(now, partitions))
            .await?;
    let target =
        Target { api: house.api.clone(), bootstrap: house.bootstrap.clone(), topic: house.topic.clone() };
    let now = house.now;
    print::doing(&format!("load for {} minutes", time.as_secs() / 60));
    let begin = Instant::now();
    let sending = tokio::spawn(async move {
        // A lap takes longer where the machine is busy.
        for lap in (0..).take_while(|_| begin.elapsed() < time) {
            Load::write(seed, now, 1, lap)?.send(&target, LAP).await?;
        }
        anyhow::Ok(())
    });
    let mut samples: Vec<(String, Vec<Sample>)> =
        house.members.iter().map(|member| (member.name.clone(), Vec::new())).collect();
    let every = (time / 120).clamp(Duration::from_secs(1), Duration::from_secs(30));
    let mut next = begin;
    while !sending.is_finished() {
        next += every;
        sleep_until(next).await;
        let accepted = house.ledger.counts().await?.accepted;
        for (member, (_, samples)) in house.members.iter().zip(&mut samples) {
            let Some(pid) = member.pid() else { continue };
            samples.push(look(pid, begin.elapsed(), accepted)?);
        }
    }
    sending.await.context("the producers stopped")??;
    compare::rest(&house).await?;
    write_csv(csv, &samples)?;
    print_table(&samples);
    let mut is_flat = true;
    for (name, samples) in &samples {
        let growth = grown(samples);
        is_flat &= growth.is_none();
        let words = growth.unwrap_or_else(|| "flat".to_owned());
        print::say(&format!("{name}: {words}"));
    }
    print::say(&format!("All samples: {}", csv.display()));
    let mut differences = weir_demo::accounts::Differences::default();
    crate::books::proofs(&house, &mut differences).await?;
    differences.check()?;
    Ok(is_flat)
}

fn look(pid: u32, after: Duration, accepted: i64) -> Result<Sample> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("look at a process")?;
    let number = |name: &str| -> Result<i64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let word = line.and_then(|rest| rest.split_whitespace().next());
        word.and_then(|word| word.parse().ok()).with_context(|| format!("a process has no {name}"))
    };
    let handles = fs::read_dir(format!("/proc/{pid}/fd")).context("look at a process's handles")?.count();
    Ok(Sample {
        after,
        resident_bytes: number("VmRSS:")? * 1024,
        handles: i64::try_from(handles)?,
        threads: number("Threads:")?,
        accepted,
    })
}

/// What grew between the first quarter and the last one, in words; `None` when nothing did.
fn grown(samples: &[Sample]) -> Option<String> {
    let quarter = samples.len() / 4;
    let (first, last) = (samples.get(quarter..2 * quarter)?, samples.get(samples.len() - quarter..)?);
    let median = |part: &[Sample], of: fn(&Sample) -> i64| {
        let mut values: Vec<i64> = part.iter().map(of).collect();
        values.sort_unstable();
        values.get(values.len() / 2).copied()
    };
    let growth = |of: fn(&Sample) -> i64| Some(median(last, of)? - median(first, of)?);
    let events = growth(|sample| sample.accepted)?;
    let (bytes, handles, threads) = (
        growth(|sample| sample.resident_bytes)?,
        growth(|sample| sample.handles)?,
        growth(|sample| sample.threads)?,
    );
    let mut found = Vec::new();
    if bytes > BYTES_FREE + BYTES_AN_EVENT_MAX * events {
        found.push(format!("memory grew by {} MB while {events} events were counted", bytes >> 20));
    }
    for (what, by) in [("file handles", handles), ("threads", threads)] {
        if by > HANDLES_FREE {
            found.push(format!("{what} grew by {by}"));
        }
    }
    (!found.is_empty()).then(|| found.join("; "))
}

fn print_table(samples: &[(String, Vec<Sample>)]) {
    print::title("Memory, file handles and threads");
    let mut rows = Vec::new();
    for (name, samples) in samples {
        let step = samples.len().div_ceil(ROWS).max(1);
        for sample in samples.iter().step_by(step).chain(samples.last()) {
            rows.push(vec![
                name.clone(),
                format!("{} s", sample.after.as_secs()),
                thousands(&sample.accepted.to_string()),
                format!("{} MB", sample.resident_bytes >> 20),
                sample.handles.to_string(),
                sample.threads.to_string(),
            ]);
        }
    }
    print::table(&["process", ">after", ">events counted", ">memory", ">handles", ">threads"], rows);
}

fn write_csv(path: &Path, samples: &[(String, Vec<Sample>)]) -> Result<()> {
    let mut text = "process,after_ms,events_counted,resident_bytes,file_handles,threads\n".to_owned();
    for (name, samples) in samples {
        for one in samples {
            text.push_str(&format!(
                "{name},{},{},{},{},{}\n",
                one.after.as_millis(),
                one.accepted,
                one.resident_bytes,
                one.handles,
                one.threads
            ));
        }
    }
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(bytes: fn(i64) -> i64, handles: fn(i64) -> i64) -> Vec<Sample> {
        let sample = |nth: i64| Sample {
            after: Duration::from_secs(u64::try_from(nth).unwrap()),
            resident_bytes: bytes(nth),
            handles: handles(nth),
            threads: 12,
            accepted: nth * 1_000,
        };
        (0..100).map(sample).collect()
    }

    #[test]
    fn growth_is_told_and_remembered_ids_are_not_growth() {
        assert_eq!(grown(&samples(|_| 80 << 20, |nth| 40 + nth % 7)), None);
        assert_eq!(grown(&samples(|nth| (80 << 20) + nth * 75_000, |_| 40)), None);
        let leak = grown(&samples(|nth| (80 << 20) + nth * 2_000_000, |_| 40)).unwrap();
        assert!(leak.contains("memory grew by"), "{leak}");
        let handles = grown(&samples(|_| 80 << 20, |nth| 40 + nth)).unwrap();
        assert!(handles.contains("file handles grew by"), "{handles}");
    }
}
