//! HTTP by hand: bytes go out as they are, however wrong, and what comes back is read until the connection ends.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Longer than any answer takes, and shorter than the deadline of a head.
const PATIENCE: Duration = Duration::from_secs(8);

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// It announced a body and has none: an answer to HEAD.
    pub bodiless: bool,
}

impl Reply {
    /// A header by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Sends bytes on a connection of their own and reads the last answer that comes. `cut`: nothing more will come from here. An
/// error: the connection stays open although nothing more is to come.
pub async fn exchange(address: SocketAddr, bytes: &[u8], cut: bool) -> Result<Option<Reply>, &'static str> {
    let mut stream = TcpStream::connect(address).await.map_err(|_| "it does not accept connections")?;
    let (mut read, mut write) = stream.split();
    let mut answer = Vec::new();
    let sending = async {
        // An answer may come before everything is sent, and the connection may end with it.
        let _ = write.write_all(bytes).await;
        if cut {
            let _ = write.shutdown().await;
        }
    };
    let reading = async { timeout(PATIENCE, read.read_to_end(&mut answer)).await };
    let ((), ended) = tokio::join!(sending, reading);
    if ended.is_err() && answer.is_empty() {
        return Err("neither an answer nor an end");
    }
    Ok(last(&answer))
}

fn last(mut bytes: &[u8]) -> Option<Reply> {
    let mut found = None;
    while let Some((reply, rest)) = one(bytes) {
        // 100 Continue is no answer yet.
        if reply.status >= 200 {
            found = Some(reply);
        }
        bytes = rest;
    }
    found
}

fn one(bytes: &[u8]) -> Option<(Reply, &[u8])> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.get(9..12)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let rest = &bytes[end + 4..];
    let announced = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok());
    // Streamed answers are not taken apart: they are none of the refusals.
    let length = if status < 200 { 0 } else { announced.unwrap_or(rest.len()).min(rest.len()) };
    let bodiless = announced.is_some_and(|announced| announced > 0) && length == 0;
    Some((Reply { status, headers, body: rest[..length].to_vec(), bodiless }, &rest[length..]))
}
