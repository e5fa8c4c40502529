//! Adjustments: signed usage that someone decided, each a control record in its tenant's
//! partition. An entry names what it changes; a void carries the event that it takes out, so
//! that what it changes is measured as the event was. The lateness window does not apply to
//! them. They are Weir's own records: each is sealed with the installation's key, so that
//! nobody who can write to the topic can make one.
//!
//! Only `count` and `sum` can be adjusted: a value that has gone into a largest, smallest,
//! latest or different one cannot be taken out again. It counts nothing and knows no shard.

use std::collections::BTreeMap;

use weir_core::digest::Digest;
use weir_core::{Hash128, HashKey, HourAlignment, Position, Quantity, TenantId, Timestamp};

use crate::aggregate::{Aggregate, UsageKey};
use crate::catalogue::Catalogue;
use crate::event::{EventBuffer, InvalidEvent, UsageEvent, shown};
use crate::measure::{InvalidValue, MeasuredValue, dimensions_of};
use crate::meter::{Aggregation, Meter, MeterKey};

/// The longest id of an adjustment, in bytes.
pub const ID_BYTES_MAX: usize = 128;
/// The longest `who`, in bytes.
pub const WHO_BYTES_MAX: usize = 256;
/// The longest `why`, in bytes.
pub const WHY_BYTES_MAX: usize = 1024;
/// The most events that one entry may add or take away: as many records as a batch may have
/// of them still add up.
pub const EVENT_COUNT_MAX: i64 = 1_000_000_000_000;
/// What the ids of voids begin with, and no other adjustment's.
const VOID_ID: &str = "void-";

/// A change of usage that no event made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adjustment {
    /// Unique within the tenant, for ever: a second record with it changes nothing, even where
    /// its content is another one, and no letter says so. (A shard remembers ids, not seals;
    /// nobody can ask for another adjustment with an id unless the ledger has lost the first.)
    pub id: String,
    /// Whose usage.
    pub tenant: TenantId,
    /// Who decided it: the id of an API key, or a name.
    pub who: String,
    /// Why, in words.
    pub why: String,
    /// What.
    pub change: Change,
}

/// What an adjustment changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Usage is added, or taken away where it is below zero.
    Entry(Entry),
    /// An event that was counted is taken out.
    Void {
        /// Where the event stands.
        position: Position,
        /// The event as it was accepted; its time is the one that it was counted at.
        event: UsageEvent,
    },
}

/// Usage that is added to one meter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which meter.
    pub meter: MeterKey,
    /// Dimension values by name, sorted; those of the meter that are left out are empty.
    pub dimensions: Vec<(String, String)>,
    /// When the usage happened: picks the meter's version and the hour.
    pub at: Timestamp,
    /// How much.
    pub quantity: Quantity,
    /// From how many events; a `count` meter's quantity.
    pub event_count: i64,
}

/// Why an adjustment cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAdjustment {
    /// A text is empty, too long, or holds what no store should.
    #[error("{field} must have 1 to {bytes_max} bytes without control characters")]
    Text {
        /// Which.
        field: &'static str,
        /// The most that is taken.
        bytes_max: usize,
    },
    /// The id of a void follows from the event's position, and no other id looks like one.
    #[error("ids that begin with {VOID_ID} are those of voids: {VOID_ID}<generation>-<partition>-<offset>")]
    VoidId,
    /// It adds nothing.
    #[error("an adjustment of nothing changes nothing")]
    Nothing,
    /// More events than are taken at once.
    #[error("event_count must lie between -10^12 and 10^12")]
    EventCount,
    /// A quantity beyond what an event may carry.
    #[error("the quantity must lie between -10^15 and 10^15 units")]
    Quantity,
    /// An event that could not have been accepted.
    #[error("the event that is voided: {0}")]
    Event(InvalidEvent),
    /// The event that is voided is another tenant's.
    #[error("the event that is voided is another tenant's")]
    OtherTenant,
    /// The event that is voided has no time.
    #[error("the event that is voided must carry the time that it was counted at")]
    NoTime,
    /// No such meter, or none yet.
    #[error("no version of a meter {meter} had begun at {at}")]
    NoMeter {
        /// Which meter.
        meter: MeterKey,
        /// When.
        at: Timestamp,
    },
    /// The meter's usage is no sum.
    #[error(
        "meter {meter} keeps the {} value: only usage of count and sum meters can be taken out or added",
        named(*aggregation)
    )]
    NotAdditive {
        /// Which meter.
        meter: MeterKey,
        /// How it counts.
        aggregation: Aggregation,
    },
    /// A count is as large as its events are many.
    #[error("meter {0} counts events: its quantity must be whole and is the event_count")]
    Count(MeterKey),
    /// A dimension that the meter does not have.
    #[error("meter {meter} had no dimension {dimension:?} then")]
    Dimension {
        /// Which meter.
        meter: MeterKey,
        /// Its name, cut to 64 characters.
        dimension: String,
    },
    /// Dimension values, or the values of the event, that the meter cannot take.
    #[error(transparent)]
    Value(#[from] InvalidValue),
}

/// How an aggregation keeps one value out of many, for people.
fn named(aggregation: Aggregation) -> &'static str {
    match aggregation {
        Aggregation::Max => "largest",
        Aggregation::Min => "smallest",
        Aggregation::Latest => "latest",
        Aggregation::Unique => "different",
        Aggregation::Count | Aggregation::Sum => "added",
    }
}

/// The id of the adjustment that takes out the event at a position: one event, one id.
pub fn void_id(position: Position) -> String {
    let Position { generation, partition, offset } = position;
    format!("{VOID_ID}{generation}-{partition}-{offset}")
}

impl Adjustment {
    /// Whether it obeys every rule that needs no catalogue.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn validate(&self) -> Result<(), InvalidAdjustment> {
        let texts = [
            ("id", &self.id, ID_BYTES_MAX),
            ("who", &self.who, WHO_BYTES_MAX),
            ("why", &self.why, WHY_BYTES_MAX),
        ];
        for (field, text, bytes_max) in texts {
            if text.is_empty() || text.len() > bytes_max || text.chars().any(char::is_control) {
                return Err(InvalidAdjustment::Text { field, bytes_max });
            }
        }
        match &self.change {
            Change::Void { position, event } => {
                if self.id != void_id(*position) {
                    return Err(InvalidAdjustment::VoidId);
                }
                if event.tenant != self.tenant.as_str() {
                    return Err(InvalidAdjustment::OtherTenant);
                }
                crate::event::validate(event).map_err(InvalidAdjustment::Event)?;
                event.time.map(|_| ()).ok_or(InvalidAdjustment::NoTime)
            }
            Change::Entry(_) if self.id.starts_with(VOID_ID) => Err(InvalidAdjustment::VoidId),
            Change::Entry(entry) => entry.validate(),
        }
    }

    /// When what it changes happened.
    pub fn at(&self) -> Timestamp {
        match &self.change {
            Change::Entry(entry) => entry.at,
            Change::Void { event, .. } => event.time.unwrap_or_default(),
        }
    }

    /// What it adds to usage, before any bound on series: one key a meter. Empty for a void of
    /// an event that no meter took.
    ///
    /// # Errors
    /// The first thing that a meter cannot do.
    pub fn usage(
        &self,
        catalogue: &Catalogue,
        alignment: HourAlignment,
    ) -> Result<BTreeMap<UsageKey, Aggregate>, InvalidAdjustment> {
        let hour = alignment.hour_of(self.at());
        let key = |meter: &Meter, dimensions: String| UsageKey {
            tenant: self.tenant.clone(),
            meter: meter.key.clone(),
            hour,
            dimensions,
        };
        match &self.change {
            Change::Entry(entry) => {
                let meter = entry.meter_in(catalogue)?;
                let dimensions = entry.dimensions_on(meter)?;
                Ok(BTreeMap::from([(key(meter, dimensions), entry.aggregate(meter)?)]))
            }
            Change::Void { event, .. } => {
                let buffer = EventBuffer::of(event);
                let measured = catalogue.measure(buffer.get(0), self.at())?;
                let taken_out = measured.iter().map(|one| {
                    let usage = taken_out(one.meter, one.value)?;
                    Ok((key(one.meter, one.dimensions()), usage))
                });
                taken_out.collect()
            }
        }
    }

    /// Proof that Weir wrote it: a hash of all of it under the installation's key.
    pub fn seal(&self, key: &HashKey) -> Hash128 {
        let mut digest = Digest::new(key, "adjustment seal");
        for text in [&self.id, self.tenant.as_str(), &self.who, &self.why] {
            digest.field(text.as_bytes());
        }
        match &self.change {
            Change::Entry(Entry { meter, dimensions, at, quantity, event_count }) => {
                digest.field(b"entry").field(meter.as_str().as_bytes());
                seal_pairs(&mut digest, dimensions);
                digest.int(at.millis()).field(&quantity.nanos().to_le_bytes()).int(*event_count);
            }
            Change::Void { position, event } => {
                let Position { generation, partition, offset } = *position;
                digest.field(b"void").int(i64::from(generation)).int(i64::from(partition)).int(offset);
                for text in [&event.tenant, &event.source, &event.id, &event.event_type] {
                    digest.field(text.as_bytes());
                }
                digest.int(event.time.map_or(i64::MIN, Timestamp::millis));
                seal_pairs(&mut digest, &event.data);
            }
        }
        digest.finish()
    }

    /// What it is remembered by.
    pub(crate) fn identity(key: &HashKey, tenant: &TenantId, id: &str) -> Hash128 {
        Digest::new(key, "adjustment id").field(tenant.as_str().as_bytes()).field(id.as_bytes()).finish()
    }
}

fn seal_pairs(digest: &mut Digest, pairs: &[(String, String)]) {
    digest.int(i64::try_from(pairs.len()).unwrap_or(i64::MAX));
    for (name, value) in pairs {
        digest.field(name.as_bytes()).field(value.as_bytes());
    }
}

/// The usage of one event, taken away.
fn taken_out(meter: &Meter, value: MeasuredValue<'_>) -> Result<Aggregate, InvalidAdjustment> {
    match (meter.aggregation, value) {
        (Aggregation::Count, _) => Ok(Aggregate::Count { count: -1 }),
        (Aggregation::Sum, MeasuredValue::Quantity(quantity)) => {
            let quantity = Quantity::ZERO.checked_sub(quantity).ok_or(InvalidAdjustment::Quantity)?;
            Ok(Aggregate::Sum { quantity, count: -1 })
        }
        (aggregation, _) => Err(InvalidAdjustment::NotAdditive { meter: meter.key.clone(), aggregation }),
    }
}

impl Entry {
    /// From how many events a quantity is where nobody says: a `count` meter's are as many as
    /// the quantity says, others' none.
    pub fn events_unless_given(catalogue: &Catalogue, meter: &MeterKey, quantity: Quantity) -> i64 {
        let counts =
            catalogue.meters().any(|known| known.key == *meter && known.aggregation == Aggregation::Count);
        let units = quantity.nanos() / weir_core::quantity::NANOS_PER_UNIT;
        if counts { i64::try_from(units).unwrap_or(0) } else { 0 }
    }

    fn validate(&self) -> Result<(), InvalidAdjustment> {
        if self.quantity == Quantity::ZERO && self.event_count == 0 {
            return Err(InvalidAdjustment::Nothing);
        }
        if self.event_count.unsigned_abs() > EVENT_COUNT_MAX.unsigned_abs() {
            return Err(InvalidAdjustment::EventCount);
        }
        if self.quantity.nanos().unsigned_abs() > weir_core::quantity::EVENT_NANOS_MAX.unsigned_abs() {
            return Err(InvalidAdjustment::Quantity);
        }
        let sorted = self.dimensions.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let plain = |text: &String| !text.chars().any(char::is_control);
        let fitting = self.dimensions.iter().all(|(name, value)| plain(name) && plain(value));
        if sorted && fitting {
            return Ok(());
        }
        let bytes_max = crate::event::TEXT_BYTES_MAX;
        Err(InvalidAdjustment::Text { field: "a dimension (each once, sorted by name)", bytes_max })
    }

    fn meter_in<'a>(&self, catalogue: &'a Catalogue) -> Result<&'a Meter, InvalidAdjustment> {
        let none = || InvalidAdjustment::NoMeter { meter: self.meter.clone(), at: self.at };
        catalogue.meter_at(&self.meter, self.at).ok_or_else(none)
    }

    fn dimensions_on(&self, meter: &Meter) -> Result<String, InvalidAdjustment> {
        if let Some((name, _)) = self.dimensions.iter().find(|(name, _)| !meter.dimensions.contains(name)) {
            let dimension = shown(name);
            return Err(InvalidAdjustment::Dimension { meter: meter.key.clone(), dimension });
        }
        let value = |wanted: &str| {
            let found = self.dimensions.iter().find(|(name, _)| name == wanted);
            found.map_or("", |(_, value)| value.as_str())
        };
        Ok(dimensions_of(meter, value)?)
    }

    fn aggregate(&self, meter: &Meter) -> Result<Aggregate, InvalidAdjustment> {
        match meter.aggregation {
            Aggregation::Sum => Ok(Aggregate::Sum { quantity: self.quantity, count: self.event_count }),
            Aggregation::Count if self.quantity == Quantity::from_units(self.event_count) => {
                Ok(Aggregate::Count { count: self.event_count })
            }
            Aggregation::Count => Err(InvalidAdjustment::Count(meter.key.clone())),
            aggregation => Err(InvalidAdjustment::NotAdditive { meter: meter.key.clone(), aggregation }),
        }
    }
}
