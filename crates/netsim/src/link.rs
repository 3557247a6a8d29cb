//! One direction of a path.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::Rng;

/// How datagrams get lost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Loss {
    /// Not at all.
    #[default]
    None,
    /// Each by itself, with this probability (0–1).
    Random(f64),
    /// In bursts (Gilbert–Elliott): a good and a bad state, each with a loss of its own, entered before each datagram.
    /// The share of time in the bad state is `enter / (enter + leave)`, a burst is `1 / leave` datagrams long.
    Burst {
        /// Probability of going from good to bad.
        enter: f64,
        /// Probability of going from bad to good.
        leave: f64,
        /// Loss in the good state.
        good: f64,
        /// Loss in the bad state.
        bad: f64,
    },
}

/// What a [`Link`] does to datagrams. The default is a perfect wire.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LinkConfig {
    /// Which datagrams are lost.
    pub loss: Loss,
    /// One-way propagation delay.
    pub delay: Duration,
    /// Up to this much more, uniformly; order is kept, so a late datagram holds up the next ones.
    pub jitter: Duration,
    /// Probability that a datagram is held back by up to `reorder_delay`, to be overtaken.
    pub reorder: f64,
    /// How long at most.
    pub reorder_delay: Duration,
    /// Probability that a datagram arrives twice.
    pub duplicate: f64,
    /// Bottleneck rate in bits a second; `None` is unlimited.
    pub rate: Option<u64>,
    /// Bytes that fit in front of the bottleneck; what does not is dropped. Of no effect without a rate.
    pub queue_bytes: usize,
}

/// What became of the datagrams of a [`Link`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// Pushed.
    pub pushed: u64,
    /// Lost at random.
    pub lost: u64,
    /// Dropped because the queue was full.
    pub overflowed: u64,
    /// Extra copies made.
    pub duplicated: u64,
    /// Popped, copies included.
    pub delivered: u64,
}

/// One direction of a path. The same seed, configuration and calls give the same arrivals.
#[derive(Clone, Debug)]
pub struct Link {
    config: LinkConfig,
    rng: Rng,
    bad: bool,
    /// When the bottleneck has sent all it holds.
    busy_until: Option<Instant>,
    /// The latest arrival of a datagram that was not held back.
    last_arrival: Option<Instant>,
    /// By arrival, then by the order of pushing.
    in_flight: BTreeMap<(Instant, u64), Vec<u8>>,
    number: u64,
    stats: LinkStats,
}

impl Link {
    /// An idle link.
    pub fn new(seed: u64, config: LinkConfig) -> Self {
        Link {
            config,
            rng: Rng::new(seed),
            bad: false,
            busy_until: None,
            last_arrival: None,
            in_flight: BTreeMap::new(),
            number: 0,
            stats: LinkStats::default(),
        }
    }

    /// Changes what happens to datagrams pushed from now on.
    pub fn set_config(&mut self, config: LinkConfig) {
        self.config = config;
    }

    /// What happens to datagrams pushed now.
    pub fn config(&self) -> &LinkConfig {
        &self.config
    }

    /// Counts since the link was made.
    pub fn stats(&self) -> LinkStats {
        self.stats
    }

    /// Sends a datagram. `now` must not go back.
    pub fn push(&mut self, datagram: Vec<u8>, now: Instant) {
        self.stats.pushed += 1;
        // A fixed number of draws a datagram, so that one setting does not shift the dice of another.
        let (lost, jitter) = (self.lose(), self.rng.unit());
        let (held_back, held_for) = (self.rng.chance(self.config.reorder), self.rng.unit());
        let twice = self.rng.chance(self.config.duplicate);
        // Loss is behind the bottleneck, as on a radio link: lost datagrams have used the queue.
        let Some(sent) = self.queue(datagram.len(), now) else {
            self.stats.overflowed += 1;
            return;
        };
        if lost {
            self.stats.lost += 1;
            return;
        }
        let mut arrival = sent + self.config.delay + self.config.jitter.mul_f64(jitter);
        if held_back {
            arrival += self.config.reorder_delay.mul_f64(held_for);
        } else {
            arrival = self.last_arrival.map_or(arrival, |last| last.max(arrival));
            self.last_arrival = Some(arrival);
        }
        if twice {
            self.stats.duplicated += 1;
            self.fly(datagram.clone(), arrival);
        }
        self.fly(datagram, arrival);
    }

    /// The next datagram that has arrived by `now`.
    pub fn pop(&mut self, now: Instant) -> Option<Vec<u8>> {
        let entry = self.in_flight.first_entry().filter(|entry| entry.key().0 <= now)?;
        self.stats.delivered += 1;
        Some(entry.remove())
    }

    /// When the next datagram arrives; `None` while nothing is in flight.
    pub fn next_at(&self) -> Option<Instant> {
        self.in_flight.first_key_value().map(|((at, _), _)| *at)
    }

    /// Datagrams in flight.
    pub fn len(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.in_flight.is_empty()
    }

    fn lose(&mut self) -> bool {
        let (turn, dice) = (self.rng.unit(), self.rng.unit());
        match self.config.loss {
            Loss::None => false,
            Loss::Random(probability) => dice < probability,
            Loss::Burst { enter, leave, good, bad } => {
                self.bad = if self.bad { turn >= leave } else { turn < enter };
                dice < if self.bad { bad } else { good }
            }
        }
    }

    /// When the bottleneck has sent a datagram of `len` bytes; `None` if it does not fit in the queue.
    fn queue(&mut self, len: usize, now: Instant) -> Option<Instant> {
        let Some(rate) = self.config.rate.filter(|rate| *rate > 0) else { return Some(now) };
        let start = self.busy_until.map_or(now, |busy| busy.max(now));
        let waiting = start.duration_since(now).as_secs_f64() * rate as f64 / 8.0;
        if waiting + len as f64 > self.config.queue_bytes as f64 && waiting > 0.0 {
            return None;
        }
        let sent = start + Duration::from_secs_f64(len as f64 * 8.0 / rate as f64);
        self.busy_until = Some(sent);
        Some(sent)
    }

    fn fly(&mut self, datagram: Vec<u8>, arrival: Instant) {
        self.in_flight.insert((arrival, self.number), datagram);
        self.number += 1;
    }
}
