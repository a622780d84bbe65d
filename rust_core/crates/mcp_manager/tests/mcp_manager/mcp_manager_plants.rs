//! Planted bugs: chosen by name, and each does what it says.

use mcp_manager::{PLANTS, Plants, UnknownPlant};

#[test]
fn no_names_plant_nothing() {
    let plants = Plants::parse::<&str>(&[]).unwrap();
    assert_eq!(plants, Plants::default());
    assert!(plants.names().is_empty());
}

#[cfg(not(feature = "plants"))]
mod mcp_manager_released {
    use super::*;

    #[test]
    fn a_released_build_carries_none_and_says_which_build_does() {
        assert!(PLANTS.is_empty());
        let error = Plants::parse(&["stale-read"]).unwrap_err();
        assert_eq!(error, UnknownPlant::NotInThisBuild("stale-read".into()));
        assert!(error.to_string().contains("--features plants"), "{error}");
    }
}

#[cfg(feature = "plants")]
mod mcp_manager_planted {
    use mcp_manager::command::{Answer, Expected, Operation, Outcome, Query, Request, Response};
    use mcp_manager::node::Options;

    use super::*;
    use crate::support::network::Network;
    use crate::support::{register, write};

    fn planted(names: &[&str]) -> Network {
        Network::with(3, Options { plants: Plants::parse(names).unwrap(), ..Options::new(1, 7) })
    }

    fn setting(key: &str) -> Request {
        Request::Query(Query::Setting { key: key.into() })
    }

    #[test]
    fn every_listed_plant_can_be_chosen_and_has_a_source() {
        for plant in PLANTS {
            assert_eq!(Plants::parse(&[plant.name]).unwrap().names(), [plant.name]);
            assert!(!plant.about.is_empty() && plant.source.contains("dissertation §"), "{plant:?}");
        }
        assert!(PLANTS.is_sorted_by_key(|plant| plant.name));
        let names: Vec<&str> = PLANTS.iter().map(|plant| plant.name).collect();
        assert_eq!(Plants::parse(&names).unwrap().names(), names);
    }

    #[test]
    fn a_wrong_name_is_told_the_nearest_valid_one() {
        for (wrong, right) in [
            ("stale-reads", Some("stale-read")),
            ("ack_before_commit", Some("ack-before-commit")),
            ("vote", Some("vote-not-durable")),
            ("nope", None),
        ] {
            let error = Plants::parse(&[wrong]).unwrap_err();
            let UnknownPlant::Unknown { nearest, all, .. } = &error else { panic!("{error}") };
            let names: Vec<&str> = PLANTS.iter().map(|plant| plant.name).collect();
            assert_eq!((*nearest, all.as_str()), (right, names.join(", ").as_str()));
        }
    }

    #[test]
    fn ack_before_commit_acknowledges_what_no_other_node_has() {
        let mut network = planted(&["ack-before-commit"]);
        let old = network.elect();
        let client = network.open_session(old);
        network.isolate(old);
        let end = network.nodes[&old].status().last_index;
        let ticket =
            network.ask(old, Request::Operate { client, sequence: 1, operation: write("k", "lost") });
        let expected = Response::Applied { outcome: Outcome::Done { version: end + 1 }, log_index: end + 1 };
        assert_eq!(network.replies[&ticket], expected);
        // A retry that finds it appended gets the same answer.
        let retry = network.ask(old, Request::Operate { client, sequence: 1, operation: write("k", "lost") });
        assert_eq!(network.replies[&retry], expected);
        let others: Vec<u64> = (1..=3).filter(|id| *id != old).collect();
        let new = network.elect_among(&others);
        network.cut.clear();
        network.agree();
        assert_eq!(network.read(new, "k"), None, "acknowledged, and lost");
    }

    #[test]
    fn ack_before_commit_compares_with_what_it_has_appended() {
        let mut network = planted(&["ack-before-commit"]);
        let old = network.elect();
        let client = network.open_session(old);
        network.isolate(old);
        let end = network.nodes[&old].status().last_index;
        let attempt = |expected: &str, value: &str| Operation::CompareAndSet {
            key: "k".into(),
            expected: Expected::Value(Some(expected.into())),
            value: value.into(),
        };
        let mut outcomes = Vec::new();
        for (sequence, operation) in
            [(1, write("k", "1")), (2, attempt("1", "2")), (3, attempt("1", "3")), (4, attempt("2", "4"))]
        {
            let ticket = network.ask(old, Request::Operate { client, sequence, operation });
            let Response::Applied { outcome, .. } = &network.replies[&ticket] else {
                panic!("not acknowledged")
            };
            outcomes.push(outcome.clone());
        }
        assert_eq!(
            outcomes,
            [
                Outcome::Done { version: end + 1 },
                Outcome::Done { version: end + 2 },
                Outcome::Mismatch { actual: Some("2".into()), version: end + 2 },
                Outcome::Done { version: end + 4 },
            ]
        );
        // The registry is not part of the bug.
        let ticket = network.ask(old, Request::Operate { client, sequence: 5, operation: register("files") });
        assert!(!network.replies.contains_key(&ticket));
    }

    #[test]
    fn ack_before_commit_does_no_harm_while_nothing_fails() {
        let mut network = planted(&["ack-before-commit"]);
        let leader = network.elect();
        let client = network.open_session(leader);
        for sequence in 1..=20 {
            network.operate(leader, client, sequence, write("k", &sequence.to_string()));
        }
        network.agree();
        assert_eq!(network.read(leader % 3 + 1, "k").as_deref(), Some("20"));
        assert_eq!(network.nodes[&leader].status().pending, 0);
    }

    #[test]
    fn stale_read_answers_from_a_state_that_has_been_left_behind() {
        let mut network = planted(&["stale-read"]);
        let old = network.elect();
        let client = network.open_session(old);
        network.operate(old, client, 1, write("k", "old"));
        network.isolate(old);
        let others: Vec<u64> = (1..=3).filter(|id| *id != old).collect();
        let new = network.elect_among(&others);
        network.operate(new, client, 2, write("k", "new"));
        assert!(network.nodes[&old].is_leader(), "it does not step down for want of a quorum");
        let ticket = network.ask(old, setting("k"));
        let Response::Read { answer: Answer::Setting { value, .. }, .. } = &network.replies[&ticket] else {
            panic!("{:?}", network.replies[&ticket])
        };
        assert_eq!(value.as_deref(), Some("old"));
    }

    #[test]
    fn without_the_plant_the_same_read_is_not_answered() {
        let mut network = planted(&[]);
        let old = network.elect();
        network.isolate(old);
        let others: Vec<u64> = (1..=3).filter(|id| *id != old).collect();
        network.elect_among(&others);
        let response = network.answer(old, setting("k"));
        assert!(matches!(response, Response::Unavailable { .. }), "{response:?}");
    }
}
