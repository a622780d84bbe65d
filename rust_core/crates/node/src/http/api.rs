//! The requests of clients and operators.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response as HttpResponse};
use mcp_chaos_consensus::MembershipChange;
use mcp_chaos_evidence::{NodeId, parse_node_name};
use mcp_manager::command::{
    Expected, ListStep, Operation, Query, Request, ServerSpec, ServerState, Transport,
};
use mcp_manager::limits;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::App;
use super::reply::{Problem, reply};
use crate::calls::InitRefused;

/// A body as axum hands it over: bounded, or refused.
type Body = Result<Bytes, BytesRejection>;
/// The last part of a path, or what is wrong with it.
type Name = Result<Path<String>, PathRejection>;

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
struct SetState {
    client: u64,
    sequence: u64,
    state: ServerState,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Add {
    client: u64,
    sequence: u64,
    amount: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Transact {
    client: u64,
    sequence: u64,
    steps: Vec<ListStep>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lease {
    client: u64,
    sequence: u64,
    holder: String,
    ttl_ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Release {
    client: u64,
    sequence: u64,
    holder: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Transfer {
    to: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Join {
    cluster: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Replace {
    by: String,
}

fn parse<T: DeserializeOwned>(body: Body) -> Result<T, Problem> {
    let bytes =
        body.map_err(|refused| Problem::none(refused.status(), "bad_request", refused.body_text()))?;
    // An empty body stands for an object without fields.
    let bytes: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
    serde_json::from_slice(bytes).map_err(|error| Problem::bad_request(format!("the body: {error}")))
}

fn text(name: Name) -> Result<String, Problem> {
    name.map(|Path(name)| name).map_err(|refused| Problem::bad_request(refused.body_text()))
}

/// A change, if it keeps to the limits: one that does not is refused before it costs a log entry.
fn operate(client: u64, sequence: u64, operation: Operation) -> Result<Request, Problem> {
    limits::check(&operation).map_err(Problem::bad_request)?;
    Ok(Request::Operate { client, sequence, operation })
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
pub async fn read_setting(State(app): State<App>, key: Name) -> HttpResponse {
    ask(&app, text(key).map(|key| Request::Query(Query::Setting { key }))).await
}

/// `PUT /v1/settings/{key}`
pub async fn write_setting(State(app): State<App>, key: Name, body: Body) -> HttpResponse {
    let request = text(key).and_then(|key| {
        let Write { client, sequence, value } = parse(body)?;
        operate(client, sequence, Operation::Write { key, value })
    });
    ask(&app, request).await
}

/// `POST /v1/settings/{key}/compare-and-set`
pub async fn compare_and_set(State(app): State<App>, key: Name, body: Body) -> HttpResponse {
    let request = text(key).and_then(|key| {
        let CompareAndSet { client, sequence, expected, value } = parse(body)?;
        operate(client, sequence, Operation::CompareAndSet { key, expected, value })
    });
    ask(&app, request).await
}

/// `GET /v1/servers`
pub async fn list_servers(State(app): State<App>) -> HttpResponse {
    ask(&app, Ok(Request::Query(Query::Servers))).await
}

/// `GET /v1/servers/{name}`
pub async fn read_server(State(app): State<App>, name: Name) -> HttpResponse {
    ask(&app, text(name).map(|name| Request::Query(Query::Server { name }))).await
}

/// `PUT /v1/servers/{name}`
pub async fn register_server(State(app): State<App>, name: Name, body: Body) -> HttpResponse {
    let request = text(name).and_then(|name| {
        let Register { client, sequence, transport, endpoint } = parse(body)?;
        operate(client, sequence, Operation::Register { server: ServerSpec { name, transport, endpoint } })
    });
    ask(&app, request).await
}

/// `DELETE /v1/servers/{name}`
pub async fn deregister_server(State(app): State<App>, name: Name, body: Body) -> HttpResponse {
    let request = text(name).and_then(|name| {
        let Deregister { client, sequence } = parse(body)?;
        operate(client, sequence, Operation::Deregister { name })
    });
    ask(&app, request).await
}

/// `PUT /v1/servers/{name}/state`
pub async fn set_server_state(State(app): State<App>, name: Name, body: Body) -> HttpResponse {
    let request = text(name).and_then(|name| {
        let SetState { client, sequence, state } = parse(body)?;
        operate(client, sequence, Operation::SetState { name, state })
    });
    ask(&app, request).await
}

/// `GET /v1/counters/{key}`
pub async fn read_counter(State(app): State<App>, key: Name) -> HttpResponse {
    ask(&app, text(key).map(|key| Request::Query(Query::Counter { key }))).await
}

/// `POST /v1/counters/{key}/add`
pub async fn add(State(app): State<App>, key: Name, body: Body) -> HttpResponse {
    let request = text(key).and_then(|key| {
        let Add { client, sequence, amount } = parse(body)?;
        operate(client, sequence, Operation::Add { key, amount })
    });
    ask(&app, request).await
}

/// `GET /v1/lists/{key}`
pub async fn read_list(State(app): State<App>, key: Name) -> HttpResponse {
    ask(&app, text(key).map(|key| Request::Query(Query::Lists { keys: vec![key] }))).await
}

/// `POST /v1/lists`: a transaction over any lists.
pub async fn transact(State(app): State<App>, body: Body) -> HttpResponse {
    let request = parse::<Transact>(body).and_then(|Transact { client, sequence, steps }| {
        operate(client, sequence, Operation::Transact { steps })
    });
    ask(&app, request).await
}

/// `GET /v1/leases/{name}`
pub async fn read_lease(State(app): State<App>, name: Name) -> HttpResponse {
    ask(&app, text(name).map(|name| Request::Query(Query::Lease { name }))).await
}

/// `PUT /v1/leases/{name}`
pub async fn acquire_lease(State(app): State<App>, name: Name, body: Body) -> HttpResponse {
    let request = text(name).and_then(|name| {
        let Lease { client, sequence, holder, ttl_ms } = parse(body)?;
        operate(client, sequence, Operation::Acquire { name, holder, ttl_ms })
    });
    ask(&app, request).await
}

/// `POST /v1/leases/{name}/renew`
pub async fn renew_lease(State(app): State<App>, name: Name, body: Body) -> HttpResponse {
    let request = text(name).and_then(|name| {
        let Lease { client, sequence, holder, ttl_ms } = parse(body)?;
        operate(client, sequence, Operation::Renew { name, holder, ttl_ms })
    });
    ask(&app, request).await
}

/// `DELETE /v1/leases/{name}`
pub async fn release_lease(State(app): State<App>, name: Name, body: Body) -> HttpResponse {
    let request = text(name).and_then(|name| {
        let Release { client, sequence, holder } = parse(body)?;
        operate(client, sequence, Operation::Release { name, holder })
    });
    ask(&app, request).await
}

/// `POST /v1/leader/transfer`
pub async fn transfer_leader(State(app): State<App>, body: Body) -> HttpResponse {
    let request =
        parse::<Transfer>(body).and_then(|body| Ok(Request::TransferLeader { to: node_id(&body.to)? }));
    ask(&app, request).await
}

/// `POST /v1/join`: a node with an empty directory waits to be made a member of the cluster.
pub async fn join(State(app): State<App>, body: Body) -> HttpResponse {
    let cluster = match parse::<Join>(body) {
        Ok(Join { cluster }) => cluster,
        Err(problem) => return problem.reply(&app),
    };
    reply(&app, app.calls.join(cluster).await)
}

/// `POST /v1/members/{name}`: the node listens from now on.
pub async fn add_member(State(app): State<App>, name: Name, body: Body) -> HttpResponse {
    change(&app, name, parse::<Empty>(body), |id, _| Ok(MembershipChange::AddLearner(id))).await
}

/// `POST /v1/members/{name}/promote`: the learner votes from now on.
pub async fn promote_member(State(app): State<App>, name: Name, body: Body) -> HttpResponse {
    change(&app, name, parse::<Empty>(body), |id, _| Ok(MembershipChange::Promote(id))).await
}

/// `DELETE /v1/members/{name}`: the node is a member no more, for good.
pub async fn remove_member(State(app): State<App>, name: Name, body: Body) -> HttpResponse {
    change(&app, name, parse::<Empty>(body), |id, _| Ok(MembershipChange::Remove(id))).await
}

/// `POST /v1/members/{name}/replace`: a learner takes the voter's place.
pub async fn replace_member(State(app): State<App>, name: Name, body: Body) -> HttpResponse {
    change(&app, name, parse::<Replace>(body), |old, replace| {
        Ok(MembershipChange::Replace { old, new: node_id(&replace.by)? })
    })
    .await
}

async fn change<T>(
    app: &App,
    name: Name,
    body: Result<T, Problem>,
    of: impl FnOnce(NodeId, T) -> Result<MembershipChange, Problem>,
) -> HttpResponse {
    let request = text(name).and_then(|name| of(node_id(&name)?, body?)).map(Request::ChangeMembership);
    ask(app, request).await
}

/// `POST /v1/snapshot`
pub async fn snapshot(State(app): State<App>, body: Body) -> HttpResponse {
    ask(&app, parse::<Empty>(body).map(|_| Request::SnapshotNow)).await
}
