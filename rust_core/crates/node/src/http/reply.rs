//! The node's answers as HTTP.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response as HttpResponse};
use mcp_chaos_consensus::ChangeRefused;
use mcp_chaos_evidence::{NodeId, node_name};
use mcp_manager::command::{Answer, Outcome, Response};
use serde_json::{Map, Value, json};

use super::App;

/// What is known of a request that did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It certainly had no effect and never will.
    None,
    /// It may have had one, or have it yet.
    Unknown,
}

/// A request that did not succeed.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    message: String,
    effect: Effect,
    leader: Option<NodeId>,
    /// Further fields, `log_index` among them where the log has decided.
    more: Map<String, Value>,
}

impl Problem {
    /// One that certainly had no effect.
    pub fn none(status: StatusCode, code: &'static str, message: String) -> Problem {
        Problem { status, code, message, effect: Effect::None, leader: None, more: Map::new() }
    }

    /// A request that is not one.
    pub fn bad_request(message: impl std::fmt::Display) -> Problem {
        Problem::none(StatusCode::BAD_REQUEST, "bad_request", message.to_string())
    }

    fn unknown(status: StatusCode, code: &'static str, message: String) -> Problem {
        Problem { effect: Effect::Unknown, ..Problem::none(status, code, message) }
    }

    fn with(mut self, field: &str, value: Value) -> Problem {
        self.more.insert(field.to_owned(), value);
        self
    }

    /// As HTTP.
    pub fn reply(self, app: &App) -> HttpResponse {
        let mut body = self.more;
        body.insert("node".to_owned(), json!(&*app.name));
        body.insert("error".to_owned(), json!(self.code));
        body.insert("message".to_owned(), json!(self.message));
        let effect = match self.effect {
            Effect::None => "none",
            Effect::Unknown => "unknown",
        };
        body.insert("effect".to_owned(), json!(effect));
        body.insert("leader".to_owned(), json!(self.leader.map(node_name)));
        (self.status, Json(Value::Object(body))).into_response()
    }
}

/// A node's answer as HTTP.
pub fn reply(app: &App, response: Response) -> HttpResponse {
    match translate(response) {
        Ok((status, mut body)) => {
            body["node"] = json!(&*app.name);
            (status, Json(body)).into_response()
        }
        Err(problem) => problem.reply(app),
    }
}

fn translate(response: Response) -> Result<(StatusCode, Value), Problem> {
    match response {
        Response::Applied { outcome, log_index } => applied(outcome, log_index),
        Response::Read { answer, log_index } => {
            let body = match answer {
                Answer::Setting { value, version } => json!({"value": value, "version": version}),
                Answer::Server { server: Some(server) } => json!({"server": server}),
                Answer::Server { server: None } => return Err(no_such_server(log_index)),
                Answer::Servers { servers } => json!({"servers": servers}),
                Answer::Counter { value, version } => json!({"value": value, "version": version}),
                Answer::Lists { lists } => json!({"lists": lists}),
                Answer::Lease { holder, token } => json!({"holder": holder, "token": token}),
            };
            Ok((StatusCode::OK, at(body, log_index)))
        }
        Response::NotLeader { leader } => {
            let message = match leader {
                Some(leader) => format!("this node does not lead; {} does", node_name(leader)),
                None => "this node does not lead, and knows of nobody who does".to_owned(),
            };
            let problem = Problem::none(StatusCode::MISDIRECTED_REQUEST, "not_leader", message);
            Err(Problem { leader, ..problem })
        }
        Response::Unavailable { reason } => {
            Err(Problem::none(StatusCode::SERVICE_UNAVAILABLE, "unavailable", reason))
        }
        Response::Unknown { reason } => Err(Problem::unknown(StatusCode::GATEWAY_TIMEOUT, "timeout", reason)),
        Response::NotMember { leader } => {
            let message = "this node was removed from the cluster; ask one that belongs to it".to_owned();
            let problem = Problem::none(StatusCode::MISDIRECTED_REQUEST, "not_member", message);
            Err(Problem { leader, ..problem })
        }
        Response::Changed { log_index } => Ok((StatusCode::OK, at(json!({}), log_index))),
        Response::ChangeRefused { why } => {
            let code = match why {
                ChangeRefused::UnderWay => "change_under_way",
                ChangeRefused::NewLeader => "new_leader",
                ChangeRefused::Member(_) => "member_already",
                ChangeRefused::NotMember(_) => "no_member",
                ChangeRefused::NotLearner(_) => "no_learner",
                ChangeRefused::NotVoter(_) => "no_voter",
                ChangeRefused::Removed(_) => "removed_before",
                ChangeRefused::LastVoter(_) => "last_voter",
                ChangeRefused::Behind { .. } => "behind",
                ChangeRefused::Silent(_) => "silent",
            };
            Err(Problem::none(StatusCode::CONFLICT, code, why.to_string())
                .with("passing", json!(why.is_passing())))
        }
        Response::Accepted => Ok((StatusCode::ACCEPTED, json!({}))),
    }
}

fn applied(outcome: Outcome, log_index: u64) -> Result<(StatusCode, Value), Problem> {
    let body = match outcome {
        Outcome::Done { version } => json!({"version": version}),
        Outcome::Session { client } => json!({"client": client}),
        Outcome::Mismatch { actual, version } => {
            let message = "the setting is not as expected; nothing was changed".to_owned();
            return Err(Problem::none(StatusCode::CONFLICT, "mismatch", message)
                .with("actual", json!(actual))
                .with("version", json!(version))
                .with("log_index", json!(log_index)));
        }
        Outcome::Transacted { version, lists } => json!({"version": version, "lists": lists}),
        Outcome::Leased { token } => json!({"token": token}),
        Outcome::Held { holder, token } => {
            let message = format!("{holder} holds the lease; nothing was changed");
            return Err(Problem::none(StatusCode::CONFLICT, "held", message)
                .with("holder", json!(holder))
                .with("token", json!(token))
                .with("log_index", json!(log_index)));
        }
        Outcome::NotHeld => {
            let message = "this holder does not hold the lease; nothing was changed".to_owned();
            return Err(
                Problem::none(StatusCode::CONFLICT, "not_held", message).with("log_index", json!(log_index))
            );
        }
        Outcome::NotFound => return Err(no_such_server(log_index)),
        Outcome::SessionExpired => {
            let message = "the session is unknown or has expired; if this was a retry, nobody can say whether \
                           the first try took effect. Open a new session";
            return Err(Problem::unknown(StatusCode::GONE, "session_expired", message.to_owned())
                .with("log_index", json!(log_index)));
        }
        Outcome::StaleSequence { last } => {
            // This try changed nothing; whether one before it did is forgotten.
            let message = format!("the session has gone on to sequence {last}; this try changed nothing");
            return Err(Problem::unknown(StatusCode::CONFLICT, "stale_sequence", message)
                .with("log_index", json!(log_index)));
        }
        Outcome::Rejected { reason } => {
            return Err(Problem::bad_request(reason).with("log_index", json!(log_index)));
        }
    };
    Ok((StatusCode::OK, at(body, log_index)))
}

fn no_such_server(log_index: u64) -> Problem {
    let message = "no server of this name is registered".to_owned();
    Problem::none(StatusCode::NOT_FOUND, "not_found", message).with("log_index", json!(log_index))
}

fn at(mut body: Value, log_index: u64) -> Value {
    body["log_index"] = json!(log_index);
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(response: Response) -> (u16, &'static str, Effect) {
        let problem = translate(response).unwrap_err();
        (problem.status.as_u16(), problem.code, problem.effect)
    }

    #[test]
    fn every_answer_has_its_code_and_says_what_is_known_of_its_effect() {
        let applied = |outcome| Response::Applied { outcome, log_index: 9 };
        let mismatch = Outcome::Mismatch { actual: None, version: 0 };
        let reason = String::new;
        let cases = [
            (Response::NotLeader { leader: Some(2) }, (421, "not_leader", Effect::None)),
            (Response::NotMember { leader: None }, (421, "not_member", Effect::None)),
            (
                Response::ChangeRefused { why: ChangeRefused::UnderWay },
                (409, "change_under_way", Effect::None),
            ),
            (Response::Unavailable { reason: reason() }, (503, "unavailable", Effect::None)),
            (Response::Unknown { reason: reason() }, (504, "timeout", Effect::Unknown)),
            (applied(mismatch), (409, "mismatch", Effect::None)),
            (applied(Outcome::NotFound), (404, "not_found", Effect::None)),
            (applied(Outcome::Held { holder: reason(), token: 3 }), (409, "held", Effect::None)),
            (applied(Outcome::NotHeld), (409, "not_held", Effect::None)),
            (applied(Outcome::SessionExpired), (410, "session_expired", Effect::Unknown)),
            (applied(Outcome::StaleSequence { last: 3 }), (409, "stale_sequence", Effect::Unknown)),
            (applied(Outcome::Rejected { reason: reason() }), (400, "bad_request", Effect::None)),
            (
                Response::Read { answer: Answer::Server { server: None }, log_index: 9 },
                (404, "not_found", Effect::None),
            ),
        ];
        for (response, expected) in cases {
            assert_eq!(problem(response), expected);
        }
    }

    #[test]
    fn replies_carry_the_log_index() {
        let (status, body) =
            translate(Response::Applied { outcome: Outcome::Done { version: 7 }, log_index: 7 }).unwrap();
        assert_eq!((status.as_u16(), body), (200, json!({"version": 7, "log_index": 7})));
        let answer = Answer::Setting { value: None, version: 0 };
        let (_, body) = translate(Response::Read { answer, log_index: 4 }).unwrap();
        assert_eq!(body, json!({"value": null, "version": 0, "log_index": 4}));
    }
}
