//! The peer: Kannel with its spool store and delivery reports, through the same life as ours.
//!
//! Its HTTP SMSC sends to a carrier that answers at once and reports each message; a life ends when Kannel has told the app of
//! it. Kannel never waits for the disk; ours does.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use tokio::sync::mpsc;

use super::{
    super::process::Process,
    Bench, Pace, Target,
    gateway::{self, free_address},
    http, load, micros_each,
};

const SECTION: &str = "The peer: Kannel, spool store, delivery reports (it never waits for the disk)";
const PROGRAMS: [&str; 2] = ["/usr/sbin/bearerbox", "/usr/sbin/smsbox"];
/// Connections on which the carrier reports.
const REPORTERS: usize = 16;

/// One round, where Kannel is installed.
pub async fn measure(bench: &mut Bench) -> Result<()> {
    if !PROGRAMS.iter().all(|program| Path::new(program).exists()) {
        bench.report.note("Kannel (Debian package `kannel`) is not installed: left out.");
        return Ok(());
    }
    let told = Arc::new(AtomicU64::new(0));
    let app = count_calls(&told).await?;
    let ports = Ports::new()?;
    let carrier = carrier(ports.reports).await?;
    let [bearerbox, smsbox] = start(bench, &ports, carrier).await?;
    load::run(ports.send, 16, Pace::Count(200), messages(app)).await?;
    come(&told, 200).await?;

    let count = bench.choose(8_000, 2_000);
    let (before, started) = (bearerbox.cpu()? + smsbox.cpu()?, Instant::now());
    let load = load::run(ports.send, 64, Pace::Count(count), messages(app)).await?;
    ensure!(load.failed == 0, "{} of {} requests failed", load.failed, load.done);
    come(&told, 200 + count).await?;
    let (rate, cpu) = (count as f64 / started.elapsed().as_secs_f64(), bearerbox.cpu()? + smsbox.cpu()? - before);
    let memory = bearerbox.memory()?.1 + smsbox.memory()?.1;
    let add = &mut bench.report;
    add.add(SECTION, "lives", "messages/s", Target::None, rate);
    add.add(SECTION, "CPU of both its processes", "µs/message", Target::None, micros_each(cpu, count));
    add.add(SECTION, "memory of both at most", "MB", Target::None, memory);
    if let Some(ours) = bench.lives {
        add.add(SECTION, "ours (nxcloud) against it", "×", Target::AtLeast(5.0), ours / rate);
    }
    smsbox.stop();
    bearerbox.stop();
    Ok(())
}

async fn come(told: &AtomicU64, count: u64) -> Result<()> {
    gateway::until("Kannel has told of all messages", Duration::from_mins(1), async || {
        Ok(told.load(Ordering::Relaxed) >= count)
    })
    .await
}

#[derive(Debug)]
struct Ports {
    admin: SocketAddr,
    boxes: SocketAddr,
    send: SocketAddr,
    reports: SocketAddr,
}

impl Ports {
    fn new() -> Result<Self> {
        // Held all at once, so that they differ.
        let held = [(); 4].map(|()| std::net::TcpListener::bind("127.0.0.1:0"));
        let mut addresses = Vec::new();
        for listener in held {
            addresses.push(listener?);
        }
        let at = |index: usize| addresses.get(index).map_or_else(free_address, |listener| Ok(listener.local_addr()?));
        Ok(Self { admin: at(0)?, boxes: at(1)?, send: at(2)?, reports: at(3)? })
    }
}

async fn start(bench: &Bench, ports: &Ports, carrier: SocketAddr) -> Result<[Process; 2]> {
    let below = bench.directory.join("kannel");
    let spool = below.join("spool");
    if below.exists() {
        fs::remove_dir_all(&below)?;
    }
    fs::create_dir_all(&spool)?;
    let config = below.join("kannel.conf");
    fs::write(&config, configuration(ports, carrier, &below))?;
    let run = |program: &str, log: &str| {
        Process::start(Command::new(program).arg("-v").arg("3").arg(&config), &below.join(log), Signal::SIGTERM)
    };
    let mut bearerbox = run(PROGRAMS[0], "bearerbox.out")?;
    listens(ports.boxes, &mut bearerbox).await?;
    let mut smsbox = run(PROGRAMS[1], "smsbox.out")?;
    listens(ports.send, &mut smsbox).await?;
    Ok([bearerbox, smsbox])
}

async fn listens(address: SocketAddr, process: &mut Process) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(20);
    while tokio::net::TcpStream::connect(address).await.is_err() {
        process.check()?;
        ensure!(Instant::now() < end, "Kannel does not listen on {address}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

fn configuration(ports: &Ports, carrier: SocketAddr, below: &Path) -> String {
    let (admin, boxes, send, reports) =
        (ports.admin.port(), ports.boxes.port(), ports.send.port(), ports.reports.port());
    let below = below.display();
    format!(
        "group = core\nadmin-port = {admin}\nadmin-password = bench\nsmsbox-port = {boxes}\nbox-allow-ip = 127.0.0.1\n\
         log-file = {below}/bearerbox.log\nlog-level = 3\nstore-type = spool\nstore-location = {below}/spool\n\
         dlr-storage = internal\n\n\
         group = smsc\nsmsc = http\nsmsc-id = carrier\nsystem-type = generic\nport = {reports}\nconnect-allow-ip = 127.0.0.1\n\
         max-pending-submits = 64\nsend-url = \"http://{carrier}/send?from=%P&to=%p&text=%b\"\n\
         status-success-regex = \"^OK\"\nstatus-permfail-regex = \"^NO\"\nstatus-tempfail-regex = \"^LATER\"\n\
         generic-foreign-id-regex = \"OK ([0-9]+)\"\n\n\
         group = smsbox\nbearerbox-host = 127.0.0.1\nsendsms-port = {send}\nglobal-sender = 8615088888888\n\
         log-file = {below}/smsbox.log\nlog-level = 3\nmo-recode = false\n\n\
         group = sendsms-user\nusername = bench\npassword = bench\n\n\
         group = sms-service\nkeyword = default\ntext = \"none\"\n"
    )
}

fn messages(app: SocketAddr) -> load::Write {
    Arc::new(move |number, buffer| {
        let to = number % 10_000_000;
        let path = format!(
            "/cgi-bin/sendsms?username=bench&password=bench&from=8615088888888&to=8490{to:07}\
             &text=Your+parcel+waits+at+the+main+gate%2C+number+{number}&dlr-mask=3&dlr-url=http%3A%2F%2F{app}%2F%3Fs%3D%25d"
        );
        buffer.extend_from_slice(format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n").as_bytes());
    })
}

/// The app that Kannel tells of each message.
async fn count_calls(told: &Arc<AtomicU64>) -> Result<SocketAddr> {
    let (told, same) = (Arc::clone(told), http::text_answer("200 OK", "ok"));
    let answer: http::Answer = Arc::new(move |_, out| {
        told.fetch_add(1, Ordering::Relaxed);
        out.extend_from_slice(&same);
    });
    http::serve(answer).await
}

/// A carrier that takes everything and reports it delivered.
async fn carrier(reports: SocketAddr) -> Result<SocketAddr> {
    let next = AtomicU64::new(1);
    let lines: Vec<_> = (0..REPORTERS).map(|_| reporter(reports)).collect();
    let answer: http::Answer = Arc::new(move |request, out| {
        let id = next.fetch_add(1, Ordering::Relaxed);
        let to = parameter(request, b"to=");
        let line = usize::try_from(id).unwrap_or(0) % lines.len();
        // A reporter that has ended is told by the count of reports.
        let _ = lines[line].send((id, to));
        out.extend_from_slice(&http::text_answer("200 OK", &format!("OK {id}")));
    });
    http::serve(answer).await
}

fn parameter(request: &[u8], name: &[u8]) -> String {
    let Some(start) = request.windows(name.len()).position(|window| window == name) else { return String::new() };
    let digits = request[start + name.len()..].iter().take_while(|byte| byte.is_ascii_digit());
    digits.map(|byte| char::from(*byte)).collect()
}

fn reporter(address: SocketAddr) -> mpsc::UnboundedSender<(u64, String)> {
    let (line, mut due) = mpsc::unbounded_channel::<(u64, String)>();
    tokio::spawn(async move {
        let mut open = None;
        while let Some((id, to)) = due.recv().await {
            // As long as the simulator waits; Kannel has to have noted the id of the message.
            tokio::time::sleep(Duration::from_millis(5)).await;
            let path = format!("/?dlr-mid={id}&dlr-mask=1&from=8615088888888&to={to}&text=delivered");
            let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n");
            for _ in 0..3 {
                if open.is_none() {
                    open = http::Connection::open(address).await.ok();
                }
                let Some(connection) = open.as_mut() else { continue };
                if connection.call(request.as_bytes()).await.is_ok() {
                    break;
                }
                open = None;
            }
        }
    });
    line
}
