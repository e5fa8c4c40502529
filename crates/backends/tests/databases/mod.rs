//! Databases for the tests of this folder.

use sqlx::AssertSqlSafe;
use weir_backends::config::PostgresConfig;
use weir_backends::postgres::{self, Pool};

/// A database of its own on the shared Postgres, with nothing in it.
pub(crate) async fn empty(what_for: &str) -> Pool {
    let stack = local_stack::shared_for_tests().expect("the local stack starts");
    let server = PostgresConfig { url: stack.postgres_url(), connections_max: 2 };
    let admin = postgres::connect(&server).await.expect("Postgres answers");
    let name = format!("{what_for}_{}", uuid::Uuid::new_v4().simple());
    sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&admin).await.expect("created");
    let url = format!("{}/{name}", stack.postgres_url().rsplit_once('/').expect("a database").0);
    postgres::connect(&PostgresConfig { url, connections_max: 2 }).await.expect("connects")
}
