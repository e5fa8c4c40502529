//! Webhooks over HTTP: signed by Standard Webhooks, to the address that was looked at and to
//! no private one, without redirects and proxies.

use std::net::SocketAddr;
use std::time::Duration;

use standardwebhooks::Webhook;
use weir_backends::private_address::is_private;

use super::{Answered, Letter, Receivers, Unsendable};

/// How long a receiver may take to answer.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Receivers that are reached over HTTP.
#[derive(Clone, Copy, Debug)]
pub struct HttpReceivers {
    /// Whether they may have private addresses (development, or a private network).
    pub allow_private: bool,
}

impl Receivers for HttpReceivers {
    async fn post(&self, letter: Letter) -> Result<Answered, Unsendable> {
        let never = |error: &dyn std::fmt::Display| Unsendable::Never(error.to_string());
        let Letter { url, secret, id, body } = letter;
        let now = chrono::Utc::now().timestamp();
        let signature = Webhook::new(&secret)
            .and_then(|webhook| webhook.sign(&id, now, &body))
            .map_err(|error| never(&error))?;
        let url: reqwest::Url = url.parse().map_err(|error| never(&error))?;
        let client = self.client_for(&url).await?;
        let request = client
            .post(url)
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", now.to_string())
            .header("webhook-signature", signature)
            .body(body);
        let answer = request.send().await.map_err(|error| Unsendable::Now(error.to_string()))?;
        let retry_after_s =
            answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(Answered { status: answer.status().as_u16(), retry_after_s })
    }
}

impl HttpReceivers {
    /// A client that follows no redirects and is pinned to the addresses that were looked at,
    /// so that a name cannot point elsewhere between the check and the connection.
    async fn client_for(self, url: &reqwest::Url) -> Result<reqwest::Client, Unsendable> {
        let host = url.host_str().ok_or_else(|| Unsendable::Never("the URL names no host".to_owned()))?;
        let port = url.port_or_known_default().unwrap_or(443);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let found = tokio::time::timeout(TIMEOUT, tokio::net::lookup_host((bare, port))).await;
        let found =
            found.map_err(|_| Unsendable::Now(format!("{host}: its address was not found in time")))?;
        let addresses: Vec<SocketAddr> =
            found.map_err(|error| Unsendable::Now(format!("{host}: {error}")))?.collect();
        if !self.allow_private && addresses.iter().any(|address| is_private(address.ip())) {
            return Err(Unsendable::Never(format!(
                "{host} is a private address; set allow_private_webhooks to allow it"
            )));
        }
        reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            // A proxy of the environment would look the name up again, and reach what it likes.
            .no_proxy()
            .timeout(TIMEOUT)
            .user_agent(concat!("weir/", env!("CARGO_PKG_VERSION")))
            .resolve_to_addrs(host, &addresses)
            .build()
            .map_err(|error| Unsendable::Now(error.to_string()))
    }
}
