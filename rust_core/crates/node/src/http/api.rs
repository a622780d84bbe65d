//! The requests of clients and operators.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response as HttpResponse};
use mcp_chaos_evidence::{NodeId, parse_node_name};
use mcp_manager::command::{Expected, Operation, Query, Request, ServerSpec, Transport};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::App;
use super::reply::{Problem, reply};
use crate::calls::InitRefused;

/// A body as axum hands it over: bounded, or refused.
type Body = Result<Bytes, BytesRejection>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Init {
    cluster: String,
    voters: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Empty {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Write {
    client: u64,
    sequence: u64,
    value: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CompareAndSet {
    client: u64,
    sequence: u64,
    expected: Expected,
    value: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Register {
    client: u64,
    sequence: u64,
    transport: Transport,
    endpoint: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Deregister {
    client: u64,
    sequence: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Transfer {
    to: String,
}

fn parse<T: DeserializeOwned>(body: Body) -> Result<T, Problem> {
    let bytes =
        body.map_err(|refused| Problem::none(refused.status(), "bad_request", refused.body_text()))?;
    // An empty body stands for an object without fields.
    let bytes: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
    serde_json::from_slice(bytes).map_err(|error| Problem::bad_request(format!("the body: {error}")))
}

fn node_id(name: &str) -> Result<NodeId, Problem> {
    parse_node_name(name)
        .ok_or_else(|| Problem::bad_request(format!("expected a node's name such as n1, found {name:?}")))
}

/// Asks the node what the request says, unless it says nothing sensible.
async fn ask(app: &App, request: Result<Request, Problem>) -> HttpResponse {
    match request {
        Ok(request) => reply(app, app.calls.client(request).await),
        Err(problem) => problem.reply(app),
    }
}

/// `POST /v1/init`: founds the cluster on this node. The same request goes to each of its voters.
pub async fn init(State(app): State<App>, body: Body) -> HttpResponse {
    let parsed = parse::<Init>(body).and_then(|init| {
        let voters = init.voters.iter().map(|name| node_id(name)).collect::<Result<Vec<_>, _>>()?;
        Ok((init.cluster, voters))
    });
    let (cluster, voters) = match parsed {
        Ok(parsed) => parsed,
        Err(problem) => return problem.reply(&app),
    };
    let problem = match app.calls.init(cluster, voters).await {
        Ok(()) => return Json(json!({"node": &*app.name})).into_response(),
        Err(InitRefused::Already(message)) => Problem::none(StatusCode::CONFLICT, "already_founded", message),
        Err(InitRefused::Bad(message)) => Problem::bad_request(message),
        Err(InitRefused::Stopping) => Problem::none(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "the node is stopping, or its disk failed; ask again once it is up".to_owned(),
        ),
    };
    problem.reply(&app)
}

/// `POST /v1/sessions`
pub async fn open_session(State(app): State<App>, body: Body) -> HttpResponse {
    ask(&app, parse::<Empty>(body).map(|_| Request::OpenSession)).await
}

/// `GET /v1/settings/{key}`
pub async fn read_setting(State(app): State<App>, Path(key): Path<String>) -> HttpResponse {
    ask(&app, Ok(Request::Query(Query::Setting { key }))).await
}

/// `PUT /v1/settings/{key}`
pub async fn write_setting(State(app): State<App>, Path(key): Path<String>, body: Body) -> HttpResponse {
    let request = parse::<Write>(body).map(|Write { client, sequence, value }| Request::Operate {
        client,
        sequence,
        operation: Operation::Write { key, value },
    });
    ask(&app, request).await
}

/// `POST /v1/settings/{key}/compare-and-set`
pub async fn compare_and_set(State(app): State<App>, Path(key): Path<String>, body: Body) -> HttpResponse {
    let request = parse::<CompareAndSet>(body).map(|CompareAndSet { client, sequence, expected, value }| {
        Request::Operate { client, sequence, operation: Operation::CompareAndSet { key, expected, value } }
    });
    ask(&app, request).await
}

/// `GET /v1/servers`
pub async fn list_servers(State(app): State<App>) -> HttpResponse {
    ask(&app, Ok(Request::Query(Query::Servers))).await
}

/// `GET /v1/servers/{name}`
pub async fn read_server(State(app): State<App>, Path(name): Path<String>) -> HttpResponse {
    ask(&app, Ok(Request::Query(Query::Server { name }))).await
}

/// `PUT /v1/servers/{name}`
pub async fn register_server(State(app): State<App>, Path(name): Path<String>, body: Body) -> HttpResponse {
    let request = parse::<Register>(body).map(|Register { client, sequence, transport, endpoint }| {
        let server = ServerSpec { name, transport, endpoint };
        Request::Operate { client, sequence, operation: Operation::Register { server } }
    });
    ask(&app, request).await
}

/// `DELETE /v1/servers/{name}`
pub async fn deregister_server(State(app): State<App>, Path(name): Path<String>, body: Body) -> HttpResponse {
    let request = parse::<Deregister>(body).map(|Deregister { client, sequence }| Request::Operate {
        client,
        sequence,
        operation: Operation::Deregister { name },
    });
    ask(&app, request).await
}

/// `POST /v1/leader/transfer`
pub async fn transfer_leader(State(app): State<App>, body: Body) -> HttpResponse {
    let request =
        parse::<Transfer>(body).and_then(|body| Ok(Request::TransferLeader { to: node_id(&body.to)? }));
    ask(&app, request).await
}

/// `POST /v1/snapshot`
pub async fn snapshot(State(app): State<App>, body: Body) -> HttpResponse {
    ask(&app, parse::<Empty>(body).map(|_| Request::SnapshotNow)).await
}
