//! Huawei Cloud Message & SMS.

pub mod sign;

use std::sync::Arc;

use super::{Provider, SettingsProblem, Setup};

/// Builds the driver.
pub fn build(setup: Setup) -> Result<Arc<dyn Provider>, Vec<SettingsProblem>> {
    let _ = setup;
    Err(vec![])
}
