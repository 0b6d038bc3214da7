//! What a driver tells the suite about itself, and how its fixtures are read.

use std::{path::PathBuf, sync::Arc, sync::LazyLock, time::Duration};

use bytes::Bytes;

use crate::{
    clock::Clock,
    domain::{Timestamp, ids::AttemptId, phone_number::PhoneNumber},
    providers::{
        BoundTemplate, Call, Callback, DRIVERS, Outcome, Provider, ProviderError, Setup, Submission,
        codes::{CodeTable, Stage},
    },
};

/// What the suite must know about one driver.
#[derive(Clone)]
pub struct Case {
    /// The word in [`DRIVERS`].
    pub driver: &'static str,
    /// Its own settings as TOML; `BASE_URL` stands for the server's address.
    pub settings: &'static str,
    /// A sender.
    pub from: &'static str,
    /// A recipient that it can reach.
    pub to: &'static str,
    /// A text that it can carry.
    pub text: Option<&'static str>,
    /// A binding that it can carry.
    pub binding: Option<BoundTemplate>,
    /// How it calls; none for a driver that stays inside the process.
    pub http: Option<HttpCase>,
    /// A push that reports this status; none for a driver without pushes.
    pub report: Option<fn(&str) -> Callback>,
    /// What must never be shown.
    pub secrets: &'static [&'static str],
}

/// How a driver's provider answers.
#[derive(Clone)]
pub struct HttpCase {
    /// The driver's table.
    pub codes: &'static LazyLock<CodeTable>,
    /// The HTTP status line and the body that carry a code; none for rows that no answer of a send carries.
    pub answer: fn(Stage, &str) -> Option<(&'static str, String)>,
    /// The code that says that the message was taken.
    pub accepted: (Stage, &'static str),
    /// A code that no document has.
    pub undocumented: (Stage, &'static str),
    /// Bodies of HTTP 200 that nobody can read.
    pub unreadable: &'static [&'static str],
}

impl Case {
    /// A case to be filled in.
    pub fn of(driver: &'static str) -> Self {
        Self {
            driver,
            settings: "",
            from: "",
            to: "",
            text: Some("Your code is 123456"),
            binding: None,
            http: None,
            report: None,
            secrets: &[],
        }
    }

    /// The setup for a server at this address.
    pub fn setup(&self, base_url: &str) -> Setup {
        Setup {
            name: self.driver.to_owned(),
            from: Some(self.from.to_owned()),
            senders: vec![],
            // Long: a busy machine must not look like a carrier that hangs.
            timeout: Duration::from_secs(20),
            settings: self.settings.replace("BASE_URL", base_url).parse().unwrap(),
            clock: Clock::system(),
            feed: None,
        }
    }

    /// The driver, calling this address.
    pub fn build(&self, base_url: &str) -> Arc<dyn Provider> {
        let (_, build) = DRIVERS.iter().find(|(name, _)| *name == self.driver).unwrap();
        build(self.setup(base_url)).unwrap_or_else(|problems| panic!("{}: {problems:?}", self.driver))
    }

    /// A call with one message.
    pub fn call(&self) -> Call {
        Call {
            reference: "call_01h455vb4pex5vsknk084sn02q".into(),
            from: self.from.to_owned(),
            report_url: Some("https://sms.example.com/callbacks/x/y".into()),
            submissions: vec![Submission {
                attempt_id: AttemptId(uuid::Uuid::nil()),
                attempt_number: 1,
                to: PhoneNumber::parse(self.to).unwrap(),
                text: self.text.map(str::to_owned),
                binding: self.binding.clone(),
            }],
        }
    }

    /// One submit against an address.
    pub async fn submit_to(&self, base_url: &str) -> Result<Outcome, ProviderError> {
        self.submit(&*self.build(base_url)).await
    }

    /// One submit through a driver that was built before.
    pub async fn submit(&self, driver: &dyn Provider) -> Result<Outcome, ProviderError> {
        let mut outcomes = driver.submit(&self.call()).await?;
        assert_eq!(outcomes.len(), 1, "{}", self.driver);
        Ok(outcomes.remove(0))
    }
}

/// A push for tests.
pub fn callback(headers: &[(&str, &str)], body: &[u8]) -> Callback {
    Callback {
        headers: headers.iter().map(|(key, value)| (key.to_lowercase(), (*value).to_owned())).collect(),
        path_and_query: "/callbacks/x/y".into(),
        body: Bytes::copy_from_slice(body),
        call_reference: None,
        received_at: Timestamp::from_timestamp_millis(1_655_710_885_431).unwrap(),
    }
}

/// One file of pushes.
pub(super) struct Fixture {
    pub(super) folder: PathBuf,
    pub(super) name: String,
    pub(super) callback: Callback,
}

/// The fixtures of a driver, by name; none for a driver without.
pub(super) fn fixtures(driver: &str) -> Vec<Fixture> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/providers").join(driver).join("fixtures");
    let Ok(entries) = std::fs::read_dir(&folder) else { return vec![] };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    paths
        .into_iter()
        .map(|path| Fixture {
            folder: folder.clone(),
            name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
            callback: read_fixture(&std::fs::read(&path).unwrap()),
        })
        .collect()
}

fn read_fixture(bytes: &[u8]) -> Callback {
    let end = bytes.windows(2).position(|window| window == b"\n\n").unwrap();
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let body = &bytes[end + 2..];
    let mut callback = callback(&[], body.strip_suffix(b"\n").unwrap_or(body));
    for line in head.lines() {
        if let Some(reference) = line.strip_prefix(":reference ") {
            callback.call_reference = Some(reference.to_owned());
        } else if let Some(path) = line.strip_prefix(":path ") {
            path.clone_into(&mut callback.path_and_query);
        } else {
            let (name, value) = line.split_once(':').unwrap();
            callback.headers.push((name.to_lowercase(), value.trim().to_owned()));
        }
    }
    callback
}
