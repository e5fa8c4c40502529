//! The whole house from outside: one stack, one `weir`, and scenarios in order, each with tenants
//! of its own. They share a house because starting one takes longer than most of them. A scenario
//! that fails does not stop the others; all failures are told at the end. `WEIR_SCENARIO=quotas,seen`
//! runs those whose name holds one of the words.

mod adjustments;
mod archive;
mod billing;
mod clients;
mod counting;
mod dead_letters;
mod failures;
mod quotas;
mod refusals;
mod seen;
mod widened;

use std::time::Instant;

use weir_tests::house::House;

/// Runs one scenario and keeps what went wrong.
macro_rules! scenarios {
    ($house:ident, $failed:ident, $($scenario:path),+ $(,)?) => {
        let only = std::env::var("WEIR_SCENARIO").unwrap_or_default();
        $(
            if only.split(',').any(|word| stringify!($scenario).contains(word)) {
            let begin = Instant::now();
            let result = $scenario(&mut $house).await;
            let seconds = begin.elapsed().as_secs_f32();
            match result {
                Ok(()) => println!("{:<48} held in {seconds:5.1} s", stringify!($scenario)),
                Err(error) => {
                    println!("{:<48} FAILED in {seconds:5.1} s\n{error:#}", stringify!($scenario));
                    $failed.push(stringify!($scenario));
                }
            }
            }
        )+
    };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_house_holds() {
    let mut house = House::start().await.expect("a house");
    let mut failed = Vec::new();
    scenarios!(
        house,
        failed,
        counting::an_event_is_counted_once_however_often_it_is_sent,
        counting::every_aggregation_counts_what_it_says,
        counting::kafka_takes_avro_and_json,
        counting::another_partitioner_is_forwarded,
        refusals::http_answers,
        refusals::one_bad_event_among_good_ones,
        refusals::keys_and_tenants,
        refusals::dead_letters,
        dead_letters::what_was_not_counted_is_counted_after_all,
        quotas::a_hard_limit_trips_and_tells_once,
        clients::openmeter_ingests_unchanged,
        failures::killed_while_events_flow,
        failures::postgres_restarts_while_events_flow,
        failures::clickhouse_dies_while_events_flow,
        failures::kafka_away_is_503,
        failures::a_topic_that_keeps_too_little_is_refused_until_it_is_corrected,
        widened::tenants_stay_and_nothing_is_lost_or_doubled,
        billing::a_closed_period_is_billed_once_and_proved,
        adjustments::a_voided_event_leaves_usage_quota_and_alerts,
        adjustments::billed_periods_are_corrected_for_exactly_what_was_adjusted,
        archive::invoices_are_proved_after_kafka_and_clickhouse_have_lost_their_events,
        seen::panels_and_rules_find_what_they_ask_for,
        seen::health_names_its_checks,
        counting::everything_read_is_accounted_for,
        failures::sigterm_drains,
    );
    assert!(
        failed.is_empty(),
        "{} scenarios failed: {}\n{}",
        failed.len(),
        failed.join(", "),
        house.serving.tail()
    );
}
