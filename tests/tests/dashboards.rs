//! The dashboards as files: Grafana's schema, and the rules that each panel keeps. Whether their
//! queries find anything is end_to_end.rs' to say.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;
use weir_tests::dashboard::{self, Dashboard, Language};
use weir_tests::json_schema;

/// File, and the uid that links to it depend on.
const UIDS: &[(&str, &str)] =
    &[("pipeline.json", "weir-pipeline"), ("tenant-usage.json", "weir-tenant-usage")];
const SCHEMA_VERSION: u64 = 42;
const COLUMNS: u64 = 24;

fn each(check: impl Fn(&Dashboard, &mut Vec<String>)) {
    let mut broken = Vec::new();
    for dashboard in dashboard::all().expect("the dashboards") {
        check(&dashboard, &mut broken);
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn they_fit_grafanas_schema() {
    let path = dashboard::repository().join("tests/schemas/grafana-dashboard.schema.json");
    let schema: Value = serde_json::from_str(&fs::read_to_string(path).expect("the schema")).expect("JSON");
    each(|dashboard, broken| {
        let found = json_schema::validate(&schema, &dashboard.json);
        broken.extend(found.err().map(|error| format!("{}: {error}", dashboard.file)));
    });
}

#[test]
fn the_dashboards_are_those_that_are_known() {
    let found: Vec<_> = dashboard::all().expect("the dashboards");
    let found: Vec<_> =
        found.iter().map(|one| (one.file.as_str(), one.json["uid"].as_str().unwrap_or_default())).collect();
    assert_eq!(found, UIDS);
}

#[test]
fn they_cannot_be_edited_and_say_what_they_are() {
    each(|dashboard, broken| {
        let json = &dashboard.json;
        let mut want = |holds: bool, words: &str| {
            if !holds {
                broken.push(format!("{}: {words}", dashboard.file));
            }
        };
        want(json["editable"] == false, "editable is not false");
        want(json["schemaVersion"] == SCHEMA_VERSION, "schemaVersion is not 42");
        want(json["timezone"] == "utc", "timezone is not utc");
        want(json["description"].as_str().is_some_and(|text| !text.is_empty()), "no description");
        want(json.get("id").is_none(), "an id of somebody's Grafana");
    });
}

#[test]
fn each_panel_has_words_a_unit_and_thresholds() {
    each(|dashboard, broken| {
        for panel in dashboard.panels() {
            let defaults = &panel["fieldConfig"]["defaults"];
            let missing = [
                (panel["title"].as_str().is_none_or(str::is_empty), "title"),
                (panel["description"].as_str().is_none_or(|text| !text.ends_with('.')), "sentence"),
                (defaults["unit"].as_str().is_none_or(str::is_empty), "unit"),
                (defaults["thresholds"]["steps"].as_array().is_none_or(Vec::is_empty), "threshold"),
                (panel["targets"].as_array().is_none_or(Vec::is_empty), "query"),
            ];
            let missing = missing.iter().filter(|(missing, _)| *missing);
            broken.extend(
                missing.map(|(_, what)| format!("{}: {} has no {what}", dashboard.file, panel["title"])),
            );
        }
    });
}

#[test]
fn ids_are_unique_and_panels_do_not_overlap() {
    each(|dashboard, broken| {
        let (mut ids, mut titles, mut cells) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for panel in dashboard.all_panels() {
            let title = panel["title"].as_str().unwrap_or_default();
            let side = |name: &str| panel["gridPos"][name].as_u64().unwrap_or(u64::MAX / 4);
            let (x, y, width, height) = (side("x"), side("y"), side("w"), side("h"));
            if x + width > COLUMNS || width == 0 || height == 0 || height > 100 {
                broken.push(format!("{}: {title} lies outside the {COLUMNS} columns", dashboard.file));
                continue;
            }
            let area = (x..x + width).flat_map(|x| (y..y + height).map(move |y| (x, y)));
            let free = area.filter(|cell| !cells.insert(*cell)).count() == 0;
            if !(free && ids.insert(panel["id"].as_u64()) && titles.insert(title)) {
                broken
                    .push(format!("{}: {title} overlaps, or its id or title is there twice", dashboard.file));
            }
        }
    });
}

#[test]
fn every_datasource_is_the_variable() {
    each(|dashboard, broken| {
        let targets = dashboard.panels().into_iter().flat_map(|panel| {
            std::iter::once(panel).chain(panel["targets"].as_array().into_iter().flatten())
        });
        for holder in targets {
            if holder["datasource"]["uid"] != "${datasource}" {
                broken.push(format!("{}: {} names a datasource", dashboard.file, holder["datasource"]));
            }
        }
        let variables = dashboard.json["templating"]["list"].as_array();
        if variables.and_then(|all| all.first()).is_none_or(|first| first["type"] != "datasource") {
            broken.push(format!("{}: the first variable is not the datasource", dashboard.file));
        }
    });
}

#[test]
fn queries_follow_the_range_and_the_tenants() {
    each(|dashboard, broken| {
        for query in dashboard.queries().expect("queries") {
            let text = &query.text;
            let fixed_range = text.contains("rate(") && !text.contains("[$__rate_interval]");
            let wrong = match query.language {
                Language::PromQl => fixed_range || text.contains("tenant"),
                Language::Sql => {
                    !text.contains("$__timeFilter(") || !text.contains("tenant IN (${tenant:sqlstring})")
                }
            };
            if wrong || text.contains("_raw") {
                broken.push(format!("{}: {text}", query.place));
            }
        }
    });
}

#[test]
fn every_alert_has_its_runbook() {
    let root = dashboard::repository();
    let rules = fs::read_to_string(root.join("deploy/prometheus/rules/weir.yaml")).expect("the rules");
    let tests = fs::read_to_string(root.join("deploy/prometheus/tests/weir_test.yaml")).expect("their tests");
    let page = fs::read_to_string(root.join("docs/operations.md")).expect("docs/operations.md");
    let alerts: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 5, "{alerts:?}");
    for alert in alerts {
        assert!(page.contains(&format!("## {alert}\n")), "docs/operations.md has no section {alert}");
        let link = format!("runbook_url: docs/operations.md#{}", alert.to_lowercase());
        assert!(rules.contains(&link), "{alert} does not link to its section");
        assert!(tests.contains(&format!("alertname: {alert}\n")), "{alert} has no test");
    }
}
