//! The hot set: ids in memory, exact, ordered by key.
//!
//! An ordered hash table: keys are hashes already, so a key's value says where it belongs,
//! and keys that meet stand in order, one behind the other. The whole table is therefore
//! sorted: a bucket is written to its file by one walk. It is cut into segments by the first
//! bits of the key, which grow by a quarter each on their own, without a pause for the whole.
//! They begin at different sizes, so that at any time as many are at each load from 3/5 to 3/4:
//! 20 bytes an id make 30 over all of them. Fuller, putting an id in would move many others: at
//! 7/8 32 on average, at 3/4 eight.

use std::hint::black_box;

use super::hashes::{IdKey, RememberedId};

/// First bits of a key that choose the segment: 4096 segments.
const SEGMENT_BITS: u32 = 12;
/// The bucket of a vacant slot.
const VACANT: u32 = u32::MAX;
/// Slots behind the last home, for what is pushed there; more are added when they are full.
const SPARE: usize = 8;
/// Where the sizes of segments begin to grow by a quarter each time.
const HOMES_MIN: usize = 64;
/// Different beginnings, which lie within the first quarter.
const BEGINNINGS: usize = 16;

/// One id. Packed: 20 bytes instead of 24.
#[derive(Clone, Copy, Debug)]
#[repr(C, packed(4))]
struct Slot {
    high: u64,
    low: u32,
    fingerprint: u32,
    bucket: u32,
}

impl Slot {
    const EMPTY: Self = Self { high: 0, low: 0, fingerprint: 0, bucket: VACANT };

    fn key(&self) -> IdKey {
        IdKey { high: self.high, low: self.low }
    }

    fn is_vacant(&self) -> bool {
        self.bucket == VACANT
    }
}

/// What the hot set knows of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HotId {
    pub(super) fingerprint: u32,
    pub(super) bucket: u32,
}

/// Ids in memory, each with the number of its bucket.
#[derive(Debug)]
pub(super) struct HotIds {
    segments: Vec<Segment>,
}

#[derive(Debug, Default)]
struct Segment {
    /// In the order of keys: no key stands before its home, and no vacant slot between a
    /// key's home and the key.
    slots: Vec<Slot>,
    homes: usize,
    ids: usize,
}

impl HotIds {
    pub(super) fn new() -> Self {
        let mut segments = Vec::new();
        segments.resize_with(1 << SEGMENT_BITS, Segment::default);
        Self { segments }
    }

    /// Reads the slot at which a key would stand in an empty table; tells nothing. Without a
    /// comparison no such look waits for another.
    pub(super) fn look_towards(&self, key: IdKey) {
        let segment = &self.segments[segment_of(key)];
        black_box(segment.slots.get(segment.home(key.high)).map(|slot| slot.bucket));
    }

    pub(super) fn get(&self, key: IdKey) -> Option<HotId> {
        let segment = &self.segments[segment_of(key)];
        let (at, found) = segment.place(key);
        found.then(|| HotId { fingerprint: segment.slots[at].fingerprint, bucket: segment.slots[at].bucket })
    }

    /// Adds an id; what was known of it before.
    pub(super) fn insert(&mut self, id: RememberedId, bucket: u32) -> Option<HotId> {
        let RememberedId { key: IdKey { high, low }, fingerprint } = id;
        let segment = segment_of(id.key);
        self.segments[segment].insert(Slot { high, low, fingerprint, bucket }, segment)
    }

    /// Forgets the ids of all buckets that are not to be kept.
    pub(super) fn retain(&mut self, keep: impl Fn(u32) -> bool) {
        for (number, segment) in self.segments.iter_mut().enumerate() {
            let kept = segment.occupied().filter(|slot| keep(slot.bucket)).count();
            if kept < segment.ids {
                segment.rebuild(kept, homes_for(kept, number), &keep);
            }
        }
    }

    /// The ids of a bucket, by rising key.
    pub(super) fn ids_of(&self, bucket: u32) -> impl Iterator<Item = RememberedId> + '_ {
        let all = self.segments.iter().flat_map(Segment::occupied);
        let ours = all.filter(move |slot| slot.bucket == bucket);
        ours.map(|slot| RememberedId { key: slot.key(), fingerprint: slot.fingerprint })
    }

    /// Bytes that it takes up.
    pub(super) fn bytes(&self) -> usize {
        let slots: usize = self.segments.iter().map(|segment| segment.slots.capacity()).sum();
        slots * size_of::<Slot>() + self.segments.capacity() * size_of::<Segment>()
    }
}

impl Segment {
    fn occupied(&self) -> impl Iterator<Item = &Slot> + '_ {
        self.slots.iter().filter(|slot| !slot.is_vacant())
    }

    /// Where a key would stand in an empty segment: its value, scaled to the homes.
    fn home(&self, high: u64) -> usize {
        let homes = u128::try_from(self.homes).unwrap_or_default();
        let scaled = (u128::from(high << SEGMENT_BITS) * homes) >> 64;
        usize::try_from(scaled).unwrap_or_default()
    }

    /// Where a key stands, or where it would have to be put in.
    fn place(&self, key: IdKey) -> (usize, bool) {
        let mut at = self.home(key.high);
        while let Some(slot) = self.slots.get(at) {
            if slot.is_vacant() || slot.key() > key {
                return (at, false);
            }
            if slot.key() == key {
                return (at, true);
            }
            at += 1;
        }
        (at, false)
    }

    fn insert(&mut self, slot: Slot, number: usize) -> Option<HotId> {
        if self.ids * 4 >= self.homes * 3 {
            self.rebuild(self.ids, homes_for(self.ids + 1, number), &|_| true);
        }
        let (at, found) = self.place(slot.key());
        if found {
            let earlier = std::mem::replace(&mut self.slots[at], slot);
            return Some(HotId { fingerprint: earlier.fingerprint, bucket: earlier.bucket });
        }
        let vacant = self.slots[at..].iter().position(Slot::is_vacant);
        let end = vacant.map_or(self.slots.len(), |after| at + after);
        if vacant.is_none() {
            self.slots.reserve_exact(if self.slots.capacity() > end { 0 } else { SPARE });
            self.slots.push(Slot::EMPTY);
        }
        self.slots.copy_within(at..end, at + 1);
        self.slots[at] = slot;
        self.ids += 1;
        None
    }

    /// Gives the ids that are kept, `ids` of them, new homes, in order.
    fn rebuild(&mut self, ids: usize, homes: usize, keep: &dyn Fn(u32) -> bool) {
        let old = std::mem::take(&mut self.slots);
        (self.ids, self.homes) = (ids, homes);
        if homes == 0 {
            return;
        }
        let mut slots = Vec::with_capacity(homes + SPARE);
        slots.resize(homes, Slot::EMPTY);
        let mut next = 0;
        for slot in old.into_iter().filter(|slot| !slot.is_vacant() && keep(slot.bucket)) {
            let at = self.home(slot.high).max(next);
            match slots.get_mut(at) {
                Some(place) => *place = slot,
                None => slots.push(slot),
            }
            next = at + 1;
        }
        self.slots = slots;
    }
}

/// How many homes a segment of this number has for so many ids.
fn homes_for(ids: usize, number: usize) -> usize {
    let few = [0, 8, 16, 32].into_iter();
    let many = std::iter::successors(Some(HOMES_MIN + number % BEGINNINGS), |homes| Some(homes + homes / 4));
    few.chain(many).find(|homes| ids * 4 <= homes * 3).unwrap_or_default()
}

fn segment_of(key: IdKey) -> usize {
    usize::try_from(key.high >> (64 - SEGMENT_BITS)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Keys that crowd: few first bits, few last bits.
    fn key() -> impl Strategy<Value = IdKey> {
        (0_u64..3, 0_u64..60, 0_u32..2).prop_map(|(segment, home, low)| {
            let high = (segment << (64 - SEGMENT_BITS)) | (home << 46) | (home % 7);
            IdKey { high: if segment == 2 { high | (0xff << 44) } else { high }, low }
        })
    }

    proptest! {
        #[test]
        fn it_is_a_map_in_the_order_of_keys(
            steps in prop::collection::vec((key(), any::<u32>(), 0_u32..4, 0_u8..40), 1..600),
        ) {
            let (mut hot, mut model) = (HotIds::new(), BTreeMap::new());
            for (key, fingerprint, bucket, rare) in steps {
                if rare == 0 {
                    hot.retain(|number| number != bucket);
                    model.retain(|_, known: &mut HotId| known.bucket != bucket);
                }
                prop_assert_eq!(hot.get(key), model.get(&key).copied());
                let known = HotId { fingerprint, bucket };
                let earlier = hot.insert(RememberedId { key, fingerprint }, bucket);
                prop_assert_eq!(earlier, model.insert(key, known));
                prop_assert_eq!(hot.get(key), Some(known));
            }
            for bucket in 0..4 {
                let ids: Vec<_> = hot.ids_of(bucket).collect();
                let ours = model.iter().filter(|(_, known)| known.bucket == bucket);
                let expected: Vec<_> = ours
                    .map(|(key, known)| RememberedId { key: *key, fingerprint: known.fingerprint })
                    .collect();
                prop_assert_eq!(ids, expected);
            }
        }
    }

    /// However many there are: segments do not grow all at once.
    #[test]
    fn an_id_takes_less_than_32_bytes() {
        let mut hot = HotIds::new();
        for number in 1..=2_000_000_u32 {
            let high = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            hot.insert(RememberedId { key: IdKey { high, low: number }, fingerprint: number }, number % 2);
            if number >= 1_000_000 && number % 50_000 == 0 {
                let bytes_each = hot.bytes() / usize::try_from(number).unwrap();
                assert!((28..32).contains(&bytes_each), "{bytes_each} bytes an id of {number}");
            }
        }
        hot.retain(|bucket| bucket == 0);
        let bytes_each = hot.bytes() / 1_000_000;
        assert!((28..32).contains(&bytes_each), "{bytes_each} bytes an id that was kept");
    }
}
