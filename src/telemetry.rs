//! Logs and metrics of the process.

use metrics_exporter_prometheus::PrometheusHandle;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{api::metrics::recorder, config::LogFormat};

/// What is said when `RUST_LOG` does not say otherwise. The SQL of every statement is nobody's reading.
const DEFAULT_FILTER: &str = "info,sqlx=warn,hyper=warn,reqwest=warn";

/// Starts logging to standard error. A second call changes nothing.
pub fn start_logs(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        LogFormat::Json => {
            registry.with(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr)).try_init()
        }
        LogFormat::Pretty => registry.with(fmt::layer().with_writer(std::io::stderr)).try_init(),
    };
    // Only fails where a subscriber is installed already, and then there are logs.
    drop(started);
}

/// Where the process counts. Installed once; where another recorder is in place already, the handle reads nothing.
pub fn start_metrics() -> PrometheusHandle {
    let recorder = recorder();
    let handle = recorder.handle();
    drop(metrics::set_global_recorder(recorder));
    handle
}
