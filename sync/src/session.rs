//! One edge's conversation with its hub, without input or output.
//!
//! The driver reports what happened with the `handle_*` functions, then calls [`Session::poll`] until it returns
//! `None` and carries out what it says; [`Session::poll_timeout`] says when to call again if nothing happens. Time
//! and jitter are arguments; time must not go backwards.
//!
//! A hub may say that this edge needs a new id, or that the two have to be compared; each is a phase between two hellos.
//!
//! Invariants: at most one hello, one push and one pull are under way; a pulled page is applied only while no push is
//! unanswered, because the answer may change stamps that the page's versions cover (rule 4); a failure of either
//! lane ends both, and the next thing sent is a hello. No state is without a way out.

use crate::merge::limits::{RETRY_AFTER_MS_MAX, RETRY_MS_MAX, RETRY_MS_MIN};

/// What the driver has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send a hello; answer with [`Session::handle_welcome`].
    Hello,
    /// Send the batch in flight, or build one; answer with [`Session::handle_pushed`].
    Push,
    /// Ask for the next page; answer with [`Session::handle_page`].
    Pull {
        /// Whether the hub may wait until there is something.
        wait: bool,
    },
    /// Apply the page that arrived; answer with [`Session::handle_applied`].
    Apply,
    /// Take a new id; answer with [`Session::handle_reidentified`].
    Reidentify,
    /// Compare with the centre, one step; answer with [`Session::handle_reconciled`].
    Reconcile,
    /// Drop every request under way; no answer.
    Abort,
}

/// What the hub says to a hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Ok,
    /// The edge's history does not continue what the hub knows of it: it was restored or cloned.
    Reidentify,
    /// The hub's history does not continue what the edge knows of it.
    Reconcile,
    /// The edge's schema is newer than the hub's.
    UpgradeHub,
    /// The credential has been revoked.
    Revoked,
}

/// Why an exchange failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The hub did not answer, or what answered was not the hub.
    Unreachable,
    /// The hub asks to come back after so many milliseconds.
    Overloaded(u64),
    /// The hub refused the credential.
    Revoked,
    /// The hub refused the fence token, or sent writes of ours that we never made: a hello tells why.
    Fenced,
    /// The verdict lets nobody go on.
    Verdict(Verdict),
    /// The edge's own database failed.
    Local,
}

/// How things stand with the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No session.
    Offline,
    /// In session, and nothing is known to be missing.
    Online,
    /// In session, in the middle of a window of several pages.
    Hydrating,
    /// The credential is refused. Pending rows are kept.
    Revoked,
    /// The hub is older than the edge. Pending rows are kept.
    UpgradeHub,
    /// This edge or the centre was restored or copied, and the two are being compared.
    Reconciling,
}

/// One edge's conversation with its hub.
#[derive(Clone, Debug)]
pub struct Session {
    phase: Phase,
    refusal: Option<State>,
    failures: u32,
    /// How often the hub was not content since something was last exchanged.
    healings: u32,
    abort: bool,
    writes_wait: bool,
    caught_up: bool,
    hydrating: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Resting {
        until_ms: u64,
    },
    Greeting,
    /// `asked` while a step is under way.
    Reidentifying {
        asked: bool,
    },
    Reconciling {
        asked: bool,
    },
    Open {
        push: PushLane,
        pull: PullLane,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PushLane {
    Idle,
    Sending,
    Resting { until_ms: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PullLane {
    Ready,
    Waiting,
    Arrived,
    Applying,
}

/// What a push came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushResult {
    /// There was nothing to send.
    Empty,
    /// The batch was answered.
    Answered {
        /// Whether more waits in the outbox.
        more: bool,
        /// Whether a row has to be asked for again because somebody holds it at the centre.
        busy: bool,
    },
}

/// How long to wait before a busy row is pushed again, in milliseconds.
pub const BUSY_MS: u64 = 200;
/// How long to wait after a refusal that only a person can lift, in milliseconds.
pub const REFUSED_MS: u64 = 15_000;

impl Session {
    /// A session that begins at once. Whatever was in flight before is asked about first.
    pub fn new() -> Self {
        Self {
            phase: Phase::Resting { until_ms: 0 },
            refusal: None,
            failures: 0,
            healings: 0,
            abort: false,
            writes_wait: true,
            caught_up: false,
            hydrating: false,
        }
    }

    /// What to do next; `None` when there is nothing to do until something is reported or time passes.
    pub fn poll(&mut self, now_ms: u64) -> Option<Action> {
        if std::mem::take(&mut self.abort) {
            return Some(Action::Abort);
        }
        match self.phase {
            Phase::Resting { until_ms } if now_ms >= until_ms => {
                self.phase = Phase::Greeting;
                Some(Action::Hello)
            }
            Phase::Reidentifying { asked: false } => {
                self.phase = Phase::Reidentifying { asked: true };
                Some(Action::Reidentify)
            }
            Phase::Reconciling { asked: false } => {
                self.phase = Phase::Reconciling { asked: true };
                Some(Action::Reconcile)
            }
            Phase::Resting { .. } | Phase::Greeting => None,
            Phase::Reidentifying { .. } | Phase::Reconciling { .. } => None,
            Phase::Open { push, pull } => self.poll_lanes(now_ms, push, pull),
        }
    }

    fn poll_lanes(&mut self, now_ms: u64, push: PushLane, pull: PullLane) -> Option<Action> {
        let rested = match push {
            PushLane::Idle => true,
            PushLane::Resting { until_ms } => now_ms >= until_ms,
            PushLane::Sending => false,
        };
        let (push, pull, action) = match (push, pull) {
            (PushLane::Idle | PushLane::Resting { .. }, PullLane::Arrived) => (push, PullLane::Applying, Action::Apply),
            (_, pull) if rested && self.writes_wait && pull != PullLane::Applying => {
                self.writes_wait = false;
                (PushLane::Sending, pull, Action::Push)
            }
            (push, PullLane::Ready) => (push, PullLane::Waiting, Action::Pull { wait: self.caught_up }),
            _ => return None,
        };
        self.phase = Phase::Open { push, pull };
        Some(action)
    }

    /// When to poll again though nothing is reported, if ever.
    pub fn poll_timeout(&self) -> Option<u64> {
        match self.phase {
            Phase::Resting { until_ms } => Some(until_ms),
            Phase::Open { push: PushLane::Resting { until_ms }, .. } => Some(until_ms),
            Phase::Greeting | Phase::Reidentifying { .. } | Phase::Reconciling { .. } | Phase::Open { .. } => None,
        }
    }

    /// Somebody wrote at this edge.
    pub fn handle_written(&mut self) {
        self.writes_wait = true;
    }

    /// A person wants an exchange now: waits for nothing.
    pub fn handle_sync_now(&mut self) {
        if let Phase::Resting { until_ms } = &mut self.phase {
            *until_ms = 0;
        }
        self.writes_wait = true;
    }

    /// The hub answered a hello.
    pub fn handle_welcome(&mut self, verdict: Verdict, now_ms: u64) {
        if self.phase != Phase::Greeting {
            return;
        }
        self.refusal = None;
        match verdict {
            Verdict::Ok => {}
            Verdict::Reidentify => return self.phase = Phase::Reidentifying { asked: false },
            Verdict::Reconcile => return self.phase = Phase::Reconciling { asked: false },
            Verdict::UpgradeHub | Verdict::Revoked => {
                return self.handle_failure(Failure::Verdict(verdict), now_ms, 500);
            }
        }
        self.writes_wait = true;
        self.caught_up = false;
        self.phase = Phase::Open { push: PushLane::Idle, pull: PullLane::Ready };
    }

    /// This edge has a new id. The hub is asked again how things stand.
    pub fn handle_reidentified(&mut self, now_ms: u64, jitter: u64) {
        if matches!(self.phase, Phase::Reidentifying { .. }) {
            self.greet_again(now_ms, jitter);
        }
    }

    /// A step of the comparison was made, the last one if `complete`. Then the hub is asked again how things stand.
    pub fn handle_reconciled(&mut self, complete: bool, now_ms: u64, jitter: u64) {
        if !matches!(self.phase, Phase::Reconciling { .. }) {
            return;
        }
        match complete {
            false => self.phase = Phase::Reconciling { asked: false },
            true => self.greet_again(now_ms, jitter),
        }
    }

    /// At once the first time, however long the hub could not be reached before. A hub that never is content must not be
    /// asked without end, so every further time waits as after a failure, until something is exchanged.
    fn greet_again(&mut self, now_ms: u64, jitter: u64) {
        let delay_ms = if self.healings == 0 { 0 } else { delay_ms(self.healings, jitter) };
        self.healings = self.healings.saturating_add(1);
        self.phase = Phase::Resting { until_ms: now_ms.saturating_add(delay_ms) };
    }

    /// A push was answered, or there was nothing to push.
    pub fn handle_pushed(&mut self, result: PushResult, now_ms: u64) {
        let Phase::Open { push: push @ PushLane::Sending, .. } = &mut self.phase else { return };
        *push = match result {
            PushResult::Answered { busy: true, .. } => PushLane::Resting { until_ms: now_ms + BUSY_MS },
            PushResult::Answered { .. } | PushResult::Empty => PushLane::Idle,
        };
        if let PushResult::Answered { more, busy } = result {
            self.writes_wait |= more || busy;
            (self.failures, self.healings) = (0, 0);
        }
    }

    /// A page arrived whole. It waits until no push is unanswered.
    pub fn handle_page(&mut self) {
        if let Phase::Open { pull: pull @ PullLane::Waiting, .. } = &mut self.phase {
            *pull = PullLane::Arrived;
        }
    }

    /// A page was applied: the window it belongs to is `complete`, or goes on.
    pub fn handle_applied(&mut self, complete: bool) {
        let Phase::Open { pull: pull @ PullLane::Applying, .. } = &mut self.phase else { return };
        *pull = PullLane::Ready;
        (self.failures, self.healings) = (0, 0);
        // The pages of a long window were read at different times; only a window read at once is a state of the
        // centre, so a long one is followed by one more before anything is called complete.
        self.caught_up = complete && !self.hydrating;
        self.hydrating = !complete;
    }

    /// Something failed: everything under way is dropped and the next hello waits, longer each time.
    ///
    /// `jitter` is random, 0 to 1000: it spreads the delay between half and all of its length.
    pub fn handle_failure(&mut self, failure: Failure, now_ms: u64, jitter: u64) {
        let spread = delay_ms(self.failures, jitter);
        let (state, delay_ms) = match failure {
            Failure::Unreachable | Failure::Local | Failure::Fenced => (None, spread),
            Failure::Overloaded(after_ms) => (None, after_ms.clamp(spread, RETRY_AFTER_MS_MAX)),
            Failure::Revoked | Failure::Verdict(Verdict::Revoked) => (Some(State::Revoked), REFUSED_MS),
            Failure::Verdict(Verdict::UpgradeHub) => (Some(State::UpgradeHub), REFUSED_MS),
            Failure::Verdict(Verdict::Reidentify | Verdict::Reconcile | Verdict::Ok) => (None, spread),
        };
        self.refusal = state;
        self.failures = self.failures.saturating_add(1);
        self.abort = true;
        self.caught_up = false;
        self.phase = Phase::Resting { until_ms: now_ms.saturating_add(delay_ms) };
    }

    /// How things stand.
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Open { .. } if self.hydrating => State::Hydrating,
            Phase::Open { .. } => State::Online,
            Phase::Reidentifying { .. } | Phase::Reconciling { .. } => State::Reconciling,
            Phase::Resting { .. } | Phase::Greeting => self.refusal.unwrap_or(State::Offline),
        }
    }

    /// Whether everything that the hub had when last asked has been applied.
    pub fn caught_up(&self) -> bool {
        self.caught_up
    }
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

/// Between half and all of a length that doubles with each failure.
fn delay_ms(failures: u32, jitter: u64) -> u64 {
    let doubled = RETRY_MS_MIN.saturating_mul(1 << failures.min(16)).min(RETRY_MS_MAX);
    doubled / 2 + doubled.saturating_mul(jitter.min(1000)) / 2000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::limits::LONG_POLL_MS;

    fn open(now_ms: u64) -> Session {
        let mut session = Session::new();
        assert_eq!(session.poll(now_ms), Some(Action::Hello));
        session.handle_welcome(Verdict::Ok, now_ms);
        session
    }

    fn drain(session: &mut Session, now_ms: u64) -> Vec<Action> {
        std::iter::from_fn(|| session.poll(now_ms)).collect()
    }

    #[test]
    fn a_session_pushes_what_waited_and_pulls_at_once() {
        let mut session = open(0);
        assert_eq!(drain(&mut session, 0), [Action::Push, Action::Pull { wait: false }]);
        session.handle_pushed(PushResult::Empty, 0);
        assert_eq!(drain(&mut session, 0), []);
    }

    #[test]
    fn a_page_waits_until_the_push_is_answered() {
        let mut session = open(0);
        drain(&mut session, 0);
        session.handle_page();
        assert_eq!(drain(&mut session, 0), []);
        session.handle_pushed(PushResult::Answered { more: true, busy: false }, 0);
        assert_eq!(drain(&mut session, 0), [Action::Apply], "and no push starts while it is applied");
        session.handle_applied(true);
        assert_eq!(drain(&mut session, 0), [Action::Push, Action::Pull { wait: true }]);
    }

    #[test]
    fn a_long_window_counts_as_complete_only_after_its_tail() {
        let mut session = open(0);
        session.handle_pushed(PushResult::Empty, 0);
        for (complete, state, caught_up) in
            [(false, State::Hydrating, false), (true, State::Online, false), (true, State::Online, true)]
        {
            drain(&mut session, 0);
            session.handle_pushed(PushResult::Empty, 0);
            session.handle_page();
            drain(&mut session, 0);
            session.handle_applied(complete);
            assert_eq!((session.state(), session.caught_up()), (state, caught_up));
        }
    }

    #[test]
    fn failures_wait_longer_each_time_and_never_for_ever() {
        let mut session = Session::new();
        let mut now_ms = 0;
        for failures in 0..40_u32 {
            assert_eq!(session.poll(now_ms), Some(Action::Hello));
            session.handle_failure(Failure::Unreachable, now_ms, 1000);
            assert_eq!(session.poll(now_ms), Some(Action::Abort));
            let until_ms = session.poll_timeout().unwrap();
            assert_eq!(until_ms - now_ms, (RETRY_MS_MIN << failures.min(16)).min(RETRY_MS_MAX));
            assert_eq!(session.poll(until_ms - 1), None);
            now_ms = until_ms;
        }
    }

    #[test]
    fn a_restored_edge_gets_a_new_id_is_compared_and_goes_on() {
        let mut session = Session::new();
        assert_eq!(drain(&mut session, 0), [Action::Hello]);
        session.handle_welcome(Verdict::Reidentify, 0);
        assert_eq!(session.state(), State::Reconciling);
        assert_eq!(drain(&mut session, 0), [Action::Reidentify]);
        session.handle_reidentified(0, 0);
        assert_eq!(drain(&mut session, 0), [Action::Hello]);
        session.handle_welcome(Verdict::Reconcile, 0);
        for complete in [false, false, true] {
            assert_eq!(drain(&mut session, 0), [Action::Reconcile]);
            session.handle_reconciled(complete, 0, 0);
        }
        let until_ms = session.poll_timeout().unwrap();
        assert!(until_ms > 0, "the second time in a row waits");
        assert_eq!(drain(&mut session, until_ms), [Action::Hello]);
        session.handle_welcome(Verdict::Ok, until_ms);
        assert_eq!(drain(&mut session, until_ms), [Action::Push, Action::Pull { wait: false }]);
    }

    #[test]
    fn a_comparison_after_a_long_time_offline_is_followed_by_a_session_at_once() {
        let mut session = Session::new();
        for now_ms in 0..20 {
            session.handle_sync_now();
            drain(&mut session, now_ms);
            session.handle_failure(Failure::Unreachable, now_ms, 1000);
        }
        session.handle_sync_now();
        drain(&mut session, 20);
        session.handle_welcome(Verdict::Reconcile, 20);
        drain(&mut session, 20);
        session.handle_reconciled(true, 20, 1000);
        assert_eq!(drain(&mut session, 20), [Action::Hello]);
    }

    #[test]
    fn a_hub_that_is_never_content_is_asked_less_and_less_often() {
        let mut session = Session::new();
        let (mut now_ms, mut hellos) = (0, 0);
        while now_ms < 600_000 {
            assert_eq!(session.poll(now_ms), Some(Action::Hello));
            hellos += 1;
            session.handle_welcome(Verdict::Reconcile, now_ms);
            drain(&mut session, now_ms);
            session.handle_reconciled(true, now_ms, 1000);
            now_ms = session.poll_timeout().unwrap();
        }
        assert!(hellos < 40, "{hellos} in ten minutes");
    }

    #[test]
    fn a_fenced_push_is_followed_by_a_hello_and_is_no_refusal() {
        let mut session = open(0);
        drain(&mut session, 0);
        session.handle_failure(Failure::Fenced, 0, 1000);
        assert_eq!(session.state(), State::Offline);
        assert_eq!(drain(&mut session, RETRY_MS_MIN), [Action::Abort, Action::Hello]);
    }

    #[test]
    fn who_is_sent_away_stays_away_as_long_as_was_said_and_not_for_ever() {
        for (said_ms, waits_ms) in [(0, RETRY_MS_MIN), (90_000, 90_000), (u64::MAX, RETRY_AFTER_MS_MAX)] {
            let mut session = Session::new();
            session.poll(0);
            session.handle_failure(Failure::Overloaded(said_ms), 0, 1000);
            assert_eq!(session.poll_timeout(), Some(waits_ms));
        }
    }

    /// A link that is up for a while and down for a while, for an hour of virtual time: how many requests were made.
    fn requests_of_an_hour(up_ms: u64, down_ms: u64, answer_ms: u64) -> u32 {
        let mut session = Session::new();
        let (mut now_ms, mut requests) = (0, 0);
        let mut answers: Vec<(u64, Action)> = Vec::new();
        let is_up = |now_ms: u64| now_ms % (up_ms + down_ms) < up_ms;
        while now_ms < 3_600_000 {
            while let Some(action) = session.poll(now_ms) {
                match action {
                    Action::Abort => answers.clear(),
                    Action::Apply => session.handle_applied(true),
                    Action::Reidentify | Action::Reconcile => unreachable!("the hub is content with this edge"),
                    Action::Hello | Action::Push | Action::Pull { .. } => {
                        requests += 1;
                        let held_ms = if action == (Action::Pull { wait: true }) { LONG_POLL_MS } else { answer_ms };
                        answers.push((now_ms + held_ms, action));
                    }
                }
            }
            now_ms += 10;
            if !is_up(now_ms) && !answers.is_empty() {
                answers.clear();
                session.handle_failure(Failure::Unreachable, now_ms, u64::from(requests) * 7919 % 1001);
                continue;
            }
            for (_, action) in answers.extract_if(.., |(at_ms, _)| *at_ms <= now_ms) {
                match action {
                    Action::Hello => session.handle_welcome(Verdict::Ok, now_ms),
                    Action::Push => session.handle_pushed(PushResult::Answered { more: false, busy: false }, now_ms),
                    _ => session.handle_page(),
                }
            }
        }
        requests
    }

    #[test]
    fn a_link_that_flaps_for_an_hour_sets_off_no_storm_and_starves_nobody() {
        for (up_ms, down_ms, answer_ms) in
            [(1_000, 1_000, 50), (1_000, 30_000, 50), (30_000, 1_000, 500), (5_000, 5_000, 2_000), (100, 900, 50)]
        {
            let requests = requests_of_an_hour(up_ms, down_ms, answer_ms);
            let flaps = u32::try_from(3_600_000 / (up_ms + down_ms)).unwrap();
            println!("up {up_ms} ms, down {down_ms} ms: {requests} requests in an hour, {flaps} flaps");
            assert!(requests <= 8 * flaps + 500, "{requests} requests for {flaps} flaps");
            assert!(requests >= 100, "{requests} requests: nobody would be served");
        }
    }

    #[test]
    fn sync_now_ends_the_wait() {
        let mut session = Session::new();
        session.poll(0);
        session.handle_failure(Failure::Unreachable, 0, 1000);
        session.handle_sync_now();
        assert_eq!(drain(&mut session, 1), [Action::Abort, Action::Hello]);
    }

    #[test]
    fn a_refusal_is_told_and_asked_about_again() {
        let mut session = open(0);
        drain(&mut session, 0);
        session.handle_failure(Failure::Revoked, 0, 0);
        assert_eq!(session.state(), State::Revoked);
        assert_eq!(drain(&mut session, REFUSED_MS), [Action::Abort, Action::Hello]);
    }

    #[test]
    fn a_write_during_a_push_is_pushed_after_it() {
        let mut session = open(0);
        drain(&mut session, 0);
        session.handle_written();
        assert_eq!(drain(&mut session, 0), []);
        session.handle_pushed(PushResult::Answered { more: false, busy: false }, 0);
        assert_eq!(drain(&mut session, 0), [Action::Push]);
    }

    #[test]
    fn a_row_that_somebody_holds_at_the_centre_is_pushed_again_after_a_rest_and_not_before() {
        let mut session = open(1_000);
        drain(&mut session, 1_000);
        session.handle_pushed(PushResult::Answered { more: false, busy: true }, 1_000);
        let until_ms = 1_000 + BUSY_MS;
        assert_eq!(session.poll_timeout(), Some(until_ms));
        assert_eq!(drain(&mut session, until_ms - 1), []);
        assert_eq!(drain(&mut session, until_ms), [Action::Push]);
    }
}
