//! A value of the usage topic as Avro in Confluent's framing, under the schemas that ship with
//! Weir. The reader for these and the general one must agree, and nothing may be left over.

use weir_metering::record::RecordBody;
use weir_wire::avro::{NEWEST_SHIPPED, encode_event};
use weir_wire::usage_record::RawRecord;

use crate::Seeds;
use crate::events::{OF_REGISTRY, SHIPPED, decode_both_ways, samples};
use crate::memory::bound;

/// Reads the input as a record's value.
pub fn check(input: &[u8]) {
    for schemas in [&*SHIPPED, &*OF_REGISTRY] {
        let record =
            RawRecord { key: None, payload: Some(input), headers: &[], offset: 7, broker_time_ms: 1_000 };
        // apache-avro may take 1 MiB for a length that the input only claims.
        let decoded = decode_both_ways(schemas, &record, bound(3 << 20, 64, input));
        if let RecordBody::Event { hops, .. } = decoded.body {
            assert_eq!(hops, 0);
        }
    }
}

/// Events under each schema and number, and broken ones.
pub fn seeds() -> Seeds {
    let mut seeds = Vec::new();
    for (name, event) in samples() {
        let newest = encode_event(&event);
        // Version 1 has no trace context behind the data.
        let first = [&[0, 0, 0, 0, 1], &newest[5..newest.len() - 1]].concat();
        let numbered = [&[0, 0, 0, 0, 2], &newest[5..]].concat();
        let traced = [&newest[..newest.len() - 1], &[2, 8], b"00-1"].concat();
        seeds.push((format!("{name}.v{NEWEST_SHIPPED}"), newest.clone()));
        seeds.push((format!("{name}.v1"), first));
        seeds.push((format!("{name}.numbered"), numbered));
        seeds.push((format!("{name}.traced"), traced));
        seeds.push((format!("{name}.cut"), newest[..newest.len() / 2].to_vec()));
    }
    seeds.push(("zeros".to_owned(), vec![0; 16]));
    seeds
}
