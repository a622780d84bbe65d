//! Links that are cut and healed, each direction by a proxy of its own: what Toxiproxy does, in small.

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{Cluster, SOON, eventually};
use serde_json::Value;

/// A proxy for one directed link. Its threads end with the test's process.
struct Link {
    /// Bytes toward the target are swallowed while the connection stays open: Toxiproxy's `timeout` toxic
    /// of 0. Healing closes the connections that were open then, as removing the toxic does.
    swallows: Arc<AtomicBool>,
    /// Connections are closed at once: a disabled proxy.
    refuses: Arc<AtomicBool>,
    generation: Arc<AtomicU64>,
    address: String,
}

impl Link {
    fn new(target: String) -> Link {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let link = Link {
            swallows: Arc::default(),
            refuses: Arc::default(),
            generation: Arc::default(),
            address: listener.local_addr().unwrap().to_string(),
        };
        let (swallows, refuses, generation) =
            (Arc::clone(&link.swallows), Arc::clone(&link.refuses), Arc::clone(&link.generation));
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(&target) else { continue };
                if refuses.load(Ordering::SeqCst) {
                    continue;
                }
                let open =
                    Open { born: generation.load(Ordering::SeqCst), generation: Arc::clone(&generation) };
                near.set_nodelay(true).unwrap();
                far.set_nodelay(true).unwrap();
                pump(far.try_clone().unwrap(), near.try_clone().unwrap(), Arc::default(), open.clone());
                pump(near, far, Arc::clone(&swallows), open);
            }
        });
        link
    }

    fn swallow(&self) {
        self.swallows.store(true, Ordering::SeqCst);
    }

    fn refuse(&self) {
        self.refuses.store(true, Ordering::SeqCst);
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    fn heal(&self) {
        self.swallows.store(false, Ordering::SeqCst);
        self.refuses.store(false, Ordering::SeqCst);
        self.generation.fetch_add(1, Ordering::SeqCst);
    }
}

/// Whether a connection may stay open: until the link's next generation.
#[derive(Clone)]
struct Open {
    born: u64,
    generation: Arc<AtomicU64>,
}

impl Open {
    fn holds(&self) -> bool {
        self.generation.load(Ordering::SeqCst) == self.born
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, swallows: Arc<AtomicBool>, open: Open) {
    from.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        while open.holds() {
            match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(_) if swallows.load(Ordering::SeqCst) => {}
                Ok(read) => {
                    if to.write_all(&buffer[..read]).is_err() {
                        break;
                    }
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    ) => {}
                Err(_) => break,
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    });
}

/// Three nodes, every directed link through a proxy. `links[from][to]`.
fn linked() -> (Cluster, Vec<Vec<Option<Link>>>) {
    let mut cluster = Cluster::new(3, &[]);
    let links: Vec<Vec<Option<Link>>> = (1..=3)
        .map(|from| (1..=3).map(|to| (from != to).then(|| Link::new(cluster.peer_address(to)))).collect())
        .collect();
    for id in 1..=3 {
        let mut command = cluster.command_without_peers(id);
        for (to, link) in links[id as usize - 1].iter().enumerate() {
            if let Some(link) = link {
                command.arg("--peer").arg(format!("n{}={}", to + 1, link.address));
            }
        }
        command.arg("--tls-dir").arg(cluster.path("tls"));
        cluster.start_as(id, &mut command);
    }
    cluster.found();
    cluster.leader();
    (cluster, links)
}

fn received(cluster: &Cluster, at: u64, from: u64) -> u64 {
    cluster.status(at)["received"][format!("n{from}")].as_u64().unwrap_or(0)
}

/// How long after now something new from `from` is seen at `at`.
fn until_heard(cluster: &Cluster, at: u64, from: u64) -> Duration {
    let (since, before) = (Instant::now(), received(cluster, at, from));
    eventually("traffic after the heal", SOON, || (received(cluster, at, from) > before).then_some(()));
    since.elapsed()
}

#[test]
fn a_swallowing_link_is_noticed_by_the_other_side_and_flows_again_once_healed() {
    let (cluster, links) = linked();
    let leader = cluster.leader();
    let follower = leader % 3 + 1;
    let link = links[leader as usize - 1][follower as usize - 1].as_ref().unwrap();
    for _ in 0..3 {
        link.swallow();
        std::thread::sleep(Duration::from_millis(50));
        let silent = received(&cluster, follower, leader);
        std::thread::sleep(Duration::from_millis(150));
        assert_eq!(received(&cluster, follower, leader), silent, "the link is cut");
        link.heal();
        let taken = until_heard(&cluster, follower, leader);
        assert!(taken < Duration::from_millis(800), "{taken:?}");
    }
}

#[test]
fn a_one_way_cut_leaves_the_other_way_alone() {
    let (cluster, links) = linked();
    let leader = cluster.leader();
    let deaf = leader % 3 + 1;
    let third = deaf % 3 + 1;
    links[leader as usize - 1][deaf as usize - 1].as_ref().unwrap().swallow();
    // The deaf follower hears nothing, asks for votes (and is refused them, being heard), again and again.
    let before = received(&cluster, leader, deaf);
    std::thread::sleep(Duration::from_millis(1_500));
    assert!(received(&cluster, leader, deaf) > before, "the other direction is dead too");
    links[leader as usize - 1][deaf as usize - 1].as_ref().unwrap().heal();
    let now = cluster.leader();
    let client = cluster.session(now);
    cluster.write(now, client, 1, "k", "v");
    cluster.converge();
    assert!([leader, deaf, third].contains(&now));
}

#[test]
fn a_refusing_link_and_a_leader_cut_off_recover() {
    let (cluster, links) = linked();
    let first = cluster.leader();
    let client = cluster.session(first);
    let around = |id: u64| {
        let mut around = Vec::new();
        for other in (1..=3).filter(|other| *other != id) {
            around.push(links[id as usize - 1][other as usize - 1].as_ref().unwrap());
            around.push(links[other as usize - 1][id as usize - 1].as_ref().unwrap());
        }
        around
    };
    around(first).iter().for_each(|link| link.refuse());
    let others: Vec<u64> = (1..=3).filter(|id| *id != first).collect();
    let second = cluster.leader_among(&others);
    let index = cluster.write(second, client, 1, "k", "v");
    // Without a majority the old leader steps down (check-quorum), and answers no read.
    let (code, body) = cluster.get(first, "/v1/settings/k").unwrap();
    assert_ne!(code, 200, "{body}");
    around(first).iter().for_each(|link| link.heal());
    let since = Instant::now();
    let (_, read) = eventually("a read at the healed node", SOON, || {
        cluster.get(first, "/v1/settings/k").filter(|(code, _)| *code == 200)
    });
    assert_eq!(read["version"].as_u64(), Some(index));
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    cluster.converge();
    assert_ne!(cluster.status(first)["leader"], Value::Null);
}
