//! `sms-gateway send` and `sms-gateway messages`: a small client for people, over the same HTTP API that apps use.
//!
//! It knows a gateway only by its answers and shares no code with the API: what it shows is what an app would read. It keeps
//! nothing.

mod args;
mod gateway;
mod problem;
mod show;

use std::{
    collections::{HashMap, HashSet},
    process::ExitCode,
    time::Duration,
};

use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};

pub use args::{MessagesArgs, Reach, SendArgs};
pub use gateway::{Local, local_url};
pub use problem::ClientError;

use gateway::Gateway;
use show::{Look, text};

/// Between two looks at one message.
const PACE: Duration = Duration::from_millis(500);
/// Between two looks at a list.
const PACE_OF_LIST: Duration = Duration::from_secs(1);
/// While a message is followed the gateway may be away for so many looks, as when it is started anew.
const MAY_FAIL: u32 = 20;
const LONGEST_PAGE: usize = 200;

/// It arrived; or, where nobody waited for that, it was accepted.
const DELIVERED: u8 = 0;
/// It ended and did not arrive.
const NOT_DELIVERED: u8 = 3;
/// Nobody knows, or not yet.
const OPEN: u8 = 4;

/// Sends one message.
pub async fn send(
    args: &SendArgs,
    local: impl FnOnce() -> Result<Local, ClientError>,
) -> Result<ExitCode, ClientError> {
    let (gateway, look) = (Gateway::reach(&args.reach, local)?, Look::of(args.json));
    let key = args.idempotency_key.clone().unwrap_or_else(|| format!("cli-{}", uuid::Uuid::new_v4()));
    let message = gateway.post(&["v1", "messages"], &body(args), &key).await?;
    if !args.follow {
        look.accepted(&message)?;
        return Ok(ExitCode::from(DELIVERED));
    }
    if !args.json {
        look.accepted(&message)?;
    }
    let ended = follow(&gateway, look, text(&message["id"]), args.timeout, HashSet::new()).await?;
    look.ended(&ended)?;
    Ok(ExitCode::from(code_of(&ended)))
}

/// Lists messages, or shows one.
pub async fn messages(
    args: &MessagesArgs,
    local: impl FnOnce() -> Result<Local, ClientError>,
) -> Result<ExitCode, ClientError> {
    let (gateway, look) = (Gateway::reach(&args.reach, local)?, Look::of(args.json));
    if let Some(id) = &args.id {
        return show_one(&gateway, look, id, args).await;
    }
    list(&gateway, look, args).await?;
    Ok(ExitCode::SUCCESS)
}

fn body(args: &SendArgs) -> Value {
    let mut body = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    let word = |value: &Option<String>| value.clone().map(Value::String);
    put("to", Some(json!(args.to)));
    put("text", word(&args.text));
    let params = || args.params.iter().cloned().collect::<HashMap<String, String>>();
    put("template", args.template.as_ref().map(|name| json!({ "name": name, "params": params() })));
    put("from", word(&args.from));
    put("route", word(&args.route));
    put("provider", word(&args.provider));
    put("channel", word(&args.channel));
    put("category", word(&args.category));
    put("send_at", word(&args.send_at));
    put("client_reference", word(&args.client_reference));
    put("callback_url", word(&args.callback_url));
    let metadata = || json!(args.metadata.iter().cloned().collect::<HashMap<String, String>>());
    put("metadata", (!args.metadata.is_empty()).then(metadata));
    put("validity_period", args.validity.map(Value::from));
    put("sensitive", args.sensitive.then_some(Value::Bool(true)));
    Value::Object(body)
}

async fn show_one(gateway: &Gateway, look: Look, id: &str, args: &MessagesArgs) -> Result<ExitCode, ClientError> {
    let message = gateway.message(id).await?;
    let events = gateway.events(id).await?;
    look.one(&message, &events)?;
    if !args.follow {
        return Ok(ExitCode::SUCCESS);
    }
    let told = events.iter().map(|entry| text(&entry["id"]).to_owned()).collect();
    let ended = follow(gateway, look, id, args.timeout, told).await?;
    look.ended(&ended)?;
    Ok(ExitCode::from(code_of(&ended)))
}

/// Tells each change of a message until it is final, or for so long.
async fn follow(
    gateway: &Gateway,
    look: Look,
    id: &str,
    seconds: Option<u64>,
    mut told: HashSet<String>,
) -> Result<Value, ClientError> {
    let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut failed = 0;
    loop {
        // The message first: what is told after a final one is all that there is.
        let now = match gateway.message(id).await {
            Ok(message) => gateway.events(id).await.map(|events| (message, events)),
            Err(error) => Err(error),
        };
        match now {
            Ok((message, events)) => {
                failed = 0;
                for entry in events {
                    if told.insert(text(&entry["id"]).to_owned()) {
                        look.entry(&entry)?;
                    }
                }
                if message["final"] == true || until.is_some_and(|until| Instant::now() >= until) {
                    return Ok(message);
                }
            }
            Err(error) if error.may_pass() && failed < MAY_FAIL => failed += 1,
            Err(error) => return Err(error),
        }
        sleep(PACE).await;
    }
}

fn code_of(message: &Value) -> u8 {
    match text(&message["status"]) {
        "delivered" | "sent" => DELIVERED,
        "failed" | "undelivered" | "expired" | "canceled" => NOT_DELIVERED,
        _ => OPEN,
    }
}

async fn list(gateway: &Gateway, look: Look, args: &MessagesArgs) -> Result<(), ClientError> {
    let filters = args.filters();
    let mut found = gateway.list(&filters, args.limit).await?;
    look.header()?;
    if args.follow {
        // What comes is told below what was.
        found.reverse();
    }
    found.iter().try_for_each(|message| look.row(message))?;
    if !args.follow {
        return Ok(());
    }
    let mut told: HashMap<String, String> = found.iter().map(as_told).collect();
    let mut failed = 0;
    loop {
        sleep(PACE_OF_LIST).await;
        match gateway.list(&filters, args.limit.clamp(1, LONGEST_PAGE)).await {
            Ok(found) => {
                failed = 0;
                for message in found.iter().rev() {
                    let (id, now) = as_told(message);
                    if told.get(&id) != Some(&now) {
                        look.row(message)?;
                        told.insert(id, now);
                    }
                }
            }
            Err(error) if error.may_pass() && failed < MAY_FAIL => failed += 1,
            Err(error) => return Err(error),
        }
    }
}

/// What of a message is worth a new line once it changes.
fn as_told(message: &Value) -> (String, String) {
    let parts = [&message["status"], &message["provider"], &message["error"]["code"], &message["final"]];
    (text(&message["id"]).to_owned(), parts.map(Value::to_string).join(" "))
}
