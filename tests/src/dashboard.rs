//! The dashboards of the repository: their panels, their queries, and what Grafana would make of a
//! query's macros and variables. It knows the macros that the dashboards use and refuses others.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// The times and choices that a person made at the top of a dashboard.
#[derive(Debug, Clone)]
pub struct View {
    /// Begin of the range, seconds since 1970.
    pub from: i64,
    /// End of the range.
    pub to: i64,
    /// Width of a point, in seconds.
    pub interval: u32,
    /// The chosen tenants.
    pub tenants: Vec<String>,
    /// The chosen meter.
    pub meter: String,
}

/// A dashboard as its file says.
#[derive(Debug, Clone)]
pub struct Dashboard {
    /// The file's name.
    pub file: String,
    /// All of it.
    pub json: Value,
}

/// A query of a panel.
#[derive(Debug, Clone)]
pub struct Query {
    /// Dashboard and panel, for messages.
    pub place: String,
    /// Which datasource's.
    pub language: Language,
    /// The query before anything is expanded.
    pub text: String,
}

/// What a query is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Prometheus.
    PromQl,
    /// ClickHouse.
    Sql,
}

/// All dashboards, by file name.
pub fn all() -> Result<Vec<Dashboard>> {
    let folder = repository().join("dashboards");
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .context("read dashboards/")?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    ensure!(!files.is_empty(), "{} holds no dashboards", folder.display());
    files.iter().map(|path| read(path)).collect()
}

/// The checkout.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> Result<Dashboard> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let json = serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))?;
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Dashboard { file, json })
}

impl Dashboard {
    /// Panels that show data: all but rows.
    pub fn panels(&self) -> Vec<&Value> {
        self.all_panels().into_iter().filter(|panel| panel["type"] != "row").collect()
    }

    /// Panels and rows.
    pub fn all_panels(&self) -> Vec<&Value> {
        self.json["panels"].as_array().into_iter().flatten().collect()
    }

    /// The queries of all panels.
    pub fn queries(&self) -> Result<Vec<Query>> {
        let mut found = Vec::new();
        for panel in self.panels() {
            let place = format!("{} / {}", self.file, panel["title"].as_str().unwrap_or_default());
            for target in panel["targets"].as_array().into_iter().flatten() {
                let (language, text) = match (target["expr"].as_str(), target["rawSql"].as_str()) {
                    (Some(text), None) => (Language::PromQl, text),
                    (None, Some(text)) => (Language::Sql, text),
                    _ => bail!("{place} has a target that is neither expr nor rawSql"),
                };
                found.push(Query { place: place.clone(), language, text: text.to_owned() });
            }
        }
        Ok(found)
    }

    /// The queries behind its variables, in SQL.
    pub fn variables(&self) -> Vec<Query> {
        let variables = self.json["templating"]["list"].as_array().into_iter().flatten();
        let queried = variables.filter(|variable| variable["type"] == "query");
        queried
            .map(|variable| Query {
                place: format!("{} / ${}", self.file, variable["name"].as_str().unwrap_or_default()),
                language: Language::Sql,
                text: variable["query"].as_str().unwrap_or_default().to_owned(),
            })
            .collect()
    }
}

impl Query {
    /// The query as it reaches the server.
    pub fn expanded(&self, view: &View) -> Result<String> {
        let text = match self.language {
            Language::PromQl => self
                .text
                .replace("$__rate_interval", &format!("{}s", view.interval))
                .replace("$__interval", &format!("{}s", view.interval)),
            Language::Sql => expand_sql(&self.text, view)?,
        };
        ensure!(!text.contains('$'), "{}: a macro or variable that is not known here: {text}", self.place);
        Ok(text)
    }
}

fn expand_sql(text: &str, view: &View) -> Result<String> {
    let tenants: Vec<_> = view.tenants.iter().map(|tenant| quoted(tenant)).collect();
    let text = text
        .replace("${tenant:sqlstring}", &tenants.join(","))
        .replace("${meter:sqlstring}", &quoted(&view.meter));
    let text = expand_macro(&text, "$__timeFilter", |column| {
        format!("{column} >= toDateTime({}) AND {column} <= toDateTime({})", view.from, view.to)
    })?;
    expand_macro(&text, "$__timeInterval", |column| {
        format!("toStartOfInterval(toDateTime({column}), INTERVAL {} second)", view.interval)
    })
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn expand_macro(text: &str, name: &str, with: impl Fn(&str) -> String) -> Result<String> {
    let opening = format!("{name}(");
    let mut parts = text.split(opening.as_str());
    let mut expanded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (column, rest) = part.split_once(')').with_context(|| format!("{name} is not closed"))?;
        expanded.push_str(&with(column));
        expanded.push_str(rest);
    }
    Ok(expanded)
}

/// The metric names in a PromQL expression: words that begin with `weir_`.
pub fn metric_names(expression: &str) -> Vec<String> {
    let words = expression.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    words.filter(|word| word.starts_with("weir_")).map(str::to_owned).collect()
}
