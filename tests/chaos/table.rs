//! The table of what came of the runs, for people and for a file.

use std::{collections::BTreeMap, fmt::Write as _, process::Command};

use super::Ran;

const HEAD: &str = "| provider | processes | seed | kills | in flight | freezes | orderly ends | posted | acknowledged | repeated | at carrier \
| delivered | undelivered | unknown | failed | lost | doubled | wrong | reported | reports lost | slowest start, ms | verdict |";

/// One row for each run.
pub fn rows(runs: &[Ran]) -> String {
    let columns = HEAD.matches('|').count() - 1;
    let mut text = format!("{HEAD}\n|{}\n", " --- |".repeat(columns));
    for ran in runs {
        let (tally, verdict) = (&ran.tally, &ran.verdict);
        let cells = [
            ran.run.carrier.name().to_owned(),
            ran.run.processes.to_string(),
            ran.run.seed.to_string(),
            tally.kills.to_string(),
            tally.in_flight.to_string(),
            tally.freezes.to_string(),
            tally.orderly_ends.to_string(),
            verdict.posted.to_string(),
            verdict.acknowledged.to_string(),
            verdict.repeats.to_string(),
            verdict.at_carrier.to_string(),
            verdict.of("delivered").to_string(),
            verdict.of("undelivered").to_string(),
            verdict.of("unknown").to_string(),
            verdict.of("failed").to_string(),
            verdict.lost.to_string(),
            verdict.doubled.to_string(),
            verdict.wrong.to_string(),
            verdict.reported.to_string(),
            verdict.reports_lost.to_string(),
            tally.slowest_start.as_millis().to_string(),
            ran.judgement().to_owned(),
        ];
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text
}

/// How often a process died at which step.
fn steps(runs: &[Ran]) -> String {
    let mut sums: BTreeMap<&str, u32> = BTreeMap::new();
    for (step, count) in runs.iter().flat_map(|ran| &ran.tally.steps) {
        *sums.entry(step).or_default() += count;
    }
    let mut text = "| killed at | times |\n| --- | --- |\n".to_owned();
    for (step, count) in sums {
        let _ = writeln!(text, "| {step} | {count} |");
    }
    text
}

/// The whole report.
pub fn report(runs: &[Ran], rate: u32, database: &str) -> String {
    let sum = |part: fn(&Ran) -> u64| runs.iter().map(part).sum::<u64>();
    let kills = sum(|ran| ran.tally.kills.into());
    let lost = sum(|ran| ran.verdict.lost as u64);
    let doubled = sum(|ran| ran.verdict.doubled);
    let reports = sum(|ran| ran.verdict.reports_lost as u64);
    format!(
        "# Killed again and again\n\n\
         Made by `./dev chaos`. Processes are killed at random and at named steps, frozen for longer than their lease, and \
         asked to end, under {rate} requests a second, while the carriers spoil about one call in ten and push reports early, \
         doubled and out of order.\n\n\
         {kills} kills: {lost} messages lost, {doubled} doubled, {reports} acknowledged reports lost.\n\n\
         {}\n\n\
         {}\n\
         *In flight*: kills while a request, a call or a push was under way. *Unknown*: the outcome of the call was unclear and \
         no evidence came; nothing is sent again for that. *Wrong*: not final, or contradicted by the carrier's own list. \
         *Reported*: messages whose report the carrier was told is taken.\n\n\
         {}",
        machine(database),
        rows(runs),
        steps(runs),
    )
}

/// What it ran on.
fn machine(database: &str) -> String {
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok();
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
    };
    let of_file = |path: &str, key: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
        line.split_once(':').map_or("", |(_, value)| value.trim()).to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "Commit {}; {}, {cores} cores, {}; Linux {}; {database}.",
        said("git", &["describe", "--always", "--dirty"]),
        of_file("/proc/cpuinfo", "model name"),
        of_file("/proc/meminfo", "MemTotal"),
        said("uname", &["-r"]),
    )
}
