//! Delivery of the outbox: signed webhooks, the alerts topic, control records, invoice
//! numbers. At least once, under one id, with a schedule that spans three days.
//! What is told was decided elsewhere, in the transaction that wrote the row.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};
use serde_json::Value;
use standardwebhooks::Webhook;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use weir_backends::StoreError;
use weir_backends::config::KafkaConfig;
use weir_backends::journal::{OutgoingRecord, Producer};
use weir_backends::outbox::{self, Attempt, DueMessage, Lane, OutboxKind};
use weir_backends::postgres::Pool;
use weir_backends::private_address::is_private;
use weir_wire::alert::WebhookEvent;
use weir_wire::usage_record::{CONTROL_ADJUSTMENT, CONTROL_LIMITS, HEADER_CONTROL};

/// When a webhook that failed is tried again: Standard Webhooks' schedule, about three days.
const RETRY_AFTER_S: [i64; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];
/// How long a receiver may take to answer.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(15);
/// How often the outbox is looked at when it was empty.
const IDLE: Duration = Duration::from_millis(100);
/// Messages of a lane that are delivered side by side.
const UNDER_WAY_MAX: usize = 64;
/// How often waiting messages are counted.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// What delivery needs.
pub struct Delivery {
    /// The ledger.
    pub pool: Pool,
    /// For topics.
    pub producer: Producer,
    /// Names of the topics.
    pub kafka: KafkaConfig,
    /// Whether webhooks may go to private addresses (development, or a private network).
    pub allow_private: bool,
    /// Counters.
    pub metrics: Arc<OutboxMetrics>,
}

/// Counters of the outbox.
#[derive(Debug)]
pub struct OutboxMetrics {
    pending: IntGaugeVec,
    delivered: IntCounterVec,
}

impl OutboxMetrics {
    /// Registers the counters.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let pending = IntGaugeVec::new(
            Opts::new("weir_outbox_pending", "Messages that wait for delivery."),
            &["kind"],
        )?;
        let delivered = IntCounterVec::new(
            Opts::new("weir_outbox_delivered_total", "Attempts at delivery, by how they ended."),
            &["kind", "result"],
        )?;
        registry.register(Box::new(pending.clone()))?;
        registry.register(Box::new(delivered.clone()))?;
        for kind in OutboxKind::ALL {
            pending.with_label_values(&[kind.as_str()]).set(0);
            delivered.with_label_values(&[kind.as_str(), "delivered"]).inc_by(0);
        }
        Ok(Self { pending, delivered })
    }

    fn attempted(&self, due: &DueMessage, attempt: &Attempt) {
        let kind = due.message.kind.as_str();
        let id = &due.message.id;
        let result = match attempt {
            Attempt::Delivered => {
                tracing::info!(id, kind, attempts = due.attempts + 1, "delivered");
                "delivered"
            }
            Attempt::RetryAfterMs(after_ms, why) => {
                tracing::warn!(id, kind, after_ms, why, "not delivered, will be tried again");
                "retry"
            }
            // The receiver's fault, and its loss: nobody here is woken.
            Attempt::GivenUp(why) | Attempt::EndpointGone(why) => {
                tracing::warn!(id, kind, why, "given up; see the outbox");
                "given_up"
            }
        };
        self.delivered.with_label_values(&[kind, result]).inc();
    }
}

impl Delivery {
    /// Delivers until told to stop. Errors of the stores are logged and tried again.
    pub async fn run(self, stop: CancellationToken) {
        let delivery = Arc::new(self);
        tokio::join!(
            delivery.run_lane(Lane::Topics, &stop),
            delivery.run_lane(Lane::Webhooks, &stop),
            delivery.count(&stop),
        );
    }

    async fn run_lane(self: &Arc<Self>, lane: Lane, stop: &CancellationToken) {
        let mut under_way = JoinSet::new();
        while !stop.is_cancelled() {
            let found = match self.begin_due(lane, &mut under_way).await {
                Ok(found) => found,
                Err(error) => {
                    tracing::warn!(%error, "the outbox cannot be read for now");
                    0
                }
            };
            while let Some(ended) = under_way.try_join_next() {
                settled(ended);
            }
            if found == 0 {
                tokio::select! {
                    () = stop.cancelled() => {}
                    Some(ended) = under_way.join_next(), if under_way.len() >= UNDER_WAY_MAX => settled(ended),
                    () = tokio::time::sleep(IDLE) => {}
                }
            }
        }
        while let Some(ended) = under_way.join_next().await {
            settled(ended);
        }
    }

    /// Begins to deliver what is due now, as far as there is room; how many messages that were.
    async fn begin_due(
        self: &Arc<Self>,
        lane: Lane,
        under_way: &mut JoinSet<Result<(), StoreError>>,
    ) -> Result<usize, StoreError> {
        let room = i64::try_from(UNDER_WAY_MAX.saturating_sub(under_way.len())).unwrap_or(0);
        if room == 0 {
            return Ok(0);
        }
        let due = outbox::claim(&self.pool, lane, room).await?;
        let found = due.len();
        for message in due {
            let delivery = Arc::clone(self);
            under_way.spawn(async move {
                let attempt = delivery.attempt(&message).await;
                delivery.metrics.attempted(&message, &attempt);
                outbox::settle(&delivery.pool, &message.message.id, &attempt).await
            });
        }
        Ok(found)
    }

    /// Keeps the gauge of waiting messages up to date.
    async fn count(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            // A ledger that is away is told of by those who deliver.
            for (kind, count) in outbox::pending(&self.pool).await.unwrap_or_default() {
                self.metrics.pending.with_label_values(&[kind.as_str()]).set(count);
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(COUNT_EVERY) => {}
            }
        }
    }

    async fn attempt(&self, due: &DueMessage) -> Attempt {
        if due.message.kind == OutboxKind::Webhook {
            return self.post(due).await;
        }
        match self.producer.send(self.record(due)).await {
            Ok(_) => Attempt::Delivered,
            Err(error) => Attempt::RetryAfterMs(2_000, error.to_string()),
        }
    }

    fn record(&self, due: &DueMessage) -> OutgoingRecord {
        let control = |kind: &str| vec![(HEADER_CONTROL.to_owned(), kind.into())];
        let (topic, headers) = match due.message.kind {
            OutboxKind::Control => (&self.kafka.usage_topic, control(CONTROL_LIMITS)),
            OutboxKind::Adjustment => (&self.kafka.usage_topic, control(CONTROL_ADJUSTMENT)),
            OutboxKind::InvoiceTopic => (&self.kafka.invoices_topic, Vec::new()),
            OutboxKind::AlertTopic | OutboxKind::Webhook => (
                &self.kafka.alerts_topic,
                vec![("webhook-id".to_owned(), due.message.id.clone().into_bytes())],
            ),
        };
        OutgoingRecord {
            topic: topic.clone(),
            partition: None,
            key: due.message.topic_key.clone().map(String::into_bytes),
            value: Some(body_bytes(&due.message.body)),
            headers,
        }
    }

    async fn post(&self, due: &DueMessage) -> Attempt {
        let (Some(url), Some(secret)) = (&due.url, &due.secret) else {
            return Attempt::GivenUp("the webhook endpoint was removed or switched off".to_owned());
        };
        // One id for one event, whichever endpoint it goes to.
        let id = due.message.id.rsplit_once('.').map_or(due.message.id.as_str(), |(event, _)| event);
        let body = body_bytes(&due.message.body);
        let sent = match self.send_signed(url, secret, id, &body).await {
            Ok(sent) => sent,
            Err(Unsendable::Never(why)) => return Attempt::GivenUp(why),
            Err(Unsendable::Now(why)) => return self.later(due, None, why),
        };
        let status = sent.status();
        let after =
            sent.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse::<i64>().ok());
        match status.as_u16() {
            200..=299 => Attempt::Delivered,
            410 => Attempt::EndpointGone("the receiver answered 410 Gone".to_owned()),
            _ => self.later(due, after, format!("the receiver answered {status}")),
        }
    }

    async fn send_signed(
        &self,
        url: &str,
        secret: &str,
        id: &str,
        body: &[u8],
    ) -> Result<reqwest::Response, Unsendable> {
        let never = |error: &dyn std::fmt::Display| Unsendable::Never(error.to_string());
        let now = chrono::Utc::now().timestamp();
        let signature = Webhook::new(secret)
            .and_then(|webhook| webhook.sign(id, now, body))
            .map_err(|error| never(&error))?;
        let url: reqwest::Url = url.parse().map_err(|error| never(&error))?;
        let client = self.client_for(&url).await?;
        let request = client
            .post(url)
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", now.to_string())
            .header("webhook-signature", signature)
            .body(body.to_vec());
        request.send().await.map_err(|error| Unsendable::Now(error.to_string()))
    }

    /// A client that follows no redirects and is pinned to the addresses that were looked at,
    /// so that a name cannot point elsewhere between the check and the connection.
    async fn client_for(&self, url: &reqwest::Url) -> Result<reqwest::Client, Unsendable> {
        let host = url.host_str().ok_or_else(|| Unsendable::Never("the URL names no host".to_owned()))?;
        let port = url.port_or_known_default().unwrap_or(443);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let found = tokio::time::timeout(WEBHOOK_TIMEOUT, tokio::net::lookup_host((bare, port))).await;
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
            .timeout(WEBHOOK_TIMEOUT)
            .user_agent(concat!("weir/", env!("CARGO_PKG_VERSION")))
            .resolve_to_addrs(host, &addresses)
            .build()
            .map_err(|error| Unsendable::Now(error.to_string()))
    }

    fn later(&self, due: &DueMessage, asked_s: Option<i64>, why: String) -> Attempt {
        let step = usize::try_from(due.attempts).unwrap_or(0);
        match RETRY_AFTER_S.get(step) {
            None => Attempt::GivenUp(format!("{why}; {} attempts", due.attempts + 1)),
            Some(after_s) => {
                let after_s = asked_s.unwrap_or(0).clamp(*after_s, 86_400);
                // Spread by up to a tenth, from the id, so that receivers are not hit all at once.
                let spread: i64 = due.message.id.bytes().map(i64::from).sum::<i64>() % 100;
                Attempt::RetryAfterMs(after_s * 1_000 + after_s * spread, why)
            }
        }
    }
}

fn settled(ended: Result<Result<(), StoreError>, JoinError>) {
    match ended {
        Ok(Err(error)) => tracing::warn!(%error, "a message may be delivered once more"),
        Err(error) => tracing::error!(%error, "a delivery stopped"),
        Ok(Ok(())) => {}
    }
}

enum Unsendable {
    Never(String),
    Now(String),
}

/// The bytes of a message: events in their own order of members, anything else as it is.
fn body_bytes(body: &Value) -> Vec<u8> {
    serde_json::from_value::<WebhookEvent>(body.clone())
        .map_or_else(|_| body.to_string().into_bytes(), |event| event.to_bytes())
}
