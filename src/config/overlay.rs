//! The environment, laid over the file: `SMS_GATEWAY__PROVIDERS__HUAWEI_INTL__APP_SECRET=…`.
//!
//! Two underscores separate, keys become lower case, a number picks an entry of a list that is there. A value stays text; what
//! it means is decided by whoever reads the key. An empty variable counts as not set, since that is how container tools pass
//! on what nobody gave them.

use std::collections::BTreeSet;

use toml::{Table, Value};

use super::ConfigProblem;

const PREFIX: &str = "SMS_GATEWAY__";

/// Lays the variables over the table. Gives back the keys that now hold a text from the environment, and what did not fit.
pub(super) fn lay_over(
    table: &mut Table,
    environment: impl Iterator<Item = (String, String)>,
) -> (BTreeSet<String>, Vec<ConfigProblem>) {
    let mut variables: Vec<(String, bool, String)> = environment
        .filter(|(_, value)| !value.is_empty())
        .filter_map(|(name, value)| match name.as_str() {
            "DATABASE_URL" => Some(("database__url".to_owned(), false, value)),
            other => other.strip_prefix(PREFIX).map(|path| (path.to_lowercase(), true, value)),
        })
        .collect();
    // A table before what lies in it, and DATABASE_URL before our own name for it, which therefore wins.
    variables.sort();
    let (mut keys, mut problems) = (BTreeSet::new(), Vec::new());
    for (path, _, value) in variables {
        let parts: Vec<&str> = path.split("__").collect();
        match set(table, &parts, value) {
            Ok(key) => {
                keys.insert(key);
            }
            Err(key) => problems
                .push(ConfigProblem { key, problem: format!("cannot be reached by {PREFIX}{}", path.to_uppercase()) }),
        }
    }
    (keys, problems)
}

/// Sets the value and gives back its key, or the key at which there is no way on.
fn set(table: &mut Table, path: &[&str], value: String) -> Result<String, String> {
    let Some((first, rest)) = path.split_first() else { return Err(String::new()) };
    if rest.is_empty() {
        table.insert((*first).to_owned(), Value::String(value));
        return Ok((*first).to_owned());
    }
    let below = table.entry((*first).to_owned()).or_insert_with(|| Value::Table(Table::new()));
    set_below(below, rest, value, (*first).to_owned())
}

fn set_below(parent: &mut Value, path: &[&str], value: String, key: String) -> Result<String, String> {
    match parent {
        Value::Table(table) => match set(table, path, value) {
            Ok(below) => Ok(format!("{key}.{below}")),
            Err(below) => Err(format!("{key}.{below}")),
        },
        Value::Array(entries) => {
            let Some((index, rest)) = path.split_first() else { return Err(key) };
            let Some(entry) = index.parse().ok().and_then(|index: usize| entries.get_mut(index)) else {
                return Err(key);
            };
            let key = format!("{key}[{index}]");
            if rest.is_empty() {
                *entry = Value::String(value);
                return Ok(key);
            }
            set_below(entry, rest, value, key)
        }
        Value::String(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => Err(key),
    }
}
