//! Random faults over many seeds: the checks of the network must hold, and raft-rs must never panic.

mod network;

use mcp_chaos_consensus::Event;
use mcp_chaos_evidence::rng::Stream;
use network::Network;

/// Ticks, messages out of order, lost and repeated, slow disks, crashes, cuts, proposals, reads, snapshots.
/// Returns all that happened.
fn storm(seed: u64, nodes: u64, steps: u64) -> String {
    let mut network = Network::of(nodes, seed);
    network.show_messages = true;
    let draws = Stream::new(seed, "storm", 0, 0);
    let mut n = 0;
    let mut draw = |low: u64, high: u64| {
        n += 1;
        draws.between(n, low, high)
    };
    let mut ticket = 0;
    for _ in 0..steps {
        let id = draw(1, nodes);
        match draw(0, 999) {
            0..=299 => network.step(id, Event::Tick),
            300..=599 if !network.messages.is_empty() => {
                // Mostly in order; now and then another, or a repeated one.
                let last = network.messages.len() as u64 - 1;
                let at = if draw(0, 9) == 0 { draw(0, last) } else { 0 };
                let message = network.messages.remove(at as usize).expect("in range");
                if draw(0, 19) == 0 {
                    network.messages.push_back(message.clone());
                }
                if draw(0, 49) > 0 {
                    network.deliver(message);
                }
            }
            600..=799 => {
                network.write_one(id);
            }
            800..=919 => {
                let leader = network.leader().unwrap_or(id);
                ticket += 1;
                network.propose(leader, ticket, &format!("{ticket}"));
            }
            920..=949 => {
                ticket += 1;
                network.step(id, Event::Read { ticket });
            }
            950..=954 => {
                network.crash(id);
                network.start(id);
            }
            955..=959 => network.snapshot(id),
            960..=969 => {
                let to = draw(1, nodes);
                network.cut.insert((id, to));
            }
            970..=974 => network.cut.clear(),
            975..=977 => {
                let to = draw(1, nodes);
                network.step(id, Event::TransferLeader { to });
            }
            978..=980 => {
                let peer = draw(1, nodes);
                network.step(id, Event::Unreachable { peer });
            }
            981..=983 => {
                let (peer, delivered) = (draw(1, nodes), draw(0, 1) == 1);
                network.step(id, Event::SnapshotSent { peer, delivered });
            }
            // A burst of time for one node: elections.
            984..=989 => (0..60).for_each(|_| network.step(id, Event::Tick)),
            990..=994 => {
                for _ in 0..200 {
                    if let Some(message) = network.messages.pop_front() {
                        network.deliver(message);
                    }
                    (1..=nodes).for_each(|id| while network.write_one(id) {});
                }
            }
            _ => {}
        }
    }
    network.cut.clear();
    network.run(400);
    network.check_logs();
    let leader = network.leader().expect("a leader once all is healed");
    ticket += 1;
    network.propose(leader, ticket, "last");
    network.run(20);
    for id in 1..=nodes {
        network.step(id, Event::Read { ticket: ticket + id });
    }
    network.run(60);
    let states: Vec<&Vec<u8>> = network.nodes.values().map(|node| &node.state).collect();
    assert!(states.iter().all(|state| *state == states[0]), "seed {seed}: states differ at the end");
    assert!(states[0].ends_with(b"last;"), "seed {seed}: the last proposal was not applied");
    for id in 1..=nodes {
        let read = &network.reads_done[&(ticket + id)];
        assert!(read == states[0], "seed {seed}: n{id}'s last read is not of the last state");
    }
    network.transcript
}

#[test]
fn random_faults_break_no_invariant() {
    let mut seen = [("truncated", 0), ("restore", 0), ("snapshot at", 0), ("vote_cast", 0), ("ready at", 0)];
    for seed in 0..100 {
        let transcript = storm(seed, [1, 2, 3, 5][seed as usize % 4], 6_000);
        for (what, count) in &mut seen {
            *count += transcript.matches(*what).count();
        }
    }
    assert!(seen.iter().all(|(_, count)| *count > 10), "the storms were too mild: {seen:?}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "another thread, to show that it makes no difference")]
fn a_run_repeats_exactly_also_on_another_thread() {
    let first = storm(7, 3, 6_000);
    assert!(first == storm(7, 3, 6_000), "the second run differs");
    let elsewhere = std::thread::spawn(|| storm(7, 3, 6_000)).join().expect("no panic");
    assert!(first == elsewhere, "the run on another thread differs");
    assert!(first != storm(8, 3, 6_000), "the seed makes no difference");
}
