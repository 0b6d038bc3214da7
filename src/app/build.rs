//! Building the parts out of the configuration.

use std::{
    collections::{BTreeMap, HashMap},
    str::FromStr,
    sync::Arc,
};

use anyhow::Context as _;
use secrecy::ExposeSecret;
use sqlx::postgres::PgConnectOptions;

use crate::{
    api::{send_rates::SendRates, state::Loaded},
    clock::Clock,
    config::{Config, ConfigErrors, ProviderSection},
    dispatch::{Live, LiveProvider},
    keys::KeyRing,
    private_postgres::PrivatePostgres,
    providers::{DRIVERS, Feed, Provider, SettingsProblem, Setup},
    store::{
        Db, StoreError, maintenance, switches,
        throttles::{self, Throttle},
    },
};

/// The database: the one that is configured, or a private one. With its tables and partitions.
pub(super) async fn database(config: &Config, clock: &Clock) -> anyhow::Result<(Db, Option<PrivatePostgres>)> {
    let (options, postgres) = if let Some(url) = &config.database.url {
        (PgConnectOptions::from_str(url.expose_secret()).context("database.url")?, None)
    } else {
        let postgres = PrivatePostgres::start(&config.database.data_dir).await?;
        (postgres.connect_options(), Some(postgres))
    };
    let db = Db::open(options, config.database.max_connections);
    db.migrate().await?;
    match db.check_durability().await {
        Err(error @ StoreError::UnsafeDurability(_)) if config.database.allow_unsafe_durability => {
            tracing::warn!(%error, "started all the same, as configured");
        }
        other => other?,
    }
    let now = clock.now();
    db.long_unit(move |connection| Box::pin(maintenance::ensure_partitions(connection, now))).await?;
    Ok((db, postgres))
}

/// What operators switched off, and what providers asked for. A start that holds all sending says so to every process on the database; only an operator
/// releases it.
pub(super) async fn switched(
    db: &Db,
    hold: bool,
    clock: &Clock,
) -> anyhow::Result<(HashMap<String, bool>, HashMap<String, Throttle>)> {
    let now = clock.now();
    let (switched, throttled) = Db::unit(&db.work, move |connection| {
        Box::pin(async move {
            if hold {
                switches::set(&mut *connection, switches::ALL_SENDING, false, now).await?;
            }
            Ok((switches::all(&mut *connection).await?, throttles::all(connection, now).await?))
        })
    })
    .await?;
    if switched.get(switches::ALL_SENDING) == Some(&false) {
        tracing::warn!("all sending is held until an operator releases it: POST /v1/release");
    }
    Ok((switched, throttled))
}

/// What the drivers think of their keys, by the provider's name.
type Complaints = Vec<(String, Vec<SettingsProblem>)>;

/// The providers that a configuration names, or what is wrong with their keys.
fn drivers(
    providers: &BTreeMap<String, ProviderSection>,
    clock: &Clock,
    feed: Option<&Feed>,
) -> (BTreeMap<String, Arc<dyn Provider>>, Complaints) {
    let (mut built, mut problems) = (BTreeMap::new(), Vec::new());
    for (name, section) in providers {
        let setup = Setup {
            name: name.clone(),
            from: section.from.clone(),
            senders: section.senders.clone(),
            timeout: section.timeout,
            settings: section.settings.clone(),
            clock: clock.clone(),
            feed: feed.cloned(),
        };
        match DRIVERS.iter().find(|(word, _)| *word == section.driver) {
            Some((_, driver)) => match driver(setup) {
                Ok(provider) => {
                    built.insert(name.clone(), provider);
                }
                Err(found) => problems.push((name.clone(), found)),
            },
            // An empty word was told already: the key is missing.
            None if section.driver.is_empty() => {}
            None => problems.push((name.clone(), vec![unknown_driver(&section.driver)])),
        }
    }
    (built, problems)
}

/// One provider alone, for a question that needs no gateway.
pub(super) fn driver(name: &str, section: &ProviderSection, clock: &Clock) -> anyhow::Result<Arc<dyn Provider>> {
    let only = BTreeMap::from([(name.to_owned(), section.clone())]);
    let (mut built, problems) = drivers(&only, clock, None);
    let problems = problems.into_iter().flat_map(|(_, found)| found);
    let told: Vec<String> =
        problems.map(|found| format!("providers.{name}.{}: {}", found.key, found.problem)).collect();
    built.remove(name).with_context(|| told.join("; "))
}

fn unknown_driver(word: &str) -> SettingsProblem {
    let known: Vec<&str> = DRIVERS.iter().map(|(word, _)| *word).collect();
    SettingsProblem { key: "driver".to_owned(), problem: format!("{word:?} is none of {}", known.join(", ")) }
}

/// Adds what the drivers think of their keys to what is already known to be wrong.
pub fn check_providers(loaded: Result<Config, ConfigErrors>, clock: &Clock) -> Result<Config, ConfigErrors> {
    let providers = match &loaded {
        Ok(config) => &config.providers,
        Err(errors) => &errors.providers,
    };
    let (_, problems) = drivers(providers, clock, None);
    match loaded {
        Ok(config) if problems.is_empty() => Ok(config),
        Ok(config) => Err(with(ConfigErrors { problems: Vec::new(), providers: config.providers }, problems)),
        Err(errors) => Err(with(errors, problems)),
    }
}

fn with(mut errors: ConfigErrors, problems: Complaints) -> ConfigErrors {
    for (name, found) in problems {
        errors.add_settings(&name, found);
    }
    errors
}

/// The configuration with its providers built.
pub(super) fn live(config: Config, clock: &Clock, feed: &Feed) -> Result<Live, ConfigErrors> {
    let (built, problems) = drivers(&config.providers, clock, Some(feed));
    if !problems.is_empty() {
        return Err(with(ConfigErrors { problems: Vec::new(), providers: config.providers }, problems));
    }
    let providers = built
        .into_iter()
        .filter_map(|(name, driver)| {
            let section = config.providers.get(&name)?.clone();
            Some((name.clone(), Arc::new(LiveProvider::new(name, section, driver))))
        })
        .collect();
    Ok(Live::new(Arc::new(config), providers))
}

/// What the API's handlers read of it.
pub(super) fn loaded(live: &Live) -> Loaded {
    Loaded {
        config: live.config.clone(),
        keys: KeyRing::new(&live.config.apps),
        send_rates: SendRates::new(&live.config.apps),
        providers: live.providers.iter().map(|(name, provider)| (name.clone(), provider.driver.clone())).collect(),
    }
}
