//! Raw events in a real ClickHouse: each position once, whatever was written how often.

use weir_backends::config::ClickHouseConfig;
use weir_backends::projection::{EventRow, Projection, StoredEvent};
use weir_core::{Position, Timestamp};
use weir_metering::event::UsageEvent;

const ACME: (&str, i64) = ("acme", 1_772_000_000_000);
const KITE: (&str, i64) = ("kite", 1_772_090_000_000);

/// A projection of its own on the shared ClickHouse, with nothing in it.
async fn empty() -> Projection {
    let stack = local_stack::shared_for_tests().expect("the local stack starts");
    let database = format!("raw_events_{}", uuid::Uuid::new_v4().simple());
    let projection =
        Projection::new(&ClickHouseConfig { url: stack.clickhouse_url(), database, ..Default::default() });
    projection.prepare().await.expect("makes its tables");
    projection
}

fn position(generation: i32, partition: i32, offset: i64) -> Position {
    Position { generation, partition, offset }
}

/// An event of a tenant on its day, that says `size`, written in an epoch.
fn row(position: Position, (tenant, day): (&str, i64), size: &str, epoch: i64) -> EventRow {
    let identity = (tenant.to_owned(), "//test".to_owned(), position.to_string());
    let data = vec![("size".to_owned(), size.to_owned())];
    let broker_time = Timestamp::from_millis(day + position.offset).expect("a time");
    let event = UsageEvent::new(identity, "call".to_owned(), None, data).expect("an event");
    let mut row = EventRow::alone(position, broker_time, &event);
    row.epoch = epoch;
    row
}

async fn all(
    cursor: Result<weir_backends::projection::EventCursor, weir_backends::StoreError>,
) -> Vec<String> {
    let mut cursor = cursor.expect("asks");
    let mut found = Vec::new();
    while let Some(StoredEvent { generation, partition, offset, tenant, data, .. }) =
        cursor.next().await.expect("answers")
    {
        found.push(format!("{generation}/{partition}/{offset} {tenant} {}", data[0].1));
    }
    found
}

#[tokio::test]
async fn events_are_read_once_each_below_the_end_of_their_partition() {
    let projection = empty().await;
    let written = [
        row(position(1, 0, 0), ACME, "lost with its epoch", 1),
        row(position(1, 0, 1), ACME, "b", 1),
        row(position(1, 1, 0), KITE, "c", 1),
        row(position(1, 1, 7), KITE, "beyond the end", 1),
        row(position(1, 2, 0), KITE, "of a partition that nobody asks for", 1),
        row(position(2, 0, 0), KITE, "d", 1),
    ];
    projection.insert_events(&written).await.expect("inserts");
    projection.insert_events(&[row(position(1, 0, 0), ACME, "a", 2)]).await.expect("inserts");
    projection.insert_events(&[row(position(1, 1, 0), KITE, "c", 1)]).await.expect("inserts");

    let ends = [position(1, 0, 2), position(1, 1, 7), position(2, 0, 100)];
    let mut scanned = all(projection.scan_events(&ends)).await;
    scanned.sort();
    assert_eq!(scanned, ["1/0/0 acme a", "1/0/1 acme b", "1/1/0 kite c", "2/0/0 kite d"]);
    assert!(all(projection.scan_events(&[])).await.is_empty(), "nothing was asked for");
    let read = all(projection.read_events(None, (0, 1), 0, 10)).await;
    assert_eq!(read, ["1/0/0 acme a", "1/0/1 acme b"], "by rising offset");
    assert_eq!(projection.count_events((0, 1), 10).await.expect("counts"), 2);
}
