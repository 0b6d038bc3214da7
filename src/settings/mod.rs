//! Reads one TOML table key by key and collects everything that is wrong with it, so that a person mends a file once and not
//! once per mistake.
//!
//! A getter that finds a problem notes it and gives back a stand-in, which is why nothing read may be used before
//! [`SettingsReader::finish`] has said that there was none. A key that no getter asked for is unknown, and that is a problem too.
//!
//! Values from the environment are text whatever they mean. The getter knows what it wants: it reads a number or a list out of
//! such a text, while a secret made of digits stays the text that it is. A list is written as in TOML or with commas.
//!
//! It knows nothing of where a table came from, nor what its keys mean.

use std::{collections::BTreeSet, fmt, ops::RangeInclusive, rc::Rc, str::FromStr};

use secrecy::SecretString;
use toml::Value;
use url::Url;

/// A key that is wrong, missing or unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsProblem {
    /// Below the table that was read: `app_key`, `push_keys[0].secret`.
    pub key: String,
    /// What is wrong with it; never its value.
    pub problem: String,
}

/// Which texts may stand for a number, a boolean, a list or a table.
#[derive(Debug, Clone)]
pub(crate) enum Texts {
    /// All: where a value came from is no longer known.
    All,
    /// Those of these keys, which came from the environment.
    Only(Rc<BTreeSet<String>>),
}

/// Reads one table; see the module.
pub struct SettingsReader {
    table: toml::Table,
    prefix: String,
    texts: Texts,
    problems: Vec<SettingsProblem>,
}

impl fmt::Debug for SettingsReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The values may be secrets.
        f.debug_struct("SettingsReader")
            .field("prefix", &self.prefix)
            .field("problems", &self.problems)
            .finish_non_exhaustive()
    }
}

impl SettingsReader {
    /// Reads a driver's own table.
    pub fn new(table: toml::Table) -> Self {
        Self::at(table, String::new(), Texts::All)
    }

    /// Reads a table that stands at `prefix` in a larger one.
    pub(crate) fn at(table: toml::Table, prefix: String, texts: Texts) -> Self {
        Self { table, prefix, texts, problems: Vec::new() }
    }

    /// The key as a person would write it from the top.
    pub(crate) fn full_key(&self, key: &str) -> String {
        if self.prefix.is_empty() { key.to_owned() } else { format!("{}.{key}", self.prefix) }
    }

    /// Notes a problem that only the caller can see.
    pub fn problem(&mut self, key: &str, problem: impl Into<String>) {
        let key = self.full_key(key);
        self.problems.push(SettingsProblem { key, problem: problem.into() });
    }

    /// Notes a problem with this table itself.
    pub(crate) fn problem_here(&mut self, problem: impl Into<String>) {
        self.problems.push(SettingsProblem { key: self.prefix.clone(), problem: problem.into() });
    }

    /// Has a problem with this key been noted?
    pub(crate) fn has_problem(&self, key: &str) -> bool {
        let key = self.full_key(key);
        self.problems.iter().any(|problem| problem.key == key)
    }

    /// Is there such a key, and has it not been read yet?
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Every problem found, unread keys among them. What was read may be used only if there is none.
    pub fn finish(self) -> Result<(), Vec<SettingsProblem>> {
        let problems = self.into_problems();
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// Every problem found, unread keys among them.
    pub(crate) fn into_problems(mut self) -> Vec<SettingsProblem> {
        let unread: Vec<String> = self.table.keys().cloned().collect();
        for key in unread {
            self.problem(&key, "is not a known key");
        }
        self.problems
    }

    /// A text that must be there.
    pub fn required_string(&mut self, key: &str) -> String {
        self.demand(key);
        self.optional_string(key).unwrap_or_default()
    }

    /// A text, if it is there. An empty one is a problem.
    pub fn optional_string(&mut self, key: &str) -> Option<String> {
        let value = self.table.remove(key)?;
        self.text_of(key, value)
    }

    /// A text, or the default.
    pub fn string_or(&mut self, key: &str, default: &str) -> String {
        self.optional_string(key).unwrap_or_else(|| default.to_owned())
    }

    /// A secret that must be there.
    pub fn required_secret(&mut self, key: &str) -> SecretString {
        self.required_string(key).into()
    }

    /// A secret, if it is there.
    pub fn optional_secret(&mut self, key: &str) -> Option<SecretString> {
        self.optional_string(key).map(SecretString::from)
    }

    /// One secret or a list of them, as while rotating; none if the key is absent.
    pub fn secrets(&mut self, key: &str) -> Vec<SecretString> {
        let Some(value) = self.table.remove(key) else { return Vec::new() };
        let value = self.untexted(key, value, |text| text.trim_start().starts_with('['));
        let texts = if let Value::Array(values) = value {
            self.texts_of(key, values)
        } else {
            self.text_of(key, value).into_iter().collect()
        };
        texts.into_iter().map(SecretString::from).collect()
    }

    /// An `http` or `https` address that must be there.
    pub fn required_url(&mut self, key: &str) -> Url {
        self.demand(key);
        self.optional_url(key).unwrap_or_else(stand_in_url)
    }

    /// An `http` or `https` address, or the default.
    pub fn url_or(&mut self, key: &str, default: &str) -> Url {
        if !self.has(key) {
            self.table.insert(key.to_owned(), Value::String(default.to_owned()));
        }
        self.required_url(key)
    }

    /// An `http` or `https` address, if it is there.
    pub fn optional_url(&mut self, key: &str) -> Option<Url> {
        let text = self.optional_string(key)?;
        let url = Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let Some(url) = url else {
            self.problem(key, "must be an address that begins with http:// or https://");
            return None;
        };
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            self.problem(key, "must not carry a user, a query or a fragment");
            return None;
        }
        Some(url)
    }

    /// One of some words, or the default.
    pub fn choice<'a>(&mut self, key: &str, words: &[&'a str], default: &'a str) -> &'a str {
        let Some(text) = self.optional_string(key) else { return default };
        if let Some(word) = words.iter().find(|word| **word == text) {
            return word;
        }
        self.problem(key, format!("must be one of {}", words.join(", ")));
        default
    }

    /// One of the values of an enum, or the default.
    pub fn word_or<T: Copy>(&mut self, key: &str, default: T, values: &[T], word: impl Fn(T) -> &'static str) -> T {
        let words: Vec<&str> = values.iter().map(|value| word(*value)).collect();
        let chosen = self.choice(key, &words, word(default));
        values.iter().copied().find(|value| word(*value) == chosen).unwrap_or(default)
    }

    /// A whole number within a range, or the default.
    pub fn integer_or<T>(&mut self, key: &str, default: T, range: RangeInclusive<T>) -> T
    where
        T: TryFrom<i64> + PartialOrd + fmt::Display + Copy,
    {
        self.optional_integer(key, range).unwrap_or(default)
    }

    /// A whole number within a range, if it is there.
    pub fn optional_integer<T>(&mut self, key: &str, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + fmt::Display + Copy,
    {
        let value = self.table.remove(key)?;
        let Value::Integer(number) = self.untexted(key, value, |_| true) else {
            self.problem(key, "must be a whole number");
            return None;
        };
        let number = T::try_from(number).ok().filter(|number| range.contains(number));
        if number.is_none() {
            self.problem(key, format!("must be between {} and {}", range.start(), range.end()));
        }
        number
    }

    /// A number that is not below zero, if it is there.
    pub fn optional_number(&mut self, key: &str) -> Option<f64> {
        let value = self.table.remove(key)?;
        let number = match self.untexted(key, value, |_| true) {
            // Amounts of money are far below 2^52, where this is exact.
            #[expect(clippy::cast_precision_loss, reason = "a threshold, not a sum")]
            Value::Integer(number) => number as f64,
            Value::Float(number) => number,
            Value::String(_) | Value::Boolean(_) | Value::Datetime(_) | Value::Array(_) | Value::Table(_) => f64::NAN,
        };
        if number.is_finite() && number >= 0.0 {
            return Some(number);
        }
        self.problem(key, "must be a number that is not below 0");
        None
    }

    /// True or false, or the default.
    pub fn boolean_or(&mut self, key: &str, default: bool) -> bool {
        let Some(value) = self.table.remove(key) else { return default };
        let Value::Boolean(boolean) = self.untexted(key, value, |_| true) else {
            self.problem(key, "must be true or false");
            return default;
        };
        boolean
    }

    /// A list of texts; empty if it is not there.
    pub fn list(&mut self, key: &str) -> Vec<String> {
        self.optional_list(key).unwrap_or_default()
    }

    /// A list of texts, if it is there.
    pub fn optional_list(&mut self, key: &str) -> Option<Vec<String>> {
        let value = self.table.remove(key)?;
        let values = match self.untexted(key, value, |text| text.trim_start().starts_with('[')) {
            Value::Array(values) => values,
            Value::String(text) if self.may_be_text(key) => {
                text.split(',').map(|part| Value::String(part.trim().to_owned())).collect()
            }
            Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::Table(_) => {
                self.problem(key, "must be a list of texts");
                return None;
            }
        };
        Some(self.texts_of(key, values))
    }

    /// A text that is read by its type, if it is there. `what` ends the sentence "must be …".
    pub fn optional_parsed<T: FromStr>(&mut self, key: &str, what: &str) -> Option<T> {
        let text = self.optional_string(key)?;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.problem(key, format!("must be {what}"));
        }
        parsed
    }

    /// A list of texts that are read by their type, if it is there. `what` ends the sentence "must be …".
    pub fn optional_parsed_list<T: FromStr>(&mut self, key: &str, what: &str) -> Option<Vec<T>> {
        let texts = self.optional_list(key)?;
        let mut parsed = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            match text.parse() {
                Ok(value) => parsed.push(value),
                Err(_) => self.problem(&format!("{key}[{index}]"), format!("must be {what}")),
            }
        }
        Some(parsed)
    }

    /// A table below this one, if it is there; `read` reads it, and its problems become this reader's.
    pub fn table<T>(&mut self, key: &str, read: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let value = self.table.remove(key)?;
        let value = self.untexted(key, value, |_| true);
        self.read_table(key, value, read)
    }

    /// A table below this one, read as an empty one if it is not there.
    pub(crate) fn section<T>(&mut self, key: &str, mut read: impl FnMut(&mut Self) -> T) -> T {
        let absent = Self::at(toml::Table::new(), self.full_key(key), self.texts.clone());
        self.table(key, &mut read).unwrap_or_else(|| read(&mut { absent }))
    }

    /// Is the key there, with a list that has nothing in it?
    pub(crate) fn is_empty_list(&self, key: &str) -> bool {
        self.table.get(key).and_then(Value::as_array).is_some_and(Vec::is_empty)
    }

    /// A list of tables; empty if it is not there.
    pub fn tables<T>(&mut self, key: &str, mut read: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let Some(value) = self.table.remove(key) else { return Vec::new() };
        let Value::Array(values) = self.untexted(key, value, |_| true) else {
            self.problem(key, "must be a list of tables");
            return Vec::new();
        };
        let mut entries = Vec::with_capacity(values.len());
        for (index, value) in values.into_iter().enumerate() {
            entries.extend(self.read_table(&format!("{key}[{index}]"), value, &mut read));
        }
        entries
    }

    /// Every entry of this table as a table of its own, with its name; nothing is left unread.
    pub(crate) fn each_table<T>(&mut self, mut read: impl FnMut(&str, &mut Self) -> T) -> Vec<T> {
        let entries = std::mem::take(&mut self.table);
        let mut read_entries = Vec::with_capacity(entries.len());
        for (name, value) in entries {
            let value = self.untexted(&name, value, |_| true);
            read_entries.extend(self.read_table(&name, value, |entry| read(&name, entry)));
        }
        read_entries
    }

    /// What nobody has read of this table, taken out of it.
    pub(crate) fn take_rest(&mut self) -> toml::Table {
        std::mem::take(&mut self.table)
    }

    fn read_table<T>(&mut self, key: &str, value: Value, read: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let Value::Table(table) = value else {
            self.problem(key, "must be a table");
            return None;
        };
        let mut reader = Self::at(table, self.full_key(key), self.texts.clone());
        let entry = read(&mut reader);
        self.problems.extend(reader.into_problems());
        Some(entry)
    }

    fn demand(&mut self, key: &str) {
        if !self.has(key) {
            self.problem(key, "is missing");
        }
    }

    fn text_of(&mut self, key: &str, value: Value) -> Option<String> {
        let Value::String(text) = value else {
            self.problem(key, format!("must be text in quotes, not {}", kind_of(&value)));
            return None;
        };
        if text.is_empty() {
            self.problem(key, "must not be empty");
            return None;
        }
        Some(text)
    }

    fn texts_of(&mut self, key: &str, values: Vec<Value>) -> Vec<String> {
        let numbered = values.into_iter().enumerate();
        numbered.filter_map(|(index, value)| self.text_of(&format!("{key}[{index}]"), value)).collect()
    }

    fn may_be_text(&self, key: &str) -> bool {
        match &self.texts {
            Texts::All => true,
            Texts::Only(keys) => keys.contains(&self.full_key(key)),
        }
    }

    /// The value that a text from the environment stands for, if it looks like one; else the value as it is.
    fn untexted(&self, key: &str, value: Value, looks_like_one: impl Fn(&str) -> bool) -> Value {
        let Value::String(text) = &value else { return value };
        if !self.may_be_text(key) || !looks_like_one(text) {
            return value;
        }
        text.trim().parse().unwrap_or(value)
    }
}

/// What stands where an address should; [`SettingsReader::finish`] never lets it through.
#[expect(clippy::expect_used, reason = "the text is right there")]
fn stand_in_url() -> Url {
    Url::parse("http://unset.invalid").expect("a literal address")
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

#[cfg(test)]
mod tests;
