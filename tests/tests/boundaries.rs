//! What each crate may depend on and how its files must look, read from the sources. It is not a
//! compiler: it looks at manifests and at lines, which is enough to stop a boundary from moving
//! unseen. CONTRIBUTING.md says the same in words.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Crate, and those of ours that it may use (development dependencies are not bound by this).
const OURS: &[(&str, &[&str])] = &[
    ("weir-core", &[]),
    ("weir-metering", &["weir-core"]),
    ("weir-billing", &["weir-core"]),
    ("weir-wire", &["weir-core", "weir-metering", "weir-billing"]),
    ("weir-backends", &["weir-core", "weir-metering", "weir-billing", "weir-wire"]),
    ("weir-pipeline", &["weir-core", "weir-metering", "weir-billing", "weir-wire", "weir-backends"]),
    ("weir-api", &["weir-core", "weir-metering", "weir-billing", "weir-wire", "weir-backends"]),
    (
        "weir",
        &[
            "weir-core",
            "weir-metering",
            "weir-billing",
            "weir-wire",
            "weir-backends",
            "weir-pipeline",
            "weir-api",
            "weir-load",
        ],
    ),
    ("weir-load", &[]),
    (
        "weir-simulator",
        &["weir-core", "weir-metering", "weir-billing", "weir-wire", "weir-backends", "weir-pipeline"],
    ),
    ("local-stack", &[]),
    ("clickhouse-embedded", &[]),
    ("weir-demo", &["local-stack"]),
    ("weir-bench", &["local-stack", "weir-load"]),
    (
        "weir-micro",
        &["weir-core", "weir-metering", "weir-billing", "weir-wire", "weir-backends", "weir-load"],
    ),
    ("weir-chaos", &["local-stack", "weir-demo"]),
    ("weir-tests", &["local-stack"]),
];

/// Dependency, and the crates that may name it.
const DRIVERS: &[(&str, &[&str])] = &[
    ("rdkafka", &["weir-backends", "weir-load", "weir-demo", "weir-chaos", "weir-tests"]),
    ("clickhouse", &["weir-backends", "weir-demo", "weir-tests"]),
    ("sqlx", &["weir-backends", "weir-bench", "weir-demo", "weir-chaos", "weir-tests"]),
    ("object_store", &["weir-backends"]),
    ("axum", &["weir-api", "clickhouse-embedded", "weir-demo"]),
    (
        "anyhow",
        &[
            "weir",
            "weir-bench",
            "weir-micro",
            "weir-demo",
            "weir-chaos",
            "weir-tests",
            "local-stack",
            "clickhouse-embedded",
        ],
    ),
];

/// Pure crates, and the only dependencies from outside that they may have.
const PURE: &[(&str, &[&str])] = &[
    (
        "weir-core",
        &[
            "chrono",
            "chrono-tz",
            "iso_currency",
            "ruint",
            "rust_decimal",
            "serde",
            "siphasher",
            "thiserror",
            "sha2",
        ],
    ),
    ("weir-metering", &["foldhash", "serde", "thiserror"]),
    ("weir-billing", &["hex", "ruint", "rust_decimal", "serde", "serde_json", "sha2", "thiserror"]),
];

/// Words that pure code must not hold.
const IMPURE: &[&str] =
    &["Utc::now", "Local::now", "SystemTime", "Instant::now", "f32", "f64", "async fn", "println!"];

/// Words that the product must not hold outside tests. They are put together here so that this
/// file does not hold them itself.
const UNFINISHED: &[(&str, &str)] =
    &[(".unw", "rap()"), ("todo", "!("), ("unimplemented", "!("), ("#[ign", "ore")];

const LINES_MAX: usize = 500;
const LINES_WITH_TESTS_MAX: usize = 800;
const CRATE_SHARE_PERCENT_MAX: usize = 40;

struct Package {
    name: String,
    folder: PathBuf,
    dependencies: BTreeSet<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository")
}

fn packages() -> Vec<Package> {
    let mut folders: Vec<_> = fs::read_dir(root().join("crates"))
        .expect("crates/")
        .map(|entry| entry.expect("an entry of crates/").path())
        .filter(|folder| folder.join("Cargo.toml").is_file())
        .collect();
    folders.push(root().join("tests"));
    folders.sort();
    folders.into_iter().map(package).collect()
}

fn package(folder: PathBuf) -> Package {
    let manifest: toml::Table = read(&folder.join("Cargo.toml")).parse().expect("a manifest that is TOML");
    let name = manifest["package"]["name"].as_str().expect("a name").to_owned();
    let tables = ["dependencies", "build-dependencies"];
    let dependencies = tables
        .iter()
        .filter_map(|table| manifest.get(*table)?.as_table())
        .flat_map(|table| table.keys().cloned())
        .collect();
    Package { name, folder, dependencies }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && entry.file_name() != "target" {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn short(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// Whether a file is a test as a whole: in a `tests` or `examples` folder, or called tests.rs.
fn is_test(path: &Path) -> bool {
    let inside = path.strip_prefix(root()).unwrap_or(path);
    inside.components().any(|part| {
        let part = part.as_os_str();
        part == "tests" || part == "examples" || part == "benches" || part == "tests.rs"
    })
}

/// The part of a file before its tests module.
fn product_part(text: &str) -> &str {
    text.find("#[cfg(test)]").map_or(text, |at| &text[..at])
}

fn has_tests(text: &str) -> bool {
    text.contains("#[cfg(test)]") || text.contains("#[test]")
}

/// Lines without their comments, numbered from one.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(at, line)| (at + 1, line.split("//").next().unwrap_or_default()))
}

fn check(broken: Vec<String>, rule: &str) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

#[test]
fn each_crate_uses_only_what_its_boundary_allows() {
    let allowed: BTreeMap<_, _> = OURS.iter().copied().collect();
    let packages = packages();
    let names: BTreeSet<_> = packages.iter().map(|package| package.name.clone()).collect();
    let mut broken = Vec::new();
    for package in &packages {
        let Some(allowed) = allowed.get(package.name.as_str()) else {
            broken.push(format!("{} is a new crate: say in this test what it may use", package.name));
            continue;
        };
        let ours = package.dependencies.iter().filter(|name| names.contains(*name));
        let forbidden = ours.filter(|name| !allowed.contains(&name.as_str()));
        broken.extend(forbidden.map(|name| format!("{} must not use {name}", package.name)));
    }
    check(broken, "boundaries between crates");
}

#[test]
fn drivers_and_frameworks_stay_where_they_belong() {
    let mut broken = Vec::new();
    for package in packages() {
        for (driver, users) in DRIVERS {
            if package.dependencies.contains(*driver) && !users.contains(&package.name.as_str()) {
                broken.push(format!("{} must not use {driver}", package.name));
            }
        }
    }
    check(broken, "drivers are named in one place");
}

#[test]
fn pure_crates_take_nothing_from_outside_but_values() {
    let mut broken = Vec::new();
    for package in packages() {
        let Some((_, allowed)) = PURE.iter().find(|(name, _)| *name == package.name) else { continue };
        let outside = package.dependencies.iter().filter(|name| !name.starts_with("weir-"));
        let forbidden = outside.filter(|name| !allowed.contains(&name.as_str()));
        broken.extend(forbidden.map(|name| format!("{} must not use {name}", package.name)));
    }
    check(broken, "dependencies of pure crates");
}

#[test]
fn pure_crates_know_no_clock_and_no_float() {
    let mut broken = Vec::new();
    for package in packages().iter().filter(|package| PURE.iter().any(|(name, _)| *name == package.name)) {
        for path in sources(&package.folder.join("src")).iter().filter(|path| !is_test(path)) {
            let text = read(path);
            for (line, code) in code_lines(product_part(&text)) {
                let words = IMPURE.iter().filter(|word| code.contains(*word));
                broken.extend(words.map(|word| format!("{}:{line} holds {word}", short(path))));
            }
        }
    }
    check(broken, "pure crates");
}

#[test]
fn every_file_says_what_it_is() {
    let files: Vec<_> = packages().iter().flat_map(|package| sources(&package.folder)).collect();
    let silent = files.iter().filter(|path| !read(path).starts_with("//!"));
    check(silent.map(|path| short(path)).collect(), "files that do not open with //!");
}

#[test]
fn files_stay_short() {
    let mut broken = Vec::new();
    for path in packages().iter().flat_map(|package| sources(&package.folder)) {
        let text = read(&path);
        let lines = text.lines().count();
        let product = product_part(&text).lines().count();
        let max = if has_tests(&text) { LINES_WITH_TESTS_MAX } else { LINES_MAX };
        if lines > max || (!is_test(&path) && product > LINES_MAX) {
            broken.push(format!("{}: {lines} lines, {product} of them before its tests", short(&path)));
        }
    }
    check(broken, "files with more than 500 lines, or 800 with tests");
}

#[test]
fn nothing_is_left_unfinished() {
    let mut broken = Vec::new();
    for path in packages().iter().flat_map(|package| sources(&package.folder)) {
        let text = read(&path);
        let product = if is_test(&path) { "" } else { product_part(&text) };
        for (start, end) in UNFINISHED {
            let word = format!("{start}{end}");
            let part = if word.starts_with('#') { text.as_str() } else { product };
            for (line, _) in code_lines(part).filter(|(_, code)| code.contains(&word)) {
                broken.push(format!("{}:{line} holds {word}", short(&path)));
            }
        }
    }
    check(broken, "unfinished code");
}

#[test]
fn no_crate_holds_most_of_the_code() {
    let mut lines = BTreeMap::new();
    for package in packages() {
        let count: usize = sources(&package.folder).iter().map(|path| read(path).lines().count()).sum();
        lines.insert(package.name, count);
    }
    let all: usize = lines.values().sum();
    println!("{all} lines");
    for (name, count) in &lines {
        println!("{count:7} {name}");
    }
    let broken = lines.iter().filter(|(_, count)| **count * 100 > all * CRATE_SHARE_PERCENT_MAX);
    check(
        broken.map(|(name, count)| format!("{name} holds {count} of {all} lines")).collect(),
        "a crate with more than 40 % of the code",
    );
}
