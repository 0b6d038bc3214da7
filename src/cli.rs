//! The command line: what can be asked for, and nothing of how it is done.

use std::{fmt, net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use secrecy::{ExposeSecret, SecretString};

use crate::config::KeyHash;

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
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
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
    /// Play the carriers' side, for trying and for tests
    Simulator(Simulator),
    /// Ask a running gateway whether it is alive
    Healthcheck,
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
    /// Send messages and webhooks
    Worker,
}

/// Which key to make.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Key {
    /// A key whose messages never leave the gateway
    #[arg(long)]
    pub test: bool,
}

/// Where the simulator listens.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Simulator {
    /// Address and port
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8090")]
    pub listen: SocketAddr,
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
        let serve = |role, hold| Command::Serve(Serve { role, hold });
        for (line, expected) in [
            ("sms-gateway", serve(None, false)),
            ("sms-gateway serve", serve(None, false)),
            ("sms-gateway serve --role api", serve(Some(ProcessRole::Api), false)),
            ("sms-gateway serve --role worker --hold", serve(Some(ProcessRole::Worker), true)),
            ("sms-gateway migrate", Command::Migrate),
            ("sms-gateway check", Command::Check),
            ("sms-gateway key", Command::Key(Key { test: false })),
            ("sms-gateway key --test", Command::Key(Key { test: true })),
            ("sms-gateway openapi", Command::Openapi),
            (
                "sms-gateway simulator --listen 127.0.0.1:9",
                Command::Simulator(Simulator { listen: ([127, 0, 0, 1], 9).into() }),
            ),
            ("sms-gateway healthcheck", Command::Healthcheck),
        ] {
            assert_eq!(parse(line).unwrap().command_or_serve(), expected, "{line}");
        }
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
        for line in ["sms-gateway dance", "sms-gateway serve --role both", "sms-gateway migrate --hold"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_key_is_printed_with_its_hash() {
        let printed = PrintedKey("abc".into()).to_string();
        assert_eq!(printed, "key: abc\nhash: sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
