//! What Weir's promises need of its topics' settings, as a table, and what is wrong with the
//! settings that a broker tells. Pure: it asks nobody.

use std::collections::BTreeMap;

use weir_core::time::{DAY_MS, span_words};

use crate::config::KafkaConfig;
use crate::settings::Finding;

/// What a topic is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Usage,
    DeadLetters,
    Alerts,
    Levels,
    Invoices,
}

/// All topics by what they are for.
pub(super) fn topics(config: &KafkaConfig) -> [(Role, String); 5] {
    [
        (Role::Usage, config.usage_topic.clone()),
        (Role::DeadLetters, config.dead_letter_topic.clone()),
        (Role::Alerts, config.alerts_topic.clone()),
        (Role::Levels, config.quota_topic.clone()),
        (Role::Invoices, config.invoices_topic.clone()),
    ]
}

/// What the settings are held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicBounds {
    /// For how long a record may be read again for its event id, in milliseconds.
    pub ids_kept_ms: i64,
    /// After how long a record is archived at the latest, where there is an archive, in
    /// milliseconds.
    pub archived_after_ms: Option<i64>,
    /// The largest record that Weir writes, in bytes.
    pub record_bytes: i64,
}

/// How long Weir or the archive's store may be away without anybody being told that it may not.
const WEEK_MS: i64 = 7 * DAY_MS;

impl TopicBounds {
    /// With an archive: half of it is for closing and writing files, as the archive's own guard has
    /// it, and a day for somebody to look when that fails.
    fn archiving_ms(&self) -> i64 {
        self.archived_after_ms.unwrap_or_default().saturating_mul(2).saturating_add(DAY_MS)
    }
}

/// What a broker tells of a topic.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    pub(super) values: BTreeMap<&'static str, String>,
    pub(super) replicas: i64,
}

/// What a promise needs of a setting.
struct Need {
    roles: &'static [Role],
    setting: &'static str,
    /// What it must be, in words, where it is not so.
    broken: fn(&TopicBounds, &Told, &str) -> Option<String>,
    /// What happens otherwise.
    since: &'static str,
    refuses: bool,
}

const USAGE: &[Role] = &[Role::Usage];
const LETTERS: &[Role] = &[Role::DeadLetters];
const LOGS: &[Role] = &[Role::Usage, Role::DeadLetters];
const COMPACTED: &[Role] = &[Role::Levels, Role::Invoices];
const ALL: &[Role] = &[Role::Usage, Role::DeadLetters, Role::Alerts, Role::Levels, Role::Invoices];

/// docs/operations.md has the same table for people.
const NEEDS: [Need; 16] = [
    Need {
        roles: USAGE,
        setting: "message.timestamp.type",
        broken: |_, _, found| is(found, "LogAppendTime"),
        since: "lateness is judged by the broker's clock, not by producers'",
        refuses: true,
    },
    Need {
        roles: LOGS,
        setting: "cleanup.policy",
        broken: |_, _, found| is(found, "delete"),
        since: "compaction removes records, and refuses those without a key",
        refuses: true,
    },
    Need {
        roles: USAGE,
        setting: "retention.ms",
        broken: |bounds, _, found| at_least(found, bounds.ids_kept_ms).filter(|_| !is_archived(bounds)),
        since: "event ids are read again from the topic, and one that it has deleted would count twice; keep it \
                longer, or have an archive (archive.url)",
        refuses: true,
    },
    Need {
        roles: USAGE,
        setting: "retention.ms",
        broken: |bounds, _, found| at_least(found, bounds.archiving_ms()).filter(|_| is_archived(bounds)),
        since: "records would be deleted before they are archived, and event ids with them",
        refuses: true,
    },
    Need {
        roles: USAGE,
        setting: "retention.ms",
        broken: |bounds, _, found| {
            at_least(found, WEEK_MS).filter(|_| is_archived(bounds) && is_whole(bounds, found))
        },
        since: "what is not counted yet is in Kafka alone, and is lost when Weir or its archive is away for so long",
        refuses: false,
    },
    Need {
        roles: USAGE,
        setting: "retention.bytes",
        broken: |bounds, _, found| is(found, "-1").filter(|_| !is_archived(bounds)),
        since: "a bound on bytes deletes records that are not counted yet, and event ids that would count twice",
        refuses: true,
    },
    Need {
        roles: USAGE,
        setting: "retention.bytes",
        broken: |bounds, _, found| is(found, "-1").filter(|_| is_archived(bounds)),
        since: "a bound on bytes deletes records that are not counted or archived yet when much arrives",
        refuses: false,
    },
    Need {
        roles: USAGE,
        setting: "unclean.leader.election.enable",
        broken: |_, _, found| is(found, "false"),
        since: "a broker that was behind could become leader, and acknowledged events would be gone",
        refuses: true,
    },
    Need {
        roles: &[Role::DeadLetters, Role::Invoices],
        setting: "unclean.leader.election.enable",
        broken: |_, _, found| is(found, "false"),
        since: "a broker that was behind could become leader, and acknowledged records would be gone",
        refuses: false,
    },
    Need {
        roles: LOGS,
        setting: "max.message.bytes",
        broken: |bounds, _, found| at_least_bytes(found, bounds.record_bytes),
        since: "a record that does not fit would hold its partition",
        refuses: false,
    },
    Need {
        roles: ALL,
        setting: "min.insync.replicas",
        broken: |_, told, found| {
            let enough = number(found).is_some_and(|found| found <= told.replicas);
            (!enough).then(|| format!("{} or less", told.replicas))
        },
        since: "with fewer replicas than that nothing can be written",
        refuses: false,
    },
    Need {
        roles: ALL,
        setting: "min.insync.replicas",
        broken: |_, told, found| {
            let alone = number(found).is_none_or(|found| found < 2);
            (told.replicas > 1 && alone).then(|| "2 or more".to_owned())
        },
        since: "what a single broker has acknowledged is lost with it",
        refuses: false,
    },
    Need {
        roles: COMPACTED,
        setting: "cleanup.policy",
        broken: |_, _, found| is(found, "compact"),
        since: "levels of quiet tenants, and invoice numbers that were given, must not be deleted",
        refuses: false,
    },
    Need {
        roles: LETTERS,
        setting: "message.timestamp.type",
        broken: |_, _, found| is(found, "LogAppendTime"),
        since: "`weir dlq` finds letters by when they were written",
        refuses: false,
    },
    Need {
        roles: LETTERS,
        setting: "retention.ms",
        broken: |bounds, _, found| at_least(found, bounds.ids_kept_ms),
        since: "letters would be deleted while their events can still be replayed",
        refuses: false,
    },
    Need {
        roles: LETTERS,
        setting: "retention.bytes",
        broken: |_, _, found| is(found, "-1"),
        since: "a bound on bytes deletes letters while their events can still be replayed",
        refuses: false,
    },
];

fn is_archived(bounds: &TopicBounds) -> bool {
    bounds.archived_after_ms.is_some()
}

/// Whether a retention is long enough for the archive, so that only the warning is left to say.
fn is_whole(bounds: &TopicBounds, found: &str) -> bool {
    at_least(found, bounds.archiving_ms()).is_none()
}

fn number(found: &str) -> Option<i64> {
    found.parse().ok()
}

fn is(found: &str, wanted: &str) -> Option<String> {
    (found != wanted).then(|| wanted.to_owned())
}

/// A time in milliseconds, where -1 stands for ever.
fn at_least(found: &str, least: i64) -> Option<String> {
    let enough = number(found).is_some_and(|found| found >= least || found == -1);
    (!enough).then(|| format!("{least} ({}) or more, or -1", span_words(least)))
}

fn at_least_bytes(found: &str, least: i64) -> Option<String> {
    let enough = number(found).is_some_and(|found| found >= least);
    (!enough).then(|| format!("{least} or more"))
}

/// The settings that are asked for.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    NEEDS.iter().map(|need| need.setting)
}

/// What is wrong with a topic.
pub(super) fn findings(role: Role, topic: &str, told: &Told, bounds: &TopicBounds) -> Vec<Finding> {
    let needs = NEEDS.iter().filter(|need| need.roles.contains(&role));
    let found = needs.filter_map(|need| {
        let found = told.values.get(need.setting)?;
        let wanted = (need.broken)(bounds, told, found)?;
        let (name, since) = (need.setting, need.since);
        let length = number(found).filter(|ms| name == "retention.ms" && *ms >= 0);
        let shown = length.map(|ms| format!(" ({})", span_words(ms))).unwrap_or_default();
        let words = format!(
            "topic {topic} has {name}={found}{shown}, but needs {name}={wanted}: {since}; alter the topic's \
             configuration"
        );
        Some(Finding { refuses: need.refuses, words })
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A day more than 35 days and an hour.
    const BOUNDS: TopicBounds =
        TopicBounds { ids_kept_ms: 3_114_000_000, archived_after_ms: None, record_bytes: 1_118_208 };
    const ARCHIVED: TopicBounds = TopicBounds { archived_after_ms: Some(3_600_000), ..BOUNDS };

    fn told(replicas: i64, changes: &[(&'static str, &str)]) -> Told {
        let made = [
            ("message.timestamp.type", "LogAppendTime"),
            ("cleanup.policy", "delete"),
            ("retention.ms", "3456000000"),
            ("retention.bytes", "-1"),
            ("max.message.bytes", "2097152"),
            ("unclean.leader.election.enable", "false"),
            ("min.insync.replicas", "1"),
        ];
        let mut values: BTreeMap<_, _> =
            made.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
        values.extend(changes.iter().map(|(name, value)| (*name, (*value).to_owned())));
        Told { values, replicas }
    }

    /// What one broker cannot be altered to; everything else is tried on a real one.
    #[test]
    fn replicas_that_must_be_in_sync_are_judged_by_how_many_there_are() {
        let check = |replicas, in_sync: &str, words: &[&str]| {
            let told = told(replicas, &[("min.insync.replicas", in_sync)]);
            let found = findings(Role::Usage, "usage", &told, &BOUNDS);
            assert_eq!(found.len(), words.len(), "{found:?}");
            for (one, words) in found.iter().zip(words) {
                assert!(!one.refuses && one.words.contains(words), "{one:?}");
            }
        };
        check(1, "1", &[]);
        check(1, "2", &["needs min.insync.replicas=1 or less"]);
        check(3, "1", &["needs min.insync.replicas=2 or more"]);
        check(3, "2", &[]);
        check(3, "3", &[]);
        check(3, "4", &["needs min.insync.replicas=3 or less"]);
    }

    /// Retention; whether it refuses, without and with an archive; `None` where all is well.
    #[test]
    fn a_retention_must_reach_as_far_as_ids_are_needed_or_as_the_archive_needs() {
        for (retention, alone, archived) in [
            ("3456000000", None, None),
            ("-1", None, None),
            ("3114000000", None, None),
            ("3113999999", Some(true), None),
            ("604800000", Some(true), None),
            ("604799999", Some(true), Some(false)),
            ("93600000", Some(true), Some(false)),
            ("93599999", Some(true), Some(true)),
            ("0", Some(true), Some(true)),
        ] {
            let check = |bounds, expected: Option<bool>| {
                let told = told(1, &[("retention.ms", retention)]);
                let found = findings(Role::Usage, "usage", &told, bounds);
                let refuses: Vec<bool> = found.iter().map(|one| one.refuses).collect();
                assert_eq!(refuses, expected.into_iter().collect::<Vec<_>>(), "{found:?}");
            };
            check(&BOUNDS, alone);
            check(&ARCHIVED, archived);
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_what_is_what_must_be_and_why() {
        let told = told(1, &[("retention.ms", "604800000")]);
        let found = findings(Role::Usage, "weir.usage.v1", &told, &BOUNDS);
        assert_eq!(
            found[0].words,
            "topic weir.usage.v1 has retention.ms=604800000 (7 d), but needs retention.ms=3114000000 (36 d 1 h) or \
             more, or -1: event ids are read again from the topic, and one that it has deleted would count twice; \
             keep it longer, or have an archive (archive.url); alter the topic's configuration"
        );
    }

    #[test]
    fn what_weir_makes_is_well() {
        for bounds in [&BOUNDS, &ARCHIVED] {
            for role in [Role::Usage, Role::DeadLetters, Role::Alerts] {
                assert_eq!(findings(role, "topic", &told(1, &[]), bounds), []);
            }
            let compacted = told(1, &[("cleanup.policy", "compact"), ("retention.ms", "604800000")]);
            for role in [Role::Levels, Role::Invoices] {
                assert_eq!(findings(role, "topic", &compacted, bounds), []);
            }
        }
    }
}
