//! The load's events as a partition's records: values in Avro, one after another in one buffer,
//! and batches of them decoded as the program decodes them.

use weir_load::{Event, write_avro};
use weir_metering::record::Batch;
use weir_wire::avro::SchemaSet;
use weir_wire::usage_record::{RECORD_BYTES_MAX, RawRecord, decode_into};

use crate::stage::PARTITION;

/// Values in one buffer.
#[derive(Debug, Default)]
pub(crate) struct Values {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Values {
    /// The values of these events, as `write` writes them.
    pub(crate) fn of(events: impl Iterator<Item = Event>, write: fn(&Event, &mut Vec<u8>)) -> Self {
        let mut values = Self::default();
        for event in events {
            write(&event, &mut values.bytes);
            values.ends.push(values.bytes.len());
        }
        values
    }

    /// Each of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }
}

/// Reads values into a batch whose records stand from `from` on, all of one broker time.
pub(crate) fn decode(schemas: &SchemaSet, values: &Values, from: i64, broker_time_ms: i64) -> Batch {
    let mut batch = Batch::new(PARTITION, from);
    for (offset, value) in (from..).zip(values.iter()) {
        let record = RawRecord { key: None, payload: Some(value), headers: &[], offset, broker_time_ms };
        decode_into(schemas, &record, RECORD_BYTES_MAX, &mut batch);
    }
    batch
}

/// A batch of the load's events, which stand from `from` on.
pub(crate) fn batch(
    schemas: &SchemaSet,
    events: impl Iterator<Item = Event>,
    from: i64,
    broker_time_ms: i64,
) -> Batch {
    decode(schemas, &Values::of(events, write_avro), from, broker_time_ms)
}
