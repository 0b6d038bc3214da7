//! A gateway in the test's process, with a database of its own and a simulator that plays the carriers.
//!
//! The configuration is what a test writes, laid over a basis that every test has: four apps, the database and an address for
//! callbacks. In it, `SIMULATOR` stands for the simulator's address. Gateway and simulator share a clock that tests put forward.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{
        LazyLock,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, Instant},
};

use metrics_exporter_prometheus::PrometheusHandle;
use reqwest::Method;
use serde_json::{Value, json};
use sms_gateway::{
    app::{Gateway, Role, Start, check_providers},
    clock::Clock,
    config::{self, Config, KeyHash},
    simulator::{Settings, Simulator, SimulatorOptions},
    telemetry,
};

use super::{Answer, Client, TestDatabase};

/// The app that most tests send as.
pub const SHOP: &str = "sgw_live_shop";
/// Its test key.
pub const SHOP_TEST: &str = "sgw_test_shop";
/// Another app.
pub const BANK: &str = "sgw_live_bank";
/// An operator.
pub const OPS: &str = "sgw_live_ops";
/// An auditor.
pub const AUDIT: &str = "sgw_live_audit";

/// How long a test waits for what must come; only a test that fails waits so long.
const PATIENCE: Duration = Duration::from_mins(1);
const PACE: Duration = Duration::from_millis(20);

/// A change of the simulator's settings that needs the gateway's address.
type Told = Box<dyn FnOnce(&mut Settings, &str) + Send>;

/// What a gateway is started with.
pub struct Setup {
    config: String,
    options: SimulatorOptions,
    /// What the simulator is told once the gateway's address is known.
    addresses: Vec<Told>,
}

/// A running gateway.
pub struct TestGateway {
    pub client: Client,
    pub simulator: Simulator,
    pub clock: Clock,
    pub gateway: Gateway,
    pub database: TestDatabase,
    /// The configuration of a second process on the same database.
    config: toml::Table,
    folder: Folder,
}

impl Setup {
    /// A configuration, laid over the basis.
    pub fn new(config: &str) -> Self {
        let options = SimulatorOptions::default();
        Self { config: config.to_owned(), options, addresses: Vec::new() }
    }

    /// Changes what the simulator is started with.
    pub fn simulator(mut self, change: impl FnOnce(&mut SimulatorOptions)) -> Self {
        change(&mut self.options);
        self
    }

    /// Changes the simulator's settings, given where the gateway listens.
    pub fn pushes(mut self, change: impl FnOnce(&mut Settings, &str) + Send + 'static) -> Self {
        self.addresses.push(Box::new(change));
        self
    }

    /// Starts everything.
    pub async fn start(self) -> TestGateway {
        let Self { config, mut options, addresses } = self;
        let (database, clock, folder) = (TestDatabase::create().await, Clock::system(), Folder::new());
        options.clock = clock.clone();
        let simulator = Simulator::start((Ipv4Addr::LOCALHOST, 0).into(), options).await.unwrap();
        let listen = free_address();
        let mut table = basis(&database, listen, &folder);
        lay_over(&mut table, config.replace("SIMULATOR", &simulator.base_url()).parse().unwrap());
        let gateway = launch(load(&table, &folder), &clock).await;
        let base = format!("http://{}", gateway.address());
        simulator.change(|settings| addresses.into_iter().for_each(|change| change(settings, &base)));
        let client = Client::new(base);
        TestGateway { client, simulator, clock, gateway, database, config: table, folder }
    }
}

async fn launch(config: Config, clock: &Clock) -> Gateway {
    // One recorder for the whole process, as a program has it.
    static METRICS: LazyLock<PrometheusHandle> = LazyLock::new(telemetry::start_metrics);
    let start = Start { config, config_path: None, clock: clock.clone(), role: Role::All, metrics: METRICS.clone() };
    Gateway::start(start).await.unwrap()
}

fn basis(database: &TestDatabase, listen: SocketAddr, folder: &Folder) -> toml::Table {
    let hash = |key: &str| KeyHash::of(key).to_string();
    let text = format!(
        r#"
        [server]
        listen = "{listen}"
        public_url = "http://{listen}"
        secret_key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
        [database]
        url = "{}"
        data_dir = "{}"
        max_connections = 8
        allow_unsafe_durability = true
        [apps.shop]
        keys = ["{}"]
        test_keys = ["{}"]
        [apps.bank]
        keys = ["{}"]
        [apps.ops]
        role = "operator"
        keys = ["{}"]
        [apps.audit]
        role = "auditor"
        keys = ["{}"]
        "#,
        database.url(),
        folder.0.display(),
        hash(SHOP),
        hash(SHOP_TEST),
        hash(BANK),
        hash(OPS),
        hash(AUDIT),
    );
    text.parse().unwrap()
}

/// Adds what a test wrote; in tables that both have, key by key.
fn lay_over(below: &mut toml::Table, above: toml::Table) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(above)) => lay_over(below, above),
            (_, value) => {
                below.insert(key, value);
            }
        }
    }
}

fn load(table: &toml::Table, folder: &Folder) -> Config {
    let path = folder.0.join("gateway.toml");
    std::fs::write(&path, table.to_string()).unwrap();
    let loaded = check_providers(config::load(Some(&path), std::iter::empty()), &Clock::system());
    loaded.unwrap_or_else(|errors| panic!("{errors}"))
}

/// An address to listen on that is known before anybody does. The ports lie below those that the system hands out by itself, so
/// that only another test could take one, and they count up.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let of_process = u16::try_from(std::process::id() % 97).unwrap() * 120;
        let port = 20_000 + (of_process + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

impl TestGateway {
    /// Starts with a configuration and an ordinary simulator.
    pub async fn start(config: &str) -> Self {
        Setup::new(config).start().await
    }

    /// Sends a message as the shop.
    pub async fn post_message(&self, body: Value) -> Answer {
        self.client.post(SHOP, "/v1/messages", &body).await
    }

    /// Sends a message that must be taken, and gives back its id.
    pub async fn send(&self, body: Value) -> String {
        let answer = self.post_message(body).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        answer.json["id"].as_str().unwrap().to_owned()
    }

    /// Sends a text to a number.
    pub async fn text(&self, to: &str, text: &str) -> String {
        self.send(json!({ "to": to, "text": text })).await
    }

    /// A message as an operator sees it.
    pub async fn message(&self, id: &str) -> Value {
        let answer = self.client.get(OPS, &format!("/v1/messages/{id}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json
    }

    /// The timeline of a message, oldest entry first.
    pub async fn timeline(&self, id: &str) -> Vec<Value> {
        let answer = self.client.get(OPS, &format!("/v1/messages/{id}/events?limit=200")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json["data"].as_array().unwrap().clone()
    }

    /// The types of a timeline's entries with the status after each.
    pub async fn story(&self, id: &str) -> Vec<String> {
        let timeline = self.timeline(id).await;
        timeline.iter().map(|entry| format!("{} {}", string(&entry["type"]), string(&entry["status"]))).collect()
    }

    /// A timeline for people.
    async fn told(&self, id: &str) -> String {
        let line = |entry: &Value| {
            let texts =
                ["timestamp", "type", "status", "provider", "provider_code", "detail"].map(|key| string(&entry[key]));
            format!("\n  {}", texts.join(" | "))
        };
        self.timeline(id).await.iter().map(line).collect()
    }

    /// Waits until a message is as it shall be.
    pub async fn wait_for(&self, id: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let message = self.message(id).await;
            if fits(&message) {
                return message;
            }
            assert!(Instant::now() < until, "the message stays {message}\nafter{}", self.told(id).await);
            tokio::time::sleep(PACE).await;
        }
    }

    /// Waits until a message has a status.
    pub async fn wait_for_status(&self, id: &str, status: &str) -> Value {
        self.wait_for(id, |message| message["status"] == status).await
    }

    /// Waits until a message's status is an end, which must be this one.
    pub async fn wait_for_end(&self, id: &str, status: &str) -> Value {
        let message = self.wait_for(id, |message| message["final"] == true).await;
        assert_eq!(message["status"], status, "{message}\nafter{}", self.told(id).await);
        message
    }

    /// Waits until something holds.
    pub async fn until<T>(&self, what: &str, mut holds: impl AsyncFnMut() -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = holds().await {
                return found;
            }
            assert!(Instant::now() < until, "it never came true that {what}");
            tokio::time::sleep(PACE).await;
        }
    }

    /// Puts the clock of gateway and simulator forward.
    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// Pushes to a provider's callback address as a carrier would.
    pub async fn push(
        &self,
        provider: &str,
        token: &str,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> Answer {
        let mut request =
            self.client.request(Method::POST, &format!("/callbacks/{provider}/{token}")).body(body.into());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.client.send(request).await
    }

    /// Stops the gateway in an orderly way and starts it again on the same database, with something laid over its configuration.
    pub async fn restart(self, change: &str) -> Self {
        let Self { simulator, clock, gateway, database, mut config, folder, client: _ } = self;
        gateway.stop().await;
        lay_over(&mut config, change.replace("SIMULATOR", &simulator.base_url()).parse().unwrap());
        let gateway = launch(load(&config, &folder), &clock).await;
        let client = Client::new(format!("http://{}", gateway.address()));
        Self { client, simulator, clock, gateway, database, config, folder }
    }
}

/// A text of a JSON value; the empty one for anything else.
pub fn string(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A folder that goes with its test.
pub struct Folder(pub std::path::PathBuf);

impl Folder {
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("sms-gateway-it-{:032x}", rand::random::<u128>()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}
