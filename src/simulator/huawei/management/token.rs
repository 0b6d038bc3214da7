//! Tokens: made from a password, good for one project and one day.

use chrono::TimeDelta;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::{Refusal, World};

/// A token and its body, or the status and the words of a refusal.
pub(super) fn issue(world: &World, body: &[u8]) -> Result<(String, Value), (u16, &'static str)> {
    let account = &world.huawei.management;
    let body: Value = serde_json::from_slice(body).map_err(|_| (400, "The request body is no JSON."))?;
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    if text("/auth/identity/methods/0") != "password" {
        return Err((400, "Only the method password is supported."));
    }
    let user = "/auth/identity/password/user";
    let fits = text(&format!("{user}/name")) == account.username
        && text(&format!("{user}/domain/name")) == account.domain
        && text(&format!("{user}/password")) == account.password.expose_secret();
    if !fits {
        return Err((401, "The username or password is wrong."));
    }
    let project = text("/auth/scope/project/name");
    if !project.is_empty() && project != account.project {
        return Err((401, "The project does not exist."));
    }
    let expires_at = world.now() + TimeDelta::seconds(world.settings.load().huawei_token_seconds);
    let value = world.management.add_token(expires_at, !project.is_empty());
    let body = json!({ "token": {
        "expires_at": expires_at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
        "methods": ["password"],
        "project": { "id": account.project_id, "name": account.project },
        "user": { "name": account.username, "domain": { "name": account.domain } },
    }});
    Ok((value, body))
}

/// Does a token hold for this project?
pub(super) fn check(world: &World, token: &str, project_id: &str) -> Result<(), Refusal> {
    let refused = |what| Refusal::new(401, "APIGW.0301", format!("Incorrect IAM authentication information: {what}"));
    match world.management.token(token) {
        None => Err(refused("decrypt token fail")),
        Some((expires_at, _)) if expires_at <= world.now() => Err(refused("token expired")),
        Some((_, false)) => Err(Refusal::new(403, "APIGW.0302", "The token is not one of a project.")),
        Some(_) if project_id != world.huawei.management.project_id => {
            Err(Refusal::new(403, "APIGW.0302", "The token is one of another project."))
        }
        Some(_) => Ok(()),
    }
}
