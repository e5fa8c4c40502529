//! What applying a catalogue file would change, or why it cannot be applied.
//!
//! Versions are published once: the file may repeat them as they are and add the next
//! one. A version after the first begins no earlier than now, plus the bound for future
//! events, plus a margin, so that no event it applies to has been counted yet, and means the
//! same as the one before: a meter what it counts, a plan in which currency. A first
//! version may begin in the past or from the beginning; whether something that it applies
//! to was counted already, only the ledger can say. Nothing is ever deleted: what the file
//! leaves out stays as it is, and is noted.

use std::collections::BTreeMap;
use std::fmt;

use weir_billing::{LegalEntity, PlanVersion};
use weir_core::Timestamp;
use weir_metering::meter::Meter;

use super::{Catalog, CatalogFile, Place, PlanPlace, Reason, Refusal};

/// One thing that applying the file adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A legal entity.
    AddLegalEntity(LegalEntity),
    /// A version of a meter.
    AddMeter(Meter),
    /// A version of a plan.
    AddPlan(PlanVersion),
}

/// A published thing that the file leaves out; it stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Such as `plan pro v1`.
    pub what: String,
}

/// What applying a file does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CatalogDifference {
    /// In the order in which they must be applied: legal entities, meters, plans.
    pub changes: Vec<Change>,
    /// What stays although the file leaves it out.
    pub notes: Vec<Note>,
}

/// Compares a file with what is published. `future_bound_ms` is how far in the future an
/// event's time may lie, `margin_ms` what is added for safety.
pub fn difference(
    current: &Catalog,
    file: &CatalogFile,
    now: Timestamp,
    future_bound_ms: i64,
    margin_ms: i64,
) -> Result<CatalogDifference, Vec<Refusal>> {
    let earliest = now.plus_millis(future_bound_ms.saturating_add(margin_ms));
    let mut refusals = Vec::new();
    let mut changes = legal_entities(current, file, &mut refusals);
    let meters = (current.meters.as_slice(), file.catalog.meters.as_slice());
    changes.extend(versions(meters, &file.meter_places, earliest, |place, _| *place, &mut refusals));
    let plans = (current.plans.as_slice(), file.catalog.plans.as_slice());
    changes.extend(versions(plans, &file.plan_places, earliest, PlanPlace::of_reason, &mut refusals));
    if refusals.is_empty() {
        return Ok(CatalogDifference { changes, notes: notes(current, &file.catalog) });
    }
    refusals.sort_by_key(|refusal| refusal.place);
    Err(refusals)
}

fn legal_entities(current: &Catalog, file: &CatalogFile, refusals: &mut Vec<Refusal>) -> Vec<Change> {
    let mut changes = Vec::new();
    for (entity, place) in file.catalog.legal_entities.iter().zip(&file.legal_entity_places) {
        let mut refuse = |reason| refusals.push(Refusal { place: *place, reason });
        let published = current.legal_entities.iter().find(|e| e.key == entity.key);
        let prefix_taken = current.legal_entities.iter().any(|e| e.number_prefix == entity.number_prefix);
        match published {
            Some(published) if published == entity => {}
            Some(_) => refuse(Reason::EntityChanged(entity.key.to_string())),
            None if prefix_taken => refuse(Reason::PrefixTaken(entity.number_prefix.clone())),
            None => changes.push(Change::AddLegalEntity(entity.clone())),
        }
    }
    changes
}

/// What is published in versions: meters and plans.
trait Versioned: Clone + PartialEq {
    const WHAT: &'static str;
    fn key(&self) -> &str;
    fn version(&self) -> u32;
    fn begins_at(&self) -> Option<Timestamp>;
    /// What it says that no later version may say otherwise: field by field.
    fn meaning(&self) -> Vec<(&'static str, String)>;
    fn added(&self) -> Change;
}

impl Versioned for Meter {
    const WHAT: &'static str = "meter";

    fn key(&self) -> &str {
        self.key.as_str()
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn begins_at(&self) -> Option<Timestamp> {
        self.begins_at
    }

    fn meaning(&self) -> Vec<(&'static str, String)> {
        vec![
            ("aggregation", format!("{:?}", self.aggregation)),
            ("event_type", self.event_type.clone()),
            ("unit", self.unit.clone()),
        ]
    }

    fn added(&self) -> Change {
        Change::AddMeter(self.clone())
    }
}

impl Versioned for PlanVersion {
    const WHAT: &'static str = "plan";

    fn key(&self) -> &str {
        self.key.as_str()
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn begins_at(&self) -> Option<Timestamp> {
        self.begins_at
    }

    /// Tenants are billed in one currency for ever.
    fn meaning(&self) -> Vec<(&'static str, String)> {
        vec![("currency", self.currency.to_string())]
    }

    fn added(&self) -> Change {
        Change::AddPlan(self.clone())
    }
}

/// What is new of one kind; `place` says where a refusal stands.
fn versions<T: Versioned, P>(
    (current, file): (&[T], &[T]),
    places: &[P],
    earliest: Timestamp,
    place: impl Fn(&P, &Reason) -> Place,
    refusals: &mut Vec<Refusal>,
) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut newest: BTreeMap<&str, &T> = BTreeMap::new();
    for item in current {
        let known = newest.entry(item.key()).or_insert(item);
        if item.version() > known.version() {
            *known = item;
        }
    }
    for (item, at) in by_version(file, places, |item| (item.key(), item.version())) {
        let published = current.iter().find(|m| m.key() == item.key() && m.version() == item.version());
        let before = newest.get(item.key()).copied();
        let version = NewVersion {
            what: T::WHAT,
            key: item.key(),
            version: item.version(),
            begins_at: item.begins_at(),
            newest: before.map_or(0, T::version),
            newest_begins_at: before.and_then(T::begins_at),
            earliest,
        };
        let reason = match published {
            Some(published) if published == item => continue,
            Some(_) => Some(version.changed()),
            None => version.refusal().or_else(|| other_meaning(before?, item)),
        };
        if let Some(reason) = reason {
            refusals.push(Refusal { place: place(at, &reason), reason });
            continue;
        }
        newest.insert(item.key(), item);
        changes.push(item.added());
    }
    changes
}

/// Items with their places, so that version 2 comes after version 1 wherever they stand.
fn by_version<'a, T, P, K: Ord>(
    items: &'a [T],
    places: &'a [P],
    key: impl Fn(&'a T) -> K,
) -> Vec<(&'a T, &'a P)> {
    let mut sorted: Vec<_> = items.iter().zip(places).collect();
    sorted.sort_by_key(|(item, _)| key(item));
    sorted
}

/// A version of a meter or plan that the file has, beside the newest one known.
struct NewVersion<'a> {
    what: &'static str,
    key: &'a str,
    version: u32,
    begins_at: Option<Timestamp>,
    /// 0 when there is none.
    newest: u32,
    newest_begins_at: Option<Timestamp>,
    earliest: Timestamp,
}

impl NewVersion<'_> {
    fn changed(&self) -> Reason {
        let (key, next) = (self.key.to_owned(), self.newest + 1);
        Reason::VersionChanged { what: self.what, key, version: self.version, next }
    }

    fn refusal(&self) -> Option<Reason> {
        let (what, key, version) = (self.what, self.key.to_owned(), self.version);
        let next = self.newest + 1;
        if version != next {
            return Some(Reason::VersionGap { what, key, version, next });
        }
        if version == 1 {
            return None;
        }
        let after = self.newest_begins_at.map_or(self.earliest, |at| at.plus_millis(1).max(self.earliest));
        match self.begins_at {
            None => Some(Reason::NoBeginning { what, key, version, earliest: after }),
            Some(begins_at) if begins_at < after => {
                Some(Reason::BeginsTooEarly { what, key, version, begins_at, earliest: after })
            }
            Some(_) => None,
        }
    }
}

fn other_meaning<T: Versioned>(before: &T, item: &T) -> Option<Reason> {
    let meanings = before.meaning().into_iter().zip(item.meaning());
    let (field, _) = meanings.filter(|(before, now)| before != now).map(|(before, _)| before).next()?;
    Some(Reason::MeaningChanged { what: T::WHAT, key: item.key().to_owned(), field })
}

fn notes(current: &Catalog, file: &Catalog) -> Vec<Note> {
    let entities =
        current.legal_entities.iter().filter(|e| !file.legal_entities.iter().any(|f| f.key == e.key));
    let meters = current
        .meters
        .iter()
        .filter(|m| !file.meters.iter().any(|f| f.key == m.key && f.version == m.version));
    let plans =
        current.plans.iter().filter(|p| !file.plans.iter().any(|f| f.key == p.key && f.version == p.version));
    let entities = entities.map(|e| format!("legal entity {}", e.key));
    let meters = meters.map(|m| format!("meter {} v{}", m.key, m.version));
    let plans = plans.map(|p| format!("plan {} v{}", p.key, p.version));
    entities.chain(meters).chain(plans).map(|what| Note { what }).collect()
}

impl PlanPlace {
    fn of_reason(&self, reason: &Reason) -> Place {
        match reason {
            Reason::BeginsTooEarly { .. } => self.begins_at,
            Reason::VersionGap { .. } => self.version,
            _ => self.plan,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddLegalEntity(entity) => {
                write!(
                    f,
                    "+ legal entity {}: {}, invoices {}-000001…",
                    entity.key, entity.name, entity.number_prefix
                )
            }
            Self::AddMeter(meter) => {
                write!(
                    f,
                    "+ meter {} v{}: {} of {}",
                    meter.key, meter.version, meter.unit, meter.event_type
                )?;
                beginning(f, meter.begins_at)
            }
            Self::AddPlan(plan) => {
                write!(f, "+ plan {} v{}: {}", plan.key, plan.version, plan.currency)?;
                if let Some(fee) = plan.flat_fee {
                    write!(f, ", flat fee {fee}")?;
                }
                for price in &plan.prices {
                    write!(f, ", {} {}", price.meter, price.price.name())?;
                }
                beginning(f, plan.begins_at)
            }
        }
    }
}

fn beginning(f: &mut fmt::Formatter<'_>, begins_at: Option<Timestamp>) -> fmt::Result {
    match begins_at {
        Some(at) => write!(f, ", from {at}"),
        None => write!(f, ", from the beginning"),
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  {} is published and not in the file: unchanged", self.what)
    }
}
