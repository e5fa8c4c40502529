//! What applying a catalogue file would change, or why it cannot be applied.
//!
//! Versions are published once: the file may repeat them as they are and add the next
//! one. A version after the first begins no earlier than now, plus the bound for future
//! events, plus a margin, so that no event it applies to has been counted yet. A first
//! version may begin in the past or from the beginning; whether something that it applies
//! to was counted already, only the ledger can say. Nothing is ever deleted: what the file
//! leaves out stays as it is, and is noted.

use std::collections::BTreeMap;
use std::fmt;

use weir_billing::{LegalEntity, PlanVersion};
use weir_core::Timestamp;
use weir_metering::meter::Meter;

use super::{Catalog, CatalogFile, Place, Reason, Refusal};

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
    changes.extend(meters(current, file, earliest, &mut refusals));
    changes.extend(plans(current, file, earliest, &mut refusals));
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

fn meters(
    current: &Catalog,
    file: &CatalogFile,
    earliest: Timestamp,
    refusals: &mut Vec<Refusal>,
) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut newest: BTreeMap<&str, &Meter> = BTreeMap::new();
    for meter in &current.meters {
        let known = newest.entry(meter.key.as_str()).or_insert(meter);
        if meter.version > known.version {
            *known = meter;
        }
    }
    for (meter, place) in
        by_version(&file.catalog.meters, &file.meter_places, |m| (m.key.as_str(), m.version))
    {
        let key = meter.key.as_str();
        let published = current.meters.iter().find(|m| m.key == meter.key && m.version == meter.version);
        let before = newest.get(key).copied();
        let version = NewVersion {
            what: "meter",
            key,
            version: meter.version,
            begins_at: meter.begins_at,
            newest: before.map_or(0, |m| m.version),
            newest_begins_at: before.and_then(|m| m.begins_at),
            earliest,
        };
        let reason = match published {
            Some(published) if published == meter => continue,
            Some(_) => Some(version.changed()),
            None => version.refusal().or_else(|| before.and_then(|before| other_meaning(before, meter))),
        };
        if let Some(reason) = reason {
            refusals.push(Refusal { place: *place, reason });
            continue;
        }
        newest.insert(key, meter);
        changes.push(Change::AddMeter(meter.clone()));
    }
    changes
}

fn plans(
    current: &Catalog,
    file: &CatalogFile,
    earliest: Timestamp,
    refusals: &mut Vec<Refusal>,
) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut newest: BTreeMap<&str, &PlanVersion> = BTreeMap::new();
    for plan in &current.plans {
        let known = newest.entry(plan.key.as_str()).or_insert(plan);
        if plan.version > known.version {
            *known = plan;
        }
    }
    for (plan, place) in by_version(&file.catalog.plans, &file.plan_places, |p| (p.key.as_str(), p.version)) {
        let key = plan.key.as_str();
        let published = current.plans.iter().find(|p| p.key == plan.key && p.version == plan.version);
        let before = newest.get(key).copied();
        let version = NewVersion {
            what: "plan",
            key,
            version: plan.version,
            begins_at: plan.begins_at,
            newest: before.map_or(0, |p| p.version),
            newest_begins_at: before.and_then(|p| p.begins_at),
            earliest,
        };
        let reason = match published {
            Some(published) if published == plan => continue,
            Some(_) => Some(version.changed()),
            None => version.refusal(),
        };
        if let Some(reason) = reason {
            let place = place.of_reason(&reason);
            refusals.push(Refusal { place, reason });
            continue;
        }
        newest.insert(key, plan);
        changes.push(Change::AddPlan(plan.clone()));
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

fn other_meaning(before: &Meter, meter: &Meter) -> Option<Reason> {
    let changed = [
        ("aggregation", before.aggregation != meter.aggregation),
        ("event_type", before.event_type != meter.event_type),
        ("unit", before.unit != meter.unit),
    ];
    let (field, _) = changed.into_iter().find(|(_, differs)| *differs)?;
    Some(Reason::MeaningChanged { key: meter.key.to_string(), field })
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

impl super::PlanPlace {
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
