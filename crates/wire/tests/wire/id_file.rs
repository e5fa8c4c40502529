//! Files of ids: what goes in comes out, and no damage passes.

use proptest::prelude::*;
use weir_core::HashKey;
use weir_metering::identity::{Day, IdKey, RememberedId, SealedFile};
use weir_wire::id_file::{HEADER_BYTES, IdFileEncoder, IdFileError, IdFileHeader, IdFileIndex, RECORD_BYTES};

fn key() -> HashKey {
    HashKey::new([9; 16])
}

/// Ids with keys that crowd here and there.
fn ids() -> impl Strategy<Value = Vec<RememberedId>> {
    let high = prop_oneof![any::<u64>(), (0_u64..4, 0_u64..4).prop_map(|(first, last)| first << 55 | last)];
    let id = (high, 0_u32..3, any::<u32>())
        .prop_map(|(high, low, fingerprint)| RememberedId { key: IdKey { high, low }, fingerprint });
    prop::collection::vec(id, 0..300).prop_map(|mut ids| {
        ids.sort();
        ids.dedup_by_key(|id| id.key);
        ids
    })
}

fn covers(ids: usize) -> SealedFile {
    SealedFile { from: 70, to: 9_000, day: Day(20_500), ids: u64::try_from(ids).unwrap() }
}

fn encode(ids: &[RememberedId]) -> Vec<u8> {
    let covers = covers(ids.len());
    let mut encoder = IdFileEncoder::new(key(), &covers);
    let mut bytes = vec![0; HEADER_BYTES];
    for id in ids {
        encoder.push(*id).unwrap();
        bytes.append(encoder.ready());
    }
    let end = encoder.finish((3, 1), &covers).unwrap();
    bytes.extend_from_slice(&end.tail);
    bytes[..HEADER_BYTES].copy_from_slice(&end.header);
    bytes
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

/// Reads a file as whoever builds the filter does: every block.
fn decode(bytes: &[u8]) -> Result<Vec<RememberedId>, IdFileError> {
    let header: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(IdFileError::Unknown)?;
    let header = IdFileHeader::decode(&key(), header)?;
    header.check_length(u64::try_from(bytes.len()).unwrap())?;
    assert_eq!((header.partition, header.generation, header.covers), (3, 1, covers(size(header.covers.ids))));
    let index = IdFileIndex::decode(&key(), &header, &bytes[size(header.index_begins())..])?;
    let mut ids = Vec::new();
    for number in 0..index.blocks() {
        let (offset, length) = index.place(number, number);
        ids.extend(index.block(number, &bytes[size(offset)..size(offset) + length])?.ids());
    }
    Ok(ids)
}

fn find(bytes: &[u8], key: IdKey) -> Option<u32> {
    let header = IdFileHeader::decode(&self::key(), bytes.first_chunk().unwrap()).unwrap();
    let index = IdFileIndex::decode(&self::key(), &header, &bytes[size(header.index_begins())..]).unwrap();
    let number = index.block_of(key);
    let (offset, length) = index.place(number, number);
    index.block(number, &bytes[size(offset)..size(offset) + length]).unwrap().find(key)
}

proptest! {
    #[test]
    fn what_goes_in_comes_out(ids in ids(), others in ids()) {
        let bytes = encode(&ids);
        prop_assert_eq!(decode(&bytes), Ok(ids.clone()));
        for id in ids.iter().chain(&others) {
            let expected = ids.iter().find(|known| known.key == id.key).map(|known| known.fingerprint);
            prop_assert_eq!(find(&bytes, id.key), expected);
        }
    }

    #[test]
    fn no_damage_passes(ids in ids(), at in any::<prop::sample::Index>(), bit in 0_u8..8, cut in 0_usize..40) {
        let whole = encode(&ids);
        let mut damaged = whole.clone();
        let at = at.index(damaged.len());
        damaged[at] ^= 1 << bit;
        prop_assert!(decode(&damaged).is_err(), "byte {} of {}", at, whole.len());
        prop_assert!(decode(&whole[..whole.len() - cut - 1]).is_err());
    }
}

#[test]
fn another_installations_file_is_told_from_a_damaged_one() {
    let bytes = encode(&[]);
    let header: &[u8; HEADER_BYTES] = bytes.first_chunk().unwrap();
    let other = IdFileHeader::decode(&HashKey::new([8; 16]), header);
    assert_eq!(other, Err(IdFileError::OtherInstallation));
    assert_eq!(IdFileHeader::decode(&key(), &[7; HEADER_BYTES]), Err(IdFileError::Unknown));
}

#[test]
fn ids_must_rise_and_be_as_many_as_announced() {
    let id = |high| RememberedId { key: IdKey { high, low: 0 }, fingerprint: 1 };
    let mut encoder = IdFileEncoder::new(key(), &covers(2));
    encoder.push(id(5)).unwrap();
    assert_eq!(encoder.push(id(5)), Err(IdFileError::Order));
    assert_eq!(encoder.push(id(6)), Ok(()));
    assert_eq!(encoder.push(id(7)), Err(IdFileError::Count { expected: 2, found: 2 }));
    let short = IdFileEncoder::new(key(), &covers(2)).finish((3, 1), &covers(2));
    assert_eq!(short.unwrap_err(), IdFileError::Count { expected: 2, found: 0 });
}

#[test]
fn an_id_takes_less_than_16_bytes_on_disk() {
    let mix = |n: u32| u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for count in [40_000_u32, 60_000, 200_000] {
        let id = |n| RememberedId { key: IdKey { high: mix(n), low: n }, fingerprint: n };
        let mut ids: Vec<_> = (0..count).map(id).collect();
        ids.sort();
        let bytes = encode(&ids).len();
        let index_bytes = bytes - HEADER_BYTES - ids.len() * RECORD_BYTES;
        assert!(bytes < ids.len() * 153 / 10 && index_bytes * 64 <= ids.len() * 12, "{bytes} for {count}");
    }
}
