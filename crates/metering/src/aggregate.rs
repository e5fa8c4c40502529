//! Usage of one key in one hour, and how two parts of it become one. Merging is
//! associative and commutative, so neither the cuts of batches nor the order of folding
//! can be seen in a total (invariant 5). It knows of no limits and no periods.

use std::collections::{BTreeMap, BTreeSet};

use weir_core::digest::Digest;
use weir_core::{Hash128, HashKey, Quantity, TenantId, Timestamp};

use crate::measure::{MeasuredValue, Measurement};
use crate::meter::{Aggregation, MeterKey};

/// What usage is kept by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UsageKey {
    /// Whose usage.
    pub tenant: TenantId,
    /// Which meter.
    pub meter: MeterKey,
    /// Start of the hour (of the tenant's billing zone), as a UTC instant.
    pub hour: Timestamp,
    /// The dimension values: canonical JSON, an object of texts with sorted names; `{}` for
    /// none, `{"other":"true"}` past the bound on series.
    pub dimensions: String,
}

/// Usage of one key. Merging is associative, so any grouping gives the same. Counts have a
/// sign: an adjustment may take away what another batch, or none, has added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Aggregate {
    /// How many events.
    Count {
        /// Events.
        count: i64,
    },
    /// Their sum.
    Sum {
        /// Sum of the values.
        quantity: Quantity,
        /// Events.
        count: i64,
    },
    /// Their largest value.
    Max {
        /// Largest value.
        quantity: Quantity,
        /// Events.
        count: i64,
    },
    /// Their smallest value.
    Min {
        /// Smallest value.
        quantity: Quantity,
        /// Events.
        count: i64,
    },
    /// The latest value.
    Latest {
        /// Its event time.
        time: Timestamp,
        /// Its offset, which settles a tie of times.
        offset: i64,
        /// The value.
        quantity: Quantity,
        /// Events.
        count: i64,
    },
    /// The different values.
    Unique {
        /// Keyed hashes of the values.
        hashes: BTreeSet<Hash128>,
        /// Events.
        count: i64,
    },
}

/// Why two parts of usage cannot become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Overflow {
    /// The total would leave what the stores can keep.
    #[error("the total would leave the 38 digits that the stores keep")]
    OutOfRange,
    /// The parts were aggregated in different ways: a meter's aggregation was changed.
    #[error("usage aggregated in one way cannot be added to usage aggregated in another")]
    OtherAggregation,
}

impl Aggregate {
    /// The usage of one event. `offset` settles ties of `time` for `latest`; `key` hashes
    /// the text of `unique`.
    pub fn of(measurement: &Measurement<'_>, key: &HashKey, time: Timestamp, offset: i64) -> Self {
        Part::of(measurement, key, time, offset).alone()
    }

    /// Whether [`Aggregate::add`] would succeed.
    ///
    /// # Errors
    /// What it would fail with.
    pub(crate) fn check_add(&self, part: &Part) -> Result<(), Overflow> {
        match (self, part.aggregation) {
            (Self::Sum { quantity, .. }, Aggregation::Sum) => {
                quantity.checked_add(part.quantity).map(|_| ()).ok_or(Overflow::OutOfRange)?;
            }
            _ if self.aggregation() == part.aggregation => {}
            _ => return Err(Overflow::OtherAggregation),
        }
        self.count().checked_add(1).map(|_| ()).ok_or(Overflow::OutOfRange)
    }

    /// Adds one event: as [`Aggregate::merge`] with [`Part::alone`], without making one.
    ///
    /// # Errors
    /// [`Overflow`]; then nothing has changed.
    pub(crate) fn add(&mut self, part: &Part) -> Result<(), Overflow> {
        self.check_add(part)?;
        *self.count_mut() += 1;
        match self {
            Self::Count { .. } => {}
            Self::Sum { quantity, .. } => {
                *quantity = quantity.checked_add(part.quantity).ok_or(Overflow::OutOfRange)?;
            }
            Self::Max { quantity, .. } => *quantity = (*quantity).max(part.quantity),
            Self::Min { quantity, .. } => *quantity = (*quantity).min(part.quantity),
            Self::Latest { time, offset, quantity, .. } => {
                (*time, *offset, *quantity) =
                    (*time, *offset, *quantity).max((part.time, part.offset, part.quantity));
            }
            Self::Unique { hashes, .. } => {
                hashes.insert(part.hash);
            }
        }
        Ok(())
    }

    /// Whether [`Aggregate::merge`] would succeed.
    ///
    /// # Errors
    /// What it would fail with.
    pub fn check_merge(&self, other: &Self) -> Result<(), Overflow> {
        self.count().checked_add(other.count()).ok_or(Overflow::OutOfRange)?;
        match (self, other) {
            (Self::Sum { quantity, .. }, Self::Sum { quantity: more, .. }) => {
                quantity.checked_add(*more).map(|_| ()).ok_or(Overflow::OutOfRange)
            }
            (Self::Count { .. }, Self::Count { .. })
            | (Self::Max { .. }, Self::Max { .. })
            | (Self::Min { .. }, Self::Min { .. })
            | (Self::Latest { .. }, Self::Latest { .. })
            | (Self::Unique { .. }, Self::Unique { .. }) => Ok(()),
            _ => Err(Overflow::OtherAggregation),
        }
    }

    /// Adds the usage of other events.
    ///
    /// # Errors
    /// [`Overflow`]; then nothing has changed.
    pub fn merge(&mut self, other: Self) -> Result<(), Overflow> {
        self.check_merge(&other)?;
        let events = self.count() + other.count();
        match (&mut *self, other) {
            (Self::Sum { quantity, .. }, Self::Sum { quantity: more, .. }) => {
                *quantity = quantity.checked_add(more).ok_or(Overflow::OutOfRange)?;
            }
            (Self::Max { quantity, .. }, Self::Max { quantity: more, .. }) => {
                *quantity = (*quantity).max(more);
            }
            (Self::Min { quantity, .. }, Self::Min { quantity: more, .. }) => {
                *quantity = (*quantity).min(more);
            }
            (
                Self::Latest { time, offset, quantity, .. },
                Self::Latest { time: t, offset: o, quantity: q, .. },
            ) => {
                // Offsets of one partition differ; the quantity only makes the rule total.
                (*time, *offset, *quantity) = (*time, *offset, *quantity).max((t, o, q));
            }
            (Self::Unique { hashes, .. }, Self::Unique { hashes: more, .. }) => hashes.extend(more),
            _ => {}
        }
        *self.count_mut() = events;
        Ok(())
    }

    /// The usage as a number: units for `count` and `unique`.
    pub fn quantity(&self) -> Quantity {
        match self {
            Self::Count { count } => Quantity::from_units(*count),
            Self::Unique { hashes, .. } => {
                Quantity::from_units(i64::try_from(hashes.len()).unwrap_or(i64::MAX))
            }
            Self::Sum { quantity, .. }
            | Self::Max { quantity, .. }
            | Self::Min { quantity, .. }
            | Self::Latest { quantity, .. } => *quantity,
        }
    }

    /// How many events it is made of; below zero where more were taken out than added.
    pub fn count(&self) -> i64 {
        match self {
            Self::Count { count }
            | Self::Sum { count, .. }
            | Self::Max { count, .. }
            | Self::Min { count, .. }
            | Self::Latest { count, .. }
            | Self::Unique { count, .. } => *count,
        }
    }

    /// How it was aggregated.
    pub fn aggregation(&self) -> Aggregation {
        match self {
            Self::Count { .. } => Aggregation::Count,
            Self::Sum { .. } => Aggregation::Sum,
            Self::Max { .. } => Aggregation::Max,
            Self::Min { .. } => Aggregation::Min,
            Self::Latest { .. } => Aggregation::Latest,
            Self::Unique { .. } => Aggregation::Unique,
        }
    }

    fn count_mut(&mut self) -> &mut i64 {
        match self {
            Self::Count { count }
            | Self::Sum { count, .. }
            | Self::Max { count, .. }
            | Self::Min { count, .. }
            | Self::Latest { count, .. }
            | Self::Unique { count, .. } => count,
        }
    }
}

/// What one event adds to an aggregate. Fields that its aggregation does not use are zero.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    aggregation: Aggregation,
    quantity: Quantity,
    hash: Hash128,
    time: Timestamp,
    offset: i64,
}

impl Part {
    /// What a measured event adds.
    pub(crate) fn of(measurement: &Measurement<'_>, key: &HashKey, time: Timestamp, offset: i64) -> Self {
        let aggregation = measurement.meter.aggregation;
        let mut part = Self { aggregation, quantity: Quantity::ZERO, hash: Hash128::default(), time, offset };
        match measurement.value {
            MeasuredValue::Event => {}
            MeasuredValue::Text(text) => part.hash = unique_hash(key, text),
            MeasuredValue::Quantity(quantity) => part.quantity = quantity,
        }
        part
    }

    /// The usage of this event alone.
    pub(crate) fn alone(&self) -> Aggregate {
        let Self { quantity, time, offset, .. } = *self;
        match self.aggregation {
            Aggregation::Count => Aggregate::Count { count: 1 },
            Aggregation::Sum => Aggregate::Sum { quantity, count: 1 },
            Aggregation::Max => Aggregate::Max { quantity, count: 1 },
            Aggregation::Min => Aggregate::Min { quantity, count: 1 },
            Aggregation::Latest => Aggregate::Latest { time, offset, quantity, count: 1 },
            Aggregation::Unique => Aggregate::Unique { hashes: BTreeSet::from([self.hash]), count: 1 },
        }
    }
}

/// The hash under which `unique` keeps a value.
pub fn unique_hash(key: &HashKey, text: &str) -> Hash128 {
    Digest::new(key, "unique").field(text.as_bytes()).finish()
}

/// The usage of several batches together.
///
/// # Errors
/// [`Overflow`] of the first key that overflows.
pub fn join_deltas(
    batches: impl IntoIterator<Item = BTreeMap<UsageKey, Aggregate>>,
) -> Result<BTreeMap<UsageKey, Aggregate>, Overflow> {
    let mut all: Vec<_> = batches.into_iter().flatten().collect();
    // Each batch is in order already: a stable sort only merges them, and what has the same key
    // stays in the order of the batches.
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut joined: Vec<(UsageKey, Aggregate)> = Vec::with_capacity(all.len());
    for (key, delta) in all {
        match joined.last_mut() {
            Some((last, usage)) if *last == key => usage.merge(delta)?,
            _ => joined.push((key, delta)),
        }
    }
    Ok(joined.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn aggregate(aggregation: Aggregation) -> BoxedStrategy<Aggregate> {
        let quantity = (-50_i64..50).prop_map(Quantity::from_units);
        (quantity, 1_i64..9, 0_i64..5, 0_i64..5)
            .prop_map(move |(quantity, count, time, offset)| match aggregation {
                Aggregation::Count => Aggregate::Count { count },
                Aggregation::Sum => Aggregate::Sum { quantity, count },
                Aggregation::Max => Aggregate::Max { quantity, count },
                Aggregation::Min => Aggregate::Min { quantity, count },
                Aggregation::Latest => {
                    Aggregate::Latest { time: Timestamp::clamped(time), offset, quantity, count }
                }
                Aggregation::Unique => Aggregate::Unique {
                    hashes: (0..count).map(|n| Hash128(u128::from((n * time).unsigned_abs()))).collect(),
                    count,
                },
            })
            .boxed()
    }

    fn three() -> impl Strategy<Value = (Aggregate, Aggregate, Aggregate)> {
        use Aggregation::{Count, Latest, Max, Min, Sum, Unique};
        prop::sample::select(vec![Count, Sum, Max, Min, Latest, Unique])
            .prop_flat_map(|a| (aggregate(a), aggregate(a), aggregate(a)))
    }

    fn merged(mut a: Aggregate, b: &Aggregate) -> Aggregate {
        a.merge(b.clone()).unwrap();
        a
    }

    proptest! {
        #[test]
        fn merge_is_associative_and_commutative((a, b, c) in three()) {
            let left = merged(merged(a.clone(), &b), &c);
            let right = merged(a.clone(), &merged(b.clone(), &c));
            prop_assert_eq!(&left, &right);
            prop_assert_eq!(merged(a.clone(), &b), merged(b, &a));
        }
    }

    proptest! {
        #[test]
        fn adding_an_event_is_merging_with_it_alone(
            (usage, _, _) in three(), quantity in -60_i64..60, time in 0_i64..5, offset in 0_i64..5,
        ) {
            let (quantity, time) = (Quantity::from_units(quantity), Timestamp::clamped(time));
            let hash = Hash128(u128::from(offset.unsigned_abs()));
            let part = Part { aggregation: usage.aggregation(), quantity, hash, time, offset };
            let mut added = usage.clone();
            added.add(&part).unwrap();
            prop_assert_eq!(added, merged(usage, &part.alone()));
        }
    }

    fn any_key() -> impl Strategy<Value = UsageKey> {
        (0_usize..2, 0_usize..3, 0_i64..2).prop_map(|(tenant, meter, hour)| UsageKey {
            tenant: TenantId::new(["acme", "bolt"][tenant]).unwrap(),
            meter: MeterKey::new(["bytes", "calls", "seats"][meter]).unwrap(),
            hour: Timestamp::clamped(hour),
            dimensions: "{}".to_owned(),
        })
    }

    /// A meter aggregates in one way, in every batch.
    fn any_deltas() -> impl Strategy<Value = BTreeMap<UsageKey, Aggregate>> {
        let usage = any_key().prop_flat_map(|key| {
            let aggregation = match key.meter.as_str() {
                "bytes" => Aggregation::Sum,
                "calls" => Aggregation::Count,
                _ => Aggregation::Latest,
            };
            (Just(key), aggregate(aggregation))
        });
        proptest::collection::vec(usage, 0..8).prop_map(|usage| usage.into_iter().collect())
    }

    proptest! {
        /// Key by key what merging one after the other gives, and joining joins is joining all.
        #[test]
        fn joining_batches_merges_each_key(batches in proptest::collection::vec(any_deltas(), 0..6), at in 0_usize..6) {
            let mut expected: BTreeMap<UsageKey, Aggregate> = BTreeMap::new();
            for (key, usage) in batches.iter().flatten() {
                let sum = expected.remove(key).map_or_else(|| usage.clone(), |sum| merged(sum, usage));
                expected.insert(key.clone(), sum);
            }
            let joined = join_deltas(batches.clone()).unwrap();
            prop_assert_eq!(&joined, &expected);
            let (first, rest) = batches.split_at(at.min(batches.len()));
            let parts = [first, rest].map(|part| join_deltas(part.to_vec()).unwrap());
            prop_assert_eq!(join_deltas(parts), Ok(expected));
        }
    }

    #[test]
    fn batches_that_do_not_add_up_are_refused() {
        let key = UsageKey {
            tenant: TenantId::new("acme").unwrap(),
            meter: MeterKey::new("bytes").unwrap(),
            hour: Timestamp::EPOCH,
            dimensions: "{}".to_owned(),
        };
        let batch = |usage: Aggregate| BTreeMap::from([(key.clone(), usage)]);
        let sum = |quantity| batch(Aggregate::Sum { quantity, count: 1 });
        let most = Quantity::from_nanos(weir_core::quantity::TOTAL_NANOS_MAX).unwrap();
        assert_eq!(join_deltas([sum(most), sum(Quantity::from_units(1))]), Err(Overflow::OutOfRange));
        let count = batch(Aggregate::Count { count: 1 });
        assert_eq!(join_deltas([sum(Quantity::ZERO), count]), Err(Overflow::OtherAggregation));
    }

    #[test]
    fn overflow_changes_nothing() {
        let most = Quantity::from_nanos(weir_core::quantity::TOTAL_NANOS_MAX).unwrap();
        let mut total = Aggregate::Sum { quantity: most, count: 3 };
        let before = total.clone();
        let one = Aggregate::Sum { quantity: Quantity::from_units(1), count: 1 };
        assert_eq!(total.merge(one), Err(Overflow::OutOfRange));
        let (quantity, hash, time) = (Quantity::from_units(1), Hash128::default(), Timestamp::EPOCH);
        let part = Part { aggregation: Aggregation::Sum, quantity, hash, time, offset: 0 };
        assert_eq!(total.add(&part), Err(Overflow::OutOfRange));
        assert_eq!(
            total.add(&Part { aggregation: Aggregation::Count, ..part }),
            Err(Overflow::OtherAggregation)
        );
        assert_eq!(total.merge(Aggregate::Count { count: 1 }), Err(Overflow::OtherAggregation));
        assert_eq!(total, before);
    }
}
