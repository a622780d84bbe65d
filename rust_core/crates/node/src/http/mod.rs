//! HTTP/JSON for clients and operators.
//!
//! Every reply is JSON (but `/metrics`), every body is bounded. A node that does not lead says who does: a
//! name, not an address, since how a node is reached is the caller's own business.

mod api;
mod auth;
mod connection;
mod probes;
mod reply;

use std::future::Future;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post, put};
use axum::{Router, extract};
use tokio::net::TcpListener;
use tokio::sync::watch;

use self::auth::Token;
use self::connection::Bounded;
use self::reply::Problem;
use crate::calls::Calls;
use crate::metrics::Metrics;

/// Longest request body: `mcp_manager::limits::MAX_VALUE_BYTES` twice over (an expected and a new value),
/// with room for JSON's escapes.
const MAX_BODY_BYTES: usize = 512 * 1024;

/// What the handlers share.
#[derive(Clone)]
pub struct App {
    /// The way to the node.
    pub calls: Calls,
    /// This node's name.
    pub name: Arc<str>,
    /// What clients must show, if anything.
    pub token: Option<Token>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The node's ticks.
    pub beat: watch::Receiver<u64>,
}

impl App {
    /// The handlers' share.
    pub fn new(
        calls: Calls,
        name: &str,
        token: Option<&str>,
        metrics: Arc<Metrics>,
        beat: watch::Receiver<u64>,
    ) -> App {
        App { calls, name: name.into(), token: token.map(Token::new), metrics, beat }
    }
}

/// Serves until `stop` is done, then lets running requests end.
pub async fn serve(
    app: App,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(Bounded::new(listener), router(app)).with_graceful_shutdown(stop).await
}

fn router(app: App) -> Router {
    let guarded = Router::new()
        .route("/v1/init", post(api::init))
        .route("/v1/sessions", post(api::open_session))
        .route("/v1/settings/{key}", get(api::read_setting).put(api::write_setting))
        .route("/v1/settings/{key}/compare-and-set", post(api::compare_and_set))
        .route("/v1/counters/{key}", get(api::read_counter))
        .route("/v1/counters/{key}/add", post(api::add))
        .route("/v1/lists/{key}", get(api::read_list))
        .route("/v1/lists", post(api::transact))
        .route("/v1/leases/{name}", get(api::read_lease).put(api::acquire_lease).delete(api::release_lease))
        .route("/v1/leases/{name}/renew", post(api::renew_lease))
        .route("/v1/servers/{name}/state", put(api::set_server_state))
        .route("/v1/servers", get(api::list_servers))
        .route(
            "/v1/servers/{name}",
            get(api::read_server).put(api::register_server).delete(api::deregister_server),
        )
        .route("/v1/leader/transfer", post(api::transfer_leader))
        .route("/v1/join", post(api::join))
        .route("/v1/members/{name}", post(api::add_member).delete(api::remove_member))
        .route("/v1/members/{name}/promote", post(api::promote_member))
        .route("/v1/members/{name}/replace", post(api::replace_member))
        .route("/v1/snapshot", post(api::snapshot))
        .route("/v1/status", get(probes::status))
        .route("/metrics", get(probes::metrics))
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(middleware::from_fn_with_state(app.clone(), auth::require_token));
    let open = Router::new().route("/healthz", get(probes::health)).route("/readyz", get(probes::ready));
    open.merge(guarded)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn_with_state(app.clone(), count))
        .with_state(app)
}

/// Counts every request by its status code.
async fn count(extract::State(app): extract::State<App>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    app.metrics.count_request(response.status().as_u16());
    response
}

async fn unknown_path(extract::State(app): extract::State<App>, request: Request) -> Response {
    let message = format!("no such path: {}", request.uri().path());
    Problem::none(StatusCode::NOT_FOUND, "not_found", message).reply(&app)
}

async fn unknown_method(
    extract::State(app): extract::State<App>,
    method: Method,
    request: Request,
) -> Response {
    let message = format!("{} does not take {method}", request.uri().path());
    Problem::none(StatusCode::METHOD_NOT_ALLOWED, "bad_request", message).reply(&app)
}
