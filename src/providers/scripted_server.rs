//! A carrier's server for tests of drivers: it does one scripted thing with every connection, over a real socket, and keeps
//! what it was sent. It knows no provider.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What the server does with each connection.
#[derive(Debug, Clone)]
pub enum Script {
    /// Closes it without reading.
    CloseAtOnce,
    /// Reads the request and closes.
    ReadThenClose,
    /// Reads the request and never answers.
    ReadThenHang,
    /// Neither reads nor closes.
    NeverRead,
    /// Reads the request, writes these bytes and closes.
    ReadThenWrite(Vec<u8>),
    /// The same, with other bytes for each connection; the last ones for all that follow.
    InTurn(Vec<Vec<u8>>),
}

/// A request as it came in.
#[derive(Debug, Clone)]
pub struct Request {
    /// Request line and headers.
    pub head: String,
    /// The very bytes.
    pub body: Vec<u8>,
}

impl Request {
    /// Method and path: `POST /x`.
    pub fn line(&self) -> &str {
        self.head.lines().next().and_then(|line| line.strip_suffix(" HTTP/1.1")).unwrap_or_default()
    }

    /// The value of a header, by its name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        headers.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A running server; ends with its test.
#[derive(Debug)]
pub struct Server {
    /// Host and port.
    pub address: String,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    connections: usize,
    requests: Vec<Request>,
}

impl Server {
    /// Starts one on a free port.
    pub async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let noted = Arc::clone(&seen);
        tokio::spawn(async move {
            let mut kept = vec![];
            while let Ok((mut stream, _)) = listener.accept().await {
                let turn = lock(&noted).connections;
                lock(&noted).connections += 1;
                if !matches!(script, Script::CloseAtOnce | Script::NeverRead) {
                    let request = read_request(&mut stream).await;
                    lock(&noted).requests.extend(request);
                }
                match &script {
                    Script::CloseAtOnce | Script::ReadThenClose => {}
                    Script::ReadThenHang | Script::NeverRead => kept.push(stream),
                    Script::ReadThenWrite(bytes) => {
                        let _ = stream.write_all(bytes).await;
                    }
                    Script::InTurn(answers) => {
                        let _ = stream.write_all(&answers[turn.min(answers.len() - 1)]).await;
                    }
                }
            }
        });
        Self { address, seen }
    }

    /// Starts one that answers with a status line (and further header lines) and a body.
    pub async fn answering(head: &str, body: &str) -> Self {
        Self::start(Script::ReadThenWrite(reply(head, body.as_bytes()))).await
    }

    /// Starts one that answers each connection with the next of these.
    pub async fn answering_in_turn<'a>(answers: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let answers = answers.into_iter().map(|(head, body)| reply(head, body.as_bytes()));
        Self::start(Script::InTurn(answers.collect())).await
    }

    /// Its base address on plain http.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How often it was connected to.
    pub fn connections(&self) -> usize {
        lock(&self.seen).connections
    }

    /// What it was sent.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.seen).requests.clone()
    }
}

/// An address where nobody listens.
pub async fn refused_url() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// A whole answer as bytes.
pub fn reply(head: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes =
        format!("HTTP/1.1 {head}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn read_request(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = vec![];
    loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        // Whatever is no HTTP (a TLS greeting) is not waited for.
        if !bytes.first().is_some_and(u8::is_ascii_uppercase) {
            return None;
        }
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut request = Request { head, body: bytes.split_off(end + 4) };
        let length = request.header("content-length").map_or(0, |text| text.parse().unwrap());
        while request.body.len() < length {
            if stream.read_buf(&mut request.body).await.ok()? == 0 {
                return None;
            }
        }
        return Some(request);
    }
}
