//! The documents against the code: what they list is complete, what they show works, and what they name is there.

use std::{fs, path::Path};

use sms_gateway::{
    api::problem::ProblemCode,
    app::check_providers,
    clock::Clock,
    config,
    domain::{
        error_code::ErrorCode,
        event::EventType,
        life::DecisionKind,
        status::{AttemptStatus, MessageStatus},
    },
    webhooks::schedule,
};

/// All documents that engineers read, by their paths from the top.
const DOCUMENTS: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "migrations/README.md",
    "docs/message-lifecycle.md",
    "docs/errors.md",
    "docs/providers/huawei.md",
    "docs/webhooks.md",
    "docs/limits.md",
    "docs/adr/README.md",
    "docs/adr/0001-queue-table.md",
    "docs/adr/0002-chrono.md",
    "docs/adr/0003-one-state-machine.md",
    "docs/adr/0004-a-push-in-one-commit.md",
    "docs/adr/0005-a-spool-for-pushes.md",
    "docs/adr/0006-versions-and-leases-at-accept.md",
];

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text_of(document: &str) -> String {
    fs::read_to_string(top().join(document)).unwrap_or_else(|error| panic!("{document}: {error}"))
}

/// The rows of the first table below a heading, without its head.
fn table(text: &str, heading: &str) -> Vec<String> {
    let (_, below) = text.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let lines = below.lines().skip_while(|line| !line.starts_with("| code |"));
    lines.take_while(|line| line.starts_with('|')).skip(2).map(str::to_owned).collect()
}

fn cell(row: &str, index: usize) -> &str {
    row.split(" | ").nth(index).unwrap_or_default().trim_start_matches("| ")
}

#[test]
fn every_problem_code_has_its_row() {
    let rows = table(&text_of("docs/errors.md"), "## Problems");
    let told: Vec<(String, String)> = rows.iter().map(|row| (cell(row, 0).into(), cell(row, 2).into())).collect();
    let known: Vec<(String, String)> =
        ProblemCode::ALL.iter().map(|code| (format!("`{}`", code.as_str()), code.title().into())).collect();
    assert_eq!(told, known);
}

#[test]
fn every_error_code_of_messages_has_its_row() {
    let rows = table(&text_of("docs/errors.md"), "## Message errors");
    let row = |code: &ErrorCode| {
        let hint = code.hint().map(|hint| format!("{hint} ")).unwrap_or_default();
        format!("| `{}` | {} | {} | {hint}|", code.as_str(), code.category().as_str(), code.message())
    };
    assert_eq!(rows, ErrorCode::ALL.iter().map(row).collect::<Vec<_>>());
}

#[test]
fn every_status_and_every_word_for_a_decision_is_explained() {
    let text = text_of("docs/message-lifecycle.md");
    let statuses = MessageStatus::ALL.iter().map(|status| status.as_str());
    let words = DecisionKind::ALL.iter().map(|kind| kind.as_str());
    for word in statuses.chain(words) {
        assert!(text.contains(&format!("| `{word}` |")), "{word} has no row");
    }
    for word in AttemptStatus::ALL.iter().map(|status| status.as_str()) {
        assert!(text.contains(&format!("`{word}`")), "{word}");
    }
}

#[test]
fn every_event_and_every_gap_between_two_tries_is_told() {
    let text = text_of("docs/webhooks.md");
    for event in EventType::ALL {
        assert!(text.contains(&format!("| `{event}` |")), "{event} has no row");
    }
    let words = schedule::GAPS.iter().map(|gap| match gap.as_secs() {
        seconds @ ..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    });
    let row = format!("| after | {} |", words.collect::<Vec<_>>().join(" | "));
    assert!(text.contains(&row), "{row}");
}

/// The first cells of the transition table, and the statuses that its second cells name.
fn told_transitions(text: &str) -> Vec<(MessageStatus, Vec<MessageStatus>)> {
    let (_, below) = text.split_once("\n| from | to | when |\n").expect("a table of transitions");
    let rows = below.lines().skip(1).take_while(|line| line.starts_with('|'));
    let words = |cell: &str| cell.split('`').filter_map(|word| word.parse().ok()).collect::<Vec<MessageStatus>>();
    rows.filter_map(|row| Some((*words(cell(row, 0)).first()?, words(cell(row, 1))))).collect()
}

#[test]
fn the_table_of_transitions_is_the_one_of_the_code() {
    let told = told_transitions(&text_of("docs/message-lifecycle.md"));
    let nothing_leads_there = |from, to| matches!((from, to), (MessageStatus::Unknown, MessageStatus::Failed));
    for from in MessageStatus::ALL {
        for to in MessageStatus::ALL {
            let is_told = told.iter().any(|(first, second)| first == from && second.contains(to));
            let is_real = from.may_become(*to) && !nothing_leads_there(*from, *to);
            assert_eq!(is_told, is_real, "{from} to {to}");
        }
    }
}

/// The configurations of the README, with something real where it has dots.
fn shown_configurations() -> Vec<String> {
    let text = text_of("README.md");
    let blocks = text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    let filled = blocks.map(|block| {
        let mut block =
            block.replace("secret_key = \"…\"", "secret_key = \"RVhBTVBMRS1EVU1NWS1TRUNSRVQtMzItQllURVMtISE=\"");
        for digit in '0'..='9' {
            block = block.replacen("sha256:…", &format!("sha256:{}", digit.to_string().repeat(64)), 1);
        }
        block.replace('…', "something-long-enough")
    });
    filled.collect()
}

#[test]
fn every_configuration_of_the_readme_is_valid() {
    let shown = shown_configurations();
    assert!(shown.len() >= 4, "one for each provider at least");
    for (index, block) in shown.iter().enumerate() {
        let path = std::env::temp_dir().join(format!("sms-gateway-readme-{}-{index}.toml", std::process::id()));
        fs::write(&path, block).unwrap();
        let checked = check_providers(config::check(Some(&path), std::iter::empty()), &Clock::system());
        fs::remove_file(&path).unwrap();
        if let Err(errors) = checked {
            panic!("{errors}\n{block}");
        }
    }
}

#[test]
fn the_configuration_for_the_simulator_is_valid() {
    let path = top().join("gateway.simulator.toml");
    let checked = check_providers(config::check(Some(&path), std::iter::empty()), &Clock::system());
    assert_eq!(checked.map(|config| config.providers.len()).map_err(|errors| errors.to_string()), Ok(4));
}

/// What a document names between backticks or as the target of a link, as far as it looks like a file of ours.
fn named_files(document: &str, text: &str) -> Vec<String> {
    let folders = ["src/", "docs/", "tests/", "migrations/", "benches/"];
    let quoted =
        text.split('`').skip(1).step_by(2).filter(|name| folders.iter().any(|folder| name.starts_with(folder)));
    let whole = quoted.filter(|name| !name.contains(['<', '*', ' '])).map(str::to_owned);
    let beside = Path::new(document).parent().expect("a file lies in a folder");
    let targets = text.split("](").skip(1).map(|rest| rest.split([')', '#']).next().unwrap_or_default());
    let ours = targets.filter(|target| !target.is_empty() && !target.contains("://"));
    let links = ours.map(|target| beside.join(target).to_string_lossy().into_owned());
    whole.chain(links).collect()
}

/// A file or folder, or a function in one: `tests/it/crash.rs::name`.
fn is_there(name: &str) -> bool {
    match name.split_once("::") {
        Some((file, function)) => text_of(file).contains(&format!("fn {function}(")),
        None => top().join(name).exists(),
    }
}

#[test]
fn every_file_that_a_document_names_is_there() {
    for document in DOCUMENTS {
        let named = named_files(document, &text_of(document));
        let missing: Vec<&String> = named.iter().filter(|name| !is_there(name)).collect();
        assert!(missing.is_empty(), "{document}: {missing:?}");
    }
}

#[test]
fn every_decision_is_in_the_index() {
    let index = text_of("docs/adr/README.md");
    for entry in fs::read_dir(top().join("docs/adr")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name == "README.md" || index.contains(&format!("({name})")), "{name}");
    }
}
