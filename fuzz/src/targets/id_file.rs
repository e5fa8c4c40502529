//! A sealed file of event ids: as it stands, and with the sums put right, since no mutation gets
//! through keyed sums by itself.

use weir_core::HashKey;
use weir_core::digest::Digest;
use weir_metering::identity::{Day, IdKey, RememberedId, SealedFile};
use weir_wire::id_file::{HEADER_BYTES, IdFileEncoder, IdFileHeader, IdFileIndex, RECORD_BYTES};

use crate::Seeds;
use crate::memory::{bound, within};
use crate::pieces::{Joined, Pieces};

/// Blocks of a small file.
const BLOCKS: usize = 256;

fn key() -> HashKey {
    HashKey::new(*b"weir's fuzz key.")
}

/// Reads the rest of the input as a file, or as what a small one is put together from.
pub fn check(input: &[u8]) {
    let mut pieces = Pieces(input);
    if pieces.byte() & 1 == 0 {
        return check_file(pieces.0, false);
    }
    let (from, to, day) = (pieces.number(), pieces.number(), pieces.byte());
    let starts = pieces.bytes();
    let count = pieces.0.len() / RECORD_BYTES;
    let records = &pieces.0[..count * RECORD_BYTES];
    let starts: Vec<u32> = (0..BLOCKS)
        .map(|block| {
            starts.get(block).map_or(u32::try_from(count).expect("few ids"), |start| u32::from(*start))
        })
        .collect();
    let mut index: Vec<u8> = starts.iter().flat_map(|start| start.to_be_bytes()).collect();
    for block in 0..BLOCKS {
        let place =
            |block: usize| starts.get(block).map_or(count, |start| usize::try_from(*start).expect("a start"));
        let (begin, end) = (place(block), place(block + 1));
        let inside = records.get(begin * RECORD_BYTES..end * RECORD_BYTES).unwrap_or_default();
        let sum = Digest::new(&key(), "id block")
            .int(i64::try_from(block).expect("a block"))
            .field(inside)
            .finish();
        index.extend_from_slice(&sum.to_bytes()[..8]);
    }
    let covers = SealedFile { from, to, day: Day(day.into()), ids: u64::try_from(count).expect("few ids") };
    let index_sum = Digest::new(&key(), "id index").field(&index).finish();
    let header = IdFileHeader { generation: 1, partition: 3, covers, index_sum };
    check_file(&[&header.encode(&key())[..], records, &index].concat(), true);
}

/// Reads a file as whoever builds the filter does, and looks every id up.
fn check_file(file: &[u8], sums_are_right: bool) {
    let Some(head) = file.first_chunk::<HEADER_BYTES>() else { return };
    let Ok(header) = IdFileHeader::decode(&key(), head) else { return };
    assert_eq!(&header.encode(&key()), head, "a header is written as it is read");
    if header.check_length(u64::try_from(file.len()).expect("a length")).is_err() {
        return;
    }
    let index = &file[usize::try_from(header.index_begins()).expect("a place")..];
    let read = within(bound(64 << 10, 4, file), || IdFileIndex::decode(&key(), &header, index));
    let Ok(index) = read else { return };
    let mut ids = Vec::new();
    for number in 0..index.blocks() {
        let (offset, length) = index.place(number, number);
        let offset = usize::try_from(offset).expect("a place");
        let records = file.get(offset..offset + length).expect("a block lies in the file");
        let Ok(block) = index.block(number, records) else {
            assert!(!sums_are_right, "block {number} has its sum");
            return;
        };
        assert_eq!(block.ids().count(), length / RECORD_BYTES);
        ids.extend(block.ids());
        for id in block.ids() {
            let _ = block.find(id.key);
        }
    }
    assert_eq!(u64::try_from(ids.len()).expect("few ids"), header.covers.ids, "all ids are in a block");
    check_again(&header, &index, file, &ids);
}

/// Ids that stand where they should are found, and make the same file again.
fn check_again(header: &IdFileHeader, index: &IdFileIndex, file: &[u8], ids: &[RememberedId]) {
    if !ids.is_sorted_by(|a, b| a.key < b.key) {
        return;
    }
    let mut encoder = IdFileEncoder::new(key(), &header.covers);
    for id in ids {
        encoder.push(*id).expect("ids rise");
        let number = index.block_of(id.key);
        let (offset, length) = index.place(number, number);
        let offset = usize::try_from(offset).expect("a place");
        let block = index.block(number, &file[offset..offset + length]).expect("a block");
        // Only blocks that begin elsewhere than the encoder would have them can miss an id.
        if let Some(fingerprint) = block.find(id.key) {
            assert_eq!(fingerprint, id.fingerprint);
        }
    }
    let place = (header.partition, header.generation);
    let end = encoder.finish(place, &header.covers).expect("all ids");
    let again = [&end.header[..], &end.tail].concat();
    assert_eq!(again.len(), file.len());
    if IdFileHeader::decode(&key(), &end.header).as_ref() == Ok(header) {
        assert!(again == file, "the same index, and another file");
    }
}

/// A file of a few ids, whole and in parts.
pub fn seeds() -> Seeds {
    let id = |number: u64| RememberedId {
        key: IdKey { high: number.wrapping_mul(0x9e37_79b9_7f4a_7c15), low: 7 },
        fingerprint: 0xdead_beef,
    };
    let mut ids: Vec<_> = (0..20).map(id).collect();
    ids.sort();
    let file = |ids: &[RememberedId]| {
        let covers = SealedFile {
            from: 70,
            to: 9_000,
            day: Day(200),
            ids: u64::try_from(ids.len()).expect("few ids"),
        };
        let mut encoder = IdFileEncoder::new(key(), &covers);
        ids.iter().for_each(|id| encoder.push(*id).expect("an id"));
        let end = encoder.finish((3, 1), &covers).expect("a file");
        [&end.header[..], &end.tail].concat()
    };
    let whole = file(&ids);
    let records = &whole[HEADER_BYTES..HEADER_BYTES + ids.len() * RECORD_BYTES];
    let index = &whole[HEADER_BYTES + records.len()..];
    let starts: Vec<u8> = index[..4 * BLOCKS].chunks(4).map(|start| start[3]).collect();
    let parts = Joined::default().byte(1).number(70).number(9_000).byte(200).bytes(&starts).raw(records).0;
    vec![
        ("file".to_owned(), [&[0][..], &whole].concat()),
        ("empty".to_owned(), [&[0][..], &file(&[])].concat()),
        ("parts".to_owned(), parts),
    ]
}
