//! Delivery of the outbox: signed webhooks, the alerts topic, control records, invoice
//! numbers. At least once, under one id, with a schedule that spans three days.
//! What is told was decided elsewhere, in the transaction that wrote the row.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use weir_backends::StoreError;
use weir_backends::config::KafkaConfig;
use weir_backends::journal::{OutgoingRecord, Producer};
use weir_backends::outbox::{Attempt, DueMessage, Lane, OutboxKind};
use weir_backends::postgres::Pool;
use weir_wire::alert::WebhookEvent;
use weir_wire::usage_record::{CONTROL_ADJUSTMENT, CONTROL_LIMITS, HEADER_CONTROL};

use crate::clock::Clock;
use crate::world::{
    HttpReceivers, JournalWriter, Letter, Outbox, PostgresLedger, Receivers, Runtime, Servers, Stopped,
    Tasks, TokioRuntime, Unsendable, World,
};

/// When a webhook that failed is tried again: Standard Webhooks' schedule, about three days.
const RETRY_AFTER_S: [i64; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];
/// How often the outbox is looked at when it was empty.
const IDLE: Duration = Duration::from_millis(100);
/// Messages of a lane that are delivered side by side.
const UNDER_WAY_MAX: usize = 64;
/// How often waiting messages are counted.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// What delivery needs.
pub struct Delivery<W: World> {
    /// Messages that wait.
    pub outbox: W::Outbox,
    /// For topics.
    pub writer: W::Writer,
    /// For webhooks.
    pub receivers: W::Receivers,
    /// Time and tasks.
    pub runtime: W::Runtime,
    /// Names of the topics.
    pub kafka: KafkaConfig,
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

impl Delivery<Servers> {
    /// Delivery in the world of the product. `allow_private`: whether webhooks may go to
    /// private addresses.
    pub fn of_servers(
        pool: Pool,
        producer: Producer,
        kafka: KafkaConfig,
        allow_private: bool,
        metrics: Arc<OutboxMetrics>,
    ) -> Self {
        Self {
            outbox: PostgresLedger::new(pool),
            writer: producer,
            receivers: HttpReceivers { allow_private },
            runtime: TokioRuntime::new(Clock::default()),
            kafka,
            metrics,
        }
    }
}

impl<W: World> Delivery<W> {
    /// Delivers until told to stop. Errors of the stores are logged and tried again.
    pub async fn run(self, stop: CancellationToken) {
        let delivery = Arc::new(self);
        tokio::join!(
            Arc::clone(&delivery).run_lane(Lane::Topics, &stop),
            Arc::clone(&delivery).run_lane(Lane::Webhooks, &stop),
            delivery.count(&stop),
        );
    }

    /// Delivers the messages of one lane until told to stop.
    pub async fn run_lane(self: Arc<Self>, lane: Lane, stop: &CancellationToken) {
        let mut under_way = UnderWay { tasks: self.runtime.tasks(), count: 0 };
        while !stop.is_cancelled() {
            let found = match self.begin_due(lane, &mut under_way).await {
                Ok(found) => found,
                Err(error) => {
                    tracing::warn!(%error, "the outbox cannot be read for now");
                    0
                }
            };
            under_way.take_ended().await;
            if found == 0 {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => {}
                    () = under_way.one_ends(), if under_way.count >= UNDER_WAY_MAX => {}
                    () = self.runtime.sleep(IDLE) => {}
                }
            }
        }
        while under_way.count > 0 {
            under_way.one_ends().await;
        }
    }

    /// Begins to deliver what is due now, as far as there is room; how many messages that were.
    async fn begin_due(
        self: &Arc<Self>,
        lane: Lane,
        under_way: &mut UnderWay<<W::Runtime as Runtime>::Tasks>,
    ) -> Result<usize, StoreError> {
        let room = i64::try_from(UNDER_WAY_MAX.saturating_sub(under_way.count)).unwrap_or(0);
        if room == 0 {
            return Ok(0);
        }
        let due = self.outbox.claim(lane, room).await?;
        let found = due.len();
        for message in due {
            let delivery = Arc::clone(self);
            under_way.begin(async move { delivery.deliver(&message).await });
        }
        Ok(found)
    }

    async fn deliver(&self, due: &DueMessage) {
        let attempt = self.attempt(due).await;
        self.metrics.attempted(due, &attempt);
        if let Err(error) = self.outbox.settle(due, &attempt).await {
            tracing::warn!(%error, "a message may be delivered once more");
        }
    }

    /// Keeps the gauge of waiting messages up to date.
    async fn count(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            // A ledger that is away is told of by those who deliver.
            for (kind, count) in self.outbox.pending().await.unwrap_or_default() {
                self.metrics.pending.with_label_values(&[kind.as_str()]).set(count);
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = self.runtime.sleep(COUNT_EVERY) => {}
            }
        }
    }

    async fn attempt(&self, due: &DueMessage) -> Attempt {
        if due.message.kind == OutboxKind::Webhook {
            return self.post(due).await;
        }
        match self.writer.send(self.record(due)).await {
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
            partition: due.home,
            key: due.message.topic_key.clone().map(String::into_bytes),
            value: Some(body_bytes(&due.message.body)),
            headers,
        }
    }

    async fn post(&self, due: &DueMessage) -> Attempt {
        let (Some(url), Some(secret)) = (due.url.clone(), due.secret.clone()) else {
            return Attempt::GivenUp("the webhook endpoint was removed or switched off".to_owned());
        };
        // One id for one event, whichever endpoint it goes to.
        let id = due.message.id.rsplit_once('.').map_or(due.message.id.as_str(), |(event, _)| event);
        let letter = Letter { url, secret, id: id.to_owned(), body: body_bytes(&due.message.body) };
        let answered = match self.receivers.post(letter).await {
            Ok(answered) => answered,
            Err(Unsendable::Never(why)) => return Attempt::GivenUp(why),
            Err(Unsendable::Now(why)) => return later(due, None, why),
        };
        match answered.status {
            200..=299 => Attempt::Delivered,
            410 => Attempt::EndpointGone("the receiver answered 410 Gone".to_owned()),
            status => {
                let named = reqwest::StatusCode::from_u16(status);
                let status = named.map_or_else(|_| status.to_string(), |named| named.to_string());
                later(due, answered.retry_after_s, format!("the receiver answered {status}"))
            }
        }
    }
}

fn later(due: &DueMessage, asked_s: Option<i64>, why: String) -> Attempt {
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

/// Deliveries of a lane that are under way.
struct UnderWay<T> {
    tasks: T,
    /// Begun, and not yet heard of.
    count: usize,
}

impl<T: Tasks> UnderWay<T> {
    fn begin(&mut self, delivery: impl Future<Output = ()> + Send + 'static) {
        self.count += 1;
        self.tasks.spawn(delivery);
    }

    /// Waits until one has ended.
    async fn one_ends(&mut self) {
        let ended = self.tasks.join_next().await;
        self.count = self.count.saturating_sub(1);
        if let Some(Err(Stopped(error))) = ended {
            tracing::error!(error, "a delivery stopped");
        }
    }

    /// Takes note of those that have ended.
    async fn take_ended(&mut self) {
        let mut more = true;
        while more && self.count > 0 {
            tokio::select! {
                biased;
                () = self.one_ends() => {}
                () = std::future::ready(()) => more = false,
            }
        }
    }
}

/// The bytes of a message: events in their own order of members, anything else as it is.
fn body_bytes(body: &Value) -> Vec<u8> {
    serde_json::from_value::<WebhookEvent>(body.clone())
        .map_or_else(|_| body.to_string().into_bytes(), |event| event.to_bytes())
}
