//! The listener: the router behind an accept loop of our own, because a simulated carrier must be able to close a
//! connection in place of an answer.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::DefaultBodyLimit,
    http::{Request, Response},
    routing::{any, post},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::{answer::CloseInstead, control, huawei, nxcloud, voice, world::World};

/// The documented bound on a signed body.
const MAX_BODY: usize = 12 * 1024 * 1024;
/// How long open connections may take to end when the simulator stops.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

fn router(world: Arc<World>) -> Router {
    Router::new()
        .route("/sms/batchSendSms/v1", post(huawei::send_same))
        .route("/sms/batchSendDiffSms/v1", post(huawei::send_different))
        .route("/v3/auth/tokens", post(huawei::management::log_in))
        .route("/v2/{project_id}/msgsms/{*path}", any(huawei::management::manage))
        .route("/didsms/mtsend", post(nxcloud::mtsend))
        .route("/onsmsapivoice/postSMS", post(voice::post_sms))
        .route("/onsmsapivoice/checkVoice", post(voice::check_voice))
        .route("/onsmsapivoice/checkBalance", post(voice::check_balance))
        .merge(control::router())
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(world)
}

/// Serves until the simulator stops.
pub(super) async fn run(listener: TcpListener, world: Arc<World>, connections: TaskTracker) {
    let router = router(Arc::clone(&world));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = world.stopping.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(serve(stream, router.clone(), Arc::clone(&world)));
            }
            // Too many open files, mostly: some will be closed soon.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn serve(stream: TcpStream, router: Router, world: Arc<World>) {
    // Without it small answers wait for the peer's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| respond(router.clone(), request));
    let connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        // A connection that was closed on purpose ends in an error, too.
        _ = connection.as_mut() => {}
        () = world.stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(STOP_PATIENCE, connection).await;
        }
    }
}

async fn respond(router: Router, request: Request<Incoming>) -> io::Result<Response<Body>> {
    let response = match router.oneshot(request.map(Body::new)).await {
        Ok(response) => response,
        Err(never) => never_happens(never),
    };
    if response.extensions().get::<CloseInstead>().is_some() {
        return Err(io::Error::other("closed on purpose"));
    }
    Ok(response)
}

fn never_happens(never: Infallible) -> Response<Body> {
    match never {}
}
