//! A webhook receiver on this machine: keeps what arrives, with whether the signature was right.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;
use standardwebhooks::Webhook;
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// A message as it arrived.
#[derive(Clone, Debug)]
pub struct Message {
    /// `webhook-id`: the same for every delivery of one message.
    pub id: String,
    /// `webhook-signature`.
    pub signature: String,
    /// The body.
    pub body: Value,
}

/// The receiver. It stops when it is dropped.
#[derive(Debug)]
pub struct Receiver {
    inbox: Arc<Inbox>,
    url: String,
    server: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Inbox {
    secret: OnceLock<Webhook>,
    messages: Mutex<Vec<Message>>,
    refused: Mutex<Vec<String>>,
    arrived: Notify,
    before_answer: Mutex<Option<Deed>>,
}

/// What is done when a message has arrived, before it is answered.
type Deed = Box<dyn FnOnce() + Send>;

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox").field("messages", &self.messages).finish_non_exhaustive()
    }
}

impl Receiver {
    /// Listens on a free port of this machine.
    pub async fn listen() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("listen for webhooks")?;
        let url = format!("http://{}/webhook", listener.local_addr()?);
        let inbox = Arc::new(Inbox::default());
        let routes = Router::new().route("/webhook", post(receive)).with_state(Arc::clone(&inbox));
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, routes).await {
                eprintln!("the webhook receiver ended: {error}");
            }
        });
        Ok(Self { inbox, url, server })
    }

    /// Where to send webhooks.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Gives it the secret (`whsec_…`) that Weir made for this endpoint.
    pub fn trust(&self, secret: &str) -> Result<()> {
        let webhook = Webhook::new(secret).context("read the webhook's secret")?;
        self.inbox.secret.set(webhook).map_err(|_| anyhow::anyhow!("the receiver has a secret already"))
    }

    /// Does something, once, when the next message has arrived and before it is answered. It
    /// replaces a deed that has not been done yet.
    pub fn before_answer(&self, deed: impl FnOnce() + Send + 'static) {
        *self.inbox.before_answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(deed));
    }

    /// Whether a deed has not been done yet.
    pub fn is_armed(&self) -> bool {
        self.inbox.before_answer.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Takes back what has not been done yet.
    pub fn disarm(&self) {
        *self.inbox.before_answer.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Everything that arrived with a right signature so far.
    pub fn messages(&self) -> Vec<Message> {
        self.inbox.messages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fails when something arrived whose signature was wrong.
    pub fn check_refused(&self) -> Result<()> {
        let refused = self.inbox.refused.lock().unwrap_or_else(PoisonError::into_inner);
        match refused.first() {
            Some(why) => bail!("{} webhooks were refused, the first because {why}", refused.len()),
            None => Ok(()),
        }
    }

    /// Waits for a message that is `wanted`.
    pub async fn wait_for(&self, what: &str, wanted: impl Fn(&Message) -> bool) -> Result<Message> {
        let messages = self.wait_for_all(what, |messages| messages.iter().any(&wanted)).await?;
        messages.into_iter().find(&wanted).context("a message that was there is gone")
    }

    /// Waits until what arrived is `enough`, and returns all of it.
    pub async fn wait_for_all(
        &self,
        what: &str,
        enough: impl Fn(&[Message]) -> bool,
    ) -> Result<Vec<Message>> {
        const MAX: Duration = Duration::from_secs(20);
        let looking = async {
            loop {
                let arrived = self.inbox.arrived.notified();
                let messages = self.messages();
                if enough(&messages) {
                    return messages;
                }
                arrived.await;
            }
        };
        let found = tokio::time::timeout(MAX, looking).await;
        self.check_refused()?;
        let heard = self.messages().len();
        found.with_context(|| {
            format!("waited {} s for webhooks about {what}; {heard} others came", MAX.as_secs())
        })
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn receive(State(inbox): State<Arc<Inbox>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    match checked(&inbox, &headers, &body) {
        Ok(message) => {
            inbox.messages.lock().unwrap_or_else(PoisonError::into_inner).push(message);
            inbox.arrived.notify_waiters();
            let deed = inbox.before_answer.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(deed) = deed {
                deed();
            }
            StatusCode::NO_CONTENT
        }
        Err(error) => {
            inbox.refused.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{error:#}"));
            StatusCode::UNAUTHORIZED
        }
    }
}

fn checked(inbox: &Inbox, headers: &HeaderMap, body: &[u8]) -> Result<Message> {
    let webhook = inbox.secret.get().context("no secret is known yet")?;
    webhook.verify(body, headers).context("the signature is wrong")?;
    let header = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.map(str::to_owned).unwrap_or_default()
    };
    Ok(Message {
        id: header("webhook-id"),
        signature: header("webhook-signature"),
        body: serde_json::from_slice(body).context("the body is not JSON")?,
    })
}
