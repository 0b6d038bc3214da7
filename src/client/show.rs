//! What people see: lines for a terminal, or the API's JSON, one object a line.
//!
//! Colours only on a terminal, and not where `NO_COLOR` is set. Times are UTC.

use std::io::{IsTerminal as _, Write as _, stdout};

use serde_json::Value;

use super::problem::ClientError;

/// How to show things.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    json: bool,
    colours: bool,
}

/// A text of a JSON value; the empty one for anything else.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

impl Look {
    /// For whoever reads the output.
    pub fn of(json: bool) -> Self {
        Self { json, colours: stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() }
    }

    /// A message that was just accepted.
    pub fn accepted(self, message: &Value) -> Result<(), ClientError> {
        if self.json {
            return self.object(message);
        }
        self.line(&format!("{}  {}  {}", text(&message["id"]), text(&message["to"]), self.status(message, 0)))
    }

    /// A message that nobody follows any more.
    pub fn ended(self, message: &Value) -> Result<(), ClientError> {
        if self.json {
            return self.object(message);
        }
        let still = if message["final"] == true { "" } else { " (not final)" };
        self.line(&format!("{}{still}", self.status(message, 0)))?;
        error(message).iter().try_for_each(|line| self.line(line))
    }

    /// The names of the columns of a list.
    pub fn header(self) -> Result<(), ClientError> {
        if self.json {
            return Ok(());
        }
        self.line(&row("ID", "CREATED (UTC)", "TO", &format!("{:<11}", "STATUS"), "PROVIDER", "ERROR"))
    }

    /// A message in a list.
    pub fn row(self, message: &Value) -> Result<(), ClientError> {
        if self.json {
            return self.object(message);
        }
        let created = time(&message["created_at"]);
        self.line(&row(
            text(&message["id"]),
            created.get(5..).unwrap_or_default(),
            text(&message["to"]),
            &self.status(message, 11),
            text(&message["provider"]),
            text(&message["error"]["code"]),
        ))
    }

    /// A message with its timeline.
    pub fn one(self, message: &Value, events: &[Value]) -> Result<(), ClientError> {
        if self.json {
            self.object(message)?;
            return events.iter().try_for_each(|entry| self.object(entry));
        }
        let still = if message["final"] == true { "" } else { " (not final)" };
        self.line(&format!("{}  {}{still}", text(&message["id"]), self.status(message, 0)))?;
        details(message).iter().try_for_each(|line| self.line(line))?;
        error(message).iter().try_for_each(|line| self.line(line))?;
        self.line("")?;
        events.iter().try_for_each(|entry| self.entry(entry))
    }

    /// An entry of a timeline.
    pub fn entry(self, entry: &Value) -> Result<(), ClientError> {
        if self.json {
            return self.object(entry);
        }
        let said: Vec<&str> = ["provider", "provider_code", "detail"]
            .into_iter()
            .map(|name| text(&entry[name]))
            .filter(|said| !said.is_empty())
            .collect();
        let (when, kind) = (time(&entry["timestamp"]), text(&entry["type"]));
        self.line(&format!("{when}  {kind:<16}  {}  {}", self.status(entry, 11), said.join(", ")))
    }

    fn status(self, of: &Value, width: usize) -> String {
        let status = text(&of["status"]);
        let colour = match status {
            "delivered" => "32",
            "failed" | "undelivered" | "expired" => "31",
            "unknown" | "canceled" => "33",
            _ => "36",
        };
        let padded = format!("{status:<width$}");
        if self.colours { format!("\u{1b}[{colour}m{padded}\u{1b}[0m") } else { padded }
    }

    fn object(self, value: &Value) -> Result<(), ClientError> {
        writeln!(stdout(), "{value}").map_err(ClientError::Output)
    }

    /// A line without what a terminal could take for a command, save for our own colours.
    fn line(self, line: &str) -> Result<(), ClientError> {
        let shown = |c: char| if c.is_control() && !(self.colours && c == '\u{1b}') { ' ' } else { c };
        let line: String = line.trim_end().chars().map(shown).collect();
        writeln!(stdout(), "{line}").map_err(ClientError::Output)
    }
}

fn row(id: &str, created: &str, to: &str, status: &str, provider: &str, error: &str) -> String {
    format!("{id:<30}  {created:<14}  {to:<16}  {status}  {provider:<12}  {error}")
}

/// To the second, which is what people compare.
fn time(value: &Value) -> String {
    text(value).get(..19).unwrap_or_default().replace('T', " ")
}

fn details(message: &Value) -> Vec<String> {
    let (template, from) = (text(&message["template"]["name"]), text(&message["from"]));
    let said = match text(&message["text"]) {
        "" if message["sensitive"] == true => "(sensitive)",
        said => said,
    };
    let times = ["created_at", "send_at", "sent_at", "completed_at", "expires_at"];
    let times: Vec<String> = times
        .into_iter()
        .filter(|name| message[*name].is_string())
        .map(|name| format!("{} {}", name.trim_end_matches("_at"), time(&message[name])))
        .collect();
    let lines = [
        ("to", text(&message["to"]).to_owned()),
        ("from", from.to_owned()),
        ("text", said.to_owned()),
        ("template", template.to_owned()),
        ("app", text(&message["app"]).to_owned()),
        ("by", by(message)),
        ("times", times.join(", ")),
    ];
    lines.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| format!("  {name:<9} {value}")).collect()
}

/// Which way it went.
fn by(message: &Value) -> String {
    let parts = [("", &message["channel"]), ("route ", &message["route"]), ("provider ", &message["provider"])];
    let parts = parts.into_iter().filter(|(_, value)| value.is_string());
    parts.map(|(name, value)| format!("{name}{}", text(value))).collect::<Vec<_>>().join(", ")
}

/// Why it did not arrive.
fn error(message: &Value) -> Vec<String> {
    let error = &message["error"];
    if !error.is_object() {
        return Vec::new();
    }
    let mut first = format!("  {}: {}", text(&error["code"]), text(&error["message"]));
    if let Some(code) = error["provider_code"].as_str() {
        first += &format!(" (the provider says {code})");
    }
    let hint = error["hint"].as_str().map(|hint| format!("  {hint}"));
    std::iter::once(first).chain(hint).collect()
}
