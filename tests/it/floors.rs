//! The floors of the house: no module imports one that stands above it.
//!
//! It reads the sources, so it sees what is written as `crate::…`. Tests inside the modules may reach anywhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// What each module may import besides itself. A module that is missing here fails the test.
const FLOORS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("error_chain", &[]),
    ("fail_points", &[]),
    ("clock", &["domain"]),
    ("settings", &[]),
    ("tls", &[]),
    ("private_file", &[]),
    ("secrets", &["private_file"]),
    ("config", &["domain", "secrets", "settings"]),
    ("keys", &["config", "private_file"]),
    ("store", &["domain", "fail_points"]),
    ("providers", &["clock", "domain", "settings", "tls"]),
    ("routing", &["config", "domain"]),
    (
        "dispatch",
        &["clock", "config", "domain", "error_chain", "fail_points", "providers", "routing", "secrets", "store"],
    ),
    ("server", &[]),
    (
        "api",
        &[
            "clock",
            "config",
            "dispatch",
            "domain",
            "error_chain",
            "keys",
            "providers",
            "routing",
            "secrets",
            "server",
            "store",
        ],
    ),
    ("callbacks", &["api", "dispatch", "domain", "providers", "secrets"]),
    // An app is told of a message as the API shows it.
    ("webhooks", &["api", "config", "dispatch", "domain", "error_chain", "providers", "store", "tls"]),
    ("telemetry", &["api", "config"]),
    ("private_postgres", &[]),
    ("simulator", &["clock", "domain", "tls"]),
    (
        "app",
        &[
            "api",
            "callbacks",
            "clock",
            "config",
            "dispatch",
            "domain",
            "error_chain",
            "keys",
            "private_postgres",
            "providers",
            "secrets",
            "server",
            "store",
            "webhooks",
        ],
    ),
    ("cli", &["config", "simulator"]),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The module that a file belongs to; none for files that only tests compile.
fn module_of(path: &Path) -> Option<String> {
    let inside: Vec<String> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let only_for_tests = ["tests", "tests.rs", "testing.rs", "conformance", "scripted_server.rs", "fuzzing.rs"];
    if inside.iter().any(|part| only_for_tests.contains(&part.as_str())) {
        return None;
    }
    let first = inside.first()?.trim_end_matches(".rs").to_owned();
    (!["lib", "main"].contains(&first.as_str())).then_some(first)
}

/// The modules that follow `crate::` in a source, also those in braces.
fn imports(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let code: String =
        code.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    code.split("crate::").skip(1).flat_map(first_names).collect()
}

/// `domain::ids` names `domain`; `{clock::Clock, domain::{ids}}` names `clock` and `domain`.
fn first_names(path: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.trim_start().chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
    };
    let Some(braced) = path.strip_prefix('{') else { return vec![word(path)] };
    let (mut depth, mut names, mut start) = (0_i32, Vec::new(), 0);
    for (at, letter) in braced.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.push(word(&braced[start..at]));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(word(&braced[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

#[test]
fn names_in_braces_are_found() {
    let text = "use crate::{\n    clock::Clock,\n    domain::{Timestamp, ids::X},\n};\nfn f(x: crate::store::Db) {}\n";
    assert_eq!(imports(text).into_iter().collect::<Vec<_>>(), ["clock", "domain", "store"]);
}

#[test]
fn no_import_runs_upward() {
    let floors: BTreeMap<&str, &[&str]> = FLOORS.iter().copied().collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let modules: BTreeSet<String> =
        files.iter().filter_map(|path| module_of(path.strip_prefix(&root).unwrap())).collect();
    for path in &files {
        let inside = path.strip_prefix(&root).unwrap();
        let Some(module) = module_of(inside) else { continue };
        let below = floors.get(module.as_str()).unwrap_or_else(|| panic!("{module} has no floor"));
        for import in imports(&fs::read_to_string(path).unwrap()) {
            // What is no module is a macro or a type at the top.
            let allowed = import == module || below.contains(&import.as_str()) || !modules.contains(&import);
            assert!(allowed, "{} imports {import}", inside.display());
        }
    }
}

#[test]
fn the_floors_have_no_circle() {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for (module, below) in FLOORS {
        for lower in *below {
            assert!(seen.contains(lower), "{module} stands on {lower}, which is not below it");
        }
        seen.insert(module);
    }
}
