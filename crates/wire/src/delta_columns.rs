//! The columns of a section of deltas: dictionaries of tenants, meters, hours and
//! dimensions, then one column a field, so that like stands beside like. Written from
//! entries in key order; reading checks every index and leaves nothing over.

use std::collections::BTreeSet;
use std::hash::Hash;

use foldhash::HashMap;
use weir_core::{Hash128, Quantity, TenantId, Timestamp};
use weir_metering::aggregate::{Aggregate, UsageKey};
use weir_metering::meter::MeterKey;

use crate::varint::{Cut, Reader, put, put_bytes, put_signed, put_size};

/// Added to a kind whose quantity is whole units: it is then written in units.
const WHOLE_UNITS: u8 = 0x10;
/// Added to a kind whose count lies below zero (adjustments took more away than there was): its
/// magnitude is written. Versions of Weir that do not know it refuse the blob.
const NEGATIVE_COUNT: u8 = 0x20;
/// Nano-units in a unit.
const NANOS: i128 = weir_core::quantity::NANOS_PER_UNIT;

/// About how many bytes an entry adds.
pub(crate) fn bytes_about((key, aggregate): &(&UsageKey, &Aggregate)) -> usize {
    let hashes = match aggregate {
        Aggregate::Unique { hashes, .. } => 16 * hashes.len(),
        _ => 0,
    };
    64 + key.dimensions.len() + hashes
}

/// Writes entries, which stand in key order.
pub(crate) fn write(entries: &[(&UsageKey, &Aggregate)]) -> Vec<u8> {
    let tenants = Dictionary::of(entries.iter().map(|(key, _)| key.tenant.as_str()));
    let meters = Dictionary::of(entries.iter().map(|(key, _)| key.meter.as_str()));
    let dimensions = Dictionary::of(entries.iter().map(|(key, _)| key.dimensions.as_str()));
    let hours = Dictionary::of(entries.iter().map(|(key, _)| key.hour.millis()));
    let mut out = Vec::new();
    for texts in [&tenants, &meters, &dimensions] {
        put_size(&mut out, texts.values.len());
        texts.values.iter().for_each(|text| put_bytes(&mut out, text.as_bytes()));
    }
    put_size(&mut out, hours.values.len());
    let mut before = 0;
    for hour in &hours.values {
        put_signed(&mut out, i128::from(*hour) - i128::from(before));
        before = *hour;
    }
    put_size(&mut out, entries.len());
    entries.iter().for_each(|(key, _)| put_size(&mut out, tenants.index(key.tenant.as_str())));
    entries.iter().for_each(|(key, _)| put_size(&mut out, meters.index(key.meter.as_str())));
    entries.iter().for_each(|(key, _)| put_size(&mut out, hours.index(key.hour.millis())));
    entries.iter().for_each(|(key, _)| put_size(&mut out, dimensions.index(key.dimensions.as_str())));
    entries.iter().for_each(|(_, aggregate)| out.push(kind_of(aggregate)));
    entries.iter().for_each(|(_, aggregate)| put(&mut out, u128::from(aggregate.count().unsigned_abs())));
    entries.iter().for_each(|(_, aggregate)| put_quantity(&mut out, aggregate));
    for (key, aggregate) in entries {
        if let Aggregate::Latest { time, offset, .. } = aggregate {
            put_signed(&mut out, i128::from(time.millis()) - i128::from(key.hour.millis()));
            put_signed(&mut out, i128::from(*offset));
        }
    }
    for (_, aggregate) in entries {
        if let Aggregate::Unique { hashes, .. } = aggregate {
            put_size(&mut out, hashes.len());
            hashes.iter().for_each(|hash| out.extend_from_slice(&hash.to_bytes()));
        }
    }
    out
}

/// Reads what [`write`] wrote.
pub(crate) fn read(bytes: &[u8]) -> Result<Vec<(UsageKey, Aggregate)>, Cut> {
    let mut reader = Reader(bytes);
    let tenants = texts(&mut reader, |text| TenantId::new(text).map_err(|_| Cut))?;
    let meters = texts(&mut reader, |text| MeterKey::new(text).map_err(|_| Cut))?;
    let dimensions = texts(&mut reader, |text| Ok(text.to_owned()))?;
    let hours = hours(&mut reader)?;
    let count = reader.count()?;
    let tenants = column(&mut reader, count, &tenants)?;
    let meters = column(&mut reader, count, &meters)?;
    let hours = column(&mut reader, count, &hours)?;
    let dimensions = column(&mut reader, count, &dimensions)?;
    let kinds = reader.take(count)?;
    let counts =
        kinds.iter().map(|kind| signed_count(&mut reader, *kind)).collect::<Result<Vec<_>, Cut>>()?;
    let quantities =
        kinds.iter().map(|kind| quantity(&mut reader, *kind)).collect::<Result<Vec<_>, Cut>>()?;
    let mut aggregates = Vec::with_capacity(count);
    for at in 0..count {
        aggregates.push(aggregate(&mut reader, kinds[at], counts[at], quantities[at], *hours[at])?);
    }
    for (at, aggregate) in aggregates.iter_mut().enumerate() {
        if let Aggregate::Unique { hashes, .. } = aggregate {
            *hashes = unique_hashes(&mut reader, kinds[at])?;
        }
    }
    reader.end()?;
    let keys = (0..count).map(|at| UsageKey {
        tenant: tenants[at].clone(),
        meter: meters[at].clone(),
        hour: *hours[at],
        dimensions: dimensions[at].clone(),
    });
    Ok(keys.zip(aggregates).collect())
}

/// Different values in rising order, each with its number.
struct Dictionary<T> {
    values: Vec<T>,
    numbers: HashMap<T, usize>,
}

impl<T: Ord + Hash + Copy> Dictionary<T> {
    fn of(values: impl Iterator<Item = T>) -> Self {
        let values: Vec<T> = values.collect::<BTreeSet<T>>().into_iter().collect();
        let numbers = values.iter().enumerate().map(|(at, value)| (*value, at)).collect();
        Self { values, numbers }
    }

    /// The number of a value that the dictionary was made of.
    fn index(&self, value: T) -> usize {
        self.numbers.get(&value).copied().unwrap_or_default()
    }
}

fn kind_of(aggregate: &Aggregate) -> u8 {
    let kind = match aggregate {
        Aggregate::Count { .. } => 0,
        Aggregate::Sum { .. } => 1,
        Aggregate::Max { .. } => 2,
        Aggregate::Min { .. } => 3,
        Aggregate::Latest { .. } => 4,
        Aggregate::Unique { .. } => 5,
    };
    let kind = if aggregate.count() < 0 { kind | NEGATIVE_COUNT } else { kind };
    match quantity_of(aggregate) {
        Some(quantity) if quantity.nanos() % NANOS == 0 => kind | WHOLE_UNITS,
        _ => kind,
    }
}

/// A kind without what is added to it.
fn plain(kind: u8) -> u8 {
    kind & !(WHOLE_UNITS | NEGATIVE_COUNT)
}

fn signed_count(reader: &mut Reader<'_>, kind: u8) -> Result<i64, Cut> {
    let count = i128::try_from(reader.number()?).map_err(|_| Cut)?;
    match kind & NEGATIVE_COUNT {
        0 => i64::try_from(count).map_err(|_| Cut),
        _ if count == 0 => Err(Cut),
        _ => i64::try_from(-count).map_err(|_| Cut),
    }
}

fn quantity_of(aggregate: &Aggregate) -> Option<Quantity> {
    match aggregate {
        Aggregate::Sum { quantity, .. }
        | Aggregate::Max { quantity, .. }
        | Aggregate::Min { quantity, .. }
        | Aggregate::Latest { quantity, .. } => Some(*quantity),
        Aggregate::Count { .. } | Aggregate::Unique { .. } => None,
    }
}

fn put_quantity(out: &mut Vec<u8>, aggregate: &Aggregate) {
    if let Some(quantity) = quantity_of(aggregate) {
        let nanos = quantity.nanos();
        put_signed(out, if nanos % NANOS == 0 { nanos / NANOS } else { nanos });
    }
}

fn quantity(reader: &mut Reader<'_>, kind: u8) -> Result<Quantity, Cut> {
    if !(1..=4).contains(&plain(kind)) {
        return Ok(Quantity::ZERO);
    }
    let number = reader.signed()?;
    let nanos = if kind & WHOLE_UNITS == 0 { Some(number) } else { number.checked_mul(NANOS) };
    nanos.and_then(Quantity::from_nanos).ok_or(Cut)
}

fn aggregate(
    reader: &mut Reader<'_>,
    kind: u8,
    count: i64,
    quantity: Quantity,
    hour: Timestamp,
) -> Result<Aggregate, Cut> {
    Ok(match plain(kind) {
        0 => Aggregate::Count { count },
        1 => Aggregate::Sum { quantity, count },
        2 => Aggregate::Max { quantity, count },
        3 => Aggregate::Min { quantity, count },
        4 => {
            let time = i64::try_from(reader.signed()?).map_err(|_| Cut)?;
            let time = time.checked_add(hour.millis()).ok_or(Cut)?;
            let time = Timestamp::from_millis(time).map_err(|_| Cut)?;
            let offset = i64::try_from(reader.signed()?).map_err(|_| Cut)?;
            Aggregate::Latest { time, offset, quantity, count }
        }
        5 => Aggregate::Unique { hashes: BTreeSet::new(), count },
        _ => return Err(Cut),
    })
}

fn unique_hashes(reader: &mut Reader<'_>, kind: u8) -> Result<BTreeSet<Hash128>, Cut> {
    if kind & WHOLE_UNITS != 0 {
        return Err(Cut);
    }
    let count = reader.count()?;
    let bytes = reader.take(count.checked_mul(16).ok_or(Cut)?)?;
    let hashes: BTreeSet<Hash128> =
        bytes.as_chunks::<16>().0.iter().map(|bytes| Hash128::from_bytes(*bytes)).collect();
    if hashes.len() == count { Ok(hashes) } else { Err(Cut) }
}

fn texts<T>(reader: &mut Reader<'_>, make: impl Fn(&str) -> Result<T, Cut>) -> Result<Vec<T>, Cut> {
    let count = reader.count()?;
    repeat(count, || make(std::str::from_utf8(reader.bytes()?).map_err(|_| Cut)?))
}

fn hours(reader: &mut Reader<'_>) -> Result<Vec<Timestamp>, Cut> {
    let count = reader.count()?;
    let mut before = 0_i64;
    repeat(count, || {
        let step = i64::try_from(reader.signed()?).map_err(|_| Cut)?;
        before = before.checked_add(step).ok_or(Cut)?;
        Timestamp::from_millis(before).map_err(|_| Cut)
    })
}

/// A column of numbers into a dictionary, looked up.
fn column<'d, T>(reader: &mut Reader<'_>, count: usize, dictionary: &'d [T]) -> Result<Vec<&'d T>, Cut> {
    repeat(count, || dictionary.get(reader.size()?).ok_or(Cut))
}

fn repeat<T>(count: usize, mut one: impl FnMut() -> Result<T, Cut>) -> Result<Vec<T>, Cut> {
    (0..count).map(|_| one()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written() -> Vec<u8> {
        let key = |meter: &str| UsageKey {
            tenant: TenantId::new("acme").unwrap(),
            meter: MeterKey::new(meter).unwrap(),
            hour: Timestamp::clamped(3_600_000),
            dimensions: r#"{"region":"eu"}"#.to_owned(),
        };
        let quantity = Quantity::parse("-0.5").unwrap();
        let latest = Aggregate::Latest { time: Timestamp::clamped(3_600_001), offset: 7, quantity, count: 1 };
        let unique = Aggregate::Unique { hashes: [Hash128(1), Hash128(2)].into(), count: 3 };
        let sum = Aggregate::Sum { quantity: Quantity::from_units(5), count: 2 };
        let taken_out = Aggregate::Count { count: -3 };
        write(&[(&key("a"), &latest), (&key("b"), &sum), (&key("c"), &unique), (&key("d"), &taken_out)])
    }

    // The checksum around a blob hides these bytes from a test from outside.
    proptest! {
        #[test]
        fn damage_inside_is_read_or_refused_without_a_panic(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            any: Vec<u8>,
        ) {
            let mut bytes = written();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let _ = read(&bytes);
            let _ = read(&any);
        }
    }

    #[test]
    fn every_cut_is_an_error() {
        let bytes = written();
        assert_eq!(read(&bytes).unwrap().len(), 4);
        for end in 0..bytes.len() {
            assert!(read(&bytes[..end]).is_err());
        }
        assert!(read(&[bytes, vec![0]].concat()).is_err());
    }
}
