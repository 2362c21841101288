//! The network of a simulated run: virtual time, one queue, and what becomes of each message.
//!
//! A request may be lost, or carried out and its answer lost, or carried out twice, or late, long after the edge gave
//! up. Nothing here knows what a message says.

use std::collections::BTreeMap;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

/// How long an edge waits for an answer, in milliseconds.
pub const ANSWER_MS_MAX: u64 = 30_000;

/// What happens to messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weather {
    /// Of a thousand requests, how many never arrive.
    pub request_lost_of_1000: u32,
    /// Of a thousand answers, how many never arrive.
    pub answer_lost_of_1000: u32,
    /// Of a thousand requests, how many arrive a second time, later.
    pub repeated_of_1000: u32,
    /// The longest a message travels, in milliseconds.
    pub latency_ms_max: u64,
}

/// A network without faults.
pub const CALM: Weather =
    Weather { request_lost_of_1000: 0, answer_lost_of_1000: 0, repeated_of_1000: 0, latency_ms_max: 50 };

/// What becomes of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    /// When it arrives, if it does.
    pub arrives_ms: Option<u64>,
    /// When it arrives again, if it does.
    pub repeats_ms: Option<u64>,
    /// Whether its answer arrives.
    pub answered: bool,
}

/// Virtual time and what is to happen in it.
#[derive(Debug)]
pub struct Network<E> {
    /// The present, in Unix milliseconds.
    pub now_ms: u64,
    /// What happens to messages from now on.
    pub weather: Weather,
    /// The one source of chance.
    pub random: SmallRng,
    queue: BTreeMap<(u64, u64), E>,
    count: u64,
}

impl<E> Network<E> {
    /// A network at a time, with a seed.
    pub fn new(now_ms: u64, seed: u64, weather: Weather) -> Self {
        Self { now_ms, weather, random: SmallRng::seed_from_u64(seed), queue: BTreeMap::new(), count: 0 }
    }

    /// Lets something happen at a time, but not before now.
    pub fn at(&mut self, time_ms: u64, event: E) {
        self.count += 1;
        self.queue.insert((time_ms.max(self.now_ms), self.count), event);
    }

    /// Moves time to what happens next. Time moves with every event, so that no two have one stamp.
    pub fn step(&mut self) -> Option<E> {
        let ((time_ms, _), event) = self.queue.pop_first()?;
        self.now_ms = time_ms.max(self.now_ms + 1);
        Some(event)
    }

    /// Decides what becomes of a request that is sent now, over a link that is up or down.
    pub fn send(&mut self, link_up: bool) -> Fate {
        let lost = self.chance(self.weather.request_lost_of_1000) || !link_up;
        let answer_lost = self.chance(self.weather.answer_lost_of_1000);
        let repeated = self.chance(self.weather.repeated_of_1000);
        let there_ms = self.now_ms + self.latency();
        let again_ms = there_ms + self.latency() * 50;
        Fate {
            arrives_ms: (!lost).then_some(there_ms),
            repeats_ms: (!lost && repeated).then_some(again_ms),
            answered: !answer_lost,
        }
    }

    /// True in `of_1000` of a thousand cases.
    pub fn chance(&mut self, of_1000: u32) -> bool {
        self.random.random_range(0..1000) < of_1000
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.random.random_range(0..end)
    }

    /// How long one message travels, in milliseconds.
    pub fn latency(&mut self) -> u64 {
        self.random.random_range(1..=self.weather.latency_ms_max)
    }
}
