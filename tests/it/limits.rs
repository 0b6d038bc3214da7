//! Every limit of a request at its edge: what just fits is taken, one more is refused. And clients that take their time.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::support::{
    Answer, TestGateway,
    gateway::{BANK, OPS, SHOP},
    process::Site,
};

const OPEN: &str = "[routes.all]\nsteps = [{ provider = \"sandbox\" }]";

async fn post(gateway: &TestGateway, body: String) -> Answer {
    let request = gateway.client.request(Method::POST, "/v1/messages").bearer_auth(SHOP);
    gateway.client.send(request.header("content-type", "application/json").body(body)).await
}

#[tokio::test]
async fn a_head_may_have_16_kib_and_an_address_4() {
    let gateway = TestGateway::start(OPEN).await;
    let with_head = async |bytes: usize| {
        // Names and values, and four bytes for each line.
        let others = "host".len() + gateway.gateway.address().to_string().len() + "accept".len() + "*/*".len() + 8;
        let value = "x".repeat(bytes - others - "x-fill".len() - 4);
        let request = gateway.client.request(Method::GET, "/healthz").header("x-fill", value);
        gateway.client.send(request).await
    };
    assert_eq!(with_head(16 * 1024).await.status, 200);
    assert_eq!(with_head(16 * 1024 + 1).await.problem(), (431, "head_too_large"));
    let address = |length: usize| format!("/healthz?{}", "x".repeat(length - "/healthz?".len()));
    assert_eq!(gateway.client.get("", &address(4096)).await.status, 200);
    assert_eq!(gateway.client.get("", &address(4097)).await.problem(), (414, "uri_too_long"));
}

#[tokio::test]
async fn a_body_may_have_64_kib_however_it_is_sent() {
    let gateway = TestGateway::start(OPEN).await;
    let of_length = |length: usize| {
        let message = json!({ "to": "+99900000001", "text": "fits" }).to_string();
        format!("{message}{}", " ".repeat(length - message.len()))
    };
    assert_eq!(post(&gateway, of_length(64 * 1024)).await.status, 202);
    let refused = post(&gateway, of_length(64 * 1024 + 1)).await;
    assert_eq!(refused.problem(), (413, "payload_too_large"));
    for (length, status) in [(64 * 1024, 202), (64 * 1024 + 1, 413)] {
        let body = of_length(length);
        let (first, second) = body.split_at(1000);
        let head = "POST /v1/messages HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n";
        let request = format!(
            "{head}authorization: Bearer {SHOP}\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n",
            first.len(),
            second.len()
        );
        let mut stream = TcpStream::connect(gateway.gateway.address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(answer.starts_with(format!("HTTP/1.1 {status}").as_bytes()), "{length} bytes in chunks");
    }
}

#[tokio::test]
async fn json_may_be_16_levels_deep() {
    let gateway = TestGateway::start(OPEN).await;
    let nested = |depth: usize| format!("{{\"metadata\":{}1{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
    assert_eq!(post(&gateway, nested(16)).await.status, 422);
    assert_eq!(post(&gateway, nested(17)).await.problem(), (400, "malformed_request"));
}

#[tokio::test]
async fn an_app_that_sends_faster_than_its_rate_is_told_when_to_come_back() {
    let gateway = TestGateway::start(&format!("{OPEN}\n[apps.shop]\nrate_per_second = 2")).await;
    let message = || json!({ "to": "+99900000001", "text": "one of many" });
    let mut answers = Vec::new();
    for _ in 0..12 {
        answers.push(gateway.post_message(message()).await);
    }
    let refused =
        answers.iter().find(|answer| answer.status == 429).expect("twelve at once are more than two a second");
    assert_eq!((refused.problem(), refused.header("retry-after")), ((429, "rate_limited"), "1"));
    assert_eq!(gateway.client.post(OPS, "/v1/messages", &message()).await.status, 202, "other apps have their own");
    assert_eq!(gateway.client.get(SHOP, "/v1/messages").await.status, 200, "reading is not sending");
    let taken = answers.iter().filter(|answer| answer.status == 202).count();
    let stored = gateway.database.count("select 1 from messages where app = 'shop'").await;
    assert_eq!(stored, i64::try_from(taken).unwrap(), "what was refused was not stored");
}

#[tokio::test]
async fn what_would_wait_too_long_behind_the_backlog_is_refused() {
    let gateway = TestGateway::start(
        "[providers.sandbox]\nrate_per_second = 1\n[routes.all]\nsteps = [{ provider = \"sandbox\" }]",
    )
    .await;
    let message = |validity: u32, category: &str| json!({ "to": "+99900000001", "text": "in turn", "validity_period": validity, "category": category });
    for _ in 0..30 {
        gateway.send(message(3600, "transactional")).await;
    }
    gateway.advance(Duration::from_mins(10));
    let refused = gateway
        .until("the backlog is seen", async || {
            let answer = gateway.post_message(message(900, "transactional")).await;
            (answer.status != 202).then_some(answer)
        })
        .await;
    assert_eq!(refused.problem(), (503, "unavailable"));
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(gateway.post_message(message(3600, "transactional")).await.status, 202, "it has the time to wait");
    assert_eq!(gateway.post_message(message(900, "otp")).await.status, 202, "codes do not wait behind others");
    let of_other = gateway.client.post(BANK, "/v1/messages", &message(900, "transactional")).await;
    assert_eq!(of_other.status, 202, "apps take turns, so nobody waits behind what another has waiting");
    let later = json!({ "to": "+99900000001", "text": "later", "validity_period": 900,
        "send_at": (gateway.clock.now() + chrono::TimeDelta::hours(1)).to_rfc3339() });
    assert_eq!(gateway.post_message(later).await.status, 202, "the backlog of now is not that of then");
}

/// What honest clients waited while others dawdled.
struct Waits(Vec<Duration>);

impl Waits {
    fn p99(mut self) -> Duration {
        self.0.sort_unstable();
        self.0[(self.0.len() * 99 / 100).min(self.0.len() - 1)]
    }
}

async fn honest(address: SocketAddr, until: Instant) -> Waits {
    let client = crate::support::Client::new(format!("http://{address}"));
    let mut waits = Vec::new();
    while Instant::now() < until {
        let began = Instant::now();
        let answer = client.post(SHOP, "/v1/messages", &json!({ "to": "+99900000001", "text": "honest" })).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        waits.push(began.elapsed());
        sleep(Duration::from_millis(20)).await;
    }
    Waits(waits)
}

/// Sends a beginning, and then a byte now and then. Says how long the connection was held open.
async fn dawdle(address: SocketAddr, beginning: String) -> Duration {
    let began = Instant::now();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(beginning.as_bytes()).await.unwrap();
    let (mut read, mut write) = stream.split();
    let trickle = async {
        loop {
            sleep(Duration::from_millis(700)).await;
            if write.write_all(b"x").await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let mut answer = Vec::new();
    tokio::select! {
        _ = read.read_to_end(&mut answer) => {}
        () = trickle => {}
    }
    began.elapsed()
}

#[expect(clippy::print_stdout, reason = "figures are for people")]
async fn slow_clients(heads: usize, bodies: usize) -> [Duration; 2] {
    let site = Site::new(OPEN).await;
    let process = site.start().await;
    let address = process.address();
    let alone = honest(address, Instant::now() + Duration::from_secs(2)).await.p99();
    let mut slow = JoinSet::new();
    for index in 0..heads.max(bodies) {
        if index < heads {
            slow.spawn(async move {
                let held = dawdle(address, "GET /v1/messages HTTP/1.1\r\nhost: x\r\nx-slow: ".to_owned()).await;
                ("a head", held, Duration::from_secs(12))
            });
        }
        if index < bodies {
            slow.spawn(async move {
                let head = format!(
                    "POST /v1/messages HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {SHOP}\r\n\
                     content-type: application/json\r\ncontent-length: 60000\r\n\r\n{{"
                );
                ("a body", dawdle(address, head).await, Duration::from_secs(17))
            });
        }
        if index % 50 == 0 {
            sleep(Duration::from_millis(10)).await;
        }
    }
    let beside = honest(address, Instant::now() + Duration::from_secs(9)).await.p99();
    let mut longest = Duration::ZERO;
    while let Some(held) = timeout(Duration::from_secs(30), slow.join_next()).await.expect("slow clients are cut off") {
        let (what, held, most) = held.unwrap();
        assert!(held <= most, "{what} was held open for {held:?}");
        longest = longest.max(held);
    }
    println!(
        "honest p99 alone {alone:?}, beside {heads} heads and {bodies} bodies {beside:?}; cut off after {longest:?}"
    );
    assert_eq!(site.database.count("select 1 from messages where body <> 'honest'").await, 0);
    [alone, beside]
}

#[tokio::test]
async fn clients_that_dawdle_are_cut_off_and_others_do_not_notice() {
    // How fast exactly is measured with thousands of them, where nothing else runs.
    let [_, beside] = slow_clients(100, 30).await;
    assert!(beside < Duration::from_secs(5), "{beside:?}");
}

#[tokio::test]
#[ignore = "opens thousands of connections: ./dev overload"]
async fn thousands_of_clients_that_dawdle_are_cut_off_and_others_do_not_notice() {
    let [alone, beside] = slow_clients(2000, 500).await;
    assert!(beside <= (alone * 2).max(Duration::from_millis(20)), "{alone:?} became {beside:?}");
}
