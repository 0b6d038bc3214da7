//! What the spool keeps of a push, sealed as a whole: its address holds a token.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{secrets::Secrets, store::callbacks::StoredCallback};

/// Content of the spool opens as nothing else.
const BOUND_TO: &[u8] = b"sms-gateway/spool/1";

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    id: Uuid,
    provider: String,
    headers: Vec<(String, String)>,
    path: String,
    /// As it will be stored: sealed, in base64.
    body: String,
    call_reference: Option<String>,
    /// Why it could not be read, where that is known.
    problem: Option<String>,
}

/// A push as a file keeps it.
pub(super) fn seal(secrets: &Secrets, callback: &StoredCallback, problem: Option<&str>) -> Vec<u8> {
    let record = Record {
        id: callback.id,
        provider: callback.provider.clone(),
        headers: callback.headers.clone(),
        path: callback.path.clone(),
        body: STANDARD.encode(&callback.body),
        call_reference: callback.call_reference.clone(),
        problem: problem.map(str::to_owned),
    };
    // Only texts and lists of them, which JSON takes.
    secrets.seal(&serde_json::to_vec(&record).unwrap_or_default(), BOUND_TO)
}

/// The push, and why it could not be read. None when it does not open or says something else.
pub(super) fn open(secrets: &Secrets, content: &[u8]) -> Option<(StoredCallback, Option<String>)> {
    let record: Record = serde_json::from_slice(&secrets.open(content, BOUND_TO).ok()?).ok()?;
    let callback = StoredCallback {
        id: record.id,
        provider: record.provider,
        headers: record.headers,
        path: record.path,
        body: STANDARD.decode(record.body).ok()?,
        call_reference: record.call_reference,
    };
    Some((callback, record.problem))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    fn secrets(byte: u8) -> Secrets {
        let root = STANDARD.encode([byte; 32]).into();
        Secrets::load(&[root], Path::new("/nowhere"), &mut StdRng::seed_from_u64(1)).unwrap()
    }

    #[test]
    fn a_push_comes_back_as_it_was_and_its_address_is_not_in_the_file() {
        let callback = StoredCallback {
            id: Uuid::now_v7(),
            provider: "nx".to_owned(),
            headers: vec![("sign".to_owned(), "abc".to_owned())],
            path: "/callbacks/nx/the-token?x=1".to_owned(),
            body: vec![0, 159, 146, 150],
            call_reference: Some("call_1".to_owned()),
        };
        let sealed = seal(&secrets(1), &callback, Some("no JSON"));
        assert!(!sealed.windows(9).any(|window| window == b"the-token"));
        let (opened, problem) = open(&secrets(1), &sealed).unwrap();
        assert_eq!(problem.as_deref(), Some("no JSON"));
        assert_eq!((opened.id, opened.provider, opened.headers), (callback.id, callback.provider, callback.headers));
        assert_eq!((opened.path, opened.body), (callback.path, callback.body));
        assert_eq!(opened.call_reference, callback.call_reference);
        assert!(open(&secrets(2), &sealed).is_none());
    }
}
