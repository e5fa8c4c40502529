//! The second act: everything is sent at once, over HTTP and straight to Kafka, and counted.

use anyhow::Result;

use crate::decimal::thousands;
use crate::print;
use crate::producers::{self, OverHttp, Partitioner};
use crate::scene::Scene;
use crate::script::Script;

/// Sends the whole script and waits until Weir has counted it.
pub(crate) async fn send(scene: &mut Scene, script: &Script) -> Result<()> {
    print::doing("sending usage over HTTP and to Kafka, from three producers at once");
    let (bootstrap, topic) = (scene.servers.kafka.clone(), scene.place.usage_topic());
    let kafka = |partitioner, cargo| producers::to_kafka(&bootstrap, &topic, partitioner, cargo);
    let (http, keyed, elsewhere) = tokio::try_join!(
        producers::over_http(&scene.api, &script.http),
        kafka(Partitioner::Murmur2, &script.kafka),
        kafka(Partitioner::LibrdkafkaDefault, &script.kafka_elsewhere),
    )?;
    // Sent after everything was acknowledged, so each stands behind its original.
    let conflicts = kafka(Partitioner::Murmur2, &script.conflicts).await?;
    let took = scene.watch.lap("sending, until every acknowledgement");
    print_sent(script, &http, took.as_secs_f64());
    scene.produced.extend(http.taken);
    scene.produced.extend(keyed);
    scene.produced.extend(elsewhere);
    scene.produced.extend(conflicts);
    print::doing("waiting until all of it is counted");
    scene.counted().await?;
    scene.watch.lap("counting what was still on its way, and ClickHouse");
    Ok(())
}

fn print_sent(script: &Script, http: &OverHttp, seconds: f64) {
    print::title("What was sent");
    print::say(
        "Amazon CloudWatch series from the Numenta Anomaly Benchmark, laid end to end and moved so that they \
         end now.\nDuplicates, re-deliveries, conflicts, late, malformed and unknown ones are mixed in.",
    );
    let row = |route: &str, count: usize| vec![route.to_owned(), thousands(&count.to_string())];
    let all = script.http.len() + script.kafka.len() + script.kafka_elsewhere.len() + script.conflicts.len();
    print::table(
        &["producer", ">records"],
        [
            row("HTTP, batches of CloudEvents", script.http.len()),
            row("Kafka, Avro, murmur2 partitioner", script.kafka.len()),
            row("Kafka, Avro, librdkafka's default partitioner", script.kafka_elsewhere.len()),
            row("Kafka, Avro, sent afterwards: known ids with other values", script.conflicts.len()),
            row("all", all),
        ],
    );
    print::say(&format!("acknowledged in {seconds:.1} s"));
    if !http.refused.is_empty() {
        print::say(&format!("refused over HTTP, by index in the answer: {}", http.refused.len()));
        for problem in &http.refused {
            print::indented(problem);
        }
    }
}
