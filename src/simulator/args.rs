//! `sms-gateway simulator`: the options as the command line has them.

use std::{net::SocketAddr, str::FromStr, time::Duration};

use secrecy::SecretString;
use url::Url;

use super::options::{
    HuaweiAccount, Keep, NxcloudAccount, Region, Settings, SimulatorOptions, VoiceAccount, VoiceAnswer,
};

/// Serves the wire protocols of Huawei, NxCloud and voice OTP, for trying, tests and benchmarks.
#[derive(Debug, Clone, clap::Args)]
pub struct SimulatorArgs {
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:9090")]
    pub listen: SocketAddr,

    /// Huawei: Application Key
    #[arg(long, default_value = "simulator-key")]
    pub huawei_app_key: String,
    /// Huawei: Application Secret
    #[arg(long, default_value = "simulator-secret", hide_default_value = true)]
    pub huawei_app_secret: SecretString,
    /// Huawei: international or mainland
    #[arg(long, value_enum, default_value_t)]
    pub huawei_region: Region,
    /// Huawei: a channel number that `from` may name; none: any
    #[arg(long = "huawei-sender")]
    pub huawei_senders: Vec<String>,
    /// Huawei: a template, `ID=NUM_6,TXT_20` (nothing after `=` for one without variables); none: any id of 32 characters
    #[arg(long = "huawei-template")]
    pub huawei_templates: Vec<Template>,
    /// Huawei: the application's key for signed pushes
    #[arg(long, requires = "huawei_push_secret")]
    pub huawei_push_key: Option<String>,
    /// Huawei: the secret that goes with it
    #[arg(long, requires = "huawei_push_key")]
    pub huawei_push_secret: Option<SecretString>,
    /// Huawei: the application's address for batches of reports
    #[arg(long)]
    pub huawei_report_url: Option<Url>,
    /// Huawei: the application's address for inbound messages
    #[arg(long)]
    pub huawei_uplink_url: Option<Url>,

    /// `NxCloud`: access key
    #[arg(long, default_value = "simulator-key")]
    pub nxcloud_access_key: String,
    /// `NxCloud`: access secret
    #[arg(long, default_value = "simulator-secret", hide_default_value = true)]
    pub nxcloud_access_secret: SecretString,
    /// `NxCloud`: a DID number that the account owns
    #[arg(long = "nxcloud-number", default_value = "8615088888888")]
    pub nxcloud_numbers: Vec<String>,
    /// `NxCloud`: the address for receipts and inbound messages
    #[arg(long)]
    pub nxcloud_callback_url: Option<Url>,
    /// `NxCloud`: push signed JSON in place of forms
    #[arg(long)]
    pub nxcloud_signed: bool,
    /// `NxCloud`: the older platform, which knows no `algorithm` header
    #[arg(long)]
    pub nxcloud_md5_only: bool,

    /// Voice: user name
    #[arg(long, default_value = "simulator")]
    pub voice_username: String,
    /// Voice: password
    #[arg(long, default_value = "simulator-pass", hide_default_value = true)]
    pub voice_pass: SecretString,
    /// Voice: key
    #[arg(long, default_value = "simulator-key", hide_default_value = true)]
    pub voice_key: SecretString,
    /// Voice: how `postSMS` answers
    #[arg(long, value_enum, default_value_t)]
    pub voice_answer: VoiceAnswer,
    /// Voice: how long the same content to the same number is refused
    #[arg(long, default_value_t = 60)]
    pub voice_repeat_seconds: u64,

    /// Messages that the balances of `NxCloud` and voice pay for
    #[arg(long, default_value_t = 1_000_000_000)]
    pub balance: i64,
    /// How long after a call its reports are pushed
    #[arg(long, default_value_t = 5)]
    pub report_delay_ms: u64,
    /// How long every answer takes
    #[arg(long, default_value_t = 0)]
    pub answer_delay_ms: u64,
    /// How far the clock is ahead
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    pub clock_offset_ms: i64,
    /// A fault by chance with its share, `answer_lost=0.02`; the names are those of `faults` in `/_control/settings`
    #[arg(long = "fault")]
    pub faults: Vec<Fault>,
    /// The seed of faults by chance
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Recipient numbers choose nothing
    #[arg(long)]
    pub plain_numbers: bool,
    /// Keep counts only, for benchmarks; numbers choose nothing then
    #[arg(long)]
    pub counts_only: bool,
}

/// A Huawei template with the kinds of its variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    id: String,
    kinds: Vec<String>,
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (id, kinds) = text.split_once('=').ok_or("it must be ID=KIND,KIND")?;
        let kinds = kinds.split(',').filter(|kind| !kind.is_empty()).map(str::to_owned).collect();
        Ok(Self { id: id.to_owned(), kinds })
    }
}

/// A fault with its share.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    name: String,
    share: f64,
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, share) = text.split_once('=').ok_or("it must be NAME=SHARE")?;
        let share = share.parse().map_err(|_| "the share must be a number")?;
        if !(0.0..=1.0).contains(&share) {
            return Err("the share must be from 0 to 1".to_owned());
        }
        let fault = Self { name: name.to_owned(), share };
        // Tried here so that a wrong name is told with the argument.
        fault.apply(&Settings::default()).map_err(|error| error.to_string())?;
        Ok(fault)
    }
}

impl Fault {
    fn apply(&self, settings: &Settings) -> Result<Settings, serde_json::Error> {
        let mut faults = serde_json::Map::new();
        faults.insert(self.name.clone(), self.share.into());
        settings.changed(&serde_json::json!({ "faults": faults }))
    }
}

impl SimulatorArgs {
    /// The options that these arguments stand for.
    pub fn options(&self) -> Result<SimulatorOptions, serde_json::Error> {
        let settings = self.faults.iter().try_fold(self.settings(), |settings, fault| fault.apply(&settings))?;
        let push_secret = self.huawei_push_secret.clone();
        Ok(SimulatorOptions {
            huawei: HuaweiAccount {
                app_key: self.huawei_app_key.clone(),
                app_secret: self.huawei_app_secret.clone(),
                region: self.huawei_region,
                senders: self.huawei_senders.clone(),
                templates: self.huawei_templates.iter().map(|one| (one.id.clone(), one.kinds.clone())).collect(),
                push_key: self.huawei_push_key.clone().zip(push_secret),
                ..HuaweiAccount::default()
            },
            nxcloud: NxcloudAccount {
                access_key: self.nxcloud_access_key.clone(),
                access_secret: self.nxcloud_access_secret.clone(),
                numbers: self.nxcloud_numbers.clone(),
                knows_algorithm: !self.nxcloud_md5_only,
                balance: self.balance,
                ..NxcloudAccount::default()
            },
            voice: VoiceAccount {
                username: self.voice_username.clone(),
                pass: self.voice_pass.clone(),
                key: self.voice_key.clone(),
                balance: self.balance,
                repeat_window: Duration::from_secs(self.voice_repeat_seconds),
                ..VoiceAccount::default()
            },
            settings,
            keep: if self.counts_only { Keep::CountsOnly } else { Keep::default() },
            seed: self.seed,
            ..SimulatorOptions::default()
        })
    }

    fn settings(&self) -> Settings {
        Settings {
            huawei_report_url: self.huawei_report_url.clone(),
            huawei_uplink_url: self.huawei_uplink_url.clone(),
            nxcloud_callback_url: self.nxcloud_callback_url.clone(),
            nxcloud_signed: self.nxcloud_signed,
            voice_answer: self.voice_answer,
            special_numbers: !self.plain_numbers && !self.counts_only,
            report_delay_ms: self.report_delay_ms,
            answer_delay_ms: self.answer_delay_ms,
            clock_offset_ms: self.clock_offset_ms,
            ..Settings::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        simulator: SimulatorArgs,
    }

    fn parse(arguments: &[&str]) -> Result<SimulatorOptions, String> {
        let line = std::iter::once("simulator").chain(arguments.iter().copied());
        let command = Command::try_parse_from(line).map_err(|error| error.to_string())?;
        command.simulator.options().map_err(|error| error.to_string())
    }

    #[test]
    fn without_arguments_the_options_are_the_defaults() {
        assert_eq!(format!("{:?}", parse(&[]).unwrap()), format!("{:?}", SimulatorOptions::default()));
    }

    #[test]
    fn faults_and_templates_are_read() {
        let line = ["--fault", "answer_lost=0.5", "--fault", "busy=0.1", "--huawei-template", "id=NUM_6,TXT_20"];
        let options = parse(&line).unwrap();
        assert_eq!((options.settings.faults.answer_lost, options.settings.faults.busy), (0.5, 0.1));
        assert_eq!(options.huawei.templates["id"], ["NUM_6", "TXT_20"]);
    }

    #[test]
    fn wrong_arguments_are_refused() {
        for wrong in [["--fault", "nonsense=0.5"], ["--fault", "busy=2"], ["--huawei-push-key", "ak"]] {
            assert!(parse(&wrong).is_err(), "{wrong:?}");
        }
    }
}
