//! Over a socket, as a client that sends its whole body before it reads anything: an answer that
//! is given early arrives all the same.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use weir_api::ApiSettings;

use crate::support::{House, event, in_house};

/// Two and a half times what a body may have.
const MUCH: usize = 20 * 1024 * 1024;

/// Sends head and body, then reads what comes until the connection ends.
async fn talk(address: &str, head: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(format!("POST /api/v1/events HTTP/1.1\r\nHost: weir\r\n{head}\r\n").as_bytes())
        .await
        .unwrap();
    stream.write_all(body).await.expect("the whole body is taken");
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
    read.expect("an answer in time").expect("no reset");
    String::from_utf8(answer).unwrap()
}

/// Serves the house's API on a port.
async fn served(house: &House) -> (String, CancellationToken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let stop = CancellationToken::new();
    tokio::spawn(weir_api::serve(listener, house.router.clone(), stop.clone()));
    (address, stop)
}

#[test]
fn whoever_sends_too_much_reads_why() {
    in_house(|house| async move {
        house.tenant("much").await;
        let (address, stop) = served(house).await;
        let key = format!("Authorization: Bearer {}\r\n", house.key);
        let json = "Content-Type: application/cloudevents+json\r\nConnection: close\r\n";
        let long = vec![b'x'; MUCH];
        let mut chunked = format!("{MUCH:x}\r\n").into_bytes();
        chunked.extend_from_slice(&long);
        chunked.extend_from_slice(b"\r\n0\r\n\r\n");
        let length = format!("Content-Length: {MUCH}\r\n");
        let good = event("much", "1").to_string();
        let fits = format!("Content-Length: {}\r\n", good.len());
        // what, head, body, status line's beginning, a word of the body
        let rows: [(&str, String, &[u8], &str, &str); 6] = [
            ("announced", format!("{key}{json}{length}"), &long, "HTTP/1.1 413 ", "too-large"),
            (
                "in chunks",
                format!("{key}{json}Transfer-Encoding: chunked\r\n"),
                &chunked,
                "HTTP/1.1 413 ",
                "too-large",
            ),
            ("without a key", format!("{json}{length}"), &long, "HTTP/1.1 401 ", "unauthorized"),
            (
                "of a wrong type",
                format!("{key}Connection: close\r\nContent-Type: text/plain\r\n{length}"),
                &long,
                "HTTP/1.1 415 ",
                "unsupported",
            ),
            (
                "asking first",
                format!("{key}{json}{length}Expect: 100-continue\r\n"),
                b"",
                "HTTP/1.1 413 ",
                "too-large",
            ),
            ("that fits", format!("{key}{json}{fits}"), good.as_bytes(), "HTTP/1.1 204 ", ""),
        ];
        for (what, head, body, status, word) in rows {
            let answer = talk(&address, &head, body).await;
            assert!(answer.starts_with(status) && answer.contains(word), "{what}: {answer}");
        }
        stop.cancel();
    });
}

#[test]
fn a_body_that_does_not_come_gives_its_reservation_back() {
    in_house(|house| async move {
        let settings = ApiSettings { body_timeout_ms: 200, ..ApiSettings::default() };
        let beside = house.beside(&house.kafka, settings).await;
        let (address, stop) = served(&beside).await;
        let head = format!(
            "Authorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: 100\r\nExpect: 100-continue\r\nConnection: close\r\n",
            beside.key
        );
        // It lingers for the rest, but holds nothing for it.
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream
            .write_all(format!("POST /api/v1/events HTTP/1.1\r\nHost: weir\r\n{head}\r\n[").as_bytes())
            .await
            .unwrap();
        let all = beside.state.settings.in_flight_bytes_max;
        let bounded = |wanted: bool| {
            let state = &beside.state;
            let until = async move {
                while (state.in_flight_bytes_free() == all) != wanted {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(10), until)
        };
        bounded(false).await.expect("bytes are reserved");
        bounded(true).await.expect("and given back");
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
        read.expect("an answer in time").expect("no reset");
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.contains("HTTP/1.1 408 ") && answer.contains("timed-out"), "{answer}");
        stop.cancel();
    });
}

#[test]
fn a_key_sends_no_more_than_it_may() {
    in_house(|house| async move {
        house.tenant("eager").await;
        let settings = ApiSettings { key_requests_per_minute_max: 3, ..ApiSettings::default() };
        let beside = house.beside(&house.kafka, settings).await;
        let send = |id: &'static str| beside.json("POST", "/api/v1/events", &[], json!([event("eager", id)]));
        for left in [2, 1, 0] {
            let taken = send("1").await.expect(204);
            assert_eq!(taken.header("ratelimit-policy"), "\"key\";q=3;w=60");
            assert!(taken.header("ratelimit").starts_with(&format!("\"key\";r={left};t=")));
        }
        let refused = send("2").await.expect(429);
        let wait: u64 = refused.header("retry-after").parse().unwrap();
        assert!(refused.problem() == "rate-limited" && (1..=20).contains(&wait), "{}", refused.body);
        beside.get("/api/v1/quota/eager/bandwidth").await.expect(429);
        // Another key has its own, and without the setting there is none.
        let other = beside.tenant_key("eager", &["events:write"], &[]).await;
        let bearer = [("authorization", format!("Bearer {other}"))];
        let own = [("authorization", bearer[0].1.as_str())];
        let taken = beside.json("POST", "/api/v1/events", &own, json!([event("eager", "3")])).await;
        assert_eq!(taken.expect(204).header("ratelimit-policy"), "\"key\";q=3;w=60");
        let free = house.json("POST", "/api/v1/events", &[], json!([event("eager", "4")])).await.expect(204);
        assert_eq!(free.header("ratelimit"), "");
    });
}
