//! Those who receive webhooks, at one address for each endpoint: they take a message, refuse it,
//! take it and say that they did not, or are gone for good.

use std::collections::{BTreeMap, BTreeSet};

use weir_pipeline::world::Answered;

use super::Servers;
use super::outbox::url_of;
use crate::chance::Chance;
use crate::mutation::Mutation;

/// What a receiver has heard under one id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    /// What it took.
    pub(crate) bodies: BTreeSet<Vec<u8>>,
    /// How often it was asked.
    pub(crate) asked: u64,
}

/// A receiver.
#[derive(Clone, Debug, Default)]
pub(crate) struct Receiver {
    /// By the message's id.
    pub(crate) heard: BTreeMap<String, Heard>,
    /// It has answered 410, and always will.
    pub(crate) gone: bool,
}

/// All receivers, and how they behave.
#[derive(Clone, Debug)]
pub(crate) struct Receivers {
    /// By endpoint.
    pub(crate) all: Vec<Receiver>,
    chance: Chance,
    /// In how many of a thousand requests: refuses, takes it and refuses, is gone.
    rates: [u64; 3],
    /// Nothing goes wrong any more.
    pub(crate) well: bool,
}

impl Receivers {
    pub(crate) fn new(count: usize, mut chance: Chance) -> Self {
        let mut rate = |most: u64| if chance.per_mille(600) { chance.below(most) } else { 0 };
        let rates = [rate(400), rate(150), rate(30)];
        Self { all: vec![Receiver::default(); count], chance, rates, well: false }
    }

    fn answer(&mut self, endpoint: usize, id: &str, body: Vec<u8>) -> Answered {
        let roll = if self.well { 1_000 } else { self.chance.below(1_000) };
        let [refuses, takes, goes] = self.rates;
        let Some(receiver) = self.all.get_mut(endpoint) else {
            return Answered { status: 404, retry_after_s: None };
        };
        let heard = receiver.heard.entry(id.to_owned()).or_default();
        heard.asked += 1;
        receiver.gone |= (refuses + takes..refuses + takes + goes).contains(&roll);
        if receiver.gone {
            return Answered { status: 410, retry_after_s: None };
        }
        if roll >= refuses {
            heard.bodies.insert(body);
        }
        if roll >= refuses + takes {
            return Answered { status: 200, retry_after_s: None };
        }
        let status = *self.chance.pick(&[500, 503, 429, 404, 302]);
        let retry_after_s = (status == 429).then(|| self.chance.between(-5, 2_000));
        Answered { status, retry_after_s }
    }
}

impl Servers {
    /// A webhook reaches whoever listens at its address.
    pub(crate) fn post(&mut self, url: &str, id: &str, body: Vec<u8>) -> Answered {
        let endpoint = (0..self.receivers.all.len()).find(|endpoint| url_of(*endpoint) == url);
        let endpoint = endpoint.unwrap_or(usize::MAX);
        let mut id = id.to_owned();
        if self.mistaken(Mutation::IdOfAttempt) {
            let before = self.receivers.all.get(endpoint).map(|receiver| &receiver.heard);
            let asked = before.and_then(|heard| heard.get(&id)).map_or(0, |heard| heard.asked);
            if asked > 0 {
                id = format!("{id}-{asked}");
            }
        }
        self.receivers.answer(endpoint, &id, body)
    }
}
