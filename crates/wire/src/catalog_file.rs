//! The catalogue file: legal entities, meters and plans as people write them (TOML), and
//! what applying it would change.
//!
//! Amounts, quantities and times are texts in quotes, so that none passes through a
//! float. A plan may name only meters that the same file defines. What is wrong is said
//! with line, column and reason. What is published never changes (invariant 16): see
//! [`difference()`]. This file knows no ledger; it is given what the ledger holds.

mod difference;
mod prices;
mod refusal;

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use toml::Spanned;
use weir_billing::name::PlanKey;
use weir_billing::plan::PlanError;
use weir_billing::{LegalEntity, MeterName, MeterPrice, PlanVersion, PriceAmount};
use weir_core::{Currency, Timestamp};
use weir_metering::meter::Meter;

pub use difference::{CatalogDifference, Change, Note, difference};
pub use refusal::{Place, Reason, Refusal};

use prices::RawPrice;

/// Legal entities, meters and plans: all versions of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// Who issues invoices.
    pub legal_entities: Vec<LegalEntity>,
    /// What is counted.
    pub meters: Vec<Meter>,
    /// What it costs.
    pub plans: Vec<PlanVersion>,
}

/// A catalogue that was read from a file, and where in the file each part stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogFile {
    /// What the file says.
    pub catalog: Catalog,
    /// Where each legal entity begins, in the order of the catalogue.
    legal_entity_places: Vec<Place>,
    /// Where each meter begins.
    meter_places: Vec<Place>,
    /// Where each plan begins.
    plan_places: Vec<PlanPlace>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct PlanPlace {
    plan: Place,
    version: Place,
    flat_fee: Place,
    begins_at: Place,
    prices: Vec<Place>,
    /// Of each price, where its tiers begin.
    tiers: Vec<Vec<Place>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default, rename = "legal_entity")]
    legal_entities: Vec<Spanned<LegalEntity>>,
    #[serde(default, rename = "meter")]
    meters: Vec<Spanned<Meter>>,
    #[serde(default, rename = "plan")]
    plans: Vec<Spanned<RawPlan>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPlan {
    key: PlanKey,
    version: Spanned<u32>,
    name: String,
    currency: Currency,
    flat_fee: Option<Spanned<PriceAmount>>,
    begins_at: Option<Spanned<Timestamp>>,
    #[serde(default, rename = "price")]
    prices: Vec<Spanned<RawPrice>>,
}

/// Reads a catalogue file, or says everything that is wrong with it by itself (a text
/// that is not TOML of the right shape: the first thing only).
pub fn parse(text: &str) -> Result<CatalogFile, Vec<Refusal>> {
    let raw: RawFile = toml::from_str(text).map_err(|error| vec![refusal::syntax(text, &error)])?;
    let mut reader = Reader { text, units: BTreeMap::new(), refusals: Vec::new() };
    let (legal_entities, legal_entity_places) = reader.legal_entities(raw.legal_entities);
    let (meters, meter_places) = reader.meters(raw.meters);
    let (plans, plan_places) = reader.plans(raw.plans);
    let mut refusals = reader.refusals;
    if !refusals.is_empty() {
        refusals.sort_by_key(|refusal| refusal.place);
        return Err(refusals);
    }
    let catalog = Catalog { legal_entities, meters, plans };
    Ok(CatalogFile { catalog, legal_entity_places, meter_places, plan_places })
}

struct Reader<'a> {
    text: &'a str,
    /// The unit of each meter that the file defines.
    units: BTreeMap<MeterName, String>,
    refusals: Vec<Refusal>,
}

impl Reader<'_> {
    fn place<T>(&self, spanned: &Spanned<T>) -> Place {
        Place::of(self.text, spanned.span().start)
    }

    fn refuse(&mut self, place: Place, reason: Reason) {
        self.refusals.push(Refusal { place, reason });
    }

    fn legal_entities(&mut self, raw: Vec<Spanned<LegalEntity>>) -> (Vec<LegalEntity>, Vec<Place>) {
        let (mut keys, mut prefixes) = (BTreeSet::new(), BTreeSet::new());
        let mut places = Vec::new();
        let mut entities = Vec::new();
        for spanned in raw {
            let place = self.place(&spanned);
            let entity = spanned.into_inner();
            if !keys.insert(entity.key.clone()) {
                self.refuse(place, Reason::DefinedTwice(format!("legal entity {}", entity.key)));
            }
            if !prefixes.insert(entity.number_prefix.clone()) {
                self.refuse(place, Reason::PrefixTaken(entity.number_prefix.clone()));
            }
            if entity.name.is_empty() {
                self.refuse(place, Reason::Empty("name"));
            }
            if entity.country.len() != 2 || !entity.country.bytes().all(|b| b.is_ascii_uppercase()) {
                self.refuse(place, Reason::Country(entity.country.chars().take(32).collect()));
            }
            places.push(place);
            entities.push(entity);
        }
        (entities, places)
    }

    fn meters(&mut self, raw: Vec<Spanned<Meter>>) -> (Vec<Meter>, Vec<Place>) {
        let mut seen = BTreeSet::new();
        let (mut meters, mut places) = (Vec::new(), Vec::new());
        for spanned in raw {
            let place = self.place(&spanned);
            let meter = spanned.into_inner();
            if !seen.insert((meter.key.clone(), meter.version)) {
                let what = format!("version {} of meter {}", meter.version, meter.key);
                self.refuse(place, Reason::DefinedTwice(what));
            }
            if let Err(error) = meter.validate() {
                self.refuse(place, Reason::Meter(error));
            }
            if let Ok(name) = MeterName::new(meter.key.as_str()) {
                self.units.insert(name, meter.unit.clone());
            }
            meters.push(meter);
            places.push(place);
        }
        (meters, places)
    }

    fn plans(&mut self, raw: Vec<Spanned<RawPlan>>) -> (Vec<PlanVersion>, Vec<PlanPlace>) {
        let mut seen = BTreeSet::new();
        let (mut plans, mut places) = (Vec::new(), Vec::new());
        let known: BTreeSet<MeterName> = self.units.keys().cloned().collect();
        for spanned in raw {
            let begins = self.place(&spanned);
            let (plan, place) = self.plan(begins, spanned.into_inner());
            if !seen.insert((plan.key.clone(), plan.version)) {
                let what = format!("version {} of plan {}", plan.version, plan.key);
                self.refuse(place.plan, Reason::DefinedTwice(what));
            }
            if plan.name.is_empty() {
                self.refuse(place.plan, Reason::Empty("name"));
            }
            // Prices that could not be read are refused already; what they leave out says nothing.
            let whole = plan.prices.len() == place.prices.len();
            for error in plan.validate(&known).into_iter().filter(|_| whole) {
                self.refuse(place.of(&error), Reason::Plan(error));
            }
            plans.push(plan);
            places.push(place);
        }
        (plans, places)
    }

    fn plan(&mut self, plan: Place, raw: RawPlan) -> (PlanVersion, PlanPlace) {
        let mut place = PlanPlace {
            plan,
            version: self.place(&raw.version),
            flat_fee: raw.flat_fee.as_ref().map_or(plan, |fee| self.place(fee)),
            begins_at: raw.begins_at.as_ref().map_or(plan, |at| self.place(at)),
            prices: Vec::new(),
            tiers: Vec::new(),
        };
        let mut prices = Vec::new();
        for price in raw.prices {
            let at = self.place(&price);
            let price = price.into_inner();
            place.prices.push(at);
            place.tiers.push(price.tier_places(self.text));
            let unit = self.units.get(price.meter.get_ref()).cloned().unwrap_or_default();
            let meter = price.meter.get_ref().clone();
            let (description, included) = (price.description.clone(), price.included.unwrap_or_default());
            match price.model(at, self.text) {
                Ok(price) => prices.push(MeterPrice { meter, description, unit, included, price }),
                Err(refusal) => self.refusals.push(refusal),
            }
        }
        let version = PlanVersion {
            key: raw.key,
            version: raw.version.into_inner(),
            name: raw.name,
            currency: raw.currency,
            flat_fee: raw.flat_fee.map(Spanned::into_inner),
            prices,
            begins_at: raw.begins_at.map(Spanned::into_inner),
        };
        (version, place)
    }
}

impl PlanPlace {
    /// Where the thing stands that `error` is about.
    fn of(&self, error: &PlanError) -> Place {
        let price = |index: usize| self.prices.get(index).copied().unwrap_or(self.plan);
        match error {
            PlanError::VersionZero => self.version,
            PlanError::Empty => self.plan,
            PlanError::FlatFeeTooPrecise { .. } => self.flat_fee,
            PlanError::UnknownMeter { index, .. } | PlanError::PricedTwice { index, .. } => price(*index),
            PlanError::Price { index, error, .. } => error
                .tier()
                .and_then(|tier| self.tiers.get(*index)?.get(tier.checked_sub(1)?).copied())
                .unwrap_or_else(|| price(*index)),
        }
    }
}

#[cfg(test)]
mod tests;
