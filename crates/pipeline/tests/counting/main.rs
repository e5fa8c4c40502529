//! Counting on the real servers: what is produced is counted, exactly once, whatever
//! happens to the processes that count.
//!
//! What can happen, and the test that makes it happen. `e2e` is `tests/tests/end_to_end`,
//! `billing` the test beside this one, `metering` the pure crate's own tests.
//!
//! | what happens | test |
//! | --- | --- |
//! | killed before, during or after any step of a batch | `scenarios::killed_again_and_again…` (at any moment), `e2e::failures::killed_while_events_flow`; alerts: `time::a_reached_limit_is_told…` |
//! | owner frozen inside its transaction, then woken | `scenarios::an_owner_frozen_in_its_transaction…` (in Postgres), `owners::an_owner_that_wakes_with_a_commit_on_its_way…` (before Postgres) |
//! | two owners; partitions move under load | `owners::two_owners…`, `owners::partitions_move_under_load…`, `scenarios::two_share_the_partitions…` |
//! | the answer to COMMIT is lost | `answers::a_commit_whose_answer_is_lost…` (each outcome), `answers::connections_are_cut_at_random_moments…` |
//! | ledger restored to a few batches ago | `restored::a_ledger_restored…`, `refusals::rollups_of_a_lost_future…`; numbers: `billing::runs::a_counter_behind_the_topic…` |
//! | ClickHouse down or dropped, rows missing; a restart meanwhile | `projection::*`, `scenarios::without_clickhouse…`, `e2e::failures::clickhouse_dies…` |
//! | Postgres down | `scenarios::without_clickhouse…`, `e2e::failures::postgres_restarts…` (with /readyz) |
//! | a long snapshot under load | `months::a_month_begins…`; the rate is a matter for `make bench` |
//! | Kafka deletes what was counted and archived | `archive::*` |
//! | Kafka down | `scenarios::without_clickhouse…`, `e2e::failures::kafka_away_is_503` |
//! | topic recreated, trimmed, cut and refilled, compacted, widened | at start `topics::*`, `scenarios::a_ledger_ahead_of_its_journal…`; while running: `while_running::a_topic_…` |
//! | topic and ledger widened under load; by two at once, by another tool, in a ledger that was restored | `widened::*`; every interleaving: `metering::widened` |
//! | a store or a step hangs without a word | `standing::*` |
//! | settings of Kafka or Postgres that would lose, forget or misjudge usage | `settings::*` |
//! | a store refuses the data itself | `refusals::*` |
//! | broker time far ahead | `time::a_clock_far_behind…` |
//! | broker time steps back; future events; copies with another `time` | `metering::identities`, `metering::cuts`; in the future: `scenarios::every_event…` |
//! | malformed, oversized, unknown-tenant, too-late or future event, NUL bytes, huge values | `scenarios::every_event…`, `e2e::refusals::*` |
//! | same id, different payload | `scenarios::every_event…`, `metering::rules` |
//! | a producer with another partitioner | every scenario (each seventh event), `e2e::counting::another_partitioner…` |
//! | a late event after finalization | `billing::runs::a_late_event…`, `e2e::billing` |
//! | two billing runs at once; one killed half way | `billing::runs::two_runs_at_once…`, `billing::runs::a_run_killed_half_way…` |
//! | the last record of a partition is an aborted transaction | `time::a_period_closes…` |
//! | a million different dimension values | `metering::rules::series_past_the_bound…` (with a lower bound) |

mod scenarios;

mod answers;
mod archive;
mod checked;
mod delivery;
mod formats;
mod months;
mod owners;
mod projection;
mod refusals;
mod replays;
mod restored;
mod sealed;
mod settings;
mod standing;
mod time;
mod topics;
mod while_running;
mod widened;

mod admin;
mod counts;
mod house;
mod receiver;
