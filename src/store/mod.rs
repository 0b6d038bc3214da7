//! All SQL of the gateway, one file for each table or question. Free functions over a connection, no traits.
//!
//! Every unit of work goes through [`Db::unit`], which runs it in a task of its own: a client that hangs up, or a timeout, must
//! never drop a database future half-way (sqlx leaves the pooled connection inside an open transaction then, and the next
//! write on it is silently lost). For the same reason a connection that comes back inside a transaction is closed. What ends a
//! unit whose server falls silent is in `connection`.

use futures_util::future::BoxFuture;
use sqlx::{
    PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::fail_points::MadeToFail;

pub mod app_days;
pub mod attempts;
pub mod backlog;
pub mod batches;
pub mod budgets;
pub mod callbacks;
mod connection;
pub mod deliveries;
pub mod events;
pub mod history;
pub mod idempotency;
pub mod inbound;
pub mod life;
pub mod maintenance;
pub mod messages;
pub mod prefix_counts;
pub mod reports;
pub mod suppressions;
pub mod switches;
pub mod throttles;
pub mod timeline;
pub mod velocity;

/// The migrations, compiled in.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();

/// What went wrong with the database.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database could not be reached, refused, or took too long. Nothing is known to be stored.
    #[error("the database did not do it")]
    Database(#[from] sqlx::Error),
    /// A row that the program cannot understand.
    #[error("a value in {table}.{column} cannot be read")]
    Corrupt {
        /// Which table.
        table: &'static str,
        /// Which column.
        column: &'static str,
    },
    /// Migrations could not be applied.
    #[error("a migration failed")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// Somebody else changed a message after it was read. The same work, done again, reads it anew.
    #[error("a message was changed by somebody else in between")]
    Overtaken,
    /// Somebody else is storing what an idempotency key makes, and takes too long.
    #[error("an idempotency key is held by somebody else")]
    KeyHeld,
    /// The unit of work found that it may not be done after all. Nothing of it is kept.
    #[error("the unit of work was undone")]
    Undone,
    /// The unit of work was cut off at shutdown.
    #[error("the unit of work was cut off")]
    CutOff,
    /// The unit of work panicked.
    #[error("the unit of work panicked")]
    Panicked,
    /// Nothing was heard from the server for too long. What was to be stored may be.
    #[error("the database server does not answer")]
    Silent,
    /// The server would lose what it confirmed.
    #[error("the database server has {0} off: what it confirms would not survive a crash")]
    UnsafeDurability(&'static str),
}

/// As if the connection had been lost.
impl From<MadeToFail> for StoreError {
    fn from(failed: MadeToFail) -> Self {
        Self::Database(sqlx::Error::Io(std::io::Error::other(failed)))
    }
}

impl StoreError {
    /// Does it lie with what was to be stored, so that the same work would fail again?
    pub fn lies_with_the_data(&self) -> bool {
        match self {
            // What made it panic was in what it had to do.
            Self::Corrupt { .. } | Self::Panicked => true,
            // A row of a later version of the program, say: it reads no better the next time.
            Self::Database(sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)) => true,
            Self::Database(error) => {
                // Classes of SQLSTATE: data exceptions, broken constraints, and what is over a limit of the program.
                let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
                code.is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.starts_with(class)))
            }
            Self::Migration(_)
            | Self::Overtaken
            | Self::KeyHeld
            | Self::Undone
            | Self::CutOff
            | Self::Silent
            | Self::UnsafeDurability(_) => false,
        }
    }

    /// Somebody else held a row for too long.
    pub fn is_lock_timeout(&self) -> bool {
        self.has_code("55P03")
    }

    /// The server takes no writes. A connection may stay so after another one would not.
    fn is_read_only(&self) -> bool {
        self.has_code("25006")
    }

    fn has_code(&self, sought: &str) -> bool {
        match self {
            Self::Database(error) => {
                error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|code| code == sought)
            }
            Self::Corrupt { .. }
            | Self::Migration(_)
            | Self::Overtaken
            | Self::KeyHeld
            | Self::Undone
            | Self::CutOff
            | Self::Panicked
            | Self::Silent
            | Self::UnsafeDurability(_) => false,
        }
    }
}

/// The three pools: what apps wait for, what carriers wait for, and the engine's own work never wait for each other.
#[derive(Debug, Clone)]
pub struct Db {
    /// Reads of the API.
    pub api: PgPool,
    /// Accepting messages and pushes.
    pub intake: PgPool,
    /// The engine.
    pub work: PgPool,
}

/// Whoever waits for the engine's work can wait.
const LOCK_TIMEOUT: &str = "2s";
/// Apps and carriers are told that a row is held before they are told that nothing is known.
const LOCK_TIMEOUT_OF_INTAKE: &str = "1s";

impl Db {
    /// Opens the pools. Connections are made when they are needed.
    pub fn open(options: PgConnectOptions, max_connections: u32) -> Self {
        let options = options.application_name("sms-gateway").options([
            ("statement_timeout", "5s"),
            // What a connection that is dead for us has locked is free again about when we give it up.
            ("idle_in_transaction_session_timeout", "5s"),
            // Business time is UTC everywhere.
            ("timezone", "UTC"),
            // Every question has its index. Statistics are always behind on the partition of today, and a plan that was made while
            // it was empty would read all of it later, again and again.
            ("enable_seqscan", "off"),
            ("enable_hashjoin", "off"),
            ("enable_mergejoin", "off"),
            ("jit", "off"),
        ]);
        // Those statements are always the same; to plan one anew over all days costs more than to run it.
        let planned_once = options.clone().options([("plan_cache_mode", "force_generic_plan")]);
        let pool = |options: &PgConnectOptions, lock_timeout: &'static str, part: u32| {
            let options = options.clone().options([("lock_timeout", lock_timeout)]);
            connection::pool(options, (max_connections * part / 8).max(1))
        };
        Self {
            api: pool(&options, LOCK_TIMEOUT, 2),
            intake: pool(&planned_once, LOCK_TIMEOUT_OF_INTAKE, 3),
            work: pool(&planned_once, LOCK_TIMEOUT, 3),
        }
    }

    /// Runs a unit of work in one transaction, in a task of its own, and commits it.
    pub async fn unit<T, F>(pool: &PgPool, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    {
        connection::in_transaction(pool, "begin", connection::SILENCE, work).await
    }

    /// The same for what changes tables, and may take minutes: nobody waits for an answer.
    pub async fn long_unit<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    {
        connection::in_transaction(&self.work, "begin", connection::LONG_SILENCE, work).await
    }

    /// Runs a reading unit of work, in a task of its own. All that it reads is of one moment, so that a message and its attempts,
    /// which lie in two tables, never contradict each other.
    pub async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    {
        let begin = "begin isolation level repeatable read, read only";
        connection::in_transaction(&self.api, begin, connection::SILENCE, work).await
    }

    /// Applies the migrations that are missing.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let pool = self.work.clone();
        let task = tokio::spawn(async move {
            // A connection of its own that waits: for another process that migrates, and for whoever still uses a table.
            let options = pool.connect_options().as_ref().clone();
            let options = options.options([("lock_timeout", "0"), ("statement_timeout", "0")]);
            let own = PgPoolOptions::new().max_connections(1).connect_with(options).await?;
            let done = MIGRATOR.run(&own).await;
            own.close().await;
            done.map_err(StoreError::from)
        });
        task.await.unwrap_or(Err(StoreError::CutOff))
    }

    /// Refuses a server that would lose what it confirmed.
    pub async fn check_durability(&self) -> Result<(), StoreError> {
        self.read(|connection| {
            Box::pin(async move {
                let row = sqlx::query!(
                    r#"select current_setting('fsync') = 'on' as "fsync!",
                              current_setting('synchronous_commit') <> 'off' as "synchronous_commit!""#
                )
                .fetch_one(connection)
                .await?;
                match (row.fsync, row.synchronous_commit) {
                    (true, true) => Ok(()),
                    (false, _) => Err(StoreError::UnsafeDurability("fsync")),
                    (true, false) => Err(StoreError::UnsafeDurability("synchronous_commit")),
                }
            })
        })
        .await
    }

    /// Does the database answer, and are its tables there?
    pub async fn ready(&self) -> Result<(), StoreError> {
        self.read(|connection| {
            Box::pin(async move {
                sqlx::query!("select message_id from queue limit 1").fetch_optional(connection).await?;
                Ok(())
            })
        })
        .await
    }

    /// Closes the pools.
    pub async fn close(&self) {
        self.api.close().await;
        self.intake.close().await;
        self.work.close().await;
    }
}

/// Reads a word of a closed list out of a column.
pub(crate) fn word<T: std::str::FromStr>(
    table: &'static str,
    column: &'static str,
    text: &str,
) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::Corrupt { table, column })
}

/// Small numbers are `smallint` in the database and never negative.
pub(crate) fn small(value: u16) -> i16 {
    i16::try_from(value).unwrap_or(i16::MAX)
}

/// The way back.
pub(crate) fn unsmall(value: i16) -> u16 {
    u16::try_from(value).unwrap_or(0)
}
