//! As much of HTTP/1.1 as a load needs, and no more: whole requests out of a buffer, answers with a length.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result, bail, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A connection that is kept.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: Vec::with_capacity(4096) })
    }

    /// Sends a whole request and reads the whole answer; gives back its status and its body.
    pub async fn call(&mut self, request: &[u8]) -> Result<(u16, &[u8])> {
        self.stream.write_all(request).await?;
        let (head, whole) =
            read_message(&mut self.stream, &mut self.read).await?.context("closed without an answer")?;
        let status = self.read.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()).context("no status")?;
        Ok((status.parse()?, &self.read[head..whole]))
    }
}

/// Reads one request or answer into the buffer, replacing what is there; none when the peer has closed.
async fn read_message(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<Option<(usize, usize)>> {
    buffer.clear();
    let mut ends = None;
    loop {
        if let Some((head, whole)) = ends
            && buffer.len() >= whole
        {
            ensure!(buffer.len() == whole, "more than one answer to one request");
            return Ok(Some((head, whole)));
        }
        if stream.read_buf(buffer).await? == 0 {
            ensure!(buffer.is_empty(), "closed inside a message");
            return Ok(None);
        }
        if ends.is_none()
            && let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n")
        {
            ends = Some((end + 4, end + 4 + content_length(&buffer[..end])?));
        }
    }
}

fn content_length(head: &[u8]) -> Result<usize> {
    for line in head.split(|byte| *byte == b'\n') {
        let name = line.get(..15).unwrap_or_default();
        if name.eq_ignore_ascii_case(b"content-length:") {
            return Ok(std::str::from_utf8(&line[15..])?.trim().parse()?);
        }
        if name.eq_ignore_ascii_case(b"transfer-encodi") {
            bail!("a body without a length");
        }
    }
    Ok(0)
}

/// A request with headers that are whole lines, each with its end.
pub fn request(method: &str, path: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("{method} {path} HTTP/1.1\r\nhost: bench\r\n{headers}content-length: {length}\r\n\r\n{body}").into_bytes()
}

/// One request on a connection of its own, which must be answered with 2xx; gives back the body.
pub async fn once(address: SocketAddr, request: &[u8]) -> Result<String> {
    let mut connection = Connection::open(address).await?;
    let (status, body) = connection.call(request).await?;
    let body = String::from_utf8_lossy(body).into_owned();
    ensure!((200..300).contains(&status), "answered {status}: {body}");
    Ok(body)
}

/// Writes the answer to a request into the buffer, which is empty.
pub type Answer = Arc<dyn Fn(&[u8], &mut Vec<u8>) + Send + Sync>;

/// Answers requests until the run ends; tells where.
pub async fn serve(answer: Answer) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                let _ = stream.set_nodelay(true);
                let (mut request, mut out) = (Vec::with_capacity(4096), Vec::with_capacity(256));
                while let Ok(Some(_)) = read_message(&mut stream, &mut request).await {
                    out.clear();
                    answer(&request, &mut out);
                    if stream.write_all(&out).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    Ok(address)
}

/// An answer of text.
pub fn text_answer(status: &str, text: &str) -> Vec<u8> {
    let length = text.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n\r\n{text}").into_bytes()
}

/// Answers everything with the same; what a load costs that nobody works on.
pub async fn null_responder() -> Result<SocketAddr> {
    let same = text_answer("200 OK", "success");
    serve(Arc::new(move |_, out| out.extend_from_slice(&same))).await
}
