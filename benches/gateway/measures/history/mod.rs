//! The history: each documented filter at a million messages and at ten, in the store and over HTTP, warm; and how long a
//! gateway takes to start on such a database.

mod cases;
mod rows;

use std::{
    collections::BTreeSet,
    fs,
    str::FromStr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use sms_gateway::{
    clock::Clock,
    store::{Db, StoreError, history},
};
use sqlx::postgres::PgConnectOptions;
use uuid::Uuid;

use self::cases::{CASES, Case, Draw, path};
use super::{
    super::stats::{median, number, percentile},
    Bench, Gateway, Setup, Target,
    gateway::{OPERATOR_KEY, bearer, free_address},
    http,
};

const SECTION: &str = "History, warm, the worst of all filters";
const STARTS: &str = "Start on an existing database";
const DATABASE: &str = "history";
/// Of one question; a slow one is asked less often.
const TIME_FOR_ONE: Duration = Duration::from_millis(1500);
const TIME_TO_WARM_UP: Duration = Duration::from_secs(3);

/// What a question cost at one size.
#[derive(Debug, Clone, Copy)]
struct Cost {
    store: [f64; 2],
    http: [f64; 2],
    sequential: usize,
}

/// Fills the tables in one or two steps and asks after each.
pub async fn measure(bench: &mut Bench) -> Result<()> {
    bench.postgres.sql("postgres", &format!("create database {DATABASE}"))?;
    // Nothing shall vacuum what was just written while it is asked about.
    bench.postgres.sql("postgres", "alter system set autovacuum = off")?;
    bench.postgres.sql("postgres", "select pg_reload_conf()")?;
    start(bench).await?.process.stop();
    let sizes: &[u64] = if bench.quick { &[100_000] } else { &[1_000_000, 10_000_000] };
    let (mut before, mut costs) = (0, Vec::new());
    for size in sizes {
        let began = Instant::now();
        rows::write(&bench.postgres, DATABASE, before, *size)?;
        let bytes = bench.postgres.sql(DATABASE, "select pg_size_pretty(pg_database_size(current_database()))")?;
        bench.report.note(format!(
            "{} messages take {bytes}; written in {:.0?}.",
            number(*size as f64),
            began.elapsed()
        ));
        before = *size;
        if costs.is_empty() {
            starts(bench).await?;
        }
        costs.push(ask_all(bench, *size).await?);
    }
    tell(bench, sizes, &costs);
    bench.postgres.sql("postgres", &format!("drop database {DATABASE} with (force)"))?;
    bench.postgres.sql("postgres", "alter system reset autovacuum")?;
    bench.postgres.sql("postgres", "select pg_reload_conf()")?;
    Ok(())
}

async fn start(bench: &Bench) -> Result<Gateway> {
    let url = bench.postgres.url(DATABASE);
    let setup =
        Setup { below: &bench.directory, database: &url, address: free_address()?, carrier: bench.null, hold: false };
    setup.start().await
}

async fn starts(bench: &mut Bench) -> Result<()> {
    for _ in 0..5 {
        let gateway = start(bench).await?;
        let millis = gateway.ready_after.as_secs_f64() * 1000.0;
        bench.report.add(
            STARTS,
            "from the start of the program to a good `/readyz`",
            "ms",
            Target::AtMost(500.0),
            millis,
        );
        gateway.process.stop();
    }
    Ok(())
}

async fn ask_all(bench: &Bench, size: u64) -> Result<Vec<Cost>> {
    let gateway = start(bench).await?;
    let db = open(bench)?;
    // Their ids tell the time, which does not follow from a number.
    let batches = "select distinct batch_id from messages tablesample system (1) where batch_id is not null limit 500";
    let batches = bench.postgres.sql(DATABASE, batches)?;
    let batches = batches.lines().map(str::parse).collect::<Result<Vec<Uuid>, _>>()?;
    let mut costs = Vec::new();
    for case in CASES {
        let mut draw = Draw::new(size, &batches);
        let store = in_store(&db, case, &mut draw).await?;
        let over_http = over_http(&gateway, case, &mut draw).await?;
        let sequential = sequential_scans(bench, case, &mut draw).await?;
        let cost = Cost { store, http: over_http, sequential };
        eprintln!("  {} of {}: {cost:?}", case.name, number(size as f64));
        costs.push(cost);
    }
    db.close().await;
    gateway.process.stop();
    Ok(costs)
}

fn open(bench: &Bench) -> Result<Db> {
    Ok(Db::open(PgConnectOptions::from_str(&bench.postgres.url(DATABASE))?, 8))
}

/// p50 and p99 in milliseconds of what the API calls, without HTTP. What takes longer than the gateway lets it counts in full.
async fn in_store(db: &Db, case: &Case, draw: &mut Draw) -> Result<[f64; 2]> {
    let mut times = Vec::new();
    repeat(&mut times, async || {
        let began = Instant::now();
        ask(db, case, draw).await?;
        Ok(began.elapsed())
    })
    .await?;
    Ok(middle_and_end(times))
}

async fn over_http(gateway: &Gateway, case: &Case, draw: &mut Draw) -> Result<[f64; 2]> {
    let mut connection = http::Connection::open(gateway.address).await?;
    let (headers, mut times) = (bearer(OPERATOR_KEY), Vec::new());
    repeat(&mut times, async || {
        let request = http::request("GET", &path(&(case.ask)(draw)), &headers, "");
        let began = Instant::now();
        let (status, body) = connection.call(&request).await?;
        let took = began.elapsed();
        ensure!(matches!(status, 200 | 503), "{}: {status} {}", case.name, String::from_utf8_lossy(body));
        Ok(took)
    })
    .await?;
    Ok(middle_and_end(times))
}

/// Asks what the API asks. To be cut off for taking too long is an answer, too; it shows in the time.
async fn ask(db: &Db, case: &Case, draw: &mut Draw) -> Result<()> {
    let mut filter = (case.ask)(draw);
    filter.all_providers = ["huawei", "nxcloud", "sandbox"].map(str::to_owned).into();
    let now = Clock::system().now();
    let listed =
        db.read(move |connection| Box::pin(async move { history::list(connection, &filter, now).await })).await;
    match listed {
        Ok(_) | Err(StoreError::Database(sqlx::Error::Database(_))) => Ok(()),
        Err(error) => Err(error).context(case.name),
    }
}

/// Asks up to 200 times. Before that it is warmed up: a connection that has not seen a partition yet reads first what it is.
async fn repeat(times: &mut Vec<u32>, mut ask: impl AsyncFnMut() -> Result<Duration>) -> Result<()> {
    let end = Instant::now() + TIME_TO_WARM_UP;
    for _ in 0..20 {
        ask().await?;
        if Instant::now() > end {
            break;
        }
    }
    let end = Instant::now() + TIME_FOR_ONE;
    while times.len() < 200 && (times.is_empty() || Instant::now() < end) {
        times.push(micros(ask().await?));
    }
    Ok(())
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

fn middle_and_end(mut times: Vec<u32>) -> [f64; 2] {
    times.sort_unstable();
    [50.0, 99.0].map(|percent| percentile(&times, percent) / 1000.0)
}

/// How many partitions with rows a plan reads from end to end. Asked often enough that a plan for all values would be taken.
async fn sequential_scans(bench: &Bench, case: &Case, draw: &mut Draw) -> Result<usize> {
    let set = |what: &str| bench.postgres.sql(DATABASE, &format!("alter database {DATABASE} {what}"));
    set("set session_preload_libraries = 'auto_explain'")?;
    set("set auto_explain.log_min_duration = 0")?;
    let log = bench.directory.join("postgres.log");
    let known = fs::metadata(&log)?.len();
    let db = open(bench)?;
    for _ in 0..7 {
        ask(&db, case, draw).await?;
    }
    db.close().await;
    set("reset session_preload_libraries")?;
    set("reset auto_explain.log_min_duration")?;
    let text = fs::read(&log)?;
    let plans = String::from_utf8_lossy(&text[usize::try_from(known)?..]).into_owned();
    let filled =
        "select relname from pg_class where relkind = 'r' and reltuples > 0 and relname ~ '^(messages|attempts)_'";
    let filled = bench.postgres.sql(DATABASE, filled)?;
    let filled: BTreeSet<&str> = filled.lines().collect();
    let scans = plans.split("Seq Scan on ").skip(1).filter_map(|rest| rest.split_whitespace().next());
    let scanned: BTreeSet<&str> = scans.filter(|name| filled.contains(name)).collect();
    plans.contains("Query Text").then_some(scanned.len()).context("the server did not tell its plans")
}

fn tell(bench: &mut Bench, sizes: &[u64], costs: &[Vec<Cost>]) {
    for (size, costs) in sizes.iter().zip(costs) {
        let worst = |of: fn(&Cost) -> f64| costs.iter().map(of).fold(0.0, f64::max);
        let (is_target, size) = (*size == 10_000_000, number(*size as f64));
        let at_most = |bound| if is_target { Target::AtMost(bound) } else { Target::None };
        let add = &mut bench.report;
        add.add(SECTION, format!("{size}: store p50"), "ms", at_most(0.5), worst(|cost| cost.store[0]));
        add.add(SECTION, format!("{size}: store p99"), "ms", at_most(5.0), worst(|cost| cost.store[1]));
        add.add(SECTION, format!("{size}: HTTP p99"), "ms", at_most(10.0), worst(|cost| cost.http[1]));
        let scans: usize = costs.iter().map(|cost| cost.sequential).sum();
        add.add(SECTION, format!("{size}: partitions read from end to end"), "", Target::AtMost(0.0), scans as f64);
    }
    if let [small, large] = costs {
        let ratios: Vec<f64> = small.iter().zip(large).map(|(small, large)| large.store[0] / small.store[0]).collect();
        let worst = ratios.iter().copied().fold(0.0, f64::max);
        bench.report.add(SECTION, "store p50, ten times the messages", "×", Target::AtMost(2.0), worst);
        bench.report.add(SECTION, "the same, the median filter", "×", Target::None, median(&ratios));
    }
    let mut head = vec!["filter".to_owned()];
    for size in sizes {
        let size = number(*size as f64);
        head.extend(["store p50", "store p99", "HTTP p50", "HTTP p99"].map(|what| format!("{size}: {what}, ms")));
        head.push(format!("{size}: partitions read whole"));
    }
    let rows = CASES.iter().enumerate().map(|(index, case)| {
        let figures = costs.iter().filter_map(|costs| costs.get(index)).flat_map(|cost| {
            let times = [cost.store[0], cost.store[1], cost.http[0], cost.http[1]];
            times.map(number).into_iter().chain([cost.sequential.to_string()]).collect::<Vec<_>>()
        });
        std::iter::once(case.name.to_owned()).chain(figures).collect()
    });
    bench.report.table("History, each filter", head, rows.collect());
}
