//! What a simulator is started with: accounts, which stay, and settings, which may be changed while it runs.

use std::{collections::BTreeMap, time::Duration};

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::Url;

use super::faults::FaultRates;
use crate::clock::Clock;

/// What a simulator is started with.
#[derive(Debug, Clone, Default)]
pub struct SimulatorOptions {
    /// The account at Huawei.
    pub huawei: HuaweiAccount,
    /// The account at NxCloud.
    pub nxcloud: NxcloudAccount,
    /// The account for voice calls.
    pub voice: VoiceAccount,
    /// What may be changed while it runs.
    pub settings: Settings,
    /// How much is remembered of every call and push.
    pub keep: Keep,
    /// The seed of faults by chance.
    pub seed: u64,
    /// The time is taken from here, plus the offset in the settings.
    pub clock: Clock,
}

/// The account at Huawei.
#[derive(Debug, Clone)]
pub struct HuaweiAccount {
    /// Application Key.
    pub app_key: String,
    /// Application Secret.
    pub app_secret: SecretString,
    /// International or mainland.
    pub region: Region,
    /// Channel numbers that `from` may name; empty: any.
    pub senders: Vec<String>,
    /// Templates by id, with the kinds of their variables (`NUM_6`, `TXT_20`, `DATE`, `TIME`). Empty: any id of 32
    /// characters, with any variables.
    pub templates: BTreeMap<String, Vec<String>>,
    /// The application's access key and secret for pushes; none: pushes are not signed.
    pub push_key: Option<(String, SecretString)>,
    /// Who may manage it.
    pub management: ManagementAccount,
}

/// The user who may manage the account at Huawei, and the project that he manages.
#[derive(Debug, Clone)]
pub struct ManagementAccount {
    /// The account.
    pub domain: String,
    /// The user of that account.
    pub username: String,
    /// The user's password.
    pub password: SecretString,
    /// The project's name.
    pub project: String,
    /// The project's id, which is part of every path.
    pub project_id: String,
}

impl Default for ManagementAccount {
    fn default() -> Self {
        Self {
            domain: "simulator".to_owned(),
            username: "simulator".to_owned(),
            password: SecretString::from("simulator-pass"),
            project: "ap-southeast-1".to_owned(),
            project_id: "845ada5bc7444f1295cd517af0123da1".to_owned(),
        }
    }
}

/// Where an application sends to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Region {
    /// Outside the Chinese mainland: numbers with `+` and country code, `orgCode` in reports.
    #[default]
    Intl,
    /// The Chinese mainland: numbers without `+` are +86, and there are inbound messages.
    Cn,
}

/// The account at NxCloud.
#[derive(Debug, Clone)]
pub struct NxcloudAccount {
    /// `accessKey`.
    pub access_key: String,
    /// The secret that goes with it.
    pub access_secret: SecretString,
    /// The DID numbers that the account owns, in digits.
    pub numbers: Vec<String>,
    /// Those of them that are suspended.
    pub suspended_numbers: Vec<String>,
    /// Whether the `algorithm` header is known. Without it the platform is the older one: MD5 whatever the header says.
    pub knows_algorithm: bool,
    /// Messages that the balance pays for.
    pub balance: i64,
}

/// The account for voice calls.
#[derive(Debug, Clone)]
pub struct VoiceAccount {
    /// `username`.
    pub username: String,
    /// `pass`.
    pub pass: SecretString,
    /// `key`.
    pub key: SecretString,
    /// The senders that are declared.
    pub senders: Vec<String>,
    /// Calls that the balance pays for.
    pub balance: i64,
    /// How long the same content to the same number is refused.
    pub repeat_window: Duration,
}

impl Default for HuaweiAccount {
    fn default() -> Self {
        Self {
            app_key: "simulator-key".to_owned(),
            app_secret: SecretString::from("simulator-secret"),
            region: Region::Intl,
            senders: Vec::new(),
            templates: BTreeMap::new(),
            push_key: None,
            management: ManagementAccount::default(),
        }
    }
}

impl Default for NxcloudAccount {
    fn default() -> Self {
        Self {
            access_key: "simulator-key".to_owned(),
            access_secret: SecretString::from("simulator-secret"),
            numbers: vec!["8615088888888".to_owned()],
            suspended_numbers: Vec::new(),
            knows_algorithm: true,
            balance: 1_000_000_000,
        }
    }
}

impl Default for VoiceAccount {
    fn default() -> Self {
        Self {
            username: "simulator".to_owned(),
            pass: SecretString::from("simulator-pass"),
            key: SecretString::from("simulator-key"),
            senders: vec!["DAUSO1".to_owned(), "DAUS01".to_owned()],
            balance: 1_000_000_000,
            repeat_window: Duration::from_mins(1),
        }
    }
}

/// How much is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The last so many accepted messages and pushes, and what is needed to find doubles.
    Last(usize),
    /// Numbers only, for benchmarks: no list of calls or pushes, no doubles.
    CountsOnly,
}

impl Default for Keep {
    fn default() -> Self {
        Self::Last(100_000)
    }
}

/// What may be changed while the simulator runs. Absent keys of a change keep their value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Huawei: the application's address for batches of reports; used by calls without `statusCallback`.
    pub huawei_report_url: Option<Url>,
    /// Huawei: the application's address for inbound messages.
    pub huawei_uplink_url: Option<Url>,
    /// Huawei: inbound messages carry `createTime`.
    pub huawei_uplink_time: bool,
    /// Huawei: some numbers taken and some not is answered as `E000510` with HTTP 400.
    pub huawei_mixed_is_error: bool,
    /// Huawei: how long a token of the management side holds.
    pub huawei_token_seconds: i64,
    /// Huawei: the last word of the path of a template's variables: `varilable`, `variable` or `varible`.
    pub huawei_variables_path: String,
    /// NxCloud: the customer's address for receipts and inbound messages.
    pub nxcloud_callback_url: Option<Url>,
    /// NxCloud: pushes are signed JSON, otherwise unsigned forms.
    pub nxcloud_signed: bool,
    /// NxCloud: pushes carry `type`.
    pub nxcloud_type: bool,
    /// NxCloud: `code` is answered as a string.
    pub nxcloud_code_as_string: bool,
    /// Voice: how `postSMS` answers.
    pub voice_answer: VoiceAnswer,
    /// Voice: so many polls answer "still checking" before the result.
    pub voice_pending_polls: u16,
    /// Whether recipient numbers choose behaviours and codes.
    pub special_numbers: bool,
    /// Into how many parts each message is split.
    pub parts: u16,
    /// How long after the call reports are pushed.
    pub report_delay_ms: u64,
    /// How long pushes are gathered at least; longer ticks make fuller batches.
    pub push_tick_ms: u64,
    /// So often a push is made that is not answered with success; once is what the carriers promise.
    pub push_tries: u32,
    /// How long after a push that failed the next try is made.
    pub push_retry_ms: u64,
    /// How long every answer takes.
    pub answer_delay_ms: u64,
    /// Faults by chance.
    pub faults: FaultRates,
    /// How far the simulator's clock is ahead.
    pub clock_offset_ms: i64,
}

/// How `postSMS` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum VoiceAnswer {
    /// `1,,,<id>`, as documented.
    #[default]
    Commas,
    /// `1;<id>`, as one client expects.
    Semicolon,
    /// A JSON object with `code` and `des`, as another one does.
    Json,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            huawei_report_url: None,
            huawei_uplink_url: None,
            huawei_uplink_time: false,
            huawei_mixed_is_error: false,
            huawei_token_seconds: 86_400,
            huawei_variables_path: "varilable".to_owned(),
            nxcloud_callback_url: None,
            nxcloud_signed: false,
            nxcloud_type: true,
            nxcloud_code_as_string: false,
            voice_answer: VoiceAnswer::Commas,
            voice_pending_polls: 0,
            special_numbers: true,
            parts: 1,
            report_delay_ms: 5,
            push_tick_ms: 1,
            push_tries: 1,
            push_retry_ms: 200,
            answer_delay_ms: 0,
            faults: FaultRates::default(),
            clock_offset_ms: 0,
        }
    }
}

impl Settings {
    /// These settings with some keys changed.
    pub fn changed(&self, changes: &serde_json::Value) -> Result<Self, serde_json::Error> {
        let mut merged = serde_json::to_value(self)?;
        merge(&mut merged, changes);
        serde_json::from_value(merged)
    }
}

fn merge(target: &mut serde_json::Value, changes: &serde_json::Value) {
    match (target, changes) {
        (serde_json::Value::Object(target), serde_json::Value::Object(changes)) => {
            for (key, value) in changes {
                merge(target.entry(key.clone()).or_insert(serde_json::Value::Null), value);
            }
        }
        (target, changes) => *target = changes.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_change_keeps_what_it_does_not_name() {
        let before = Settings { parts: 3, ..Settings::default() };
        let after = before.changed(&json!({"report_delay_ms": 90, "faults": {"busy": 0.5}})).unwrap();
        assert_eq!((after.parts, after.report_delay_ms, after.faults.busy), (3, 90, 0.5));
        let again = after.changed(&json!({"faults": {"answer_lost": 0.25}})).unwrap();
        assert_eq!((again.faults.busy, again.faults.answer_lost), (0.5, 0.25));
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(Settings::default().changed(&json!({"repot_delay_ms": 90})).is_err());
        assert!(Settings::default().changed(&json!({"faults": {"bsy": 1}})).is_err());
    }
}
