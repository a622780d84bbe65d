//! Directed links with delay, loss, cuts, resets, and what steps do to single messages.
//!
//! A message never overtakes another on the same link, as on a TCP connection, unless a step reorders them. A
//! message is dropped if its link is cut when it is sent *or* when it would arrive: what is in flight when the cut
//! comes is lost with the connection. Faults compose: a link is cut while any step cuts it, added latencies add
//! up, each step that drops or duplicates draws for itself, and of several bandwidths the least counts.
//!
//! What a link of limited bandwidth has not taken yet waits before it, in [`crate::World`]: so whatever waits there
//! can follow at once when the limit goes.
//!
//! Each link draws from streams of its own, by counters of its own: what happens elsewhere never shifts them.

use mcp_chaos_evidence::{NodeId, rng::Stream};

use crate::plan::{self, CLIENTS, Disturbance};

/// What a step does to the messages of a link.
#[derive(Clone, Debug)]
struct Disturbed {
    step: u64,
    by: Disturbance,
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
    /// Dropped by a step, as a share of all.
    pub dropped: u64,
    /// Of these a copy followed.
    pub duplicated: u64,
    /// Held back, so that later ones might overtake them.
    pub reordered: u64,
    /// Waited for the link to have room.
    pub queued: u64,
    /// Bytes of these.
    pub queued_bytes: u64,
    /// Turned away because too many waited already.
    pub overflowed: u64,
    /// Lost with a connection that was reset.
    pub torn: u64,
}

#[derive(Clone, Debug)]
struct Link {
    delay: Stream,
    loss: Stream,
    cuts: u32,
    disturbed: Vec<Disturbed>,
    last_arrival_ns: u64,
    counters: LinkCounters,
    /// Counts connections: what was sent over an earlier one is lost.
    connection: u32,
    /// Messages under way over the present connection, copies included.
    in_flight: u64,
    /// Messages of clients driven by hand.
    by_hand: u64,
    /// The sender has been told that the connection is broken, and nothing got through since.
    broken: bool,
}

/// What becomes of a message that is handed to a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives, unless the link is cut or its connection reset by then.
    Arrives(Arrival),
    /// The link is cut.
    Withheld,
    /// It is lost, and nobody learns of it but who sent a snapshot.
    Lost,
}

/// When a message is to arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The virtual time.
    pub at_ns: u64,
    /// When a copy of it does, if there is one.
    pub copy_ns: Option<u64>,
    /// The connection that it travels on: see [`Network::land`].
    pub connection: u32,
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
                    disturbed: Vec::new(),
                    last_arrival_ns: 0,
                    counters: LinkCounters::default(),
                    connection: 0,
                    in_flight: 0,
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
        let (mut is_delayed, mut held_ns, mut copy_after_ns) = (false, 0, None);
        for Disturbed { by, stream, .. } in &link.disturbed {
            // Two draws for each message: whether, and by how much.
            let (whether, amount) = (2 * n, 2 * n + 1);
            match *by {
                Disturbance::Latency { min_ns, max_ns } => {
                    delay_ns += stream.between(n, min_ns, max_ns);
                    is_delayed = true;
                }
                Disturbance::Drop { share_ppm } => {
                    if stream.chance_ppm(whether, share_ppm) {
                        link.counters.dropped += 1;
                        return Fate::Lost;
                    }
                }
                Disturbance::Duplicate { share_ppm, within_ns } => {
                    if stream.chance_ppm(whether, share_ppm) {
                        copy_after_ns = Some(stream.between(amount, 0, within_ns));
                    }
                }
                Disturbance::Reorder { share_ppm, within_ns } => {
                    if stream.chance_ppm(whether, share_ppm) {
                        held_ns += stream.between(amount, 0, within_ns);
                    }
                }
                Disturbance::Bandwidth { .. } => {}
            }
        }
        link.counters.delayed += u64::from(is_delayed);
        link.counters.reordered += u64::from(held_ns > 0);
        link.counters.duplicated += u64::from(copy_after_ns.is_some());
        // Those behind a message that is held back need not wait for it.
        let in_order_ns = (now_ns + delay_ns).max(link.last_arrival_ns);
        link.last_arrival_ns = in_order_ns;
        link.in_flight += 1 + u64::from(copy_after_ns.is_some());
        let at_ns = in_order_ns + held_ns;
        let copy_ns = copy_after_ns.map(|after_ns| at_ns + after_ns);
        Fate::Arrives(Arrival { at_ns, copy_ns, connection: link.connection })
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
        for disturbed in &link.disturbed {
            if let Disturbance::Latency { min_ns, max_ns } = disturbed.by {
                delay_ns += lane.draw(min_ns, max_ns);
            }
        }
        link.in_flight += 1;
        lane.last_arrival_ns = (now_ns + delay_ns).max(lane.last_arrival_ns);
        Fate::Arrives(Arrival { at_ns: lane.last_arrival_ns, copy_ns: None, connection: link.connection })
    }

    /// A message comes out of its link. False: its connection was reset meanwhile, and it is lost.
    pub fn land(&mut self, from: NodeId, to: NodeId, connection: u32) -> bool {
        let link = self.link(from, to);
        let is_current = link.connection == connection;
        link.in_flight -= u64::from(is_current);
        is_current
    }

    /// Breaks the connection: what is under way is lost. `waiting` messages that the link had not taken yet are, too.
    pub fn reset(&mut self, from: NodeId, to: NodeId, waiting: u64) {
        let link = self.link(from, to);
        link.counters.torn += std::mem::take(&mut link.in_flight) + waiting;
        link.connection += 1;
        link.last_arrival_ns = 0;
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

    /// A step disturbs the messages of this link.
    pub fn disturb(&mut self, from: NodeId, to: NodeId, step: u64, by: Disturbance) {
        let link_number = from << 32 | to;
        let stream = Stream::new(self.seed, by.name(), link_number, step);
        self.link(from, to).disturbed.push(Disturbed { step, by, stream });
    }

    /// A step leaves this link alone again.
    pub fn calm(&mut self, from: NodeId, to: NodeId, step: u64) {
        let disturbed = &mut self.link(from, to).disturbed;
        if let Some(position) = disturbed.iter().position(|disturbed| disturbed.step == step) {
            disturbed.remove(position);
        }
    }

    /// How many bytes per second this link takes; `None`: any number.
    pub fn bandwidth(&self, from: NodeId, to: NodeId) -> Option<u64> {
        let limits =
            self.links[self.position(from, to)].disturbed.iter().filter_map(|disturbed| match disturbed.by {
                Disturbance::Bandwidth { bytes_per_s } => Some(bytes_per_s),
                _ => None,
            });
        limits.min()
    }

    /// A message has to wait for room on this link.
    pub fn count_queued(&mut self, from: NodeId, to: NodeId, bytes: u64) {
        let counters = &mut self.link(from, to).counters;
        counters.queued += 1;
        counters.queued_bytes += bytes;
    }

    /// A message was turned away, for too many wait already.
    pub fn count_overflowed(&mut self, from: NodeId, to: NodeId) {
        self.link(from, to).counters.overflowed += 1;
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
            lost: sum.lost + link.counters.lost + link.counters.dropped + link.counters.torn,
            delayed: sum.delayed + link.counters.delayed,
            ..sum
        })
    }

    /// The links that are cut now, as (from, to).
    pub fn cut_links(&self) -> impl Iterator<Item = (NodeId, NodeId)> {
        self.links_where(|link| link.cuts > 0)
    }

    /// The links whose messages a step disturbs, as (from, to).
    pub fn disturbed_links(&self) -> impl Iterator<Item = (NodeId, NodeId)> {
        self.links_where(|link| !link.disturbed.is_empty())
    }

    /// The links whose messages steps disturb, with how, once for each step.
    pub fn disturbances(&self) -> impl Iterator<Item = ((NodeId, NodeId), Disturbance)> {
        let ends = self.ends;
        self.links.iter().enumerate().flat_map(move |(position, link)| {
            let ends = ((position / ends) as NodeId, (position % ends) as NodeId);
            link.disturbed.iter().map(move |disturbed| (ends, disturbed.by))
        })
    }

    /// The links that a step disturbs in the same way as `by`, whatever the amount.
    pub fn disturbed_likewise(&self, by: Disturbance) -> impl Iterator<Item = (NodeId, NodeId)> {
        self.links_where(move |link| link.disturbed.iter().any(|other| other.by.name() == by.name()))
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
            Fate::Arrives(arrival) => arrival.at_ns,
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
        network.disturb(1, 2, 4, Disturbance::Latency { min_ns: 10_000, max_ns: 10_000 });
        network.disturb(1, 2, 5, Disturbance::Latency { min_ns: 100_000, max_ns: 100_000 });
        assert!((111_000..=115_000).contains(&arrival(network.send(0, 1, 2))));
        network.calm(1, 2, 5);
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

    #[test]
    fn a_share_is_dropped_and_others_draw_as_before() {
        let (mut whole, mut leaky) = (network(0), network(0));
        leaky.disturb(1, 2, 4, Disturbance::Drop { share_ppm: 200_000 });
        for now_ns in (0..10_000_000).step_by(10_000) {
            let (through, sent) = (whole.send(now_ns, 1, 2), leaky.send(now_ns, 1, 2));
            assert!(sent == Fate::Lost || sent == through);
        }
        let dropped = leaky.counters(1, 2).dropped;
        assert!((150..250).contains(&dropped), "about 200 of 1,000, found {dropped}");
        leaky.calm(1, 2, 4);
        assert_eq!(leaky.bandwidth(1, 2), None);
        assert!(matches!(leaky.send(20_000_000, 1, 2), Fate::Arrives(_)));
    }

    #[test]
    fn a_copy_follows_its_original() {
        let mut network = network(0);
        network.disturb(1, 2, 4, Disturbance::Duplicate { share_ppm: 1_000_000, within_ns: 50_000 });
        let Fate::Arrives(Arrival { at_ns, copy_ns, .. }) = network.send(0, 1, 2) else {
            panic!("it is sent")
        };
        let copy_ns = copy_ns.expect("every message has a copy");
        assert!((at_ns..=at_ns + 50_000).contains(&copy_ns));
        assert!(network.land(1, 2, 0) && network.land(1, 2, 0));
        assert_eq!(network.counters(1, 2).duplicated, 1);
    }

    #[test]
    fn who_is_held_back_is_overtaken_and_the_others_keep_their_order() {
        let mut network = network(0);
        network.disturb(1, 2, 4, Disturbance::Reorder { share_ppm: 300_000, within_ns: 1_000_000 });
        let arrivals: Vec<_> = (0..100).map(|n| arrival(network.send(n * 10_000, 1, 2))).collect();
        let overtaken = arrivals.windows(2).filter(|pair| pair[1] < pair[0]).count();
        assert!(overtaken > 10, "{overtaken}");
        let held = network.counters(1, 2).reordered;
        assert!((15..50).contains(&held), "about 30 of 100, found {held}");
    }

    #[test]
    fn a_reset_loses_what_is_under_way_and_nothing_after_it() {
        let mut network = network(0);
        network.send(0, 1, 2);
        network.reset(1, 2, 3);
        assert!(!network.land(1, 2, 0));
        assert_eq!(network.counters(1, 2).torn, 4, "one in flight, and three that waited");
        let Fate::Arrives(arrival) = network.send(0, 1, 2) else { panic!("the link is whole") };
        assert!(network.land(1, 2, arrival.connection));
    }

    #[test]
    fn of_two_bandwidths_the_least_counts() {
        let mut network = network(0);
        network.disturb(1, 2, 4, Disturbance::Bandwidth { bytes_per_s: 1_000 });
        network.disturb(1, 2, 5, Disturbance::Bandwidth { bytes_per_s: 500 });
        assert_eq!((network.bandwidth(1, 2), network.bandwidth(2, 1)), (Some(500), None));
        network.calm(1, 2, 5);
        assert_eq!(network.bandwidth(1, 2), Some(1_000));
    }
}
