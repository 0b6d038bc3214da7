//! Subcommands, nothing else.

use std::{path::Path, process::ExitCode};

use anyhow::Context as _;
use clap::Parser;
use secrecy::ExposeSecret;
use sms_gateway::{
    app::{self, Gateway, Role, Start, check_providers},
    cli::{Cli, Command, PrintedKey, ProcessRole, Serve, Templates},
    client::{self, ClientError, Local, local_url},
    clock::Clock,
    config::{self, Config, ConfigErrors},
    keys, telemetry,
};
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    match runtime.block_on(run(&cli)) {
        Ok(code) => code,
        Err(error) => failed(&error),
    }
}

#[expect(clippy::print_stderr, reason = "the end of the process is told to whoever started it")]
fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("sms-gateway: {error:#}");
    ExitCode::FAILURE
}

async fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    let config_path = cli.config.as_deref();
    match cli.command_or_serve() {
        Command::Serve(options) => serve(config_path, &options).await?,
        Command::Migrate => {
            let config = load(config_path)?;
            telemetry::start_logs(config.telemetry.log_format);
            app::migrate(&config, &Clock::system()).await?;
        }
        Command::Check => return Ok(check(config_path)),
        Command::Key(options) => print(&PrintedKey(keys::generate(options.test, &mut rand::rng()))),
        Command::Openapi => print(
            &sms_gateway::api::openapi::yaml(&sms_gateway::api::router::document())
                .map_err(anyhow::Error::from_boxed)?
                .trim_end(),
        ),
        Command::Send(args) => return finish(client::send(&args, || local(config_path)).await),
        Command::Messages(args) => return finish(client::messages(&args, || local(config_path)).await),
        Command::Simulator(options) => simulate(*options).await?,
        Command::Templates(Templates::Import { provider }) => {
            let config = load(config_path)?;
            print(&app::import_templates(&config, &provider, &Clock::system()).await?.trim_end());
        }
        Command::Healthcheck => healthcheck(&load(config_path)?).await?,
    }
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::print_stdout, reason = "what a person asked for on the command line")]
fn print(what: &impl std::fmt::Display) {
    println!("{what}");
}

fn load(path: Option<&Path>) -> Result<Config, ConfigErrors> {
    check_providers(config::load(path, config::environment()), &Clock::system())
}

/// What a client on this machine can know of the gateway.
fn local(path: Option<&Path>) -> Result<Local, ClientError> {
    let config = load(path).map_err(ClientError::Configuration)?;
    Ok(Local { listen: config.server.listen, data_dir: config.database.data_dir })
}

fn finish(done: Result<ExitCode, ClientError>) -> anyhow::Result<ExitCode> {
    match done {
        Err(error) if error.is_end_of_reader() => Ok(ExitCode::SUCCESS),
        done => Ok(done?),
    }
}

/// Every problem on a line of its own; exit 1 if there is any.
fn check(path: Option<&Path>) -> ExitCode {
    match check_providers(config::check(path, config::environment()), &Clock::system()) {
        Ok(config) => {
            config
                .warnings()
                .iter()
                .for_each(|warning| print(&format!("warning: {}: {}", warning.key, warning.problem)));
            print(&"The configuration is valid.");
            ExitCode::SUCCESS
        }
        Err(errors) => {
            print(&errors);
            ExitCode::FAILURE
        }
    }
}

async fn serve(path: Option<&Path>, options: &Serve) -> anyhow::Result<()> {
    let mut config = load(path)?;
    telemetry::start_logs(config.telemetry.log_format);
    #[cfg(feature = "fail-points")]
    arm_fail_points()?;
    config.warnings().iter().for_each(|warning| tracing::warn!(key = warning.key, "{}", warning.problem));
    config.dispatch.hold_on_start |= options.hold;
    let role = match options.role {
        None => Role::All,
        Some(ProcessRole::Api) => Role::Api,
        Some(ProcessRole::Worker) => Role::Worker,
    };
    // Taken before anything starts, so that an early signal is not lost.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let metrics = telemetry::start_metrics();
    let start = Start { config, config_path: path.map(Path::to_owned), clock: Clock::system(), role, metrics };
    let gateway = Gateway::start(start).await?;
    tracing::info!(address = %gateway.address(), callback_address = ?gateway.callback_address(), "the gateway serves");
    if let Some(keys) = gateway.first_keys() {
        print(&format!("demo = \"{}\"\noperator = \"{}\"", keys.demo.expose_secret(), keys.operator.expose_secret()));
    }
    let died = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        error = gateway.database_died() => Some(error),
    };
    tracing::info!("the gateway stops: it finishes what is in flight");
    gateway.stop().await;
    tracing::info!("the gateway has stopped");
    died.map_or(Ok(()), |error| Err(error).context("the database is gone"))
}

/// Prepares the steps at which a test wants this process to die or fail.
#[cfg(feature = "fail-points")]
fn arm_fail_points() -> anyhow::Result<()> {
    use sms_gateway::fail_points::{VARIABLE, arm};
    arm(&std::env::var(VARIABLE).unwrap_or_default()).context(VARIABLE)
}

async fn simulate(options: sms_gateway::simulator::SimulatorArgs) -> anyhow::Result<()> {
    telemetry::start_logs(config::LogFormat::Pretty);
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let simulator =
        sms_gateway::simulator::Simulator::start(options.listen, options.options()?).await.context("the simulator")?;
    tracing::info!(address = %simulator.addr(), "the simulator serves");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    simulator.stop().await;
    Ok(())
}

/// Asks the gateway of this configuration whether it is alive, for the health check of a container.
async fn healthcheck(config: &Config) -> anyhow::Result<()> {
    let url = format!("{}/healthz", local_url(config.server.listen));
    let http = sms_gateway::providers::http::Http::new(std::time::Duration::from_secs(3), Clock::system())?;
    let answer = http.send(http.request(reqwest::Method::GET, &url)).await?;
    anyhow::ensure!(answer.status == 200, "{url} answered {}", answer.status);
    Ok(())
}
