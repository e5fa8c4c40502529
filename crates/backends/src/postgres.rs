//! The connection to the ledger, its migrations, and what one installation is.

use std::time::Duration;

use rand::TryRngCore;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection};
use weir_core::{Generation, HashKey};

use crate::StoreError;
use crate::config::{KafkaConfig, PostgresConfig};

/// One snapshot for several queries.
pub(crate) const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// A pool of connections to the ledger.
pub type Pool = sqlx::PgPool;

/// Forward-only, numbered; see `schemas/postgres`.
static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../schemas/postgres");

/// How long a connection may take to come about.
const PATIENCE: Duration = Duration::from_secs(5);
/// How soon it is tried again.
const REACH_AGAIN: Duration = Duration::from_millis(100);

/// Opens the pool; the first connection is made at once, so that a wrong URL is said at start.
pub async fn connect(config: &PostgresConfig) -> Result<Pool, StoreError> {
    connect_with(config, config.connections_max, None).await
}

/// Opens a pool for whoever asks on behalf of others: of so many connections, on which a
/// statement that takes longer than `timeout` is ended and its failure is transient.
pub async fn connect_bounded(
    config: &PostgresConfig,
    connections_max: u32,
    timeout: Duration,
) -> Result<Pool, StoreError> {
    connect_with(config, connections_max, Some(timeout)).await
}

async fn connect_with(
    config: &PostgresConfig,
    connections_max: u32,
    statement_timeout: Option<Duration>,
) -> Result<Pool, StoreError> {
    const ATTEMPT: &str = "connect to Postgres";
    let options: PgConnectOptions =
        config.url.parse().map_err(|error| StoreError::postgres(ATTEMPT, &error))?;
    let options = options.application_name("weir").options([
        ("idle_in_transaction_session_timeout", "30s"),
        ("timezone", "UTC"),
        ("client_min_messages", "error"),
    ]);
    let options = match statement_timeout {
        Some(timeout) => options.options([("statement_timeout", format!("{}ms", timeout.as_millis()))]),
        None => options,
    };
    reach(ATTEMPT, &options).await?;
    Ok(PgPoolOptions::new()
        .after_release(|connection, _| Box::pin(no_transaction(connection)))
        .max_connections(connections_max)
        .acquire_timeout(PATIENCE)
        .connect_lazy_with(options))
}

/// Makes one connection. A server that is just starting is waited for; where none comes about, the
/// reason is the last one, of which a pool would only say that time was up.
async fn reach(attempt: &'static str, options: &PgConnectOptions) -> Result<(), StoreError> {
    let place = format!("{}:{}", options.get_host(), options.get_port());
    let mut last = StoreError::Transient { attempt, reason: format!("{place}: no answer in {PATIENCE:?}") };
    let reached = async {
        loop {
            let error = match PgConnection::connect_with(options).await {
                Ok(connection) => return connection.close().await,
                Err(error) => error,
            };
            match StoreError::postgres(attempt, &error) {
                StoreError::Transient { reason, .. } => {
                    last = StoreError::Transient { attempt, reason: format!("{place}: {reason}") };
                }
                _ => return Err(error),
            }
            tokio::time::sleep(REACH_AGAIN).await;
        }
    };
    match tokio::time::timeout(PATIENCE, reached).await {
        Ok(reached) => reached.map_err(|error| StoreError::postgres(attempt, &error)),
        Err(_) => Err(last),
    }
}

/// Ends whatever transaction a connection that comes back to the pool is in. The driver does so
/// itself, except where whoever began one was dropped while `BEGIN` was on its way (a client that
/// hung up, a deadline): the next user's statements would then be part of a transaction that
/// nobody ever commits.
async fn no_transaction(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::raw_sql("ROLLBACK").execute(connection).await.map(|_| true)
}

/// Brings the ledger's schema up to date. Several processes may try at once: one does it.
pub async fn migrate(pool: &Pool) -> Result<(), StoreError> {
    MIGRATIONS.run(pool).await.map_err(|error| StoreError::corrupt("migrate the ledger", error))
}

const APPLIED: &str = "SELECT version FROM _sqlx_migrations WHERE success";

/// Whether exactly the migrations of this version of Weir have been applied.
///
/// # Errors
/// The ledger's; and where a newer version has migrated it, which this one does not understand.
pub async fn is_migrated(pool: &Pool) -> Result<bool, StoreError> {
    let known: Option<String> = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations')::text")
        .fetch_one(pool)
        .await
        .map_err(|error| StoreError::postgres("look for the ledger's tables", &error))?;
    if known.is_none() {
        return Ok(false);
    }
    let applied: Vec<i64> = sqlx::query_scalar(APPLIED)
        .fetch_all(pool)
        .await
        .map_err(|error| StoreError::postgres("read the ledger's migrations", &error))?;
    let known = |version: &i64| MIGRATIONS.iter().any(|migration| migration.version == *version);
    if let Some(newer) = applied.iter().find(|version| !known(version)) {
        let reason = format!(
            "it has migration {newer}, which this version of Weir does not know; use the version that migrated it or a later one"
        );
        return Err(StoreError::corrupt("use the ledger's tables", reason));
    }
    Ok(MIGRATIONS.iter().all(|migration| applied.contains(&migration.version)))
}

/// What must be the same for every process that shares a ledger.
#[derive(Clone, Debug)]
pub struct Installation {
    /// The secret key of event identities and content sums.
    pub identity_key: HashKey,
    /// The usage topic that this ledger counts.
    pub topic: String,
    /// How many of its partitions were counted when this was read; the catalogue has the newest
    /// number.
    pub partitions: i32,
    /// Which life of the topic is being counted.
    pub generation: Generation,
    /// Kafka's id of that topic; `None` until it is known.
    pub topic_id: Option<String>,
}

const INSTALL: &str = "INSERT INTO installation (identity_key, topic, partitions, created_at)
    VALUES ($1, $2, $3, now()) ON CONFLICT (singleton) DO NOTHING";
const INSTALLATION: &str = "SELECT identity_key, topic, partitions, generation, topic_id FROM installation";
const IDENTITY_KEY: &str = "SELECT identity_key FROM installation";
const COUNTED: &str = "SELECT EXISTS (SELECT 1 FROM journal_partition WHERE next_offset > first_offset)";
const NAME: &str = "UPDATE installation SET topic_id = $1 WHERE topic_id IS NULL";

/// Reads the installation, making it (with a fresh random key) where there is none yet.
pub async fn installation(pool: &Pool, kafka: &KafkaConfig) -> Result<Installation, StoreError> {
    const ATTEMPT: &str = "read the installation";
    let mut key = [0_u8; 16];
    rand::rngs::OsRng
        .try_fill_bytes(&mut key)
        .map_err(|error| StoreError::corrupt("draw a random key", error))?;
    let failed = |error| StoreError::postgres(ATTEMPT, &error);
    sqlx::query(INSTALL)
        .bind(&key[..])
        .bind(&kafka.usage_topic)
        .bind(kafka.partitions)
        .execute(pool)
        .await
        .map_err(failed)?;
    let row: (Vec<u8>, String, i32, i32, Option<String>) =
        sqlx::query_as(INSTALLATION).fetch_one(pool).await.map_err(failed)?;
    let key = <[u8; 16]>::try_from(row.0)
        .map_err(|_| StoreError::corrupt(ATTEMPT, "the identity key is not 16 bytes"))?;
    Ok(Installation {
        identity_key: HashKey::new(key),
        topic: row.1,
        partitions: row.2,
        generation: row.3,
        topic_id: row.4,
    })
}

/// The secret key of an installation that was made before.
pub async fn identity_key(pool: &Pool) -> Result<HashKey, StoreError> {
    const ATTEMPT: &str = "read the installation";
    let key: Vec<u8> = sqlx::query_scalar(IDENTITY_KEY)
        .fetch_one(pool)
        .await
        .map_err(|error| StoreError::postgres(ATTEMPT, &error))?;
    let key = <[u8; 16]>::try_from(key);
    let key = key.map_err(|_| StoreError::corrupt(ATTEMPT, "the identity key is not 16 bytes"))?;
    Ok(HashKey::new(key))
}

/// Whether anything was counted in the present generation.
pub async fn has_counted(pool: &Pool) -> Result<bool, StoreError> {
    sqlx::query_scalar(COUNTED)
        .fetch_one(pool)
        .await
        .map_err(|error| StoreError::postgres("look whether anything was counted", &error))
}

/// Notes the id of the topic that is counted, if none is known yet.
pub async fn name_topic(pool: &Pool, id: &str) -> Result<(), StoreError> {
    sqlx::query(NAME)
        .bind(id)
        .execute(pool)
        .await
        .map(|_| ())
        .map_err(|error| StoreError::postgres("note the topic's id", &error))
}

/// Answers when the ledger does, by a connection of the pool as any request would have.
pub async fn ping(pool: &Pool) -> Result<(), StoreError> {
    const ATTEMPT: &str = "reach Postgres";
    match sqlx::query("SELECT 1").execute(pool).await {
        Ok(_) => Ok(()),
        // All connections are in use, or none can be made: the second has a reason.
        Err(sqlx::Error::PoolTimedOut) => {
            reach(ATTEMPT, &pool.connect_options()).await?;
            Err(StoreError::Transient { attempt: ATTEMPT, reason: "all connections are in use".to_owned() })
        }
        Err(error) => Err(StoreError::postgres(ATTEMPT, &error)),
    }
}
