//! The recorder behind `/metrics`: which histograms there are and where their buckets lie.
//!
//! Who counts what stands where it is counted.

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusRecorder};

/// From one commit on a local disk to the longest call that is still answered.
const SECONDS: &[f64] = &[0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// A recorder that keeps every `…_seconds` in fixed buckets. The caller installs it and calls `run_upkeep` on its handle now
/// and then, so that observations do not pile up between two readings.
pub fn recorder() -> PrometheusRecorder {
    bucketed(PrometheusBuilder::new()).unwrap_or_else(|_| PrometheusBuilder::new()).build_recorder()
}

fn bucketed(builder: PrometheusBuilder) -> Result<PrometheusBuilder, BuildError> {
    builder.set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_kept_in_buckets() {
        assert!(bucketed(PrometheusBuilder::new()).is_ok());
        let recorder = recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || metrics::histogram!("wait_seconds").record(0.002));
        assert!(handle.render().contains(r#"wait_seconds_bucket{le="0.0025"} 1"#));
    }
}
