use axum::{
    body::to_bytes,
    extract::Request,
    response::IntoResponse,
    routing::{get, post},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Notify,
    task::JoinHandle,
};

use super::*;
use crate::{
    api::{
        error::ApiError,
        frame::{framed, refusals},
    },
    clock::Clock,
};

const SHORT: Duration = Duration::from_millis(60);
/// Never reached by a test that passes.
const LONG: Duration = Duration::from_secs(30);

struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    ended: JoinHandle<()>,
    entered: Arc<Notify>,
    release: Arc<Notify>,
}

fn patient() -> ServerOptions {
    ServerOptions {
        header_timeout: LONG,
        body_timeout: LONG,
        idle_timeout: LONG,
        drain_timeout: LONG,
        connections: 10,
        reserved_connections: 1,
    }
}

fn start(options: ServerOptions) -> Running {
    let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (enter, leave) = (entered.clone(), release.clone());
    let router = Router::new()
        .route(
            "/hello",
            get(|request: Request| async move {
                if request.extensions().get::<ReservedConnection>().is_some() { "reserved" } else { "hello" }
            }),
        )
        .route(
            "/wait",
            get(|| async move {
                enter.notify_one();
                leave.notified().await;
                "waited"
            }),
        )
        .route(
            "/echo",
            post(|request: Request| async move {
                match to_bytes(request.into_body(), 1024).await {
                    Ok(bytes) => bytes.into_response(),
                    Err(_) => ApiError::BodyTimeout.into_response(),
                }
            }),
        );
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), options).unwrap();
    let (address, stop) = (server.address(), CancellationToken::new());
    let ended = tokio::spawn(server.run(framed(router, Clock::system()), refusals(Clock::system()), stop.clone()));
    Running { address, stop, ended, entered, release }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

async fn send(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

async fn read_to_close(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    // A reset is a close as well.
    let _ = timeout(LONG / 3, stream.read_to_end(&mut text)).await.expect("the server has to close this connection");
    String::from_utf8(text).unwrap()
}

async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    let mut buffer = [0; 1024];
    while !text.ends_with(end) {
        let read = timeout(LONG / 3, stream.read(&mut buffer)).await.expect("an answer").unwrap();
        assert_ne!(read, 0, "closed after {text:?}");
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
    text
}

#[tokio::test]
async fn a_half_sent_head_is_cut_off() {
    let server = start(ServerOptions { header_timeout: SHORT, ..patient() });
    for head in ["", "GET /hello HT", "GET /hello HTTP/1.1\r\nhost: x\r\n"] {
        let mut stream = server.connect().await;
        send(&mut stream, head).await;
        assert_eq!(read_to_close(&mut stream).await, "", "{head:?}");
    }
}

#[tokio::test]
async fn the_head_of_a_later_request_has_the_same_deadline() {
    let server = start(ServerOptions { header_timeout: SHORT, ..patient() });
    let mut stream = server.connect().await;
    send(&mut stream, "GET /hello HTTP/1.1\r\nhost: x\r\n\r\n").await;
    read_until(&mut stream, "hello").await;
    send(&mut stream, "GET /hel").await;
    assert_eq!(read_to_close(&mut stream).await, "");
}

#[tokio::test]
async fn an_idle_connection_outlives_the_deadline_of_heads_and_ends_at_its_own() {
    let server = start(ServerOptions { header_timeout: SHORT, idle_timeout: SHORT * 6, ..patient() });
    let mut stream = server.connect().await;
    // Before the request: on a busy machine the answer is read long after it was written.
    let idle_since = Instant::now();
    send(&mut stream, "GET /hello HTTP/1.1\r\nhost: x\r\n\r\n").await;
    read_until(&mut stream, "hello").await;
    assert_eq!(read_to_close(&mut stream).await, "");
    assert!(idle_since.elapsed() >= SHORT * 5, "{:?}", idle_since.elapsed());
}

#[tokio::test]
async fn a_working_handler_has_no_deadline_of_the_connection() {
    let server = start(ServerOptions { header_timeout: SHORT, idle_timeout: SHORT, ..patient() });
    let mut stream = server.connect().await;
    send(&mut stream, "GET /wait HTTP/1.1\r\nhost: x\r\n\r\n").await;
    server.entered.notified().await;
    sleep(SHORT * 3).await;
    server.release.notify_one();
    assert!(read_until(&mut stream, "waited").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_slow_body_is_answered_with_408_although_bytes_keep_trickling() {
    let server = start(ServerOptions { body_timeout: SHORT * 3, ..patient() });
    let (mut read, mut write) = server.connect().await.into_split();
    write.write_all(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n").await.unwrap();
    let trickle = tokio::spawn(async move {
        while write.write_all(b"x").await.is_ok() {
            sleep(SHORT / 4).await;
        }
    });
    let mut text = Vec::new();
    let _ = timeout(LONG / 3, read.read_to_end(&mut text)).await.expect("the server has to close this connection");
    let text = String::from_utf8(text).unwrap();
    assert!(text.starts_with("HTTP/1.1 408") && text.contains("request_timeout"), "{text}");
    trickle.abort();
}

#[tokio::test]
async fn beyond_the_limit_only_reserved_connections_are_left_and_then_none() {
    let server = start(ServerOptions { connections: 1, reserved_connections: 1, ..patient() });
    let hello = "GET /hello HTTP/1.1\r\nhost: x\r\n\r\n";
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    send(&mut first, hello).await;
    read_until(&mut first, "hello").await;
    send(&mut second, hello).await;
    read_until(&mut second, "reserved").await;
    let mut third = server.connect().await;
    send(&mut third, hello).await;
    assert!(timeout(SHORT, third.read_u8()).await.is_err(), "the third has to wait");
    drop(first);
    read_until(&mut third, "hello").await;
}

#[tokio::test]
async fn a_stop_finishes_the_call_in_flight_and_closes_what_is_idle() {
    let server = start(patient());
    let (mut fresh, mut idle, mut busy) = (server.connect().await, server.connect().await, server.connect().await);
    send(&mut idle, "GET /hello HTTP/1.1\r\nhost: x\r\n\r\n").await;
    read_until(&mut idle, "hello").await;
    send(&mut busy, "GET /wait HTTP/1.1\r\nhost: x\r\n\r\n").await;
    server.entered.notified().await;
    server.stop.cancel();
    assert_eq!(read_to_close(&mut idle).await, "");
    assert_eq!(read_to_close(&mut fresh).await, "");
    assert!(TcpStream::connect(server.address).await.is_err(), "nothing new is accepted");
    server.release.notify_one();
    let answer = read_to_close(&mut busy).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
    server.ended.await.unwrap();
}

#[tokio::test]
async fn a_call_that_does_not_finish_is_dropped_when_draining_is_over() {
    let server = start(ServerOptions { drain_timeout: SHORT, ..patient() });
    let mut stream = server.connect().await;
    send(&mut stream, "GET /wait HTTP/1.1\r\nhost: x\r\n\r\n").await;
    server.entered.notified().await;
    server.stop.cancel();
    server.ended.await.unwrap();
    assert_eq!(read_to_close(&mut stream).await, "");
}

#[tokio::test]
async fn a_head_too_large_for_the_frame_is_still_answered_with_a_problem() {
    let server = start(patient());
    let mut stream = server.connect().await;
    let cookie = "x".repeat(crate::api::frame::HEAD_LIMIT);
    send(&mut stream, &format!("GET /hello HTTP/1.1\r\nhost: x\r\ncookie: {cookie}\r\n\r\n")).await;
    let answer = read_until(&mut stream, "}").await;
    assert!(answer.starts_with("HTTP/1.1 431") && answer.contains("head_too_large"), "{answer}");
}

#[tokio::test]
async fn what_is_not_http_is_answered_with_a_problem_as_well() {
    let server = start(patient());
    let large = format!("GET /hello HTTP/1.1\r\nhost: x\r\ncookie: {}\r\n\r\n", "x".repeat(READ_BUFFER + 1));
    for (request, status, code) in [
        ("nonsense\r\n\r\n", "400", "malformed_request"),
        ("GET /hello HTTP/7.0\r\n\r\n", "400", "malformed_request"),
        ("GET /hello HTTP/1.1\r\nhost : x\r\n\r\n", "400", "malformed_request"),
        (large.as_str(), "431", "head_too_large"),
    ] {
        let mut stream = server.connect().await;
        send(&mut stream, request).await;
        let answer = read_until(&mut stream, "}").await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{head}");
        assert!(head.contains("content-type: application/problem+json"), "{head}");
        assert_eq!(problem["code"], code, "{answer}");
        assert!(head.contains(problem["request_id"].as_str().unwrap()), "{answer}");
    }
}
