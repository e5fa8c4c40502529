//! The filter, with keys made from seeds.

use std::convert::Infallible;

use super::*;
use crate::identity::Day;

/// Rising keys, the same for the same seed.
fn keys(seed: u64, ids: u64) -> Vec<u64> {
    let mix = |number: u64| {
        let x = (seed << 32 | number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let x = (x ^ (x >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x ^ (x >> 29)
    };
    let mut keys: Vec<_> = (0..ids).map(mix).collect();
    keys.sort();
    keys
}

fn file(seed: u64, ids: u64) -> SealedFile {
    let from = i64::try_from(seed).unwrap();
    SealedFile { from, to: from + 1, day: Day(u32::try_from(seed).unwrap()), ids }
}

fn add(filter: SealedFilter, sizes: &[(u64, u64)], from_day: u32) -> SealedFilter {
    let one = |&(seed, ids): &(u64, u64)| Addition {
        file: file(seed, ids),
        keys: keys(seed, ids).into_iter().map(Ok::<_, Infallible>),
    };
    let Ok(filter) = filter.rebuilt(sizes.iter().map(one).collect(), |file| file.day >= Day(from_day));
    filter
}

fn files_with(filter: &SealedFilter, key: u64) -> Vec<i64> {
    let mut files = Vec::new();
    filter.probe(&[key], |_, file| files.push(file.from));
    files
}

/// All that is live is found; of a million others few are suspects.
fn check(filter: &SealedFilter, live: &[(u64, u64)], suspects_max: usize) {
    for (seed, ids) in live {
        let from = i64::try_from(*seed).unwrap();
        assert!(keys(*seed, *ids).iter().all(|key| files_with(filter, *key).contains(&from)));
    }
    let suspects =
        keys(1 << 31, 1_000_000).iter().filter(|key| !files_with(filter, **key).is_empty()).count();
    assert!(suspects <= suspects_max, "{suspects} of a million are suspects");
}

#[test]
fn it_grows_with_its_files_and_shrinks_when_they_go() {
    let sizes: Vec<_> = (0..40).map(|n| (n, 500 * (n + 1) * (n % 7 + 1))).collect();
    let mut filter = SealedFilter::new();
    for size in &sizes {
        filter = add(filter, &[*size], 0);
    }
    // Grown from 12 bits to 17: the first entries have lost five bits.
    assert_eq!((filter.bits, filter.lost_max), (17, 5));
    check(&filter, &sizes, 1_000);
    let at_once = add(SealedFilter::new(), &sizes, 0);
    assert_eq!((at_once.bits, at_once.lost_max), (17, 0));
    check(&at_once, &sizes, 245);
    let later = add(filter, &[(40, 10)], 20);
    check(&later, &[&sizes[20..], &[(40, 10)]].concat(), 1_000);
    assert!(files_with(&later, keys(19, 1)[0]).is_empty());
    let entries: u64 = later.files().map(|file| file.ids).sum();
    assert!(later.bytes() < usize::try_from(entries * 4).unwrap());
}

#[test]
fn entries_that_have_handed_on_most_of_their_tag_are_still_found() {
    let mut filter = add(SealedFilter::new(), &[(1, 3_000)], 0);
    type NoKeys = Peekable<std::iter::Empty<Result<u64, Infallible>>>;
    let mut none: [(u8, NoKeys); 0] = [];
    let Ok(()) = filter.refill(BITS_MIN + 12, &[true], &mut none);
    assert_eq!(filter.lost_max, 12);
    assert!(keys(1, 3_000).iter().all(|key| files_with(&filter, *key).contains(&1)));
}

#[test]
fn more_files_than_labels_share_the_last() {
    let sizes: Vec<_> = (0..300).map(|n| (n, 50)).collect();
    let mut filter = add(SealedFilter::new(), &sizes[..200], 0);
    filter = add(filter, &sizes[200..], 0);
    check(&filter, &sizes, 10_000);
    assert_eq!(filter.labels.len(), LABELS_MAX);
}
