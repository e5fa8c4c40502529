//! A whole house for a test: a stack of its own, Weir migrated and serving, a catalogue, a
//! platform key, and a way to ask each of its sides.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use local_stack::Stack;
use serde_json::Value;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tempfile::TempDir;

use crate::wait;
use crate::weir::{Serving, Settings};

/// The meters and plans that tests use.
const CATALOGUE: &str = include_str!("../catalogue.toml");

/// Everything that one test run needs. Dropping it ends all processes.
#[derive(Debug)]
pub struct House {
    /// The serving process; replaced when it is started again.
    pub serving: Serving,
    /// How the program is configured.
    pub settings: Settings,
    /// The three servers.
    pub stack: Stack,
    /// Postgres.
    pub ledger: PgPool,
    /// A key that may do everything for every tenant.
    pub platform_key: String,
    http: reqwest::Client,
    folder: TempDir,
}

impl House {
    /// Starts everything; returns when Weir is ready.
    pub async fn start() -> Result<Self> {
        let stack = tokio::task::spawn_blocking(local_stack::scratch)
            .await
            .context("start the stack")?
            .context("start the stack; `make setup` fetches its programs")?;
        let folder = tempfile::tempdir().context("make a folder")?;
        let settings = Settings::new(
            &stack.kafka_bootstrap(),
            &stack.postgres_url(),
            &stack.clickhouse_url(),
            folder.path(),
        )?;
        settings.succeed(&["migrate"])?;
        let catalogue = folder.path().join("catalogue.toml");
        std::fs::write(&catalogue, CATALOGUE).context("write the catalogue")?;
        settings.succeed(&["catalog", "apply", catalogue.to_str().context("a path that is text")?])?;
        let key = settings.succeed(&["key", "create", "--platform", "--scope", "all", "--name", "test"])?;
        let ledger = PgPoolOptions::new()
            .max_connections(4)
            .connect_lazy(&stack.postgres_url())
            .context("connect to Postgres")?;
        let serving = settings.serve().await?;
        Ok(Self {
            serving,
            settings,
            stack,
            ledger,
            platform_key: key.trim().to_owned(),
            http: reqwest::Client::new(),
            folder,
        })
    }

    /// A folder for files of the test's own.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Kills the serving process and starts it again.
    pub async fn kill_and_serve(&mut self) -> Result<()> {
        self.serving.kill()?;
        self.serving = self.settings.serve().await?;
        Ok(())
    }

    /// Kills the serving process and starts it again; returns when it answers at all, since it is
    /// not ready while one of its servers is away.
    pub async fn kill_and_serve_without_waiting(&mut self) -> Result<()> {
        self.serving.kill()?;
        self.serving = self.settings.serve_unready().await?;
        Ok(())
    }

    /// A request to the API with the platform's key.
    pub fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.anonymous(method, path).bearer_auth(&self.platform_key)
    }

    /// A request to the API without a key.
    pub fn anonymous(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.settings.api())).timeout(Duration::from_secs(60))
    }

    /// Sends JSON with the platform's key and requires success.
    pub async fn send(&self, method: reqwest::Method, path: &str, body: &Value) -> Result<Value> {
        let request = self.request(method.clone(), path).json(body);
        let answer = request.send().await.with_context(|| format!("{method} {path}"))?;
        let status = answer.status();
        let text = answer.text().await.unwrap_or_default();
        ensure!(status.is_success(), "{method} {path} with {body} answered {status}: {text}");
        if text.is_empty() { Ok(Value::Null) } else { parse(&text) }
    }

    /// Reads JSON with the platform's key.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let answer = self.request(reqwest::Method::GET, path).send().await?;
        let status = answer.status();
        let text = answer.text().await.unwrap_or_default();
        ensure!(status.is_success(), "GET {path} answered {status}: {text}");
        parse(&text)
    }

    /// Runs a query in ClickHouse and returns its rows.
    pub async fn clickhouse(&self, query: &str) -> Result<Vec<Value>> {
        let request = self
            .http
            .post(self.stack.clickhouse_url())
            .query(&[("database", "weir"), ("user", "grafana"), ("default_format", "JSON")])
            .timeout(Duration::from_secs(60))
            .body(query.to_owned());
        let answer = request.send().await.context("ask ClickHouse")?;
        let status = answer.status();
        let text = answer.text().await.unwrap_or_default();
        ensure!(status.is_success(), "ClickHouse answered {status} to\n{query}\n{text}");
        Ok(parse(&text)?["data"].as_array().cloned().unwrap_or_default())
    }

    /// Runs a statement in ClickHouse that changes something.
    pub async fn change_clickhouse(&self, statement: &str) -> Result<()> {
        let request = self.http.post(self.stack.clickhouse_url()).timeout(Duration::from_secs(60));
        let answer = request.body(statement.to_owned()).send().await.context("ask ClickHouse")?;
        let status = answer.status();
        let text = answer.text().await.unwrap_or_default();
        ensure!(status.is_success(), "ClickHouse answered {status} to\n{statement}\n{text}");
        Ok(())
    }

    /// Quantity (as text without needless zeros) and event count of a tenant's meter, all hours.
    pub async fn usage(&self, tenant: &str, meter: &str) -> Result<(String, i64)> {
        let query = "SELECT trim_scale(coalesce(sum(quantity), 0))::text, \
                     coalesce(sum(event_count), 0)::bigint FROM usage WHERE tenant = $1 AND meter = $2";
        sqlx::query_as(query).bind(tenant).bind(meter).fetch_one(&self.ledger).await.context("read usage")
    }

    /// Waits until a tenant's meter holds exactly this. More than expected fails at once.
    pub async fn expect_usage(&self, tenant: &str, meter: &str, quantity: &str, events: i64) -> Result<()> {
        let mut last = None;
        let wanted = (quantity.to_owned(), events);
        let what = format!("{tenant}/{meter} to be {quantity} of {events} events");
        let done = wait::until(&what, wait::PATIENCE, || async {
            let found = self.usage(tenant, meter).await?;
            Ok((found == wanted || found.1 > events).then_some(found))
        })
        .await;
        match done {
            Ok(found) => last.replace(found),
            Err(error) => {
                let found = self.usage(tenant, meter).await;
                anyhow::bail!("{error:#}; it is {found:?}\n{}", self.serving.tail());
            }
        };
        ensure!(last == Some(wanted.clone()), "{tenant}/{meter} is {last:?}, not {wanted:?}");
        Ok(())
    }

    /// The counts of all batches: read, accepted, duplicate, rejected, forwarded, control.
    pub async fn conservation(&self) -> Result<[i64; 6]> {
        let query = "SELECT coalesce(sum(read_count), 0)::bigint, coalesce(sum(accepted_count), 0)::bigint, \
                     coalesce(sum(duplicate_count), 0)::bigint, coalesce(sum(rejected_count), 0)::bigint, \
                     coalesce(sum(forwarded_count), 0)::bigint, coalesce(sum(control_count), 0)::bigint \
                     FROM batch";
        let (read, accepted, duplicate, rejected, forwarded, control): (i64, i64, i64, i64, i64, i64) =
            sqlx::query_as(query).fetch_one(&self.ledger).await.context("read the batches")?;
        Ok([read, accepted, duplicate, rejected, forwarded, control])
    }

    /// `weir ledger check`, which must find everything in order. The projection may still be on
    /// its way, so that it is asked until then.
    pub async fn expect_sound_ledger(&self) -> Result<()> {
        wait::until("weir ledger check to end with 0", wait::PATIENCE, || async {
            tokio::task::block_in_place(|| self.settings.succeed(&["ledger", "check"])).map(Some)
        })
        .await?;
        Ok(())
    }

    /// The text of `/metrics`.
    pub async fn metrics(&self) -> Result<String> {
        let url = format!("{}/metrics", self.settings.admin());
        let answer = self.http.get(url).send().await.context("read /metrics")?;
        answer.error_for_status().context("read /metrics")?.text().await.context("read /metrics")
    }

    /// Creates a tenant and returns its id.
    pub async fn create_tenant(&self, name: &str, plan: &str) -> Result<String> {
        let body = serde_json::json!({
            "name": name,
            "domain": format!("{name}.example.com"),
            "plan": plan,
            "adminEmail": format!("admin@{name}.example.com"),
        });
        let made = self.send(reqwest::Method::POST, "/api/v1/platform/tenants", &body).await?;
        made["id"].as_str().map(str::to_owned).with_context(|| format!("no id in {made}"))
    }

    /// Creates a tenant whose first billing period began in the past, through the command line.
    pub fn create_tenant_since(&self, id: &str, plan: &str, zone: &str, anchor: &str) -> Result<()> {
        let domain = format!("{id}.example.com");
        let email = format!("admin@{domain}");
        let arguments = [
            "tenant",
            "create",
            "--id",
            id,
            "--name",
            id,
            "--domain",
            &domain,
            "--plan",
            plan,
            "--admin-email",
            &email,
            "--timezone",
            zone,
            "--anchor",
            anchor,
        ];
        self.settings.succeed(&arguments).map(drop)
    }
}

fn parse(text: &str) -> Result<Value> {
    serde_json::from_str(text).with_context(|| format!("this is not JSON: {text}"))
}
