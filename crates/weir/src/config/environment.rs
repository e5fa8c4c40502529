//! `WEIR_…` variables: which exist, and which are mistakes. One that nobody reads is refused,
//! since whoever set it believes that it does something. It reads names only, no values but
//! those that tell a link of an orchestrator apart.

use std::collections::BTreeSet;

use serde_json::Value;

/// What every variable begins with.
pub(super) const PREFIX: &str = "WEIR_";
/// What makes a variable name a file that holds the value.
const FILE_SUFFIX: &str = "_FILE";

/// Variables that are no settings of this program: those of its command line, of the local
/// servers, the demo, the benchmarks and the examples, which may stand in one environment.
const OTHERS: [&str; 14] = [
    "WEIR_CONFIG",
    "WEIR_LOAD_KEY",
    "WEIR_CLICKHOUSE_EMBEDDED",
    "WEIR_COMPONENTS",
    "WEIR_ENDPOINT",
    "WEIR_KEY",
    "WEIR_SCENARIO",
    "WEIR_SEED",
    "WEIR_STACK__CLICKHOUSE_PORT",
    "WEIR_STACK__KAFKA_CONTROLLER_PORT",
    "WEIR_STACK__KAFKA_PORT",
    "WEIR_STACK__POSTGRES_PORT",
    "WEIR_TENANT",
    "WEIR_URL",
];
/// Settings whose further names are the user's own.
const OPEN: [&str; 2] = ["WEIR_KAFKA__SETTINGS__", "WEIR_ARCHIVE__SETTINGS__"];

/// The settings as dotted names (`kafka.usage_topic`), from what the defaults hold.
pub(super) fn settings(defaults: &Value) -> BTreeSet<String> {
    fn walk(value: &Value, path: &str, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    walk(value, &path, found);
                }
            }
            _ => drop(found.insert(path.to_owned())),
        }
    }
    let mut found = BTreeSet::new();
    walk(defaults, "", &mut found);
    found
}

/// `kafka.usage_topic` as `WEIR_KAFKA__USAGE_TOPIC`.
pub(super) fn variable(setting: &str) -> String {
    format!("{PREFIX}{}", setting.replace('.', "__").to_ascii_uppercase())
}

/// The setting that a variable holds or names the file of, if it is one; and whether it is the
/// file's.
pub(super) fn setting(name: &str, settings: &BTreeSet<String>) -> Option<(String, bool)> {
    let upper = name.to_ascii_uppercase();
    let dotted =
        |name: &str| name.strip_prefix(PREFIX).map(|rest| rest.to_ascii_lowercase().replace("__", "."));
    let known = |name: &str| {
        let dotted = dotted(name)?;
        let open = is_open(name);
        (open || settings.contains(&dotted)).then_some(dotted)
    };
    if let Some(found) = known(&upper).filter(|_| !(is_open(&upper) && upper.ends_with(FILE_SUFFIX))) {
        return Some((found, false));
    }
    upper.strip_suffix(FILE_SUFFIX).and_then(known).map(|found| (found, true))
}

/// Whether a variable holds a setting whose name is the user's own.
fn is_open(name: &str) -> bool {
    OPEN.iter().any(|open| name.strip_prefix(open).is_some_and(|rest| !rest.is_empty()))
}

/// What is wrong with the variables, a line each: those that begin with `WEIR_` and are nobody's.
pub(super) fn unknown<'a>(
    variables: impl Iterator<Item = (&'a str, &'a str)>,
    settings: &BTreeSet<String>,
) -> Vec<String> {
    let mut found = Vec::new();
    for (name, value) in variables {
        let upper = name.to_ascii_uppercase();
        let known = OTHERS.contains(&upper.as_str()) || setting(name, settings).is_some();
        if !upper.starts_with(PREFIX) || known || is_link(&upper, value) {
            continue;
        }
        let all = settings.iter().map(|setting| variable(setting)).chain(OTHERS.map(str::to_owned));
        let nearest = all.min_by_key(|known| unlike(&upper, known)).unwrap_or_default();
        found.push(format!("the variable {name} is none of Weir's; the nearest that is: {nearest}"));
    }
    found.sort();
    found
}

/// Whether an orchestrator made it for a service that is called `weir…` (`WEIR_SERVICE_HOST`,
/// `WEIR_PORT_8787_TCP_ADDR`).
fn is_link(name: &str, value: &str) -> bool {
    let is_port = name.ends_with("_PORT") && (value.starts_with("tcp://") || value.starts_with("udp://"));
    let is_part =
        name.split_once("_PORT_").is_some_and(|(_, rest)| rest.contains("_TCP") || rest.contains("_UDP"));
    is_port || is_part || name.ends_with("_SERVICE_HOST") || name.contains("_SERVICE_PORT")
}

/// How far a name is from a known one, or from its beginning: names are cut short, too.
pub(super) fn unlike(name: &str, known: &str) -> usize {
    let begin: String = known.chars().take(name.chars().count()).collect();
    distance(name, known).min(distance(name, &begin) + 1)
}

/// How many letters differ: inserted, removed or replaced.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, left) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, right) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn check(name: &str, value: &str, nearest: Option<&str>) {
        let settings = settings(&serde_json::to_value(Config::default()).unwrap());
        let found = unknown([(name, value)].into_iter(), &settings);
        let expected =
            nearest.map(|near| format!("the variable {name} is none of Weir's; the nearest that is: {near}"));
        assert_eq!(found, Vec::from_iter(expected), "{name}");
    }

    #[test]
    fn a_variable_that_nobody_reads_is_refused_with_the_nearest() {
        check("WEIR_KAFAK__BOOTSTRAP", "x", Some("WEIR_KAFKA__BOOTSTRAP_SERVERS"));
        check("WEIR_KAFKA__BOOTSTRAP_SERVER", "x", Some("WEIR_KAFKA__BOOTSTRAP_SERVERS"));
        check("WEIR_POSTGRES_URL", "x", Some("WEIR_POSTGRES__URL"));
        check("WEIR_POSTGRES__URI_FILE", "x", Some("WEIR_POSTGRES__URL"));
        check("WEIR_CONFIG_FILE", "x", Some("WEIR_CONFIG"));
        check("WEIR_STACK__KAFKA_PROT", "1", Some("WEIR_STACK__KAFKA_PORT"));
        let settings = settings(&serde_json::to_value(Config::default()).unwrap());
        assert_eq!(unknown([("WEIR_NONSENSE", "1")].into_iter(), &settings).len(), 1);
    }

    #[test]
    fn settings_links_and_other_programs_variables_are_known() {
        for name in [
            "WEIR_KAFKA__BOOTSTRAP_SERVERS",
            "WEIR_ENV",
            "WEIR_POSTGRES__URL_FILE",
            "WEIR_KAFKA__GROUP_INSTANCE_ID",
            "WEIR_KAFKA__SETTINGS__SASL.PASSWORD_FILE",
            "WEIR_ARCHIVE__SETTINGS__AWS_SECRET_ACCESS_KEY_FILE",
            "WEIR_CONFIG",
            "WEIR_SCENARIO",
            "WEIR_CLICKHOUSE_EMBEDDED",
            "WEIR_SERVICE_HOST",
            "WEIR_API_SERVICE_PORT_HTTP",
            "WEIR_PORT_8787_TCP_ADDR",
            "PATH",
        ] {
            check(name, "1", None);
        }
        check("WEIR_PORT", "tcp://10.0.0.1:8787", None);
    }
}
