//! Files of the archive: records come back as they were, no damage passes, and no bytes panic.

use proptest::prelude::*;
use weir_wire::archive_file::{
    ArchiveFileEncoder, ArchiveFileError, ArchiveFileHeader, ArchiveFileReader, ArchiveSum, ArchivedRecord,
    EncodedArchiveFile,
};

/// A record with its own bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owned {
    offset: i64,
    broker_time_ms: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Owned {
    fn borrowed(&self) -> ArchivedRecord<'_> {
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        let Self { offset, broker_time_ms, .. } = *self;
        let (key, value) = (self.key.as_deref(), self.value.as_deref());
        ArchivedRecord { offset, broker_time_ms, key, value, headers }
    }

    fn of(record: &ArchivedRecord<'_>) -> Self {
        let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
        let headers = record.headers.iter().map(|(name, value)| ((*name).to_owned(), owned(*value)));
        Self {
            offset: record.offset,
            broker_time_ms: record.broker_time_ms,
            key: owned(record.key),
            value: owned(record.value),
            headers: headers.collect(),
        }
    }
}

fn bytes() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop::option::of(prop::collection::vec(any::<u8>(), 0..40))
}

/// Where the records begin, and they, with gaps, by rising offset.
fn records() -> impl Strategy<Value = (i64, Vec<Owned>)> {
    let headers = prop::collection::vec((".{0,8}", bytes()), 0..4);
    let times = prop_oneof![1_700_000_000_000_i64..1_700_000_100_000, any::<i64>()];
    let record = (0_i64..3, times, bytes(), bytes(), headers);
    let from = prop_oneof![0_i64..10, Just(i64::MAX - 1_000)];
    (from, prop::collection::vec(record, 0..60)).prop_map(|(from, records)| {
        let mut next = from;
        let owned = records.into_iter().map(|(gap, broker_time_ms, key, value, headers)| {
            let offset = next + gap;
            next = offset + 1;
            Owned { offset, broker_time_ms, key, value, headers }
        });
        (from, owned.collect())
    })
}

fn encode(from: i64, records: &[Owned], beyond: i64) -> EncodedArchiveFile {
    let mut encoder = ArchiveFileEncoder::new(("usage", "id"), (3, 1), from).unwrap();
    for record in records {
        encoder.push(&record.borrowed()).unwrap();
    }
    let next = records.last().map_or(from, |last| last.offset + 1);
    encoder.finish(next + beyond).unwrap()
}

fn decode(bytes: &[u8]) -> Result<(ArchiveFileHeader, Vec<Owned>), ArchiveFileError> {
    let mut reader = ArchiveFileReader::open(bytes)?;
    let mut found = Vec::new();
    while let Some(record) = reader.next_record()? {
        found.push(Owned::of(&record));
    }
    Ok((reader.header().clone(), found))
}

proptest! {
    #[test]
    fn what_goes_in_comes_out((from, records) in records(), beyond in 1_i64..4) {
        let file = encode(from, &records, beyond);
        let header = &file.header;
        prop_assert_eq!((header.topic.as_str(), header.topic_id.as_str()), ("usage", "id"));
        prop_assert_eq!((header.partition, header.generation, header.from), (3, 1, from));
        prop_assert_eq!(header.records, u64::try_from(records.len()).unwrap());
        prop_assert_eq!(file.content_sum, ArchiveSum::of(&file.bytes));
        prop_assert_eq!(decode(&file.bytes), Ok((header.clone(), records.clone())));
        prop_assert_eq!(encode(from, &records, beyond), file);
    }

    #[test]
    fn no_damage_passes((from, records) in records(), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let file = encode(from, &records, 1);
        let mut damaged = file.bytes.clone();
        let at = at.index(damaged.len());
        damaged[at] ^= 1 << bit;
        prop_assert_ne!(ArchiveSum::of(&damaged), file.content_sum);
        // Without the sum, other records are found by zstd's checksum; a header that lies may pass.
        if let Ok((_, found)) = decode(&damaged) {
            prop_assert_eq!(found.len(), records.len());
            prop_assert!(found.iter().zip(&records).all(|(a, b)| (&a.key, &a.value) == (&b.key, &b.value)));
        }
        for cut in 1..file.bytes.len().min(40) {
            prop_assert!(decode(&file.bytes[..file.bytes.len() - cut]).is_err());
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>, behind_magic: bool) {
        let mut all = if behind_magic { b"WEIRARC\x01".to_vec() } else { Vec::new() };
        all.extend_from_slice(&bytes);
        let _ = decode(&all);
    }

    #[test]
    fn any_body_is_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..200), records in 0_u64..9) {
        // A header that is right about a body that is not one of Weir's.
        let file = encode(0, &[], 10_000);
        let (_, rest) = ArchiveFileHeader::decode(&file.bytes).unwrap();
        let header = &file.bytes[..file.bytes.len() - rest.len()];
        let mut lying = header[..header.len() - 2].to_vec();
        lying[8] += u8::try_from(body.len() / 128).unwrap();
        lying.push(u8::try_from(records).unwrap());
        let length = u8::try_from(body.len()).unwrap();
        if length < 128 { lying.push(length) } else { lying.extend([length | 0x80, 1]) }
        lying.extend(zstd::bulk::compress(&body, 1).unwrap());
        prop_assert!(ArchiveFileHeader::decode(&lying).is_ok());
        let _ = decode(&lying);
    }
}

#[test]
fn missing_and_empty_are_two_things() {
    let empty = Some(Vec::new());
    let record = |offset, key: &Option<Vec<u8>>, value: &Option<Vec<u8>>| Owned {
        offset,
        broker_time_ms: 5,
        key: key.clone(),
        value: value.clone(),
        headers: vec![("a".into(), None), ("a".into(), empty.clone())],
    };
    let records = [record(7, &None, &empty), record(9, &empty, &None)];
    assert_eq!(decode(&encode(7, &records, 1).bytes).unwrap().1, records);
}

#[test]
fn records_that_do_not_rise_are_refused() {
    let record =
        |offset| ArchivedRecord { offset, broker_time_ms: 1, key: None, value: None, headers: vec![] };
    let mut encoder = ArchiveFileEncoder::new(("usage", ""), (0, 1), 5).unwrap();
    assert_eq!(encoder.push(&record(4)), Err(ArchiveFileError::Order(4)));
    encoder.push(&record(5)).unwrap();
    assert_eq!(encoder.push(&record(5)), Err(ArchiveFileError::Order(5)));
    assert_eq!(encoder.finish(5), Err(ArchiveFileError::Order(5)));
}

#[test]
fn a_later_version_and_a_bomb_are_refused() {
    let file = encode(0, &[], 1);
    let mut later = file.bytes.clone();
    later[7] = 2;
    assert_eq!(decode(&later), Err(ArchiveFileError::Unknown));
    // A body of a gigabyte of zeros behind a header that announces none.
    let (_, rest) = ArchiveFileHeader::decode(&file.bytes).unwrap();
    let mut bomb = file.bytes[..file.bytes.len() - rest.len()].to_vec();
    bomb.extend(zstd::stream::encode_all(std::io::Read::take(std::io::repeat(0), 1 << 30), 1).unwrap());
    assert_eq!(decode(&bomb), Err(ArchiveFileError::Count));
}
