//! How an answer leaves: as it should, late, broken off, or not at all.

use std::{io, time::Duration};

use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::{
    behaviour::{Behaviour, Ending},
    world::World,
};
use crate::domain::Timestamp;

/// An answer in the words of its protocol.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub status: u16,
    pub content_type: &'static str,
    pub body: String,
}

/// Marks a response that must not be written: the server closes the connection in its place.
#[derive(Debug, Clone, Copy)]
pub(super) struct CloseInstead;

/// Sends an answer in the way that the behaviour wants.
pub(super) async fn send(world: &World, reply: Reply, behaviour: &Behaviour) -> Response<Body> {
    let delay = behaviour.answer_delay_ms + world.settings.load().answer_delay_ms;
    if delay > 0 {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(delay)) => {}
            () = world.stopping.cancelled() => {}
        }
    }
    if behaviour.ending == Ending::Close {
        let mut response = Response::new(Body::empty());
        response.extensions_mut().insert(CloseInstead);
        return response;
    }
    let reply = spoil(reply, behaviour);
    let length = reply.body.len();
    let body = match behaviour.ending {
        Ending::Truncate => broken_off(reply.body),
        Ending::Normal | Ending::Close => Body::from(reply.body),
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    if let Some(seconds) = behaviour.retry_after {
        let until = world.now() + Duration::from_secs(seconds);
        let as_date = HeaderValue::from_str(&http_date(until)).ok().filter(|_| behaviour.retry_after_as_date);
        headers.insert(header::RETRY_AFTER, as_date.unwrap_or_else(|| HeaderValue::from(seconds)));
    }
    if reply.status == 302 {
        headers.insert(header::LOCATION, HeaderValue::from_static("/moved"));
    }
    // Clients compare this with their own clock, so it must follow the simulator's.
    if let Ok(date) = HeaderValue::from_str(&http_date(world.now())) {
        headers.insert(header::DATE, date);
    }
    response
}

fn http_date(at: Timestamp) -> String {
    at.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn spoil(mut reply: Reply, behaviour: &Behaviour) -> Reply {
    if let Some(status) = behaviour.http_status {
        reply.status = status;
        if behaviour.code.is_none() {
            let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
            reason.unwrap_or("refused").clone_into(&mut reply.body);
            reply.content_type = "text/plain";
        }
    }
    if let Some(body) = &behaviour.body {
        reply.body.clone_from(body);
    }
    reply
}

/// The first half of the body, then an error, which makes the server close the connection.
fn broken_off(body: String) -> Body {
    let mut half = Bytes::from(body);
    half.truncate(half.len() / 2);
    let start = stream::once(async move { Ok(half) });
    let end = stream::once(async {
        // Long enough for the half to be on the wire; otherwise the close would swallow it.
        tokio::time::sleep(Duration::from_millis(20)).await;
        Err(io::Error::other("broken off on purpose"))
    });
    Body::from_stream(start.chain(end))
}
