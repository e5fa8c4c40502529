//! What is wrong with a configuration, in words: section, key, and where it was said (a line
//! of the file, or a variable).

use std::collections::BTreeSet;
use std::path::Path;

use figment::Error;
use figment::error::Kind;

use super::environment;

/// A line for each thing that is wrong. `file` is the configuration file's path and text.
pub(super) fn explained(error: Error, file: Option<(&Path, &str)>, settings: &BTreeSet<String>) -> String {
    let lines: Vec<String> = error.into_iter().map(|one| line(&one, file, settings)).collect();
    lines.join("\n")
}

fn line(error: &Error, file: Option<(&Path, &str)>, settings: &BTreeSet<String>) -> String {
    let mut path = error.path.clone();
    let unknown = match &error.kind {
        Kind::UnknownField(name, _) => Some(name),
        _ => None,
    };
    if let Some(name) = unknown
        && path.last() != Some(name)
    {
        path.push(name.clone());
    }
    let place = place(error, &path, file);
    if path.is_empty() {
        return format!("{place}: {}", error.kind);
    }
    match unknown {
        Some(_) => {
            let setting = path.join(".");
            let nearest = settings.iter().min_by_key(|known| environment::unlike(&setting, known));
            let nearest = nearest.map(|known| words(known.split('.'))).unwrap_or_default();
            format!(
                "{place}: there is no {}; the nearest that is: {nearest}",
                words(path.iter().map(String::as_str))
            )
        }
        None => format!("{place}: {}: {}", words(path.iter().map(String::as_str)), error.kind),
    }
}

/// `kafka.partitions` as `key partitions in section [kafka]`.
fn words<'a>(path: impl Iterator<Item = &'a str>) -> String {
    let mut sections: Vec<&str> = path.collect();
    let key = sections.pop().unwrap_or_default();
    if sections.is_empty() {
        format!("key {key}")
    } else {
        format!("key {key} in section [{}]", sections.join("."))
    }
}

/// Where it was said.
fn place(error: &Error, path: &[String], file: Option<(&Path, &str)>) -> String {
    let from_file = error.metadata.as_ref().and_then(|data| data.source.as_ref()).is_some();
    match file {
        Some((name, text)) if from_file => match line_of(text, path) {
            Some(line) => format!("{} line {line}", name.display()),
            None => name.display().to_string(),
        },
        _ if path.is_empty() => "the environment".to_owned(),
        _ => {
            let variable = environment::variable(&path.join("."));
            let from_environment =
                error.metadata.as_ref().is_some_and(|data| data.name.contains("environment"));
            if from_environment {
                format!("the variable {variable}")
            } else {
                format!("the file that {variable}_FILE names")
            }
        }
    }
}

/// The line, from 1, on which a TOML text says a key: under its section's header, or dotted.
fn line_of(text: &str, path: &[String]) -> Option<usize> {
    let wanted = path.join(".");
    let says =
        |name: &str| name.strip_prefix(&wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let mut section = String::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            let name = header.trim_start_matches('[').split(']').next().unwrap_or_default();
            section = plain(name);
            if says(&section) {
                return Some(at + 1);
            }
        } else if let Some((key, _)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
            let key = plain(key);
            let full = if section.is_empty() { key } else { format!("{section}.{key}") };
            if says(&full) {
                return Some(at + 1);
            }
        }
    }
    None
}

fn plain(name: &str) -> String {
    name.split('.').map(|part| part.trim().trim_matches(['"', '\''])).collect::<Vec<_>>().join(".")
}
