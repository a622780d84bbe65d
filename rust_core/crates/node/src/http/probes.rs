//! What operators and orchestrators ask.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::time::timeout;

use super::App;
use super::reply::Problem;
use crate::build;

/// A node that has not ticked for so long hangs (on its disk, most likely).
const TICK_WITHIN: Duration = Duration::from_secs(5);

/// `GET /healthz`: whether the node still ticks.
pub async fn health(State(app): State<App>) -> Response {
    let mut beat = app.beat.clone();
    beat.mark_unchanged();
    match timeout(TICK_WITHIN, beat.changed()).await {
        Ok(Ok(())) => Json(json!({"node": &*app.name, "healthy": true})).into_response(),
        _ => unavailable(&app, "the node does not tick"),
    }
}

/// `GET /readyz`: whether the node is founded and knows a leader.
pub async fn ready(State(app): State<App>) -> Response {
    let Some(status) = app.calls.status().await else {
        return unavailable(&app, "the node does not answer");
    };
    if status.cluster.is_empty() {
        return unavailable(&app, "not founded yet: POST /v1/init");
    }
    if status.leader.is_none() {
        return unavailable(&app, "no leader is known");
    }
    Json(json!({"node": &*app.name, "ready": true})).into_response()
}

/// `GET /v1/status`: the node's view of itself.
pub async fn status(State(app): State<App>) -> Response {
    let Some(status) = app.calls.status().await else {
        return unavailable(&app, "the node does not answer");
    };
    match serde_json::to_value(&status) {
        Ok(mut body) => {
            body["version"] = json!(build::VERSION);
            body["features"] = json!(build::FEATURES);
            Json(body).into_response()
        }
        Err(error) => unavailable(&app, &error.to_string()),
    }
}

/// `GET /metrics`: Prometheus text.
pub async fn metrics(State(app): State<App>) -> Response {
    let status = app.calls.status().await;
    let text = app.metrics.render(status.as_ref());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

fn unavailable(app: &App, message: &str) -> Response {
    Problem::none(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message.to_owned()).reply(app)
}
