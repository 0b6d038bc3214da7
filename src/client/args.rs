//! What can be asked for on the command line.

use clap::{ArgGroup, Args};
use secrecy::SecretString;
use url::Url;

/// Which gateway, and as whom.
#[derive(Debug, Clone, Args)]
pub struct Reach {
    /// Where the gateway is [default: where the local configuration lets it listen]
    #[arg(long, env = "SMS_GATEWAY_URL", value_name = "URL")]
    pub url: Option<Url>,
    /// The API key [default: the one of the app `demo` in the local data/keys.toml]
    #[arg(long, env = "SMS_GATEWAY_KEY", value_name = "KEY", hide_env_values = true)]
    pub key: Option<SecretString>,
}

/// What to send.
#[derive(Debug, Clone, Args)]
#[command(group(ArgGroup::new("content").required(true).args(["text", "template"])))]
pub struct SendArgs {
    /// For whom: a number with `+` and its country code
    pub to: String,
    /// What it says
    pub text: Option<String>,
    /// A template instead of a text
    #[arg(long, value_name = "NAME")]
    pub template: Option<String>,
    /// A value for the template; may be repeated
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = param, requires = "template", conflicts_with = "text")]
    pub params: Vec<(String, String)>,
    /// The sender, instead of the route's
    #[arg(long, value_name = "SENDER")]
    pub from: Option<String>,
    /// A route by its name
    #[arg(long, value_name = "NAME")]
    pub route: Option<String>,
    /// This provider only
    #[arg(long, value_name = "NAME", conflicts_with = "route")]
    pub provider: Option<String>,
    /// `sms` or `voice`
    #[arg(long)]
    pub channel: Option<String>,
    /// `otp`, `transactional` or `marketing`
    #[arg(long)]
    pub category: Option<String>,
    /// Not before this time (2026-01-31T09:00:00Z)
    #[arg(long, value_name = "TIME")]
    pub send_at: Option<String>,
    /// Not handed to a provider after so long
    #[arg(long, value_name = "SECONDS")]
    pub validity: Option<u32>,
    /// Never show or log what it says, and erase it at the end
    #[arg(long)]
    pub sensitive: bool,
    /// Your own id, by which it can be found
    #[arg(long, value_name = "REFERENCE")]
    pub client_reference: Option<String>,
    /// Something to keep with it; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = param)]
    pub metadata: Vec<(String, String)>,
    /// Where its events are posted, instead of the app's own address
    #[arg(long, value_name = "URL")]
    pub callback_url: Option<String>,
    /// What makes a repeat of this the same message [default: a new one, good for the client's own retries]
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    /// Tell what happens until the message is final; ends with 0 when it is delivered, 3 when it is not, 4 when nobody knows
    #[arg(long)]
    pub follow: bool,
    /// Follow for so long only; then `sent` counts as good (0)
    #[arg(long, value_name = "SECONDS", requires = "follow")]
    pub timeout: Option<u64>,
    /// Print the API's JSON, one object a line
    #[arg(long)]
    pub json: bool,
    /// Which gateway.
    #[command(flatten)]
    pub reach: Reach,
}

/// Which messages to show.
#[derive(Debug, Clone, Args)]
pub struct MessagesArgs {
    /// Show this one with its timeline, instead of a list
    pub id: Option<String>,
    /// Only with this status; may be repeated
    #[arg(long)]
    pub status: Vec<String>,
    /// Only of this channel
    #[arg(long)]
    pub channel: Option<String>,
    /// Only to this number
    #[arg(long, value_name = "NUMBER")]
    pub to: Option<String>,
    /// Only from this sender
    #[arg(long, value_name = "SENDER")]
    pub from: Option<String>,
    /// Only by this provider
    #[arg(long, value_name = "NAME")]
    pub provider: Option<String>,
    /// Only of this app, for operators
    #[arg(long, value_name = "NAME")]
    pub app: Option<String>,
    /// Only of this batch
    #[arg(long, value_name = "ID")]
    pub batch_id: Option<String>,
    /// Only with the app's own id
    #[arg(long, value_name = "REFERENCE")]
    pub client_reference: Option<String>,
    /// Only with the provider's id
    #[arg(long, value_name = "ID")]
    pub provider_message_id: Option<String>,
    /// Only with this error
    #[arg(long, value_name = "CODE")]
    pub error_code: Option<String>,
    /// Only created at this time or later
    #[arg(long, value_name = "TIME")]
    pub created_after: Option<String>,
    /// Only created before this time
    #[arg(long, value_name = "TIME")]
    pub created_before: Option<String>,
    /// At most so many, the newest first
    #[arg(long, default_value_t = 20, value_name = "NUMBER")]
    pub limit: usize,
    /// Go on telling what is new or changes; of one message until it is final
    #[arg(long)]
    pub follow: bool,
    /// Follow one message for so long only; then `sent` counts as good (0)
    #[arg(long, value_name = "SECONDS", requires = "follow", requires = "id")]
    pub timeout: Option<u64>,
    /// Print the API's JSON, one object a line
    #[arg(long)]
    pub json: bool,
    /// Which gateway.
    #[command(flatten)]
    pub reach: Reach,
}

impl MessagesArgs {
    /// The filters, as the API has them.
    pub fn filters(&self) -> Vec<(&'static str, String)> {
        let one = [
            ("channel", &self.channel),
            ("to", &self.to),
            ("from", &self.from),
            ("provider", &self.provider),
            ("app", &self.app),
            ("batch_id", &self.batch_id),
            ("client_reference", &self.client_reference),
            ("provider_message_id", &self.provider_message_id),
            ("error_code", &self.error_code),
            ("created_after", &self.created_after),
            ("created_before", &self.created_before),
        ];
        let one = one.into_iter().filter_map(|(name, value)| Some((name, value.clone()?)));
        self.status.iter().map(|status| ("status", status.clone())).chain(one).collect()
    }
}

fn param(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err("must be NAME=VALUE".to_owned()),
    }
}
