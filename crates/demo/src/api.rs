//! Weir's HTTP API, as a client without Weir's code knows it: JSON in, JSON out, words on failure.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

const TIMEOUT: Duration = Duration::from_secs(30);

/// A client with a key.
#[derive(Clone, Debug)]
pub struct Api {
    client: Client,
    /// `http://host:port`.
    pub base: String,
    key: String,
}

/// What became of a batch of events.
#[derive(Debug, Default)]
pub struct Taken {
    /// Index of each refused event, with the reason in words.
    pub refused: BTreeMap<usize, String>,
}

impl Api {
    /// A client of the API at `base` with an API key.
    pub fn new(base: &str, key: &str) -> Result<Self> {
        // The API is on this machine, or one that was named: proxies are not for it.
        let client = Client::builder().timeout(TIMEOUT).no_proxy().build().context("make an HTTP client")?;
        Ok(Self { client, base: base.to_owned(), key: key.to_owned() })
    }

    /// GET, as JSON.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.json(self.request(Method::GET, path), path).await.map(|(body, _)| body)
    }

    /// POST of JSON, answered with JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.json(self.request(Method::POST, path).json(body), path).await.map(|(body, _)| body)
    }

    /// DELETE, whatever the answer holds.
    pub async fn delete(&self, path: &str) -> Result<()> {
        let response = self.request(Method::DELETE, path).send().await;
        let response = response.with_context(|| format!("ask {}{path}", self.base))?;
        let status = response.status();
        if !status.is_success() {
            bail!("DELETE {path} was answered with {status}: {}", response.text().await.unwrap_or_default());
        }
        Ok(())
    }

    /// PUT of JSON over the version that is there now: its ETag is asked for first.
    pub async fn replace(&self, path: &str, body: &Value) -> Result<Value> {
        let (_, etag) = self.json(self.request(Method::GET, path), path).await?;
        let mut request = self.request(Method::PUT, path).json(body);
        if let Some(etag) = etag {
            request = request.header("if-match", etag);
        }
        self.json(request, path).await.map(|(body, _)| body)
    }

    /// Sends a batch of CloudEvents.
    pub async fn send_events(&self, events: &[Value]) -> Result<Taken> {
        let path = "/api/v1/events";
        let request = self
            .request(Method::POST, path)
            .header("content-type", "application/cloudevents-batch+json")
            .body(Value::from(events.to_vec()).to_string());
        let response = request.send().await.with_context(|| format!("POST {path}"))?;
        let status = response.status();
        let text = response.text().await.with_context(|| format!("read the answer of POST {path}"))?;
        match status {
            StatusCode::NO_CONTENT => Ok(Taken::default()),
            StatusCode::ACCEPTED | StatusCode::UNPROCESSABLE_ENTITY => refused(&text),
            _ => bail!("POST {path} was answered with {status}: {text}"),
        }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base)).bearer_auth(&self.key)
    }

    async fn json(&self, request: RequestBuilder, path: &str) -> Result<(Value, Option<String>)> {
        let response = request.send().await.with_context(|| format!("ask {}{path}", self.base))?;
        let status = response.status();
        let etag = response.headers().get("etag").and_then(|etag| etag.to_str().ok()).map(str::to_owned);
        let text = response.text().await.with_context(|| format!("read the answer of {path}"))?;
        if !status.is_success() {
            bail!("{path} was answered with {status}: {text}");
        }
        let body = if text.is_empty() { json!(null) } else { serde_json::from_str(&text)? };
        Ok((body, etag))
    }
}

fn refused(text: &str) -> Result<Taken> {
    let body: Value = serde_json::from_str(text).context("read what became of a batch")?;
    let Some(rejected) = body["rejected"].as_array() else {
        bail!("the answer to a batch names no rejected events: {text}");
    };
    let mut taken = Taken::default();
    for one in rejected {
        let index = one["index"].as_u64().and_then(|index| usize::try_from(index).ok());
        let index = index.with_context(|| format!("a rejected event has no index: {one}"))?;
        let problem = match &one["problem"] {
            Value::String(text) => text.clone(),
            other => other["detail"].as_str().or(other["title"].as_str()).unwrap_or_default().to_owned(),
        };
        taken.refused.insert(index, problem);
    }
    Ok(taken)
}
