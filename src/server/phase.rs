//! What a connection is waiting for, learned from the bytes that pass and the calls that begin and end.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Instant,
};

use super::refusal::Refusals;

#[derive(Debug, Clone, Copy)]
enum State {
    /// A head has begun, or the connection is new.
    Head { since: Instant },
    /// A handler works.
    Call,
    /// The answer is being written, or the next request is awaited.
    Idle { since: Instant },
}

/// Which deadline is running for a connection.
#[derive(Debug)]
pub(super) struct Phase {
    state: Mutex<State>,
    header_timeout: Duration,
    idle_timeout: Duration,
}

impl Phase {
    pub(super) fn new(header_timeout: Duration, idle_timeout: Duration) -> Self {
        Self { state: Mutex::new(State::Head { since: Instant::now() }), header_timeout, idle_timeout }
    }

    /// When the connection has to be closed unless something happens; none while a handler works.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match *self.state() {
            State::Head { since } => Some(since + self.header_timeout),
            State::Call => None,
            State::Idle { since } => Some(since + self.idle_timeout),
        }
    }

    pub(super) fn call_began(&self) {
        *self.state() = State::Call;
    }

    pub(super) fn call_ended(&self) {
        *self.state() = State::Idle { since: Instant::now() };
    }

    fn read_some(&self) {
        let mut state = self.state();
        if let State::Idle { .. } = *state {
            *state = State::Head { since: Instant::now() };
        }
    }

    fn wrote_some(&self) {
        let mut state = self.state();
        if let State::Idle { since } = &mut *state {
            *since = Instant::now();
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream that tells its [`Phase`] about every byte that passes, and gives bare refusals a body.
#[derive(Debug)]
pub(super) struct Watched {
    stream: TcpStream,
    phase: Arc<Phase>,
    refusals: Refusals,
    replaced: Option<Replaced>,
}

/// An answer that goes out instead of another one.
#[derive(Debug)]
struct Replaced {
    answer: Vec<u8>,
    written: usize,
    /// The length of what it stands for, which the library wants to be told.
    stands_for: usize,
}

impl Watched {
    pub(super) fn new(stream: TcpStream, phase: Arc<Phase>, refusals: Refusals) -> Self {
        Self { stream, phase, refusals, replaced: None }
    }

    /// Writes the answer that stands for these bytes, if there is one.
    fn poll_replaced(&mut self, cx: &mut Context<'_>, buffer: &[u8]) -> Option<Poll<io::Result<usize>>> {
        if self.replaced.is_none() {
            let answer = self.refusals.instead_of(buffer)?;
            self.replaced = Some(Replaced { answer, written: 0, stands_for: buffer.len() });
        }
        let Replaced { answer, written, stands_for } = self.replaced.as_mut()?;
        while *written < answer.len() {
            match Pin::new(&mut self.stream).poll_write(cx, &answer[*written..]) {
                Poll::Ready(Ok(0)) => return Some(Poll::Ready(Err(io::ErrorKind::WriteZero.into()))),
                Poll::Ready(Ok(more)) => *written += more,
                Poll::Ready(Err(error)) => return Some(Poll::Ready(Err(error))),
                Poll::Pending => return Some(Poll::Pending),
            }
        }
        let stands_for = *stands_for;
        self.replaced = None;
        Some(Poll::Ready(Ok(stands_for)))
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.phase.read_some();
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(replaced) = self.poll_replaced(cx, buffer) {
            return replaced;
        }
        let polled = Pin::new(&mut self.stream).poll_write(cx, buffer);
        if polled.is_ready() {
            self.phase.wrote_some();
        }
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = buffers
            && let Some(replaced) = self.poll_replaced(cx, only)
        {
            return replaced;
        }
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, buffers);
        if polled.is_ready() {
            self.phase.wrote_some();
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
