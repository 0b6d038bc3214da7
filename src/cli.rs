//! The command line: what can be asked for, and nothing of how it is done.

use std::{fmt, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    client::{MessagesArgs, SendArgs},
    config::KeyHash,
    simulator::SimulatorArgs,
};

/// One HTTP API in front of many SMS providers.
#[derive(Debug, Clone, Parser)]
#[command(name = "sms-gateway", version, about)]
pub struct Cli {
    /// The configuration [default: `SMS_GATEWAY_CONFIG`, else gateway.toml if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What to do [default: serve]
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What the program can do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Migrate the database, then take requests and send messages
    Serve(Serve),
    /// Apply the migrations and end
    Migrate,
    /// Tell everything that is wrong with the configuration
    Check,
    /// Make an API key, and the hash that goes into the configuration
    Key(Key),
    /// Print the API's description
    Openapi,
    /// Send a message through a running gateway
    Send(Box<SendArgs>),
    /// List the messages of a running gateway, or show one
    Messages(Box<MessagesArgs>),
    /// Play the carriers' side, for trying and for tests
    Simulator(Box<SimulatorArgs>),
    /// Work with the gateway's templates
    #[command(subcommand)]
    Templates(Templates),
    /// Ask a running gateway whether it is alive
    Healthcheck,
}

/// What can be done with templates.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Templates {
    /// Print the configuration for what a provider has approved and no template is bound to yet
    Import {
        /// The provider's name; it needs a `management` section
        provider: String,
    },
}

/// How to serve.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Serve {
    /// Do only this half
    #[arg(long, value_enum)]
    pub role: Option<ProcessRole>,
    /// Take messages, but send none until an operator releases them
    #[arg(long)]
    pub hold: bool,
}

/// Half of the work of a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProcessRole {
    /// Take requests and callbacks
    Api,
    /// Send messages
    Worker,
}

/// Which key to make.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Key {
    /// A key whose messages never leave the gateway
    #[arg(long)]
    pub test: bool,
}

impl Cli {
    /// The command, with the default filled in.
    pub fn command_or_serve(&self) -> Command {
        self.command.clone().unwrap_or_else(|| Command::Serve(Serve::default()))
    }
}

/// What `key` prints. The one place where a key is written out.
#[derive(Debug, Clone)]
pub struct PrintedKey(pub SecretString);

impl fmt::Display for PrintedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.0.expose_secret();
        write!(f, "key: {key}\nhash: {}", KeyHash::of(key))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definitions_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn each_command_line_means_what_it_says() {
        for (line, expected) in [
            ("sms-gateway", "Serve(Serve { role: None, hold: false })"),
            ("sms-gateway serve", "Serve(Serve { role: None, hold: false })"),
            ("sms-gateway serve --role api", "Serve(Serve { role: Some(Api), hold: false })"),
            ("sms-gateway serve --role worker --hold", "Serve(Serve { role: Some(Worker), hold: true })"),
            ("sms-gateway migrate", "Migrate"),
            ("sms-gateway check", "Check"),
            ("sms-gateway key", "Key(Key { test: false })"),
            ("sms-gateway key --test", "Key(Key { test: true })"),
            ("sms-gateway openapi", "Openapi"),
            ("sms-gateway templates import hw", "Templates(Import { provider: \"hw\" })"),
            ("sms-gateway healthcheck", "Healthcheck"),
        ] {
            assert_eq!(format!("{:?}", parse(line).unwrap().command_or_serve()), expected, "{line}");
        }
    }

    #[test]
    fn the_simulator_listens_where_it_is_told() {
        let Command::Simulator(options) =
            parse("sms-gateway simulator --listen 127.0.0.1:9").unwrap().command_or_serve()
        else {
            panic!("another command");
        };
        assert_eq!(options.listen, ([127, 0, 0, 1], 9).into());
    }

    #[test]
    fn the_configuration_may_stand_before_or_after_the_command() {
        for line in
            ["sms-gateway --config a.toml", "sms-gateway --config a.toml check", "sms-gateway check --config a.toml"]
        {
            assert_eq!(parse(line).unwrap().config, Some("a.toml".into()), "{line}");
        }
    }

    #[test]
    fn what_does_not_exist_is_refused() {
        for line in [
            "sms-gateway send",
            "sms-gateway send +99900000001",
            "sms-gateway send +99900000001 hello --template t",
            "sms-gateway send +99900000001 hello --param a=b",
            "sms-gateway send +99900000001 --template t --param a",
            "sms-gateway messages --timeout 3",
            "sms-gateway dance",
            "sms-gateway serve --role both",
            "sms-gateway migrate --hold",
            "sms-gateway templates",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_key_is_printed_with_its_hash() {
        let printed = PrintedKey("abc".into()).to_string();
        assert_eq!(printed, "key: abc\nhash: sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
