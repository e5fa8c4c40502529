//! What `/readyz` looks at: each server, and whether every partition of this process counts.

use std::sync::Arc;

use weir_api::Check;
use weir_backends::archive::Archive;
use weir_backends::journal::{Heartbeat, Producer, QuotaBoard};
use weir_backends::postgres::{self, Pool};
use weir_backends::projection::Projection;
use weir_backends::settings::Finding;
use weir_core::Timestamp;
use weir_core::time::span_words;
use weir_pipeline::status::PipelineStatus;

use crate::config::Config;
use crate::out;

use super::now;

/// Postgres and Kafka must answer. ClickHouse is not needed to count, to answer or to bill,
/// so its absence is told and does not make the process unready.
pub(crate) fn server_checks(pool: &Pool, producer: &Producer, config: &Config) -> Vec<Check> {
    let (pool, producer, clickhouse) = (pool.clone(), producer.clone(), Projection::new(&config.clickhouse));
    vec![
        Check::new("postgres", move || {
            let pool = pool.clone();
            async move {
                postgres::ping(&pool).await.map(|()| "answers".to_owned()).map_err(|error| error.to_string())
            }
        }),
        Check::new("kafka", move || {
            let producer = producer.clone();
            async move { producer.ping().await.map(|()| "answers".to_owned()).map_err(|error| error.to_string()) }
        }),
        Check::new("clickhouse", move || {
            let clickhouse = clickhouse.clone();
            async move {
                Ok(match clickhouse.ping().await {
                    Ok(()) => "answers".to_owned(),
                    Err(error) => format!("{error}; counting goes on, dashboards stand still"),
                })
            }
        }),
    ]
}

/// Every partition of this process counts.
pub(crate) fn counting(status: Arc<PipelineStatus>) -> Check {
    Check::new("counting", move || {
        let problems = status.problems();
        let partitions = status.snapshot().partitions.len();
        async move {
            if problems.is_empty() {
                Ok(match partitions {
                    0 => "waiting: the group has given this process no partition yet".to_owned(),
                    _ => out::counted(partitions, "partition"),
                })
            } else {
                Err(problems.join("; "))
            }
        }
    })
}

/// Every partition of this process moves, or has nothing to count. A projection that stands still
/// is told, and does not make the process unready.
pub(crate) fn progress(status: Arc<PipelineStatus>) -> Check {
    Check::new("progress", move || {
        let status = status.snapshot();
        let stands: Vec<String> = status.stalled.into_values().chain(status.folding_stalled).collect();
        let projecting = status.projecting_stalled;
        async move {
            match projecting {
                _ if !stands.is_empty() => Err(stands.join("; ")),
                Some(words) => Ok(format!("the projection has been {words}; counting goes on")),
                None => Ok("everything moves".to_owned()),
            }
        }
    })
}

/// The settings of Kafka and Postgres are such that nothing is lost, forgotten or misjudged. What
/// only may do harm is told, and does not make the process unready.
pub(crate) fn settings(status: Arc<PipelineStatus>) -> Check {
    Check::new("settings", move || {
        let told = settings_words(status.snapshot().settings.as_deref());
        async move { told }
    })
}

fn settings_words(found: Option<&[Finding]>) -> Result<String, String> {
    let Some(found) = found else { return Ok("not looked at yet".to_owned()) };
    let words = |refuses: bool| {
        let some = found.iter().filter(|one| one.refuses == refuses);
        some.map(|one| one.words.clone()).collect::<Vec<_>>().join("; ")
    };
    let (refused, told) = (words(true), words(false));
    match (refused.is_empty(), told.is_empty()) {
        (false, _) => Err(refused),
        (true, false) => Ok(told),
        (true, true) => Ok("as they must be".to_owned()),
    }
}

/// What is archived of the journal. Counting does not need it, so its trouble is told and does
/// not make the process unready.
pub(crate) fn archive(archive: Option<&Archive>, status: Arc<PipelineStatus>) -> Check {
    let url = archive.map(|archive| archive.url().to_owned());
    Check::new("archive", move || {
        let archive = status.snapshot().archive;
        let words = match &url {
            None => "there is none: the journal reaches as far as Kafka's retention".to_owned(),
            Some(url) if archive.trouble.is_empty() && archive.endangered.is_empty() => url.clone(),
            Some(_) => archive.endangered.into_iter().chain(archive.trouble).collect::<Vec<_>>().join("; "),
        };
        async move { Ok(words) }
    })
}

/// The quota topic has been read to its end. That levels are stale is told, and does not make the
/// process unready: each limit says what is answered then, and events are taken all the same.
pub(crate) fn quota(board: Arc<QuotaBoard>, max_staleness_ms: i64) -> Check {
    Check::new("quota", move || {
        let told = if board.is_caught_up() {
            Ok(levels(board.oldest_heartbeat(), max_staleness_ms, now()))
        } else {
            Err("quota levels are being read".to_owned())
        };
        async move { told }
    })
}

/// How fresh the levels are, by the partition that was counted longest ago.
fn levels(oldest: Option<Heartbeat>, max_staleness_ms: i64, now: Timestamp) -> String {
    let Some(Heartbeat { position, as_of }) = oldest else {
        return "levels are known; nothing was counted yet".to_owned();
    };
    let partition = position.partition;
    if as_of >= now.plus_millis(-max_staleness_ms) {
        return format!("levels are known, as of {as_of} or later");
    }
    let after = span_words(max_staleness_ms);
    format!(
        "levels are stale: partition {partition} was last counted up to {as_of}, more than {after} ago; limits \
         answer as their whenStale says"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::Position;

    #[test]
    fn settings_are_right_once_they_were_looked_at() {
        let finding = |refuses| Finding { refuses, words: "so it is".into() };
        let check = |found: Option<&[Finding]>, words: Result<&str, &str>| {
            let told = settings_words(found);
            assert_eq!(told.as_deref().map_err(String::as_str), words);
        };
        check(None, Ok("not looked at yet"));
        check(Some(&[]), Ok("as they must be"));
        check(Some(&[finding(false)]), Ok("so it is"));
        check(Some(&[finding(true), finding(false)]), Err("so it is"));
    }

    #[test]
    fn levels_say_how_fresh_they_are() {
        let check = |age_ms: Option<i64>, words: &str| {
            let now = Timestamp::EPOCH.plus_millis(1_000_000);
            let position = Position { generation: 1, partition: 3, offset: 7 };
            let oldest = age_ms.map(|age_ms| Heartbeat { position, as_of: now.plus_millis(-age_ms) });
            let told = levels(oldest, 60_000, now);
            assert!(told.starts_with(words), "{told}");
        };
        check(None, "levels are known; nothing was counted yet");
        check(Some(60_000), "levels are known, as of 1970-01-01T00:15:40");
        check(Some(60_001), "levels are stale: partition 3 was last counted up to 1970-01-01T00:15:39.999Z");
    }
}
