//! A house that serves: API, aggregator and delivery, a key that may do everything, and tenants
//! with limits, which are in force when it is ready.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weir_load::answers::quota_request;
use weir_load::connection::{Connection, Request};
use weir_load::kafka::ToKafka;
use weir_load::{meter_key, tenant_id};

use crate::house::House;
use crate::weir::Serving;

/// Far above what is ever sent, so that nobody is refused.
const LIMIT: &str = "1000000000000";
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);

/// A house, and the process that serves in it.
#[derive(Debug)]
pub(crate) struct OpenHouse {
    /// `weir serve`; it ends before its servers do.
    pub serving: Serving,
    /// The house.
    pub house: House,
    /// `host:port` of the API.
    pub address: String,
    /// A key that may do everything.
    pub key: String,
}

impl OpenHouse {
    /// Starts it.
    pub(crate) async fn open(house: House) -> Result<Self> {
        let key =
            house.weir.succeed(&["key", "create", "--name", "bench", "--platform", "--scope", "all"])?;
        let key = key.split_whitespace().find(|word| word.starts_with("weir_")).map(str::to_owned);
        let key = key.context("`weir key create` printed no key")?;
        let address = house.weir.api_address().to_owned();
        let serving = house.weir.serve("api,aggregator,delivery")?;
        let mut open = Self { serving, house, address, key };
        let began = Instant::now();
        while Connection::open(&open.address).is_err() {
            open.serving.check()?;
            ensure!(began.elapsed() < PATIENCE, "the API does not listen");
            tokio::time::sleep(POLL).await;
        }
        Ok(open)
    }

    /// Gives tenants a limit on the first meter, and waits until each is in force.
    pub(crate) async fn limit(&mut self, tenants: &[u32]) -> Result<()> {
        let authorization = format!("Bearer {}", self.key);
        let mut connection = Connection::open(&self.address).context("reach the API")?;
        for tenant in tenants {
            let path = format!("/api/v1/platform/tenants/{}/limits", tenant_id(*tenant));
            let body = format!("{{\"{}\":\"{LIMIT}\"}}", meter_key(0));
            let headers = [
                ("authorization", authorization.as_str()),
                ("if-match", "*"),
                ("content-type", "application/json"),
            ];
            let request = Request::new("PUT", &self.address, &path, &headers, &body);
            let (status, body) = connection.ask(&request).context("set a limit")?;
            ensure!(status == 200, "the limit was refused with {status}: {}", String::from_utf8_lossy(body));
        }
        let began = Instant::now();
        for tenant in tenants {
            let request = quota_request(&self.address, &self.key, *tenant, 0);
            while used(&mut connection, &request)?.is_none() {
                self.serving.check()?;
                ensure!(began.elapsed() < PATIENCE, "the limit of {} is not in force", tenant_id(*tenant));
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(())
    }

    /// Where load goes.
    pub(crate) fn to_kafka(&self, rate: Option<u32>) -> ToKafka {
        self.house.to_kafka(rate)
    }
}

/// What a quota answer says is used; `None` when there is no limit, or no level is known yet.
pub(crate) fn used(connection: &mut Connection, request: &Request) -> Result<Option<u64>> {
    let (status, body) = connection.ask(request).context("ask for a quota")?;
    if status == 503 {
        return Ok(None);
    }
    ensure!(status == 200, "a quota was answered with {status}: {}", String::from_utf8_lossy(body));
    let answer: Value = serde_json::from_slice(body).context("read a quota answer")?;
    let used = answer.get("used").and_then(Value::as_str);
    used.map(|used| used.parse().with_context(|| format!("{used} used, which is no whole number")))
        .transpose()
}
