//! Whole clusters of real processes: founding, electing, writing, dying, coming back.

mod common;

use std::time::{Duration, Instant};

use common::{Cluster, SOON, TOKEN, eventually, request};
use mcp_chaos_evidence::TraceEvent;
use rustix::process::Signal;
use serde_json::{Value, json};

#[test]
fn a_cluster_is_founded_once_and_explicitly() {
    let mut cluster = Cluster::new(3, &[]);
    for id in 1..=3 {
        cluster.start(id);
    }
    assert_eq!(cluster.get(1, "/readyz").unwrap().0, 503);
    let (code, body) = cluster.send(1, "POST", "/v1/sessions", &json!({}));
    assert_eq!((code, &body["error"], &body["effect"]), (503, &json!("unavailable"), &json!("none")));

    for (voters, word) in [(json!(["n2", "n3"]), "this node among them"), (json!(["n1", "n9"]), "--peer n9=")]
    {
        let (code, body) = cluster.send(1, "POST", "/v1/init", &json!({"cluster": "test", "voters": voters}));
        assert_eq!(code, 400);
        assert!(body["message"].as_str().unwrap().contains(word), "{body}");
    }
    cluster.found();
    cluster.found();
    let other = json!({"cluster": "other", "voters": ["n1", "n2", "n3"]});
    assert_eq!(cluster.send(1, "POST", "/v1/init", &other).0, 409);

    let leader = cluster.leader();
    assert_eq!(cluster.get(leader, "/readyz").unwrap().0, 200);
    let names: Vec<_> = cluster.trace(leader).iter().take(2).map(|record| record.event.name()).collect();
    assert_eq!(names, ["initialized", "started"]);

    // Founded for good: also after a restart.
    cluster.kill(leader);
    cluster.start(leader);
    assert_eq!(cluster.status(leader)["boot"], 2);
    cluster.found();
    assert_eq!(cluster.send(leader, "POST", "/v1/init", &other).0, 409);
}

#[test]
fn what_was_acknowledged_survives_the_leaders_death_and_is_applied_once() {
    let mut cluster = Cluster::founded(3, &[]);
    let first = cluster.leader();
    let follower = first % 3 + 1;
    let client = cluster.session(first);
    let index = cluster.write(first, client, 1, "k0", "17");

    // A follower says who leads, and reads what the leader has acknowledged.
    let body = json!({"client": client, "sequence": 2, "value": "18"});
    let (code, refused) = cluster.send(follower, "PUT", "/v1/settings/k0", &body);
    assert_eq!((code, &refused["error"], &refused["effect"]), (421, &json!("not_leader"), &json!("none")));
    assert_eq!(refused["leader"], json!(format!("n{first}")));
    let (code, read) = cluster.get(follower, "/v1/settings/k0").unwrap();
    assert_eq!((code, &read["value"], &read["version"]), (200, &json!("17"), &json!(index)));
    assert_eq!(read["node"], json!(format!("n{follower}")));
    assert!(read["log_index"].as_u64().unwrap() >= index);

    cluster.kill(first);
    let second = cluster.leader();
    assert_ne!(first, second);
    // The client never heard the reply, say, and tries again: same place, not applied anew.
    assert_eq!(cluster.write(second, client, 1, "k0", "17"), index);
    let later = cluster.write(second, client, 2, "k0", "19");
    assert!(later > index);

    cluster.start(first);
    cluster.converge();
    let (_, read) = cluster.get(first, "/v1/settings/k0").unwrap();
    assert_eq!((&read["value"], &read["version"]), (&json!("19"), &json!(later)));

    // The traces tell the same story.
    let trace = cluster.trace(first);
    let boots: Vec<u64> = trace
        .iter()
        .filter(|record| matches!(record.event, TraceEvent::Started { .. }))
        .map(|record| record.boot)
        .collect();
    assert_eq!(boots, [1, 2]);
    assert!(trace.windows(2).all(|pair| pair[0].time_ns <= pair[1].time_ns));
    let applied = |id| {
        let trace = cluster.trace(id);
        let one = |event: &TraceEvent| match event {
            TraceEvent::Applied { index, client: by, sequence: 1, duplicate, .. } if *by == client => {
                Some((*index, *duplicate))
            }
            _ => None,
        };
        trace.iter().filter_map(|record| one(&record.event)).collect::<Vec<_>>()
    };
    let seen = applied(second);
    assert_eq!(seen[0], (index, false));
    assert!(seen[1..].iter().all(|(_, duplicate)| *duplicate), "{seen:?}");
}

#[test]
fn counters_lists_and_leases_as_the_harness_asks_for_them() {
    let cluster = Cluster::founded(1, &[]);
    let client = cluster.session(1);
    let mut sequence = 0;
    let mut change = |method: &str, path: &str, mut body: Value| {
        sequence += 1;
        body["client"] = json!(client);
        body["sequence"] = json!(sequence);
        cluster.send(1, method, path, &body)
    };
    let get = |path: &str| cluster.get(1, path).unwrap().1;

    assert_eq!(change("POST", "/v1/counters/k0/add", json!({"amount": 5})).0, 200);
    assert_eq!(change("POST", "/v1/counters/k0/add", json!({"amount": -2})).0, 200);
    assert_eq!((&get("/v1/counters/k0")["value"], &get("/v1/counters/k1")["value"]), (&json!(3), &json!(0)));

    let append = json!({"steps": [{"append": {"key": "k0", "element": "7"}}]});
    let (code, body) = change("POST", "/v1/lists", append);
    assert_eq!((code, &body["lists"]), (200, &json!([])));
    let both = json!({"steps": [{"read": {"key": "k0"}}, {"append": {"key": "k1", "element": "8"}}]});
    assert_eq!(change("POST", "/v1/lists", both).1["lists"], json!([["7"]]));
    assert_eq!(
        (&get("/v1/lists/k1")["lists"], &get("/v1/lists/k2")["lists"]),
        (&json!([["8"]]), &json!([[]]))
    );
    assert_eq!(change("POST", "/v1/lists", json!({"steps": []})).0, 400);

    let lease = |holder: &str| json!({"holder": holder, "ttl_ms": 60_000});
    let (code, taken) = change("PUT", "/v1/leases/k0", lease("c1"));
    assert_eq!((code, taken["token"].as_u64()), (200, taken["log_index"].as_u64()));
    let (code, held) = change("PUT", "/v1/leases/k0", lease("c2"));
    assert_eq!((code, &held["error"], &held["effect"]), (409, &json!("held"), &json!("none")));
    assert_eq!((&held["holder"], &held["token"]), (&json!("c1"), &taken["token"]));
    assert!(held["log_index"].as_u64() > taken["log_index"].as_u64());
    assert_eq!(change("POST", "/v1/leases/k0/renew", lease("c1")).1["token"], taken["token"]);
    assert_eq!(get("/v1/leases/k0")["holder"], "c1");
    let (code, refused) = change("DELETE", "/v1/leases/k0", json!({"holder": "c2"}));
    assert_eq!((code, &refused["error"]), (409, &json!("not_held")));
    assert_eq!(change("DELETE", "/v1/leases/k0", json!({"holder": "c1"})).0, 200);
    assert_eq!(get("/v1/leases/k0")["holder"], Value::Null);

    let server = json!({"transport": "streamable_http", "endpoint": "http://mcp.example/1"});
    assert_eq!(change("PUT", "/v1/servers/k0/state", json!({"state": "ready"})).1["error"], "not_found");
    assert_eq!(change("PUT", "/v1/servers/k0", server).0, 200);
    assert_eq!(change("PUT", "/v1/servers/k0/state", json!({"state": "ready"})).0, 200);
    assert_eq!(get("/v1/servers/k0")["server"]["state"], "ready");
}

#[test]
fn compare_and_set_and_the_registry() {
    let cluster = Cluster::founded(1, &[]);
    let client = cluster.session(1);
    let mut sequence = 0;
    let mut change = |method: &str, path: &str, mut body: Value| {
        sequence += 1;
        body["client"] = json!(client);
        body["sequence"] = json!(sequence);
        cluster.send(1, method, path, &body)
    };
    let path = "/v1/settings/a%20key/compare-and-set";
    let (code, first) = change("POST", path, json!({"expected": {"value": null}, "value": "1"}));
    assert_eq!(code, 200, "{first}");
    let (code, body) = change("POST", path, json!({"expected": {"value": "2"}, "value": "3"}));
    assert_eq!((code, &body["error"], &body["actual"]), (409, &json!("mismatch"), &json!("1")));
    assert_eq!((&body["version"], &body["effect"]), (&first["version"], &json!("none")));
    assert!(body["log_index"].as_u64() > first["log_index"].as_u64());
    let version = first["version"].clone();
    assert_eq!(change("POST", path, json!({"expected": {"version": version}, "value": "3"})).0, 200);
    assert_eq!(cluster.get(1, "/v1/settings/a%20key").unwrap().1["value"], json!("3"));
    assert_eq!(cluster.get(1, "/v1/settings/never").unwrap().1["value"], Value::Null);

    let spec = json!({"transport": "stdio", "endpoint": "uvx mcp-server-time"});
    assert_eq!(change("PUT", "/v1/servers/clock", spec).0, 200);
    let (code, body) = change("PUT", "/v1/servers/web", json!({"transport": "sse", "endpoint": "ftp://x"}));
    assert_eq!((code, &body["error"]), (400, &json!("bad_request")), "{body}");
    let (_, list) = cluster.get(1, "/v1/servers").unwrap();
    assert_eq!(list["servers"].as_array().unwrap().len(), 1);
    let (_, one) = cluster.get(1, "/v1/servers/clock").unwrap();
    assert_eq!(
        (&one["server"]["state"], &one["server"]["transport"]),
        (&json!("registered"), &json!("stdio"))
    );
    assert_eq!(change("DELETE", "/v1/servers/clock", json!({})).0, 200);
    assert_eq!(change("DELETE", "/v1/servers/clock", json!({})).0, 404);
    assert_eq!(cluster.get(1, "/v1/servers/clock").unwrap().0, 404);

    let stale = json!({"client": client, "sequence": 1, "value": "x"});
    assert_eq!(cluster.send(1, "PUT", "/v1/settings/k", &stale).1["error"], json!("stale_sequence"));
    let unknown = json!({"client": 999_999, "sequence": 1, "value": "x"});
    let (code, body) = cluster.send(1, "PUT", "/v1/settings/k", &unknown);
    assert_eq!((code, &body["error"]), (410, &json!("session_expired")));
}

#[test]
fn a_paused_leader_is_replaced_and_follows_when_it_wakes() {
    let mut cluster = Cluster::founded(3, &[]);
    let first = cluster.leader();
    let client = cluster.session(first);
    cluster.signal(first, Signal::STOP);
    let others: Vec<u64> = (1..=3).filter(|id| *id != first).collect();
    let second = cluster.leader_among(&others);
    let index = cluster.write(second, client, 1, "k0", "1");
    let term = cluster.status(second)["term"].clone();
    // Long past every election timeout: had it caught up on its ticks, it would now unseat the new leader.
    std::thread::sleep(Duration::from_millis(1_500));
    cluster.signal(first, Signal::CONT);
    let (_, read) = eventually("a read at the woken node", SOON, || {
        cluster.get(first, "/v1/settings/k0").filter(|(code, _)| *code == 200)
    });
    assert_eq!(read["version"], json!(index));
    cluster.converge();
    assert_eq!(cluster.leader(), second);
    assert_eq!(cluster.status(second)["term"], term);
}

#[test]
fn a_node_far_behind_is_sent_a_snapshot() {
    let mut cluster = Cluster::founded(3, &["--snapshot-every", "20", "--keep-entries", "5"]);
    let leader = cluster.leader();
    let behind = leader % 3 + 1;
    let client = cluster.session(leader);
    cluster.kill(behind);
    for sequence in 1..=100 {
        cluster.write(leader, client, sequence, "k0", &sequence.to_string());
    }
    assert!(cluster.trace(leader).iter().any(|record| record.event.name() == "snapshot_made"));
    cluster.start(behind);
    cluster.converge();
    assert!(cluster.trace(behind).iter().any(|record| record.event.name() == "snapshot_installed"));
    // And once more, from the snapshot it was sent.
    cluster.kill(behind);
    cluster.start(behind);
    cluster.converge();
    let (_, read) = cluster.get(behind, "/v1/settings/k0").unwrap();
    assert_eq!(read["value"], json!("100"));
}

#[test]
fn all_may_die_at_once() {
    let mut cluster = Cluster::founded(3, &[]);
    let leader = cluster.leader();
    let client = cluster.session(leader);
    let index = cluster.write(leader, client, 1, "k0", "1");
    for id in 1..=3 {
        cluster.kill(id);
    }
    for id in 1..=3 {
        cluster.start(id);
    }
    let leader = cluster.leader();
    assert_eq!(cluster.write(leader, client, 1, "k0", "1"), index);
    assert_eq!(cluster.get(leader, "/v1/settings/k0").unwrap().1["version"], json!(index));
}

#[test]
fn a_stopping_leader_hands_over() {
    let mut cluster = Cluster::founded(3, &[]);
    let first = cluster.leader();
    let since = Instant::now();
    cluster.signal(first, Signal::TERM);
    assert_eq!(cluster.wait(first).code(), Some(0), "{}", cluster.log(first));
    let others: Vec<u64> = (1..=3).filter(|id| *id != first).collect();
    cluster.leader_among(&others);
    let taken = since.elapsed();
    assert_eq!(cluster.last_event(first), TraceEvent::Stopped { reason: "graceful".to_owned() });
    assert!(cluster.log(first).contains("handing over"), "{}", cluster.log(first));
    // Far below an election timeout's worst case, though bounded loosely for busy machines.
    assert!(taken < Duration::from_secs(2), "{taken:?}");
}

#[test]
fn leadership_goes_where_it_is_sent_and_snapshots_come_when_asked() {
    let cluster = Cluster::founded(3, &[]);
    let first = cluster.leader();
    let to = first % 3 + 1;
    // A node that has applied nothing since its founding has nothing to make a snapshot of.
    let client = cluster.session(first);
    cluster.write(first, client, 1, "k0", "1");
    cluster.converge();
    assert_eq!(cluster.send(to, "POST", "/v1/snapshot", &json!({})).0, 202);
    assert_eq!(cluster.send(to, "POST", "/v1/leader/transfer", &json!({"to": "n1"})).0, 421);
    assert_eq!(cluster.send(first, "POST", "/v1/leader/transfer", &json!({"to": format!("n{to}")})).0, 202);
    eventually("the new leader", SOON, || (cluster.leader() == to).then_some(()));
    eventually("the snapshot", SOON, || {
        cluster.trace(to).iter().any(|record| record.event.name() == "snapshot_made").then_some(())
    });
}

#[test]
fn requests_that_are_none_are_refused_with_words() {
    let cluster = Cluster::founded(1, &[]);
    let url = |path| cluster.url(1, path);
    for token in [None, Some("another")] {
        let (code, body) = request("GET", &url("/v1/status"), token, None).unwrap();
        assert_eq!((code, &body["error"]), (401, &json!("unauthorized")));
        assert_eq!(request("GET", &url("/metrics"), token, None).unwrap().0, 401);
        assert_eq!(request("GET", &url("/v1/nowhere"), token, None).unwrap().0, 401);
        assert_eq!(request("GET", &url("/healthz"), token, None).unwrap().0, 200);
        assert_eq!(request("GET", &url("/readyz"), token, None).unwrap().0, 200);
    }
    let cases = [
        ("PUT", "/v1/settings/k", json!({"client": 1}), 400, "bad_request"),
        (
            "PUT",
            "/v1/settings/k",
            json!({"client": 1, "sequence": 1, "value": "", "x": 1}),
            400,
            "bad_request",
        ),
        ("PUT", "/v1/settings/k", json!([1]), 400, "bad_request"),
        ("POST", "/v1/leader/transfer", json!({"to": "one"}), 400, "bad_request"),
        ("POST", "/v1/settings/k", json!({}), 405, "bad_request"),
        ("GET", "/v1/nowhere", json!({}), 404, "not_found"),
        ("GET", "/v1/settings/%ff", json!({}), 400, "bad_request"),
        (
            "PUT",
            "/v1/servers/x",
            json!({"client": 1, "sequence": 1, "transport": "mail", "endpoint": ""}),
            400,
            "bad_request",
        ),
    ];
    for (method, path, body, code, error) in cases {
        let (found, reply) = cluster.send(1, method, path, &body);
        assert_eq!(
            (found, &reply["error"], &reply["effect"]),
            (code, &json!(error), &json!("none")),
            "{reply}"
        );
        assert!(!reply["message"].as_str().unwrap().is_empty());
    }
    let client = cluster.session(1);
    let long = json!({"client": client, "sequence": 1, "value": "x".repeat(65 * 1024)});
    assert_eq!(cluster.send(1, "PUT", "/v1/settings/k", &long).0, 400);
    let longer = json!({"client": client, "sequence": 1, "value": "x".repeat(1024 * 1024)});
    // The server may hang up before such a body is sent: no reply then.
    let reply = request("PUT", &url("/v1/settings/k"), Some(TOKEN), Some(&longer));
    assert!(reply.is_none_or(|(code, _)| code == 413));
    assert_eq!(
        cluster.write(1, client, 2, "k", "still here"),
        cluster.status(1)["applied"].as_u64().unwrap()
    );
}

/// Beyond Raft's fault model: a follower that has forgotten what it acknowledged. It stops, on record, and the others
/// go on.
#[test]
fn a_node_that_has_forgotten_what_it_acknowledged_stops_on_record() {
    let mut cluster = Cluster::founded(3, &[]);
    let leader = cluster.leader();
    let forgetful = leader % 3 + 1;
    let client = cluster.session(leader);
    cluster.kill(forgetful);
    let old: Vec<_> = common::contents(&cluster.data(forgetful));
    cluster.start(forgetful);
    for sequence in 1..=20 {
        cluster.write(leader, client, sequence, "k", "v");
    }
    cluster.converge();
    cluster.kill(forgetful);
    std::fs::remove_dir_all(cluster.data(forgetful)).unwrap();
    std::fs::create_dir(cluster.data(forgetful)).unwrap();
    for (name, content) in old {
        std::fs::write(cluster.data(forgetful).join(name), content).unwrap();
    }
    let mut command = cluster.command_with_tls(forgetful);
    cluster.spawn(forgetful, &mut command);
    assert_eq!(cluster.wait(forgetful).code(), Some(3));
    let last = cluster.last_event(forgetful);
    assert!(
        matches!(&last, TraceEvent::Stopped { reason } if reason.contains("has forgotten what it acknowledged")),
        "{last:?}"
    );
    let others: Vec<u64> = (1..=3).filter(|id| *id != forgetful).collect();
    let leader = cluster.leader_among(&others);
    cluster.write(leader, client, 21, "k", "w");
}

/// Asks the leader until the change is in force.
fn change(cluster: &Cluster, among: &[u64], method: &str, path: &str, body: &Value) -> u64 {
    let mut last = Value::Null;
    eventually(path, SOON, || {
        let leader = cluster.leader_among(among);
        let (code, reply) = cluster.try_send(leader, method, path, Some(body))?;
        last = reply;
        (code == 200).then_some(leader)
    })
}

#[test]
fn a_node_is_added_and_the_leader_removed_while_clients_go_on() {
    let mut cluster = Cluster::new(4, &[]);
    (1..=4).for_each(|id| cluster.start(id));
    let founding = json!({"cluster": "test", "voters": ["n1", "n2", "n3"]});
    for id in 1..=3 {
        assert_eq!(cluster.send(id, "POST", "/v1/init", &founding).0, 200);
    }
    let first = cluster.leader_among(&[1, 2, 3]);
    let client = cluster.session(first);
    cluster.write(first, client, 1, "k0", "17");

    // Not told to join, it hears nobody; told to, it takes the leader's snapshot and listens.
    assert_eq!(cluster.send(4, "POST", "/v1/join", &json!({"cluster": "test"})).0, 202);
    let (code, body) = cluster.send(4, "POST", "/v1/init", &json!({"cluster": "own", "voters": ["n4"]}));
    assert_eq!(code, 409, "{body}");
    change(&cluster, &[1, 2, 3], "POST", "/v1/members/n4", &json!({}));
    let all = [1, 2, 3, 4];
    let leader = change(&cluster, &all, "POST", "/v1/members/n4/promote", &json!({}));
    let (code, body) = cluster.send(leader, "POST", "/v1/members/n4", &json!({}));
    assert_eq!((code, &body["error"], &body["passing"]), (409, &json!("member_already"), &json!(false)));
    assert_eq!(cluster.status(leader)["voters"], json!(["n1", "n2", "n3", "n4"]));
    let (_, read) = cluster.get(4, "/v1/settings/k0").unwrap();
    assert_eq!(read["value"], json!("17"));

    // The leader removes itself: it answers that, and nothing after it.
    let removed = cluster.leader_among(&all);
    let (code, body) = cluster.send(removed, "DELETE", &format!("/v1/members/n{removed}"), &json!({}));
    assert_eq!(code, 200, "{body}");
    let (code, body) = cluster.get(removed, "/v1/settings/k0").unwrap();
    assert_eq!((code, &body["error"], &body["effect"]), (421, &json!("not_member"), &json!("none")));
    let others: Vec<u64> = all.into_iter().filter(|id| *id != removed).collect();
    let next = cluster.leader_among(&others);
    cluster.write(next, client, 2, "k0", "18");
    let (code, body) = cluster.send(next, "POST", &format!("/v1/members/n{removed}"), &json!({}));
    assert_eq!((code, &body["error"]), (409, &json!("removed_before")));

    // What it was made survives the new member's death.
    cluster.kill(4);
    cluster.start(4);
    let (_, read) =
        eventually("n4 reads again", SOON, || cluster.get(4, "/v1/settings/k0").filter(|r| r.0 == 200));
    assert_eq!(read["value"], json!("18"));
    let voters: Vec<String> = others.iter().map(|id| format!("n{id}")).collect();
    assert_eq!(cluster.status(4)["voters"], json!(voters));
}
