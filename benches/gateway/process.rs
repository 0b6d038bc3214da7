//! Programs that a run starts: ended by their process id, whatever happens, and asked what they cost.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, SysconfVar, sysconf},
};

/// How long a program may take to end after it was asked to.
const PATIENCE: Duration = Duration::from_secs(40);

/// A program that ends with this value.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stop: Signal,
}

impl Process {
    /// Starts it with its output in a file. `stop` is the signal that ends it in an orderly way.
    pub fn start(command: &mut Command, log: &Path, stop: Signal) -> Result<Self> {
        let out = fs::File::create(log)?;
        // A process group of its own, so that Ctrl-C reaches only the harness, which ends everything in the right order.
        command.process_group(0).stdin(Stdio::null()).stderr(out.try_clone()?).stdout(out);
        let child = command.spawn().with_context(|| format!("cannot run {}", command.get_program().display()))?;
        Ok(Self { child, stop })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// An error once it has ended by itself.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("a program ended by itself: {status}"),
            None => Ok(()),
        }
    }

    /// CPU seconds that it has used so far, with all its threads.
    pub fn cpu(&self) -> Result<f64> {
        Ok(Stat::of(self.id())?.own)
    }

    /// CPU seconds of it, of the processes that it has now, and of those that have ended.
    pub fn cpu_with_children(&self) -> Result<f64> {
        let own = Stat::of(self.id())?;
        let ids = fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        // One that ends meanwhile is counted by its parent from then on.
        let living = ids.filter_map(|id| Stat::of(id).ok()).filter(|stat| stat.parent == self.id());
        Ok(own.own + own.ended_children + living.map(|stat| stat.own).sum::<f64>())
    }

    /// Memory in MB: now, and at most so far.
    pub fn memory(&self) -> Result<(f64, f64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let field = |name: &str| -> Option<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim_start_matches(':').trim().strip_suffix(" kB")?.parse::<f64>().ok()? / 1024.0)
        };
        field("VmRSS").zip(field("VmHWM")).context("the kernel does not tell a program's memory")
    }

    /// Ends it and waits until it has.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let asked = i32::try_from(self.child.id()).map(|id| kill(Pid::from_raw(id), self.stop));
        let until = Instant::now() + PATIENCE;
        while asked.is_ok() && Instant::now() < until {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// A line of `/proc/…/stat`.
struct Stat {
    parent: u32,
    own: f64,
    ended_children: f64,
}

impl Stat {
    fn of(id: u32) -> Result<Self> {
        let line = fs::read_to_string(format!("/proc/{id}/stat"))?;
        // The name of the program, in parentheses, may have spaces.
        let (_, rest) = line.rsplit_once(')').context("a line of /proc has no name")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let number = |index: usize| -> Result<f64> { Ok(fields.get(index).context("too short")?.parse()?) };
        let hertz = sysconf(SysconfVar::CLK_TCK)?.context("no clock")? as f64;
        Ok(Self {
            parent: fields.get(1).context("too short")?.parse()?,
            own: (number(11)? + number(12)?) / hertz,
            ended_children: (number(13)? + number(14)?) / hertz,
        })
    }
}

/// Runs a program to its end and gives back what it printed.
pub fn output_of(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {name}"))?;
    if !output.status.success() {
        bail!("{name}: {} {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
