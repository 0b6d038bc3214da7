//! The network between the gateway and its database, with faults that are switched on and off while both run.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    sync::{mpsc, watch},
    time::Instant,
};
use url::Url;

/// What the network does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing wrong.
    None,
    /// Everything takes longer by so much, in each direction.
    Slow(Duration),
    /// Connections stay open and nothing arrives. Those that were there meanwhile are dead for ever.
    Swallows,
    /// The same, but only what the database says is lost.
    SwallowsAnswers,
    /// Connections are cut, and new ones too.
    Cuts,
}

/// A network whose faults a test chooses.
pub struct Network {
    address: SocketAddr,
    fault: watch::Sender<Fault>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToServer,
    ToClient,
}

type Reader = Box<dyn AsyncRead + Send + Unpin>;
type Writer = Box<dyn AsyncWrite + Send + Unpin>;

impl Network {
    /// A way to the server of an address.
    pub async fn to(database: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (fault, watched) = watch::channel(Fault::None);
        let database = Url::parse(database).unwrap();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connection(client, database.clone(), watched.clone()));
            }
        });
        Self { address, fault }
    }

    /// The address of a database by this way.
    pub fn url(&self, database: &str) -> String {
        let mut url = Url::parse(database).unwrap();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(self.address.port())).unwrap();
        url.set_query(Some("sslmode=disable"));
        url.into()
    }

    /// Switches, for connections that are open and for new ones.
    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }
}

async fn connection(client: TcpStream, database: Url, mut fault: watch::Receiver<Fault>) {
    let Some((server_reads, server_writes)) = connect(&database).await else { return };
    client.set_nodelay(true).unwrap();
    let (client_reads, client_writes) = client.into_split();
    let (to_server, to_client) = (fault.clone(), fault.clone());
    tokio::select! {
        () = carry(Box::new(client_reads), server_writes, to_server, Direction::ToServer) => {}
        () = carry(server_reads, Box::new(client_writes), to_client, Direction::ToClient) => {}
        _ = fault.wait_for(|fault| *fault == Fault::Cuts) => {}
    }
}

async fn connect(database: &Url) -> Option<(Reader, Writer)> {
    let port = database.port().unwrap_or(5432);
    let folder = database.query_pairs().find(|(key, _)| key == "host").map(|(_, folder)| folder.into_owned());
    if let Some(folder) = folder {
        let (reads, writes) = UnixStream::connect(format!("{folder}/.s.PGSQL.{port}")).await.ok()?.into_split();
        return Some((Box::new(reads), Box::new(writes)));
    }
    let server = TcpStream::connect((database.host_str()?, port)).await.ok()?;
    server.set_nodelay(true).unwrap();
    let (reads, writes) = server.into_split();
    Some((Box::new(reads), Box::new(writes)))
}

/// Carries one direction until either side closes.
async fn carry(mut from: Reader, mut to: Writer, fault: watch::Receiver<Fault>, direction: Direction) {
    let (late, mut due) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let reading = async move {
        let (mut buffer, mut dead) = (vec![0; 64 * 1024], false);
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let now = *fault.borrow();
            dead |= now == Fault::Swallows || now == Fault::SwallowsAnswers && direction == Direction::ToClient;
            let delay = if let Fault::Slow(delay) = now { delay } else { Duration::ZERO };
            if !dead && late.send((Instant::now() + delay, buffer[..count].to_vec())).is_err() {
                return;
            }
        }
        if dead {
            // That the other side is gone does not get through either.
            std::future::pending::<()>().await;
        }
    };
    let writing = async move {
        while let Some((at, bytes)) = due.recv().await {
            tokio::time::sleep_until(at).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = async { tokio::join!(reading, writing); } => {}
    }
}
