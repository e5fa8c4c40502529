//! A Prometheus that scrapes the Weir under test every second, so that the dashboards' and the
//! rules' expressions are judged by the program that will judge them in production.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::dashboard::repository;
use crate::wait;
use crate::weir::free_port;

/// A running server; killed when it is dropped.
#[derive(Debug)]
pub struct Prometheus {
    child: Child,
    url: String,
    http: reqwest::Client,
}

impl Prometheus {
    /// Starts a server that scrapes `target` (host:port) and evaluates the repository's rules.
    pub async fn start(target: &str, folder: &Path) -> Result<Self> {
        let program = tokio::task::block_in_place(program)?;
        let rules = repository().join("deploy/prometheus/rules").canonicalize().context("find the rules")?;
        let configuration = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
             rule_files: [{}/*.yaml]\n\
             scrape_configs: [{{job_name: weir, static_configs: [{{targets: [\"{target}\"]}}]}}]\n",
            rules.display()
        );
        let file = folder.join("prometheus.yml");
        fs::write(&file, configuration).context("write Prometheus' configuration")?;
        let port = free_port()?;
        let log = fs::File::create(folder.join("prometheus.log")).context("make Prometheus' log")?;
        let child = Command::new(&program)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("prometheus").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let url = format!("http://127.0.0.1:{port}");
        let prometheus = Self { child, url, http: reqwest::Client::new() };
        wait::until("Prometheus to be ready", wait::PATIENCE, || async {
            let answer = prometheus.http.get(format!("{}/-/ready", prometheus.url)).send().await?;
            Ok(answer.status().is_success().then_some(()))
        })
        .await?;
        Ok(prometheus)
    }

    /// The series that an expression gives now. A wrong expression is an error.
    pub async fn query(&self, expression: &str) -> Result<Vec<Value>> {
        let url = format!("{}/api/v1/query", self.url);
        let answer = self.http.get(url).query(&[("query", expression)]).send().await?;
        let text = answer.text().await.context("read Prometheus' answer")?;
        let json: Value = serde_json::from_str(&text).context("read Prometheus' answer")?;
        ensure!(json["status"] == "success", "{expression}\n{json}");
        Ok(json["data"]["result"].as_array().cloned().unwrap_or_default())
    }

    /// The names and health of the rules that are loaded.
    pub async fn rules(&self) -> Result<Vec<(String, String)>> {
        let answer = self.http.get(format!("{}/api/v1/rules", self.url)).send().await?;
        let json: Value = serde_json::from_str(&answer.text().await?)?;
        let groups = json["data"]["groups"].as_array().into_iter().flatten();
        let rules = groups.flat_map(|group| group["rules"].as_array().into_iter().flatten());
        let text = |rule: &Value, name: &str| rule[name].as_str().unwrap_or_default().to_owned();
        Ok(rules.map(|rule| (text(rule, "name"), text(rule, "health"))).collect())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It holds nothing that is needed later.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program on the PATH, or Debian's, unpacked below target/ without installing it (the
/// package would start a service).
fn program() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|folder| folder.join("prometheus")).find(|file| file.is_file());
    if let Some(found) = found {
        return Ok(found);
    }
    let folder = repository().join("target/prometheus");
    let program = folder.join("usr/bin/prometheus");
    if !program.is_file() {
        fs::create_dir_all(&folder).context("make target/prometheus")?;
        let words = "prometheus is missing: install it, or put its program on the PATH \
                     (`apt-get download prometheus` failed)";
        let script = "apt-get download -qq prometheus && dpkg -x prometheus_*.deb .";
        let status = Command::new("sh").args(["-c", script]).current_dir(&folder).status().context(words)?;
        ensure!(status.success() && program.is_file(), words);
    }
    Ok(program)
}
