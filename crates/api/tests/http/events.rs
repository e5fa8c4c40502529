//! Events in: what is acknowledged is in the journal, in its tenant's partition.

use std::io::Write;
use std::time::Duration;

use anyhow::ensure;
use serde_json::json;
use weir_core::journal::partition_of;
use weir_tests::wait::until;
use weir_wire::avro::{SchemaSet, decode_event};

use crate::support::{event, in_house, request};

#[test]
fn every_form_ends_in_the_tenants_partition() {
    in_house(|house| async move {
        house.tenant("forms").await;
        let post = |headers: &[(&str, &str)], body: Vec<u8>| {
            house.send(request("POST", "/api/v1/events", headers, body))
        };
        let structured = event("forms", "structured").to_string().into_bytes();
        post(&[("content-type", "application/cloudevents+json")], structured).await.expect(204);
        let batch = json!([event("forms", "b1"), event("forms", "b2")]).to_string().into_bytes();
        post(&[("content-type", "application/cloudevents-batch+json; charset=utf-8")], batch)
            .await
            .expect(204);
        let binary = [
            ("ce-specversion", "1.0"),
            ("ce-id", "bin%C3%A4r"),
            ("ce-source", "//gateway.eu"),
            ("ce-type", "com.example.network.out"),
            ("ce-subject", "forms"),
            ("content-type", "application/json"),
        ];
        post(&binary, b"{\"bytes\": 3}".to_vec()).await.expect(204);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(event("forms", "gzip").to_string().as_bytes()).unwrap();
        let packed = [("content-type", "application/json"), ("content-encoding", "gzip")];
        post(&packed, gzip.finish().unwrap()).await.expect(204);
        let zstd = zstd::encode_all(event("forms", "zstd").to_string().as_bytes(), 1).unwrap();
        let packed = [("content-type", "application/json"), ("content-encoding", "zstd")];
        post(&packed, zstd).await.expect(204);
        let packed = [("content-type", "application/json"), ("content-encoding", "br")];
        assert_eq!(post(&packed, vec![1]).await.expect(415).header("accept-encoding"), "gzip, zstd");
        let bomb = zstd::encode_all(&vec![b' '; 9 * 1024 * 1024][..], 1).unwrap();
        let packed = [("content-type", "application/json"), ("content-encoding", "zstd")];
        assert_eq!(post(&packed, bomb).await.expect(413).problem(), "too-large");

        let schemas = SchemaSet::shipped();
        let partition = partition_of(b"forms", house.kafka.partitions);
        let mut ids = Vec::new();
        for (found, value) in house.records_of("forms") {
            assert_eq!(found, partition);
            ids.push(decode_event(&schemas, &value).unwrap().id);
        }
        ids.sort();
        assert_eq!(ids, ["b1", "b2", "binär", "gzip", "structured", "zstd"]);
        // Other tests send at the same time: all of it comes free once they are answered.
        let all = house.state.settings.in_flight_bytes_max;
        until("the bytes to be given back", Duration::from_secs(20), || async {
            let free = house.state.in_flight_bytes_free();
            ensure!(free == all, "{free} of {all} are free");
            Ok(Some(()))
        })
        .await
        .unwrap();
    });
}

#[test]
fn one_bad_event_among_good_ones() {
    in_house(|house| async move {
        house.tenant("mixed").await;
        let body = json!([event("mixed", "1"), event("mixed", "a\0"), event("mixed", "3")]);
        let answer = house.json("POST", "/api/v1/events", &[], body).await.expect(202);
        assert_eq!(answer.body["accepted"], 2);
        assert_eq!(answer.body["rejected"][0]["index"], 1);
        let detail = answer.body["rejected"][0]["problem"]["detail"].as_str().unwrap();
        assert!(detail.starts_with("invalid_event: id holds a control character"), "{detail}");
        assert_eq!(house.records_of("mixed").len(), 2);
        let preferred = [("prefer", "respond-async, return=representation")];
        let answer = house.json("POST", "/api/v1/events", &preferred, json!([event("mixed", "4")])).await;
        assert_eq!((answer.status, &answer.body["accepted"]), (200, &json!(1)));
    });
}
