//! Delivery of the outbox: a receiver that hangs keeps nobody else waiting, one that was switched
//! off is left alone, one at a private address or behind a redirect is not reached.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use weir_backends::journal::Producer;
use weir_pipeline::outbox::{Delivery, OutboxMetrics};

use crate::house::House;
use crate::receiver::SECRET;
use crate::scenarios::stack;

fn deliver(house: &House, allow_private: bool) -> CancellationToken {
    let delivery = Delivery::of_servers(
        house.pool.clone(),
        Producer::connect(&house.kafka).unwrap(),
        house.kafka.clone(),
        allow_private,
        Arc::new(OutboxMetrics::register(&prometheus::Registry::new()).unwrap()),
    );
    let stop = CancellationToken::new();
    tokio::spawn(delivery.run(stop.clone()));
    stop
}

/// An endpoint with so many messages that wait for it. Its id ends in `nth`.
async fn endpoint(house: &House, nth: u8, url: &str, disabled_at: &str, messages: u32) {
    let id = format!("00000000-0000-0000-0000-0000000000{nth:02}");
    house
        .run(format!(
            "INSERT INTO webhook_endpoint (id, url, secret, disabled_at, created_at)
             VALUES ('{id}', '{url}', '{SECRET}', {disabled_at}, now())"
        ))
        .await;
    house
        .run(format!(
            "INSERT INTO outbox (id, kind, endpoint_id, body)
             SELECT 'message-{nth}-' || n || '.{id}', 'webhook', '{id}', '{{}}'
             FROM generate_series(1, {messages}) AS n"
        ))
        .await;
}

/// Answers each connection with `answer`, or never; where it listens.
async fn listen(answer: Option<&'static [u8]>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            if let Some(answer) = answer {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(answer).await;
            } else {
                held.push(stream);
            }
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_keeps_no_topic_waiting() {
    let house = House::build(stack(), "hanging").await;
    let hanging = listen(None).await;
    endpoint(&house, 1, &format!("http://{hanging}/"), "NULL", 200).await;
    let stop = deliver(&house, true);
    house.until("SELECT count(*) FROM outbox WHERE attempts > 0", 64, 20).await;
    house
        .run(
            "INSERT INTO outbox (id, kind, topic_key, body) VALUES ('told', 'alert_topic', 'a', '{}')".into(),
        )
        .await;
    // Well before the receiver's fifteen seconds are over.
    house.until("SELECT count(*) FROM outbox WHERE id = 'told' AND delivered_at IS NOT NULL", 1, 8).await;
    assert_eq!(house.number("SELECT count(*) FROM outbox WHERE attempts > 0 AND kind = 'webhook'").await, 64);
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_reached() {
    let house = House::build(stack(), "unreached").await;
    let moved =
        listen(Some(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"))
            .await;
    // endpoint, where to, since when it is switched off, whether private addresses are allowed, what is said
    let rows = [
        (1, format!("http://{moved}/"), "now()", true, "removed or switched off"),
        (2, format!("http://{moved}/"), "NULL", true, "the receiver answered 302 Found"),
        (3, "http://localhost:1/".to_owned(), "NULL", false, "localhost is a private address"),
        (4, "http://[::ffff:127.0.0.1]:1/".to_owned(), "NULL", false, "is a private address"),
        (5, "http://0.0.0.0:1/".to_owned(), "NULL", false, "is a private address"),
        (6, "http://2130706433:1/".to_owned(), "NULL", false, "127.0.0.1 is a private address"),
    ];
    for (nth, url, disabled_at, allow_private, said) in rows {
        endpoint(&house, nth, &url, disabled_at, 1).await;
        let stop = deliver(&house, allow_private);
        house.until("SELECT count(*) FROM outbox WHERE last_error IS NULL", 0, 10).await;
        stop.cancel();
        let error = house.text("SELECT last_error FROM outbox ORDER BY created_at DESC LIMIT 1").await;
        assert!(error.contains(said), "{url}: {error}");
    }
    assert_eq!(house.number("SELECT count(*) FROM outbox WHERE delivered_at IS NOT NULL").await, 0);
}
