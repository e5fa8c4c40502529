//! The filter in front of the sealed files: "surely new", or in which file to look.
//!
//! One table for all files of the partition. The first `bits` bits of a key choose a bucket
//! of 8 to 16 entries; an entry is the key's next 16 bits and a label, which names the file.
//! So a lookup touches one place, whatever the number of files, and what it finds leads to
//! one file. It never says "new" of an id that a file holds. It calls a new id a suspect
//! with a chance of entries per bucket / 2^16: at most 1 in 4096.
//!
//! It is rebuilt segment by segment, when a file is added or forgotten. As it grows, `bits`
//! grows, and entries hand bits of their tag to the number of their bucket. Those bits are
//! lost to the comparison; a label says how many its entries have lost.
//!
//! Memory: 3 bytes an id, and 4 bytes a bucket: 3.25 to 3.5 bytes an id.

use std::hint::black_box;
use std::iter::Peekable;

use super::plan::SealedFile;

/// Bits of a bucket's number inside its segment: 2048 buckets, 16,000 to 33,000 entries.
const SEGMENT_BUCKET_BITS: u32 = 11;
/// The fewest buckets: 4096.
const BITS_MIN: u32 = 12;
/// The most buckets: no tag can ever have handed on more bits than it has.
const BITS_MAX: u32 = BITS_MIN + TAG_BITS;
/// Entries of a bucket on average, at most.
const BUCKET_ENTRIES_MAX: u64 = 16;
const TAG_BITS: u32 = 16;
/// Labels are bytes; files beyond that many share one.
const LABELS_MAX: usize = 256;

/// Keys that are looked up at a time.
const KEYS_AT_ONCE: usize = 64;

/// Which file may hold a key.
#[derive(Debug)]
pub(super) struct SealedFilter {
    bits: u32,
    segments: Vec<Segment>,
    labels: Vec<Label>,
    /// The most bits that any label has lost.
    lost_max: u32,
}

#[derive(Debug, Default)]
struct Segment {
    /// Where each bucket begins, and where the last ends.
    starts: Box<[u32]>,
    tags: Box<[u16]>,
    labels: Box<[u8]>,
}

#[derive(Debug, Default)]
struct Label {
    files: Vec<SealedFile>,
    /// How many bits its entries' tags have handed on.
    lost: u32,
}

/// An entry on its way into a segment.
struct Entry {
    bucket: usize,
    tag: u16,
    label: u8,
}

/// A file that is being added: the first 64 bits of its keys, rising.
pub(super) struct Addition<I: Iterator> {
    pub(super) file: SealedFile,
    pub(super) keys: I,
}

impl SealedFilter {
    pub(super) fn new() -> Self {
        Self { bits: BITS_MIN, segments: Vec::new(), labels: Vec::new(), lost_max: 0 }
    }

    /// The files that it knows.
    pub(super) fn files(&self) -> impl Iterator<Item = &SealedFile> + '_ {
        self.labels.iter().flat_map(|label| &label.files)
    }

    /// Calls `suspect` with the number of each key, by its first 64 bits, that a file may hold,
    /// and that file. Many keys are looked up at a time, in rounds: what one round finds says
    /// where the next one looks, and within a round no look waits for another.
    pub(super) fn probe(&self, keys: &[u64], mut suspect: impl FnMut(usize, &SealedFile)) {
        if self.segments.is_empty() {
            return;
        }
        let (mut bounds, mut first_tags) = ([(0, 0); KEYS_AT_ONCE], [0; KEYS_AT_ONCE]);
        for (chunk, keys) in keys.chunks(KEYS_AT_ONCE).enumerate() {
            for (bounds, key) in bounds.iter_mut().zip(keys) {
                let bucket = bucket_of(*key, self.bits);
                *bounds = self.segments[bucket >> SEGMENT_BUCKET_BITS].bounds(bucket & (BUCKETS - 1));
            }
            for ((tag, key), (start, _)) in first_tags.iter_mut().zip(keys).zip(&bounds) {
                let segment = bucket_of(*key, self.bits) >> SEGMENT_BUCKET_BITS;
                *tag = self.segments[segment].tags.get(*start).copied().unwrap_or_default();
            }
            black_box(&first_tags);
            for (number, (key, bounds)) in keys.iter().zip(bounds).enumerate() {
                self.look(*key, bounds, |file| suspect(chunk * KEYS_AT_ONCE + number, file));
            }
        }
    }

    /// Compares a key with the entries of its bucket.
    fn look(&self, key: u64, (start, end): (usize, usize), mut suspect: impl FnMut(&SealedFile)) {
        let segment = &self.segments[bucket_of(key, self.bits) >> SEGMENT_BUCKET_BITS];
        let tag = tag_of(key, self.bits);
        for (at, known) in segment.tags[start..end].iter().enumerate() {
            let differing = u32::from(known ^ tag);
            if differing >> self.lost_max == 0 {
                let label = &self.labels[usize::from(segment.labels[start + at])];
                if differing >> label.lost == 0 {
                    label.files.iter().for_each(&mut suspect);
                }
            }
        }
    }

    /// The same filter with some files more, and without those that are no longer live.
    /// Fails when one of the iterators does.
    pub(super) fn rebuilt<E, I: Iterator<Item = Result<u64, E>>>(
        mut self,
        additions: Vec<Addition<I>>,
        is_live: impl Fn(&SealedFile) -> bool,
    ) -> Result<Self, E> {
        for label in &mut self.labels {
            label.files.retain(&is_live);
        }
        let live: Vec<bool> = self.labels.iter().map(|label| !label.files.is_empty()).collect();
        let mut sources = Vec::new();
        for Addition { file, keys } in additions {
            sources.push((self.label_for(file), keys.peekable()));
        }
        let entries: u64 = self.files().map(|file| file.ids).sum();
        let mut bits = self.bits;
        while bits < BITS_MAX && entries > BUCKET_ENTRIES_MAX << bits {
            bits += 1;
        }
        self.refill(bits, &live, &mut sources)?;
        Ok(self)
    }

    /// Bytes that it takes up.
    pub(super) fn bytes(&self) -> usize {
        let entries: usize = self.segments.iter().map(|segment| segment.tags.len()).sum();
        let segment_bytes = size_of::<Segment>() + (BUCKETS + 1) * size_of::<u32>();
        entries * 3 + self.segments.len() * segment_bytes
    }

    /// A label for a new file: one that is free, a new one, or else the last, shared.
    fn label_for(&mut self, file: SealedFile) -> u8 {
        let free = self.labels.iter().position(|label| label.files.is_empty());
        let number = free.unwrap_or(self.labels.len()).min(LABELS_MAX - 1);
        if number == self.labels.len() {
            self.labels.push(Label::default());
        }
        self.labels[number].files.push(file);
        u8::try_from(number).unwrap_or(u8::MAX)
    }

    fn refill<E, I: Iterator<Item = Result<u64, E>>>(
        &mut self,
        bits: u32,
        live: &[bool],
        sources: &mut [(u8, Peekable<I>)],
    ) -> Result<(), E> {
        let mut old = std::mem::replace(self, Self { bits, ..Self::new() });
        let grown = bits - old.bits;
        let mut entries = Vec::new();
        for number in 0..1_usize << (bits - SEGMENT_BUCKET_BITS) {
            entries.clear();
            old.hand_on(number, grown, live, &mut entries);
            for (label, keys) in &mut *sources {
                take_segment(number, bits, *label, keys, &mut entries)?;
            }
            self.segments.push(Segment::of(&entries));
            // What lies behind is of no more use; the next segment begins in this old one.
            let done = ((number + 1) >> grown).min(old.segments.len());
            if done > 0 {
                old.segments[done - 1] = Segment::default();
            }
        }
        for (number, label) in old.labels.iter_mut().enumerate() {
            let had_entries = live.get(number).is_some_and(|live| *live);
            label.lost = if had_entries { (label.lost + grown).min(TAG_BITS) } else { 0 };
            self.lost_max = self.lost_max.max(label.lost);
        }
        self.labels = old.labels;
        Ok(())
    }

    /// The live entries of this filter that belong into segment `number` of one with `grown`
    /// bits more.
    fn hand_on(&self, number: usize, grown: u32, live: &[bool], entries: &mut Vec<Entry>) {
        let first = number << SEGMENT_BUCKET_BITS;
        let last = first + BUCKETS - 1;
        for bucket in first >> grown..=last >> grown {
            let Some(segment) = self.segments.get(bucket >> SEGMENT_BUCKET_BITS) else { return };
            let (start, end) = segment.bounds(bucket & (BUCKETS - 1));
            for at in start..end {
                let (tag, label) = (u32::from(segment.tags[at]) << grown, segment.labels[at]);
                let handed = usize::try_from(tag >> TAG_BITS).unwrap_or_default();
                let bucket = (bucket << grown) | handed;
                if bucket >> SEGMENT_BUCKET_BITS == number && live[usize::from(label)] {
                    let tag = u16::try_from(tag & u32::from(u16::MAX)).unwrap_or_default();
                    entries.push(Entry { bucket: bucket & (BUCKETS - 1), tag, label });
                }
            }
        }
    }
}

const BUCKETS: usize = 1 << SEGMENT_BUCKET_BITS;

impl Segment {
    /// A segment with these entries, sorted by counting.
    fn of(entries: &[Entry]) -> Self {
        let mut starts = vec![0_u32; BUCKETS + 1];
        for entry in entries {
            starts[entry.bucket + 1] += 1;
        }
        for bucket in 0..BUCKETS {
            starts[bucket + 1] += starts[bucket];
        }
        let mut next = starts.clone();
        let (mut tags, mut labels) = (vec![0; entries.len()], vec![0; entries.len()]);
        for entry in entries {
            let at = usize::try_from(next[entry.bucket]).unwrap_or_default();
            next[entry.bucket] += 1;
            (tags[at], labels[at]) = (entry.tag, entry.label);
        }
        Self { starts: starts.into(), tags: tags.into(), labels: labels.into() }
    }

    fn bounds(&self, bucket: usize) -> (usize, usize) {
        let at = |start: u32| usize::try_from(start).unwrap_or_default();
        (at(self.starts[bucket]), at(self.starts[bucket + 1]))
    }
}

/// Takes the keys that belong into segment `number`.
fn take_segment<E, I: Iterator<Item = Result<u64, E>>>(
    number: usize,
    bits: u32,
    label: u8,
    keys: &mut Peekable<I>,
    entries: &mut Vec<Entry>,
) -> Result<(), E> {
    let ours = |high: u64| bucket_of(high, bits) >> SEGMENT_BUCKET_BITS <= number;
    while let Some(key) = keys.next_if(|key| key.as_ref().map_or(true, |high| ours(*high))) {
        let high = key?;
        entries.push(Entry { bucket: bucket_of(high, bits) & (BUCKETS - 1), tag: tag_of(high, bits), label });
    }
    Ok(())
}

fn bucket_of(high: u64, bits: u32) -> usize {
    usize::try_from(high >> (64 - bits)).unwrap_or_default()
}

fn tag_of(high: u64, bits: u32) -> u16 {
    u16::try_from((high >> (64 - bits - TAG_BITS)) & u64::from(u16::MAX)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
