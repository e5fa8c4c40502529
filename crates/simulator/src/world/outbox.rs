//! The simulated outbox and the receivers of webhooks, called.

use weir_backends::StoreError;
use weir_backends::outbox::{Attempt, DueMessage, Lane, OutboxKind};
use weir_pipeline::world::{Answered, Letter, Outbox, Receivers, Unsendable};

use super::SimLedger;
use crate::servers::Servers;
use crate::stage::{Hand, Server};

impl Outbox for SimLedger {
    async fn claim(&self, lane: Lane, count: i64) -> Result<Vec<DueMessage>, StoreError> {
        let work = move |servers: &mut Servers| Ok(servers.claim(lane, count));
        self.ask("claim messages", || format!("{lane:?}"), work).await
    }

    async fn settle(&self, due: &DueMessage, attempt: &Attempt) -> Result<(), StoreError> {
        if matches!(attempt, Attempt::EndpointGone(_)) {
            let id = due.message.id.clone();
            let work = move |servers: &mut Servers| {
                servers.switch_endpoint_off(&id);
                Ok(())
            };
            self.ask("switch an endpoint off", String::new, work).await?;
        }
        let detail = || format!("{}: {attempt:?}", due.message.id);
        let (id, written_us, attempt) = (due.message.id.clone(), due.written_us, attempt.clone());
        let work = move |servers: &mut Servers| {
            servers.settle_message((&id, written_us), &attempt);
            Ok(())
        };
        self.ask("settle a message", detail, work).await
    }

    async fn pending(&self) -> Result<Vec<(OutboxKind, i64)>, StoreError> {
        self.ask("pending messages", String::new, |servers| Ok(servers.pending())).await
    }
}

/// The receivers in the hand of a process.
#[derive(Clone)]
pub(crate) struct SimReceivers(pub(crate) Hand);

impl Receivers for SimReceivers {
    async fn post(&self, letter: Letter) -> Result<Answered, Unsendable> {
        let detail = || format!("{} to {}", letter.id, letter.url);
        let detail = if self.0.stage.state().trace.is_told() { detail() } else { String::new() };
        let Letter { url, id, body, .. } = letter;
        let work = move |servers: &mut Servers| Ok(servers.post(&url, &id, body));
        let answered = self.0.call(Server::Receiver, "post", || detail, work).await;
        answered.map_err(|error| Unsendable::Now(error.to_string()))
    }
}
