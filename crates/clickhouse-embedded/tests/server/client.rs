//! What the `clickhouse` crate needs of a server: types, errors, many clients, large inserts,
//! isolation between requests.

use std::collections::HashMap;

use crate::support::Server;
use clickhouse::{Row, error::Error};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Row, Serialize, Deserialize)]
struct Everything {
    u8: u8,
    u64: u64,
    u128: u128,
    i128: i128,
    decimal: i128,
    text: String,
    at_ms: i64,
    day: u16,
    dimensions: Vec<(String, String)>,
    list: Vec<u32>,
    word: String,
    maybe: Option<i32>,
}

const TABLE: &str = "CREATE TABLE t (
    u8 UInt8, u64 UInt64, u128 UInt128, i128 Int128, decimal Decimal(38, 9), text String,
    at_ms DateTime64(3), day Date, dimensions Map(String, String), list Array(UInt32),
    word LowCardinality(String), maybe Nullable(Int32)
) ENGINE = MergeTree ORDER BY u64";

fn row(number: u64) -> Everything {
    Everything {
        u8: 255,
        u64: number,
        u128: u128::MAX,
        i128: i128::MIN,
        decimal: -1_000_000_001,
        text: "a\n\nb\0c\r\n\\N'\"".to_owned(),
        at_ms: 1_700_000_000_123,
        day: 19_000,
        dimensions: vec![("region".to_owned(), "eu\n\n\0".to_owned())],
        list: vec![1, 10, 13, 0],
        word: "\n\n".to_owned(),
        maybe: if number.is_multiple_of(2) { None } else { Some(-1) },
    }
}

#[tokio::test]
async fn every_type_that_weir_uses_survives_both_ways() {
    let server = Server::start();
    let client = server.client();
    client.query(TABLE).execute().await.expect("created");
    let rows: Vec<_> = (0..100).map(row).collect();
    // With the crate's own check of names and types, and without.
    for validation in [true, false] {
        let client = client.clone().with_validation(validation);
        client.query("TRUNCATE TABLE t").execute().await.expect("truncated");
        let mut insert = client.insert::<Everything>("t").await.expect("begun");
        for row in &rows {
            insert.write(row).await.expect("written");
        }
        insert.end().await.expect("inserted");
        let read =
            client.query("SELECT ?fields FROM t ORDER BY u64").fetch_all::<Everything>().await.expect("read");
        assert_eq!(read, rows);
    }
    let decimal: String =
        client.query("SELECT toString(any(decimal)) FROM t").fetch_one().await.expect("one row");
    assert_eq!(decimal, "-1.000000001");
}

#[tokio::test]
async fn uuids_are_pairs_of_words() {
    #[derive(Debug, PartialEq, Row, Serialize, Deserialize)]
    struct Id {
        id: (u64, u64),
    }
    let server = Server::start();
    let client = server.client().with_validation(false);
    client
        .query("CREATE TABLE ids (id UUID) ENGINE = MergeTree ORDER BY id")
        .execute()
        .await
        .expect("created");
    let mut insert = client.insert::<Id>("ids").await.expect("begun");
    insert.write(&Id { id: (1, 2) }).await.expect("written");
    insert.end().await.expect("inserted");
    let text: String = client.query("SELECT toString(id) FROM ids").fetch_one().await.expect("one row");
    assert_eq!(text, "00000000-0000-0001-0000-000000000002");
}

#[tokio::test]
async fn errors_are_the_engines_own() {
    let server = Server::start();
    let client = server.client();
    for (sql, code) in [
        ("SELEC 1", "Code: 62. DB::Exception: Syntax error"),
        ("SELECT * FROM nowhere", "Code: 60. DB::Exception:"),
        ("SELECT throwIf(number = 99999) FROM numbers(100000)", "Code: 395. DB::Exception:"),
    ] {
        let error = client.query(sql).execute().await.expect_err("refused");
        let Error::BadResponse(text) = error else { panic!("{error:?}") };
        assert!(text.starts_with(code), "{text}");
    }
    let error = client.insert::<Everything>("nowhere").await.err().expect("refused");
    assert!(error.to_string().contains("nowhere"), "{error}");
}

#[tokio::test]
async fn parameters_are_bound_by_name() {
    let server = Server::start();
    let text: String = server
        .client()
        .query("SELECT {a:String} || toString({b:Int64})")
        .param("a", "it's \\ \n\t")
        .param("b", -5)
        .fetch_one()
        .await
        .expect("one row");
    assert_eq!(text, "it's \\ \n\t-5");
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_clients_at_once() {
    #[derive(Row, Serialize)]
    struct Small {
        client: u64,
        number: u64,
    }
    const CLIENTS: u64 = 64;
    const ROWS: u64 = 1000;
    let server = Server::start();
    let client = server.client();
    client
        .query("CREATE TABLE s (client UInt64, number UInt64) ENGINE = MergeTree ORDER BY client")
        .execute()
        .await
        .expect("created");
    let tasks: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let client = server.client();
            tokio::spawn(async move {
                let mut insert = client.insert::<Small>("s").await.expect("begun");
                for row in 0..ROWS {
                    insert.write(&Small { client: number, number: row }).await.expect("written");
                }
                insert.end().await.expect("inserted");
                let own: u64 = client
                    .query("SELECT count() FROM s WHERE client = ?")
                    .bind(number)
                    .fetch_one()
                    .await
                    .expect("counted");
                assert_eq!(own, ROWS);
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no client fails");
    }
    let all: u64 = client.query("SELECT count() FROM s").fetch_one().await.expect("counted");
    assert_eq!(all, CLIENTS * ROWS);
}

#[tokio::test]
async fn an_insert_of_a_hundred_megabytes() {
    #[derive(Row, Serialize)]
    struct Wide {
        number: u64,
        text: String,
    }
    const ROWS: u64 = 1_000_000;
    let server = Server::start();
    let client = server.client();
    client
        .query("CREATE TABLE w (number UInt64, text String) ENGINE = MergeTree ORDER BY number")
        .execute()
        .await
        .expect("created");
    let mut insert = client.insert::<Wide>("w").await.expect("begun");
    let mut wide = Wide { number: 0, text: "\n\n0123456789".repeat(8) };
    for number in 0..ROWS {
        wide.number = number;
        insert.write(&wide).await.expect("written");
    }
    insert.end().await.expect("inserted");
    let (rows, bytes): (u64, u64) = client
        .query("SELECT count(), sum(length(text)) + 8 * count() FROM w")
        .fetch_one()
        .await
        .expect("counted");
    assert_eq!(rows, ROWS);
    assert!(bytes >= 100_000_000, "{bytes}");
}

#[tokio::test]
async fn an_insert_that_is_dropped_inserts_nothing() {
    #[derive(Row, Serialize)]
    struct One {
        a: u64,
    }
    let server = Server::start();
    let client = server.client();
    client.query("CREATE TABLE o (a UInt64) ENGINE = MergeTree ORDER BY a").execute().await.expect("created");
    let mut insert = client.insert::<One>("o").await.expect("begun");
    for a in 0..200_000 {
        insert.write(&One { a }).await.expect("written");
    }
    drop(insert);
    // The next insert runs after the server has seen the end of the first connection or not;
    // either way only its own row may be there.
    let mut insert = client.insert::<One>("o").await.expect("begun");
    insert.write(&One { a: 7 }).await.expect("written");
    insert.end().await.expect("inserted");
    let rows: Vec<u64> = client.query("SELECT a FROM o").fetch_all().await.expect("read");
    assert_eq!(rows, [7]);
}

#[tokio::test]
async fn settings_and_databases_do_not_leak() {
    let server = Server::start();
    let client = server.client();
    client.query("CREATE DATABASE other").execute().await.expect("created");
    let setting = |client: &clickhouse::Client| {
        client.query("SELECT toString(getSetting('max_threads')), currentDatabase()").fetch_one()
    };
    let before: (String, String) = setting(&client).await.expect("read");
    let changed = client.clone().with_setting("max_threads", "7").with_database("other");
    let own: (String, String) = setting(&changed).await.expect("read");
    assert_eq!(own, ("7".to_owned(), "other".to_owned()));
    for _ in 0..20 {
        client.query("SET max_threads = 9").execute().await.expect("accepted");
        client.query("USE other").execute().await.expect("accepted");
        client.query("CREATE TEMPORARY TABLE x (a UInt8)").execute().await.expect("accepted");
        let after: (String, String) = setting(&client).await.expect("read");
        assert_eq!(after, before);
    }
    let error = client.with_setting("no_such_setting", "1").query("SELECT 1").execute().await;
    assert!(error.expect_err("refused").to_string().contains("Code: 115."));
}

#[tokio::test]
async fn data_survives_a_stop_and_a_kill() {
    let mut server = Server::start();
    let sum = async |server: &Server| {
        let query = server.client().query("SELECT sum(a) FROM d.k");
        query.fetch_one::<u64>().await.expect("read")
    };
    server.post("CREATE DATABASE d");
    server.post("CREATE TABLE d.k (a UInt64) ENGINE = ReplacingMergeTree ORDER BY a");
    let mut expected = 0;
    for (number, signal) in [(1, libc::SIGTERM), (2, libc::SIGKILL), (4, libc::SIGINT)] {
        assert_eq!(server.post(&format!("INSERT INTO d.k VALUES ({number})")).status, 200);
        expected += number;
        let (status, next) = server.restart_after(signal);
        server = next;
        assert_eq!(status.success(), signal != libc::SIGKILL, "{status}");
        assert_eq!(sum(&server).await, expected);
    }
}

#[tokio::test]
async fn summaries_say_what_was_written() {
    let server = Server::start();
    server.post("CREATE TABLE z (a UInt64) ENGINE = MergeTree ORDER BY a");
    let answer = server.http("POST", "/?query=INSERT+INTO+z+FORMAT+CSV", "", b"1\n2\n3\n");
    assert!(answer.head.contains(r#""written_rows":"3""#), "{}", answer.head);
    let lines: HashMap<&str, &str> = answer.head.lines().filter_map(|line| line.split_once(": ")).collect();
    assert_eq!(lines.get("x-clickhouse-format"), Some(&"csv"));
}
