//! How every client of the process speaks TLS: which cryptography, and whom it trusts.

use std::sync::{LazyLock, Once};

use rustls::ClientConfig;
use rustls_platform_verifier::ConfigVerifierExt as _;

/// Makes `ring` the process's cryptography. Safe to call any number of times.
pub fn install_crypto() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        // An error only says that somebody has installed one before, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// Trusts what the system trusts. None: the system has no root certificates.
///
/// Reading and parsing them takes far longer than making a client, so that is done once; a change of them counts after a
/// restart.
pub fn client_config() -> Option<ClientConfig> {
    static CONFIG: LazyLock<Option<ClientConfig>> = LazyLock::new(|| {
        install_crypto();
        let made = ClientConfig::with_platform_verifier();
        made.inspect_err(|error| {
            tracing::warn!(%error, "no root certificates were found: nothing can be reached over https");
        })
        .ok()
    });
    CONFIG.clone()
}
