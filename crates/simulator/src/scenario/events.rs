//! Events as producers write them: CloudEvents in JSON, made by hand so that what is sent
//! does not depend on the code that reads it.

use crate::chance::Chance;

use super::cast::{Cast, FUTURE_MS, WINDOW_MS};

/// When an event happened, as its producer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// It does not say.
    Unsaid,
    /// So many milliseconds before the broker has it; after, when below zero.
    Ago(i64),
}

/// An event to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The tenant's name.
    pub tenant: String,
    /// Its source.
    pub source: &'static str,
    /// Its id.
    pub id: String,
    /// Its type.
    pub event_type: &'static str,
    /// When it happened.
    pub happened: Happened,
    /// The members of `data`, each a JSON text.
    pub data: Vec<(&'static str, String)>,
}

const SOURCES: [&str; 2] = ["gateway", "edge"];
const REGIONS: [&str; 6] = ["eu", "us", "ap", "sa", "af", "me"];

impl Draft {
    /// Any event of a tenant.
    pub(crate) fn any(cast: &Cast, number: u64, chance: &mut Chance) -> Self {
        let tenant = match chance.below(40) {
            0 => "nobody".to_owned(),
            _ => chance.pick(&cast.tenants).name.clone(),
        };
        let event_type = *chance.pick(&["request", "request", "credit", "gauge"]);
        let data = match event_type {
            "request" => vec![
                ("bytes", quoted(&amount(chance, 0, 60))),
                ("region", quoted(chance.pick::<&str>(&REGIONS))),
                ("user", quoted(&format!("u{}", chance.below(6)))),
            ],
            "credit" => vec![("amount", quoted(&amount(chance, -40, 60)))],
            _ => vec![("level", amount(chance, -20, 50)), ("region", quoted(chance.pick::<&str>(&REGIONS)))],
        };
        let mut draft = Self {
            tenant,
            source: chance.pick::<&str>(&SOURCES),
            id: format!("e{number}"),
            event_type,
            happened: happened(chance),
            data,
        };
        if chance.per_mille(25) {
            draft.spoil(chance);
        }
        draft
    }

    /// Breaks one rule.
    fn spoil(&mut self, chance: &mut Chance) {
        match chance.below(4) {
            0 => self.id.clear(),
            1 => self.id.push('\u{1}'),
            2 => self.data.retain(|(name, _)| *name == "region"),
            _ => {
                if let Some((_, value)) = self.data.first_mut() {
                    *value = quoted("many");
                }
            }
        }
    }

    /// The record's value, when the broker's time is `broker_ms`.
    pub(crate) fn payload(&self, broker_ms: i64) -> Vec<u8> {
        let time = match self.happened {
            Happened::Unsaid => String::new(),
            Happened::Ago(ago_ms) => {
                format!(r#","time":"{}""#, weir_core::Timestamp::clamped(broker_ms - ago_ms))
            }
        };
        let data: Vec<String> =
            self.data.iter().map(|(name, value)| format!("{}:{value}", quoted(name))).collect();
        format!(
            r#"{{"specversion":"1.0","id":{},"source":"{}","type":"{}","subject":"{}"{time},"data":{{{}}}}}"#,
            quoted(&self.id),
            self.source,
            self.event_type,
            self.tenant,
            data.join(",")
        )
        .into_bytes()
    }
}

pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A decimal with up to two decimals.
fn amount(chance: &mut Chance, low: i64, high: i64) -> String {
    let whole = chance.between(low, high);
    match chance.below(3) {
        0 => format!("{whole}.{}", chance.between(1, 9)),
        _ => whole.to_string(),
    }
}

pub(crate) fn happened(chance: &mut Chance) -> Happened {
    let hour = weir_core::time::HOUR_MS;
    match chance.below(20) {
        0..=6 => Happened::Unsaid,
        7..=13 => Happened::Ago(chance.between(0, 2 * hour)),
        14..=15 => Happened::Ago(chance.between(0, WINDOW_MS)),
        16..=17 => Happened::Ago(WINDOW_MS - chance.between(-2 * hour, 2 * hour)),
        18 => Happened::Ago(-chance.between(0, FUTURE_MS)),
        _ => Happened::Ago(-FUTURE_MS + chance.between(-2, 2)),
    }
}
