//! What a dropped future leaves of a pooled connection: nothing that the next user could be
//! hurt by.

use std::future::Future;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use weir_backends::config::PostgresConfig;
use weir_backends::postgres;

const IN_TRANSACTION: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE application_name = 'weir' AND state LIKE 'idle in transaction%' AND query NOT LIKE '%pg_stat%'";

/// A `BEGIN` that is dropped on its way leaves an open transaction on the server. Whoever gets
/// the connection next must not work inside it.
#[tokio::test(flavor = "multi_thread")]
async fn a_begin_that_was_dropped_swallows_nobodys_work() {
    let stack = local_stack::shared_for_tests().unwrap_or_else(|error| panic!("{error}"));
    let config = PostgresConfig { url: stack.postgres_url(), connections_max: 1 };
    let pool = postgres::connect(&config).await.unwrap();
    sqlx::raw_sql("CREATE TABLE IF NOT EXISTS kept (n integer)").execute(&pool).await.unwrap();
    let mut dropped_on_the_way = 0;
    for n in 0..50 {
        let mut connection = pool.acquire().await.unwrap();
        {
            let mut begin = Box::pin(sqlx::Connection::begin_with(&mut *connection, "BEGIN READ ONLY"));
            // Polled until it has sent its statement, and dropped before the answer is read. A
            // server that answers within the poll makes an ordinary transaction, dropped too.
            let polled = begin.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            dropped_on_the_way += u32::from(matches!(polled, Poll::Pending));
        }
        drop(connection);
        sqlx::query("INSERT INTO kept (n) VALUES ($1)").bind(n).execute(&pool).await.unwrap();
    }
    let other = postgres::connect(&config).await.unwrap();
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM kept").fetch_one(&other).await.unwrap();
    let open: i64 = sqlx::query_scalar(IN_TRANSACTION).fetch_one(&other).await.unwrap();
    assert_eq!((kept, open), (50, 0));
    assert!(dropped_on_the_way > 0, "every answer came within the first poll");
    tokio::time::timeout(Duration::from_secs(10), pool.close()).await.unwrap();
}

/// A server that answers is of no use to requests that get no connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_pool_whose_connections_are_all_in_use_does_not_answer() {
    let stack = local_stack::shared_for_tests().unwrap_or_else(|error| panic!("{error}"));
    let config = PostgresConfig { url: stack.postgres_url(), connections_max: 1 };
    let pool = postgres::connect(&config).await.unwrap();
    let held = pool.acquire().await.unwrap();
    let said = postgres::ping(&pool).await.unwrap_err();
    assert!(said.is_transient() && said.to_string().contains("all connections are in use"), "{said}");
    drop(held);
    postgres::ping(&pool).await.unwrap();
}

/// Where nobody listens, host and port are said, and why; also where the server went away later.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_said_with_its_place_and_the_reason() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = PostgresConfig { url: format!("postgres://weir@127.0.0.1:{free}/weir"), connections_max: 1 };
    let said = postgres::connect(&config).await.unwrap_err().to_string();
    assert!(said.starts_with(&format!("could not connect to Postgres: 127.0.0.1:{free}: ")), "{said}");
    assert!(said.contains("refused"), "{said}");

    let stack = local_stack::scratch().unwrap_or_else(|error| panic!("{error}"));
    let config = PostgresConfig { url: stack.postgres_url(), connections_max: 1 };
    let wrong = PostgresConfig { url: format!("{}_not_there", config.url), ..config.clone() };
    let said = postgres::connect(&wrong).await.unwrap_err().to_string();
    assert!(said.contains("does not exist"), "{said}");
    let pool = postgres::connect(&config).await.unwrap();
    postgres::ping(&pool).await.unwrap();
    stack.postgres().kill().unwrap();
    let mut said = postgres::ping(&pool).await.unwrap_err().to_string();
    if !said.contains("refused") {
        // The first learns only that the connection is gone.
        said = postgres::ping(&pool).await.unwrap_err().to_string();
    }
    let port = stack.postgres_url().rsplit(':').next().unwrap().split('/').next().unwrap().to_owned();
    assert!(said.contains(&format!("127.0.0.1:{port}: ")) && said.contains("refused"), "{said}");
}
