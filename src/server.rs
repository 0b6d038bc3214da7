//! The accept loop under every listener: connections, their deadlines and the orderly end.
//!
//! axum's own `serve` waits for ever for the head of a request, so connections are driven here. A connection always has
//! exactly one deadline running: for the head of a request, for the next request or for the client to take what is written.
//! While a handler works there is none, except for the body, which has its own. What the requests mean is the router's.

use std::{
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body, extract::ConnectInfo};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep, sleep, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

mod body;
mod phase;
mod refusal;

pub use body::BodyTimedOut;
use body::DeadlineBody;
use phase::{Phase, Watched};
pub use refusal::{Refusal, Refusals};

/// hyper reads the head into a buffer of this size; the frame refuses heads that are smaller than this with a proper answer.
const READ_BUFFER: usize = 48 * 1024;
const BACKLOG: u32 = 4096;

/// Limits of a listener.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// For the head of a request, from its first byte or from the connection's start.
    pub header_timeout: Duration,
    /// For the whole body of a request.
    pub body_timeout: Duration,
    /// Between two requests, and for a client that does not take its answer.
    pub idle_timeout: Duration,
    /// After the stop, for calls in flight.
    pub drain_timeout: Duration,
    /// Connections that may call everything.
    pub connections: usize,
    /// Further connections, which find only health, metrics and callbacks open.
    pub reserved_connections: usize,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(25),
            connections: 4096,
            reserved_connections: 256,
        }
    }
}

/// Stands in the extensions of a request whose connection is one of the reserved ones.
#[derive(Debug, Clone, Copy)]
pub struct ReservedConnection;

/// A bound listener that does not accept yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    options: ServerOptions,
}

impl Server {
    /// Takes the address; port 0 takes a free one.
    pub fn bind(address: SocketAddr, options: ServerOptions) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address, options })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`, then lets calls in flight finish for at most `drain_timeout`. What is not HTTP is answered by `refusals`.
    pub async fn run(self, router: Router, refusals: Refusals, stop: CancellationToken) {
        let slots = Slots::new(&self.options);
        let connections = TaskTracker::new();
        let abort = CancellationToken::new();
        loop {
            let next = async {
                let (stream, peer) = accept(&self.listener).await;
                (stream, peer, slots.take().await)
            };
            let (stream, peer, slot) = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                next = next => next,
            };
            let connection =
                Connection { stream, peer, slot, options: self.options.clone(), refusals: refusals.clone() };
            let (router, stop, abort) = (router.clone(), stop.clone(), abort.clone());
            connections.spawn(async move {
                tokio::select! {
                    () = abort.cancelled() => {}
                    () = connection.serve(router, stop) => {}
                }
            });
        }
        drop(self.listener);
        connections.close();
        if timeout(self.options.drain_timeout, connections.wait()).await.is_err() {
            tracing::warn!(connections = connections.len(), "calls in flight did not finish in time and are dropped");
            abort.cancel();
            connections.wait().await;
        }
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // The client gave up before it was its turn; that says nothing about the next one.
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {
            }
            Err(error) => {
                // Out of file descriptors, most likely: without a pause this loop would take a whole core.
                tracing::warn!(%error, "cannot accept connections");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

struct Slots {
    general: Arc<Semaphore>,
    reserved: Arc<Semaphore>,
}

struct Slot {
    reserved: bool,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Slots {
    fn new(options: &ServerOptions) -> Self {
        Self {
            general: Arc::new(Semaphore::new(options.connections)),
            reserved: Arc::new(Semaphore::new(options.reserved_connections)),
        }
    }

    /// A general slot while there is one, else a reserved one; none left: the client waits in the backlog.
    async fn take(&self) -> Slot {
        let (general, reserved) = (self.general.clone(), self.reserved.clone());
        tokio::select! {
            biased;
            permit = general.acquire_owned() => Slot { reserved: false, _permit: permit.ok() },
            permit = reserved.acquire_owned() => Slot { reserved: true, _permit: permit.ok() },
        }
    }
}

struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    slot: Slot,
    options: ServerOptions,
    refusals: Refusals,
}

impl Connection {
    async fn serve(self, router: Router, stop: CancellationToken) {
        let Self { stream, peer, slot, options, refusals } = self;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot switch off delayed sending");
        }
        let phase = Arc::new(Phase::new(options.header_timeout, options.idle_timeout));
        let calls = phase.clone();
        let reserved = slot.reserved;
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            calls.call_began();
            let request = prepared(request, Instant::now() + options.body_timeout, peer, reserved);
            let (router, calls) = (router.clone(), calls.clone());
            async move {
                let response = router.oneshot(request).await;
                calls.call_ended();
                response
            }
        });
        let connection = http1::Builder::new()
            .max_buf_size(READ_BUFFER)
            .serve_connection(TokioIo::new(Watched::new(stream, phase.clone(), refusals)), service);
        let mut connection = pin!(connection);
        let mut alarm = Alarm::new(&phase);
        let mut draining = false;
        loop {
            let progress = std::future::poll_fn(|cx| match connection.as_mut().poll(cx) {
                Poll::Ready(ended) => Poll::Ready(Err(ended)),
                Poll::Pending => alarm.poll(&phase, cx).map(Ok),
            });
            tokio::select! {
                biased;
                ended = progress => {
                    if let Err(Err(error)) = ended {
                        tracing::debug!(%error, "a connection ended early");
                    }
                    return;
                }
                () = stop.cancelled(), if !draining => {
                    draining = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

/// A request as the router gets it: with a deadline on its body and with what is known of its connection.
fn prepared(
    request: hyper::Request<Incoming>,
    body_deadline: Instant,
    peer: SocketAddr,
    reserved: bool,
) -> hyper::Request<Body> {
    let mut request = request.map(|body| Body::new(DeadlineBody::new(body, body_deadline)));
    request.extensions_mut().insert(ConnectInfo(peer));
    if reserved {
        request.extensions_mut().insert(ReservedConnection);
    }
    request
}

/// Rings when the connection's present deadline is over. It follows the deadline each time the connection is polled, so that
/// a busy connection costs one timer and not one for each request.
struct Alarm {
    sleep: Pin<Box<Sleep>>,
    armed_for: Option<Instant>,
}

impl Alarm {
    fn new(phase: &Phase) -> Self {
        let deadline = phase.deadline();
        Self { sleep: Box::pin(sleep_until(deadline.unwrap_or_else(Instant::now))), armed_for: deadline }
    }

    fn poll(&mut self, phase: &Phase, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = phase.deadline();
        if deadline != self.armed_for {
            self.armed_for = deadline;
            if let Some(deadline) = deadline {
                self.sleep.as_mut().reset(deadline);
            }
        }
        if self.armed_for.is_none() { Poll::Pending } else { self.sleep.as_mut().poll(cx) }
    }
}

#[cfg(test)]
mod tests;
