//! Directed links with delay, loss, cuts and added latency.
//!
//! A message never overtakes another on the same link, as on a TCP connection. A message is dropped if its
//! link is cut when it is sent *or* when it would arrive: what is in flight when the cut comes is lost with
//! the connection. Faults compose: a link is cut while any step cuts it, and added latencies add up.
//!
//! Each link draws from streams of its own, by counters of its own: what happens elsewhere never shifts them.

use mcp_chaos_evidence::{NodeId, rng::Stream};

use crate::plan::{self, CLIENTS};

/// Latency that a step adds to a link.
#[derive(Clone, Debug)]
struct Added {
    step: u64,
    min_ns: u64,
    max_ns: u64,
    stream: Stream,
}

/// What a link has done so far, in messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Handed to the link.
    pub sent: u64,
    /// Arrived at the other end.
    pub delivered: u64,
    /// Dropped since the link was cut.
    pub withheld: u64,
    /// Lost at random.
    pub lost: u64,
    /// Given additional latency.
    pub delayed: u64,
}

#[derive(Clone, Debug)]
struct Link {
    delay: Stream,
    loss: Stream,
    cuts: u32,
    added: Vec<Added>,
    last_arrival_ns: u64,
    counters: LinkCounters,
    /// Messages of clients driven by hand.
    by_hand: u64,
    /// The sender has been told that the connection is broken, and nothing got through since.
    broken: bool,
}

/// What becomes of a message that is handed to a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives at this virtual time, unless the link is cut by then.
    Arrives(u64),
    /// The link is cut.
    Withheld,
    /// It is lost at random, and nobody learns of it.
    Lost,
}

/// What one client driven by hand has on one link: a connection and draws of its own, so that it shifts no
/// other message's.
#[derive(Clone, Debug)]
pub struct Lane {
    stream: Stream,
    drawn: u64,
    last_arrival_ns: u64,
}

impl Lane {
    /// The lane of a client's link.
    pub fn new(seed: u64, client: u64, from: NodeId, to: NodeId) -> Lane {
        Lane { stream: Stream::new(seed, "by_hand", client, from << 32 | to), drawn: 0, last_arrival_ns: 0 }
    }

    fn draw(&mut self, low: u64, high: u64) -> u64 {
        self.drawn += 1;
        self.stream.between(self.drawn - 1, low, high)
    }
}

/// All directed links, those between clients and nodes included.
#[derive(Clone, Debug)]
pub struct Network {
    /// Ends per side: the nodes and the side of the clients.
    ends: usize,
    links: Vec<Link>,
    options: plan::Network,
    seed: u64,
}

impl Network {
    /// A whole network between `nodes` nodes and the clients.
    pub fn new(seed: u64, nodes: u64, options: plan::Network) -> Network {
        let ends = nodes + 1;
        let links = (0..ends * ends)
            .map(|position| {
                let (from, to) = (position / ends, position % ends);
                Link {
                    delay: Stream::new(seed, "delay", from, to),
                    loss: Stream::new(seed, "loss", from, to),
                    cuts: 0,
                    added: Vec::new(),
                    last_arrival_ns: 0,
                    counters: LinkCounters::default(),
                    by_hand: 0,
                    broken: false,
                }
            })
            .collect();
        Network { ends: ends as usize, links, options, seed }
    }

    fn position(&self, from: NodeId, to: NodeId) -> usize {
        from as usize * self.ends + to as usize
    }

    fn link(&mut self, from: NodeId, to: NodeId) -> &mut Link {
        let position = self.position(from, to);
        &mut self.links[position]
    }

    /// Hands a message to a link.
    pub fn send(&mut self, now_ns: u64, from: NodeId, to: NodeId) -> Fate {
        let plan::Network { latency_min_ns, latency_max_ns, loss_ppm } = self.options;
        let link = self.link(from, to);
        let n = link.counters.sent;
        link.counters.sent += 1;
        if link.cuts > 0 {
            link.counters.withheld += 1;
            return Fate::Withheld;
        }
        let between_nodes = from != CLIENTS && to != CLIENTS;
        if between_nodes && loss_ppm > 0 && link.loss.chance_ppm(n, loss_ppm) {
            link.counters.lost += 1;
            return Fate::Lost;
        }
        let mut delay_ns = link.delay.between(n, latency_min_ns, latency_max_ns);
        for added in &link.added {
            delay_ns += added.stream.between(n, added.min_ns, added.max_ns);
        }
        link.counters.delayed += u64::from(!link.added.is_empty());
        let arrival_ns = (now_ns + delay_ns).max(link.last_arrival_ns);
        link.last_arrival_ns = arrival_ns;
        Fate::Arrives(arrival_ns)
    }

    /// Hands a link a message of a client driven by hand.
    pub fn send_by_hand(&mut self, now_ns: u64, from: NodeId, to: NodeId, lane: &mut Lane) -> Fate {
        let plan::Network { latency_min_ns, latency_max_ns, .. } = self.options;
        let link = self.link(from, to);
        link.by_hand += 1;
        if link.cuts > 0 {
            link.counters.withheld += 1;
            return Fate::Withheld;
        }
        let mut delay_ns = lane.draw(latency_min_ns, latency_max_ns);
        for added in &link.added {
            delay_ns += lane.draw(added.min_ns, added.max_ns);
        }
        lane.last_arrival_ns = (now_ns + delay_ns).max(lane.last_arrival_ns);
        Fate::Arrives(lane.last_arrival_ns)
    }

    /// A message reaches the end of its link. False: the link was cut while it was in flight.
    pub fn arrive(&mut self, from: NodeId, to: NodeId) -> bool {
        let link = self.link(from, to);
        if link.cuts > 0 {
            link.counters.withheld += 1;
            return false;
        }
        link.counters.delivered += 1;
        link.broken = false;
        true
    }

    /// Marks a connection as broken; true if it was whole until now, so that its sender is to be told.
    pub fn break_connection(&mut self, from: NodeId, to: NodeId) -> bool {
        !std::mem::replace(&mut self.link(from, to).broken, true)
    }

    /// One more step cuts this link.
    pub fn cut(&mut self, from: NodeId, to: NodeId) {
        self.link(from, to).cuts += 1;
    }

    /// One step less cuts this link.
    pub fn mend(&mut self, from: NodeId, to: NodeId) {
        let link = self.link(from, to);
        link.cuts = link.cuts.checked_sub(1).expect("a link is mended as often as it was cut");
    }

    /// A step adds latency to this link.
    pub fn slow(&mut self, from: NodeId, to: NodeId, step: u64, min_ns: u64, max_ns: u64) {
        let link_number = from << 32 | to;
        let stream = Stream::new(self.seed, "latency", link_number, step);
        self.link(from, to).added.push(Added { step, min_ns, max_ns, stream });
    }

    /// A step takes its latency from this link.
    pub fn quicken(&mut self, from: NodeId, to: NodeId, step: u64) {
        let added = &mut self.link(from, to).added;
        if let Some(position) = added.iter().position(|added| added.step == step) {
            added.remove(position);
        }
    }

    /// What a link has done so far.
    pub fn counters(&self, from: NodeId, to: NodeId) -> LinkCounters {
        self.links[self.position(from, to)].counters
    }

    /// What all links together have done so far.
    pub fn totals(&self) -> LinkCounters {
        self.links.iter().fold(LinkCounters::default(), |sum, link| LinkCounters {
            sent: sum.sent + link.counters.sent + link.by_hand,
            delivered: sum.delivered + link.counters.delivered,
            withheld: sum.withheld + link.counters.withheld,
            lost: sum.lost + link.counters.lost,
            delayed: sum.delayed + link.counters.delayed,
        })
    }

    /// The links that are cut now, as (from, to).
    pub fn cut_links(&self) -> impl Iterator<Item = (NodeId, NodeId)> {
        self.links_where(|link| link.cuts > 0)
    }

    /// The links that a step has made slower, as (from, to).
    pub fn slow_links(&self) -> impl Iterator<Item = (NodeId, NodeId)> {
        self.links_where(|link| !link.added.is_empty())
    }

    fn links_where(&self, holds: impl Fn(&Link) -> bool) -> impl Iterator<Item = (NodeId, NodeId)> {
        let ends = self.ends;
        self.links
            .iter()
            .enumerate()
            .filter(move |(_, link)| holds(link))
            .map(move |(position, _)| ((position / ends) as NodeId, (position % ends) as NodeId))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(loss_ppm: u32) -> Network {
        Network::new(7, 3, plan::Network { latency_min_ns: 1_000, latency_max_ns: 5_000, loss_ppm })
    }

    fn arrival(fate: Fate) -> u64 {
        match fate {
            Fate::Arrives(time_ns) => time_ns,
            other => panic!("expected an arrival, found {other:?}"),
        }
    }

    #[test]
    fn delays_are_drawn_in_range_and_nothing_overtakes() {
        let mut network = network(0);
        let mut last = 0;
        for now_ns in (0..100_000).step_by(100) {
            let arrives = arrival(network.send(now_ns, 1, 2));
            assert!(arrives >= last && (now_ns + 1_000..=now_ns + 5_000).contains(&arrives));
            last = arrives;
        }
    }

    #[test]
    fn a_link_is_cut_until_every_step_that_cut_it_has_ended() {
        let mut network = network(0);
        let in_flight = network.send(0, 1, 2);
        network.cut(1, 2);
        network.cut(1, 2);
        assert!(matches!(in_flight, Fate::Arrives(_)) && !network.arrive(1, 2));
        network.mend(1, 2);
        assert_eq!(network.send(0, 1, 2), Fate::Withheld);
        assert!(matches!(network.send(0, 2, 1), Fate::Arrives(_)), "the other direction is whole");
        assert_eq!(network.counters(1, 2).withheld, 2);
        network.mend(1, 2);
        assert!(matches!(network.send(0, 1, 2), Fate::Arrives(_)));
    }

    #[test]
    fn added_latencies_add_up_and_go_one_by_one() {
        let mut network = network(0);
        network.slow(1, 2, 4, 10_000, 10_000);
        network.slow(1, 2, 5, 100_000, 100_000);
        assert!((111_000..=115_000).contains(&arrival(network.send(0, 1, 2))));
        network.quicken(1, 2, 5);
        assert!((1_011_000..=1_015_000).contains(&arrival(network.send(1_000_000, 1, 2))));
        assert_eq!(network.counters(1, 2).delayed, 2);
    }

    #[test]
    fn a_link_draws_by_its_own_counter() {
        let (mut quiet, mut busy) = (network(200_000), network(200_000));
        for now_ns in 0..50 {
            busy.send(now_ns, 2, 1);
        }
        for now_ns in (0..1_000_000).step_by(10_000) {
            assert_eq!(quiet.send(now_ns, 1, 2), busy.send(now_ns, 1, 2));
        }
        let lost = quiet.counters(1, 2).lost;
        assert!((5..40).contains(&lost), "about 20 of 100 are lost, found {lost}");
    }
}
