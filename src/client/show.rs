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
            return object(message);
        }
        line(&format!("{}  {}  {}", text(&message["id"]), text(&message["to"]), self.status(message, 0)))
    }

    /// A message that nobody follows any more.
    pub fn ended(self, message: &Value) -> Result<(), ClientError> {
        if self.json {
            return object(message);
        }
        let still = if message["final"] == true { "" } else { " (not final)" };
        line(&format!("{}{still}", self.status(message, 0)))?;
        error(message).iter().try_for_each(|told| line(told))
    }

    /// The names of the columns of a list.
    pub fn header(self) -> Result<(), ClientError> {
        if self.json {
            return Ok(());
        }
        line(&row("ID", "CREATED (UTC)", "TO", &format!("{:<11}", "STATUS"), "PROVIDER", "ERROR"))
    }

    /// A message in a list.
    pub fn row(self, message: &Value) -> Result<(), ClientError> {
        if self.json {
            return object(message);
        }
        line(&row(
            text(&message["id"]),
            &moment(&message["created_at"]),
            text(&message["to"]),
            &self.status(message, 11),
            text(&message["provider"]),
            text(&message["error"]["code"]),
        ))
    }

    /// A message with its timeline.
    pub fn one(self, message: &Value, events: &[Value]) -> Result<(), ClientError> {
        if self.json {
            object(message)?;
            return events.iter().try_for_each(object);
        }
        let still = if message["final"] == true { "" } else { " (not final)" };
        line(&format!("{}  {}{still}", text(&message["id"]), self.status(message, 0)))?;
        details(message).iter().try_for_each(|told| line(told))?;
        error(message).iter().try_for_each(|told| line(told))?;
        line("")?;
        events.iter().try_for_each(|entry| self.entry(entry))
    }

    /// An entry of a timeline.
    pub fn entry(self, entry: &Value) -> Result<(), ClientError> {
        if self.json {
            return object(entry);
        }
        let said: Vec<&str> = ["provider", "provider_code", "detail"]
            .into_iter()
            .map(|name| text(&entry[name]))
            .filter(|said| !said.is_empty())
            .collect();
        let (when, kind) = (moment(&entry["timestamp"]), text(&entry["type"]));
        line(&format!("{when}  {kind:<16}  {}  {}", self.status(entry, 11), said.join(", ")))
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
}

fn object(value: &Value) -> Result<(), ClientError> {
    writeln!(stdout(), "{}", escaped(&value.to_string())).map_err(ClientError::Output)
}

fn line(line: &str) -> Result<(), ClientError> {
    writeln!(stdout(), "{}", harmless(line.trim_end())).map_err(ClientError::Output)
}

/// JSON says the same with the characters escaped that it leaves as they are and a terminal obeys.
fn escaped(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        if is_command(c) {
            // None of them is beyond the first plane.
            shown.extend(["\\u", &format!("{:04x}", u32::from(c))]);
        } else {
            shown.push(c);
        }
    }
    shown
}

/// A control character, or one that turns the direction of what stands behind it.
fn is_command(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A line without what a terminal could take for a command, save for colours: what is shown was written by others.
pub(super) fn harmless(line: &str) -> String {
    let colour = |rest: &str| {
        let code = rest.strip_prefix("\u{1b}[").and_then(|rest| rest.split_once('m')).map_or("", |(code, _)| code);
        code == "0" || (code.len() == 2 && code.starts_with('3') && code.bytes().all(|byte| byte.is_ascii_digit()))
    };
    line.char_indices().map(|(at, c)| if is_command(c) && !colour(&line[at..]) { ' ' } else { c }).collect()
}

fn row(id: &str, created: &str, to: &str, status: &str, provider: &str, error: &str) -> String {
    format!("{id:<30}  {created:<14}  {to:<16}  {status}  {provider:<12}  {error}")
}

/// To the second, which is what people compare.
fn time(value: &Value) -> String {
    text(value).get(..19).unwrap_or_default().replace('T', " ")
}

/// Without the year, which a line is too short for.
fn moment(value: &Value) -> String {
    time(value).get(5..).unwrap_or_default().to_owned()
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
    lines
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("  {name:<9} {value}"))
        .collect()
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
    let code = error["provider_code"].as_str();
    let code = code.map(|code| format!(" (the provider says {code})")).unwrap_or_default();
    let first = format!("  {}: {}{code}", text(&error["code"]), text(&error["message"]));
    let hint = error["hint"].as_str().map(|hint| format!("  {hint}"));
    std::iter::once(first).chain(hint).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cannot_command_the_terminal() {
        for (text, shown) in [
            ("plain, with ä and 中", "plain, with ä and 中"),
            ("\u{1b}[32mdelivered\u{1b}[0m", "\u{1b}[32mdelivered\u{1b}[0m"),
            ("\u{1b}[2Jgone", " [2Jgone"),
            ("\u{1b}]0;title\u{7}", " ]0;title "),
            ("two\nlines\r", "two lines "),
            ("\u{9b}31m", " 31m"),
        ] {
            assert_eq!(harmless(text), shown);
        }
        assert_eq!(harmless("a\u{202e}b"), "a b");
        let value = Value::from("ä\u{9b}31m\u{7f}\u{202e}\n");
        assert_eq!(escaped(&value.to_string()), r#""ä\u009b31m\u007f\u202e\n""#);
    }
}
