//! Logs and metrics of the process.

use std::{any::Any, backtrace::Backtrace, panic::PanicHookInfo};

use metrics_exporter_prometheus::PrometheusHandle;
use tracing::{Level, level_filters::LevelFilter};
use tracing_subscriber::{EnvFilter, filter::filter_fn, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{api::metrics::recorder, config::LogFormat};

/// What is said when `RUST_LOG` does not say otherwise. The SQL of every statement is nobody's reading.
const DEFAULT_FILTER: &str = "info,sqlx=warn,hyper=warn,reqwest=warn";

/// The most that other crates say, whatever `RUST_LOG` asks for: below it some of them print statements, headers and bodies, and
/// there numbers, codes and secrets stand.
const MOST_OF_OTHERS: Level = Level::INFO;

/// Starts logging to standard error, panics included. A second call changes nothing.
pub fn start_logs(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let discreet = filter_fn(|metadata| *metadata.level() <= MOST_OF_OTHERS || is_ours(metadata.target()))
        .with_max_level_hint(LevelFilter::TRACE);
    let registry = tracing_subscriber::registry().with(filter).with(discreet);
    std::panic::set_hook(Box::new(log_panic));
    let started = match format {
        LogFormat::Json => {
            registry.with(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr)).try_init()
        }
        LogFormat::Pretty => registry.with(fmt::layer().with_writer(std::io::stderr)).try_init(),
    };
    // Only fails where a subscriber is installed already, and then there are logs.
    drop(started);
}

fn is_ours(target: &str) -> bool {
    target.split("::").next() == Some(env!("CARGO_CRATE_NAME"))
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    // Empty unless `RUST_BACKTRACE` asks for it. It names functions and no values.
    let backtrace = Backtrace::capture();
    tracing::error!(place, text = panic_text(panic.payload()), %backtrace, "a panic");
}

/// What a panic says, if that is a text of the program. One that was put together may hold what is nobody's business: slicing a text
/// at the wrong place, say, prints the text.
pub fn panic_text(payload: &(dyn Any + Send)) -> &'static str {
    payload.downcast_ref::<&'static str>().copied().unwrap_or("(not shown, since it may hold values)")
}

/// Where the process counts. Installed once; where another recorder is in place already, the handle reads nothing.
pub fn start_metrics() -> PrometheusHandle {
    let recorder = recorder();
    let handle = recorder.handle();
    drop(metrics::set_global_recorder(recorder));
    handle
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_program_says_by_itself_is_shown_of_a_panic() {
        let of = |cause: fn()| std::panic::catch_unwind(cause).map_err(|payload| panic_text(payload.as_ref()));
        assert_eq!(of(|| std::panic::panic_any("a writer lost count")), Err("a writer lost count"));
        let sliced = of(|| drop("Ihr Code ist 369751 für Sie"["Ihr Code ist 369751 f".len() + 1..].to_owned()));
        assert!(sliced.is_err_and(|text| !text.contains("369751")));
    }

    #[test]
    fn other_crates_are_told_from_ours() {
        for (target, ours) in [
            ("sms_gateway", true),
            ("sms_gateway::dispatch::line", true),
            ("sqlx::query", false),
            ("sms_gateway_of_others", false),
        ] {
            assert_eq!(is_ours(target), ours, "{target}");
        }
    }
}
