//! A database of its own for each test, copied from a template that carries the migrations.
//!
//! The template is named after the migrations and stays on the server, so that only the first run after a change of them makes
//! it. Copies are dropped with their test.

use std::{
    str::FromStr,
    sync::atomic::{AtomicU32, Ordering},
};

use sms_gateway::{
    clock::Clock,
    store::{Db, MIGRATOR, maintenance},
};
use sqlx::{AssertSqlSafe, Connection, PgConnection, postgres::PgConnectOptions};
use tokio::sync::OnceCell;
use url::Url;

/// Serialises the making of the template over all test processes on one server.
const TEMPLATE_LOCK: i64 = 7_305_814;

/// A database that is dropped at the end.
#[derive(Debug)]
pub struct TestDatabase {
    name: String,
    url: Url,
    server: Url,
}

impl TestDatabase {
    /// A new database with all tables and no rows.
    pub async fn create() -> Self {
        static TEMPLATE: OnceCell<String> = OnceCell::const_new();
        Self::copy_of(TEMPLATE.get_or_init(template).await).await
    }

    /// A new database without tables.
    pub async fn empty() -> Self {
        Self::copy_of("template0").await
    }

    async fn copy_of(template: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("it_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut server = connect(&server_url()).await;
        run(&mut server, &format!("create database {name} template {template} strategy file_copy")).await;
        Self { url: url_of(&name), name, server: server_url() }
    }

    /// A database without tables on another server, made with these options.
    pub async fn empty_on(server: Url, options: &str) -> Self {
        run(&mut connect(&server).await, &format!("create database it {options}")).await;
        let mut url = server.clone();
        url.set_path("it");
        Self { name: "it".to_owned(), url, server }
    }

    /// What `database.url` is set to.
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// How many rows a query finds.
    pub async fn count(&self, query: &str) -> i64 {
        let mut connection = connect(&self.url).await;
        let sql = AssertSqlSafe(format!("select count(*) from ({query}) as found"));
        let row = sqlx::raw_sql(sql).fetch_one(&mut connection).await.unwrap();
        sqlx::Row::get(&row, 0)
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (name, server) = (self.name.clone(), self.server.clone());
        // Outside the test's runtime, which may be ending; the gateway's connections are thrown out.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                // A server of the test's own may be gone.
                let options = PgConnectOptions::from_str(server.as_str()).unwrap();
                if let Ok(mut server) = PgConnection::connect_with(&options).await {
                    run(&mut server, &format!("drop database if exists {name} with (force)")).await;
                }
            });
        });
        drop(dropping.join());
    }
}

fn server_url() -> Url {
    let url = std::env::var("DATABASE_URL").expect("DATABASE_URL must name a PostgreSQL server: use ./dev test");
    Url::parse(&url).expect("DATABASE_URL is an address")
}

fn url_of(database: &str) -> Url {
    let mut url = server_url();
    url.set_path(database);
    url
}

/// A connection to a database.
pub async fn connect(url: &Url) -> PgConnection {
    let options = PgConnectOptions::from_str(url.as_str()).unwrap();
    PgConnection::connect_with(&options).await.unwrap()
}

async fn run(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await.unwrap();
}

/// The name of the migrated template, which is made if it is not there.
async fn template() -> String {
    let name = format!("it_template_{}", migrations());
    let mut server = connect(&server_url()).await;
    run(&mut server, &format!("select pg_advisory_lock({TEMPLATE_LOCK})")).await;
    let known = sqlx::raw_sql(AssertSqlSafe(format!("select 1 from pg_database where datname = '{name}'")));
    if known.fetch_optional(&mut server).await.unwrap().is_none() {
        // Renamed only when it is whole: a run that is cut off must not leave half a template under its name.
        let unfinished = format!("{name}_unfinished");
        run(&mut server, &format!("drop database if exists {unfinished} with (force)")).await;
        run(&mut server, &format!("create database {unfinished}")).await;
        let db = Db::open(PgConnectOptions::from_str(url_of(&unfinished).as_str()).unwrap(), 8);
        db.migrate().await.unwrap();
        // Made here, not by every gateway that starts on a copy.
        let now = Clock::system().now();
        Db::unit(&db.work, move |connection| Box::pin(maintenance::ensure_partitions(connection, now))).await.unwrap();
        db.close().await;
        run(&mut server, &format!("alter database {unfinished} rename to {name}")).await;
    }
    server.close().await.unwrap();
    name
}

/// Tells one set of migrations from another.
fn migrations() -> String {
    let sums: Vec<u8> = MIGRATOR.iter().flat_map(|migration| migration.checksum.iter().copied()).collect();
    let mixed = sums
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{mixed:016x}")
}
