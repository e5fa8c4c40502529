//! What the usage rows of a period come to, in each way that a meter may count, on a real Postgres.

mod databases;

use weir_backends::books::{MeterTotals, SubscribedPeriod, usage_of_periods};
use weir_backends::postgres;
use weir_core::{Quantity, Span, TenantId, Timestamp};
use weir_metering::meter::MeterKey;

/// Two partitions, and rows: tenant, meter, hour, dimensions, generation, quantity, events, and of
/// `latest` meters the event time and offset of the value. The last two lie outside of October.
const ROWS: &str = "
INSERT INTO journal_partition (partition, generation, first_offset, next_offset, broker_time_max,
    folded_to, projected_to, rolled_to)
VALUES (0, 2, 0, 100, 'epoch', 90, 80, 70), (1, 2, 0, 5, 'epoch', 5, 5, 5);
INSERT INTO usage (tenant, meter, hour, dimensions, generation, partition, quantity, event_count,
    latest_at, latest_offset)
VALUES
    ('acme', 'bytes', '2026-10-01 00:00Z', '{}', 1, 0, 1.5, 3, NULL, NULL),
    ('acme', 'bytes', '2026-10-01 01:00Z', '{}', 1, 0, 0.25, 1, NULL, NULL),
    ('acme', 'bytes', '2026-10-31 23:00Z', '{\"route\":\"a\"}', 2, 0, 20, 2, NULL, NULL),
    ('acme', 'level', '2026-10-07 00:00Z', '{}', 1, 0, 40, 2, '2026-10-07 00:10Z', 50),
    ('acme', 'level', '2026-10-08 00:00Z', '{\"disk\":\"a\"}', 1, 0, 12, 1, '2026-10-08 00:10Z', 51),
    ('acme', 'level', '2026-10-08 00:00Z', '{\"disk\":\"b\"}', 1, 0, 11, 1, '2026-10-08 00:10Z', 52),
    ('acme', 'level', '2026-10-08 00:00Z', '{\"disk\":\"c\"}', 1, 0, 99, 1, '2026-10-08 00:09Z', 99),
    ('acme', 'bytes', '2026-09-30 23:00Z', '{}', 1, 0, 1000, 1, NULL, NULL),
    ('acme', 'level', '2026-11-01 00:00Z', '{}', 1, 0, 1000, 1, '2026-11-01 00:10Z', 60)";

#[tokio::test]
async fn rows_are_added_up_and_the_latest_value_is_that_of_the_last_event() {
    let pool = databases::empty("period_usage").await;
    postgres::migrate(&pool).await.expect("migrates");
    sqlx::raw_sql(ROWS).execute(&pool).await.expect("rows");
    let october = |tenant, partition| SubscribedPeriod {
        subscription: "sub_1".to_owned(),
        tenant: TenantId::new(tenant).unwrap(),
        partition,
        period: Span {
            start: Timestamp::parse("2026-10-01T00:00:00Z").unwrap(),
            end: Timestamp::parse("2026-11-01T00:00:00Z").unwrap(),
        },
    };
    let periods = [october("kite", 1), october("acme", 0), october("lost", 7)];
    let found = usage_of_periods(&pool, &periods).await.expect("usage");
    let [Some(kite), Some(acme), None] = found.as_slice() else {
        panic!("nothing was counted in partition 7 alone: {found:?}");
    };
    assert_eq!((kite.cut.offset, kite.meters.as_slice()), (5, [].as_slice()));
    assert_eq!(acme.cut.offset, 90);
    let totals = |meter, [sum, max, min, latest]: [&str; 4], event_count| {
        let quantity = |text: &str| Quantity::parse_total(text).unwrap();
        MeterTotals {
            meter: MeterKey::new(meter).unwrap(),
            sum: quantity(sum),
            max: quantity(max),
            min: quantity(min),
            latest: quantity(latest),
            unique: Quantity::ZERO,
            event_count,
        }
    };
    let expected =
        [totals("bytes", ["21.75", "20", "0.25", "0"], 6), totals("level", ["162", "99", "11", "11"], 5)];
    assert_eq!(acme.meters, expected);
}
