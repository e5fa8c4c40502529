//! The demo's parts against real ones: producers against Kafka, the webhook receiver over HTTP.

use std::sync::Arc;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use weir_demo::partition::home_of;
use weir_demo::producers::{Partitioner, partitions, to_kafka};
use weir_demo::script::{Cargo, Script};
use weir_demo::tally::Tally;
use weir_demo::webhook::Receiver;

const PARTITIONS: i32 = 8;

#[tokio::test(flavor = "multi_thread")]
async fn partitioners_differ_and_everything_is_acknowledged() {
    let stack = tokio::task::spawn_blocking(local_stack::shared_for_tests).await.unwrap().unwrap();
    let (bootstrap, topic) = (stack.kafka_bootstrap(), "demo.partitioners");
    make_topic(&bootstrap, topic).await;
    assert_eq!(partitions(&bootstrap, topic).await.unwrap(), PARTITIONS);

    let now = chrono::Utc::now();
    let script = Script::write(1, now).unwrap();
    let sent = to_kafka(&bootstrap, topic, Partitioner::Murmur2, &script.kafka).await.unwrap();
    assert_eq!(sent.len(), script.kafka.len());
    for one in &sent {
        let Cargo::Event(event) = &one.cargo else { continue };
        assert_eq!(one.partition, Some(home_of(event.tenant.as_bytes(), PARTITIONS)), "{}", event.tenant);
    }
    assert_eq!(Tally::of(&sent, PARTITIONS, now).unwrap().forwarded, 0);

    let elsewhere = &script.kafka_elsewhere;
    let sent = to_kafka(&bootstrap, topic, Partitioner::LibrdkafkaDefault, elsewhere).await.unwrap();
    let tally = Tally::of(&sent, PARTITIONS, now).unwrap();
    assert!(tally.forwarded > 1_000, "only {} records stand in a foreign partition", tally.forwarded);
    assert_eq!(tally.read(), u64::try_from(sent.len()).unwrap() + tally.forwarded);
}

async fn make_topic(bootstrap: &str, topic: &str) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap();
    let topic =
        NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(1)).set("max.message.bytes", "2097152");
    for made in admin.create_topics(&[topic], &AdminOptions::new()).await.unwrap() {
        made.unwrap();
    }
}

#[tokio::test]
async fn the_receiver_believes_signed_messages_only() {
    let receiver = Receiver::listen().await.unwrap();
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    receiver.trust(secret).unwrap();
    let send = |id: &'static str, body: &'static str, signed: &'static str| {
        let at = chrono::Utc::now().timestamp();
        let signature =
            standardwebhooks::Webhook::new(secret).unwrap().sign(id, at, signed.as_bytes()).unwrap();
        let request = reqwest::Client::builder().no_proxy().build().unwrap().post(receiver.url());
        request
            .header("webhook-id", id)
            .header("webhook-timestamp", at)
            .header("webhook-signature", signature)
            .body(body)
            .send()
    };
    assert_eq!(send("msg_1", r#"{"type":"a"}"#, r#"{"type":"a"}"#).await.unwrap().status(), 204);
    let found = receiver.wait_for("a", |message| message.body["type"] == "a").await.unwrap();
    assert_eq!(found.id, "msg_1");
    receiver.check_refused().unwrap();
    assert_eq!(send("msg_2", r#"{"type":"b"}"#, r#"{"type":"a"}"#).await.unwrap().status(), 401);
    assert!(receiver.check_refused().is_err());
    assert_eq!(receiver.messages().len(), 1);
}

#[test]
fn cargo_is_shared_not_copied() {
    let script = Script::write(1, chrono::Utc::now()).unwrap();
    let shared =
        script.http.iter().any(|cargo| matches!(cargo, Cargo::Event(event) if Arc::strong_count(event) > 1));
    assert!(shared, "a re-delivery is the same event");
}
