//! A file of the archive: as it stands, and with a header and compression put around any bytes,
//! since no mutation gets through those by itself. What is read whole is written the same again.

use weir_wire::archive_file::{ArchiveFileEncoder, ArchiveFileHeader, ArchiveFileReader, ArchivedRecord};

use crate::Seeds;
use crate::memory::{bound, within};
use crate::pieces::{Joined, Pieces};

/// Reads the rest of the input as a file, or as the records of one.
pub fn check(input: &[u8]) {
    let mut pieces = Pieces(input);
    if pieces.byte() & 1 == 0 {
        return check_file(pieces.0);
    }
    let (from, span, records) = (pieces.number(), pieces.number(), pieces.number());
    let (earliest, latest) = (pieces.number(), pieces.number());
    let numbers = [1, 3, from, from.saturating_add(span), earliest, latest];
    let mut fields = Vec::new();
    for text in ["usage", "id"] {
        put(&mut fields, u128::try_from(text.len()).expect("a short text"));
        fields.extend_from_slice(text.as_bytes());
    }
    for number in numbers {
        let number = i128::from(number);
        put(
            &mut fields,
            u128::try_from(if number < 0 { -2 * number - 1 } else { 2 * number }).expect("a zigzag"),
        );
    }
    put(&mut fields, u128::from(records.unsigned_abs()));
    put(&mut fields, u128::try_from(pieces.0.len()).expect("a length"));
    let mut file = b"WEIRARC\x01".to_vec();
    put(&mut file, u128::try_from(fields.len()).expect("a length"));
    file.append(&mut fields);
    file.extend(zstd::encode_all(pieces.0, 1).expect("zstd"));
    check_file(&file);
}

/// Seven bits a byte, low bits first.
fn put(out: &mut Vec<u8>, mut value: u128) {
    while value > 0x7f {
        out.push(u8::try_from(value & 0x7f).expect("seven bits") | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).expect("seven bits"));
}

/// A body of that many bytes may be announced by a small file, and no more is read.
const PLAIN_BYTES_MAX: u64 = 8 << 20;

fn check_file(file: &[u8]) {
    let announced = ArchiveFileHeader::decode(file).map_or(0, |(header, _)| header.plain_bytes);
    // Bombs cost what they announce; here that is bounded, so that many inputs are tried.
    if announced > PLAIN_BYTES_MAX {
        return;
    }
    let plain = usize::try_from(announced).expect("eight megabytes");
    let memory_max = bound(256 << 10, 64, file) + 3 * plain;
    let Ok(mut reader) = within(memory_max, || ArchiveFileReader::open(file)) else { return };
    let header = reader.header().clone();
    let topic = (header.topic.as_str(), header.topic_id.as_str());
    let place = (header.partition, header.generation);
    let mut encoder = ArchiveFileEncoder::new(topic, place, header.from).expect("an encoder");
    let mut times: Option<(i64, i64)> = None;
    let mut kept = Vec::new();
    loop {
        // A header takes two bytes at least, and forty in memory.
        let read =
            within(bound(64 << 10, 64, file) + 64 * plain, || reader.next_record().map(|one| one.map(owned)));
        let Ok(read) = read else { return };
        let Some(record) = read else { break };
        encoder.push(&borrowed(&record)).expect("what was read can be written");
        let time = record.1;
        times = Some(times.map_or((time, time), |(min, max)| (min.min(time), max.max(time))));
        kept.push(record);
    }
    let written = encoder.finish(header.to).expect("what was read can be written");
    let (broker_time_ms_min, broker_time_ms_max) = times.unwrap_or_default();
    let expected = ArchiveFileHeader { broker_time_ms_min, broker_time_ms_max, ..header };
    assert_eq!(written.header, expected);
    let mut again = ArchiveFileReader::open(&written.bytes).expect("what was written is read");
    for record in &kept {
        let read = again.next_record().expect("a record").expect("a record");
        assert_eq!(read, borrowed(record));
    }
    assert_eq!(again.next_record(), Ok(None));
}

type Owned = (i64, i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>);

fn owned(record: ArchivedRecord<'_>) -> Owned {
    let bytes = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
    let headers = record.headers.iter().map(|(name, value)| ((*name).to_owned(), bytes(*value))).collect();
    (record.offset, record.broker_time_ms, bytes(record.key), bytes(record.value), headers)
}

fn borrowed((offset, broker_time_ms, key, value, headers): &Owned) -> ArchivedRecord<'_> {
    ArchivedRecord {
        offset: *offset,
        broker_time_ms: *broker_time_ms,
        key: key.as_deref(),
        value: value.as_deref(),
        headers: headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect(),
    }
}

/// A file, an empty one, and the records of one.
pub fn seeds() -> Seeds {
    let record = |offset, key: Option<&'static [u8]>, value: Option<&'static [u8]>| ArchivedRecord {
        offset,
        broker_time_ms: 1_790_000_000_000 + offset,
        key,
        value,
        headers: vec![("traceparent", Some(&b"00-1"[..])), ("empty", None)],
    };
    let records =
        [record(7, Some(b"acme"), Some(b"value")), record(8, None, None), record(11, Some(b""), Some(b""))];
    let file = |records: &[ArchivedRecord<'_>]| {
        let mut encoder = ArchiveFileEncoder::new(("usage", "id"), (3, 1), 7).expect("an encoder");
        records.iter().for_each(|record| encoder.push(record).expect("a record"));
        encoder.finish(20).expect("a file").bytes
    };
    let whole = file(&records);
    let (header, body) = ArchiveFileHeader::decode(&whole).expect("a file");
    let plain = zstd::decode_all(body).expect("a body");
    let numbers =
        [header.from, header.to - header.from, 3, header.broker_time_ms_min, header.broker_time_ms_max];
    let inside = numbers.into_iter().fold(Joined::default().byte(1), Joined::number).raw(&plain).0;
    vec![
        ("file".to_owned(), [&[0][..], &whole].concat()),
        ("empty".to_owned(), [&[0][..], &file(&[])].concat()),
        ("records".to_owned(), inside),
    ]
}
