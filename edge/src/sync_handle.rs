//! The two ends between the sync loop and everybody who asks it for something or wants to know how it stands.
//!
//! The loop holds [`SyncPort`]; pages, API, control socket and commands hold [`SyncHandle`]. Nothing here knows how an
//! exchange is made.

use serde::{Deserialize, Serialize};
use sync::wire::recovery::Verification;
use tokio::sync::{mpsc, oneshot, watch};

/// How many requests to the loop may wait before callers do.
pub const REQUESTS_MAX: usize = 16;

/// How the link to the hub stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkState {
    /// There is no credential.
    Unenrolled,
    /// The hub does not answer, or nobody asked yet.
    #[default]
    Offline,
    /// In session.
    Online,
    /// In session, in the middle of a long window.
    Hydrating,
    /// The hub answers, yet nothing that waits is acknowledged; `last_error` says why.
    Stuck,
    /// The credential is refused.
    Revoked,
    /// The hub is older than this edge.
    UpgradeHub,
}

/// What the loop says of itself. What the database knows (what waits, conflicts, refusals) is not repeated here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// How the link stands.
    pub state: LinkState,
    /// Whether everything that the hub had when last asked has been applied.
    pub caught_up: bool,
    /// When the hub last answered, in Unix milliseconds.
    pub last_exchange_ms: Option<u64>,
    /// What went wrong last; `None` after a success.
    pub last_error: Option<String>,
    /// The hub's clock less our monotonic one, which nobody sets.
    pub hub_ahead_ms: Option<i64>,
    /// How far the transfers of this process have come.
    pub progress: Progress,
}

impl Link {
    /// Notes that the hub's clock stood at `hub_ms` when our monotonic one did at `monotonic_ms`.
    pub fn heard_time(&mut self, hub_ms: u64, monotonic_ms: u64) {
        self.hub_ahead_ms = Some(difference_ms(hub_ms, monotonic_ms));
    }

    /// The hub's clock less ours, which stands at `unix_ms` when the monotonic one does at `monotonic_ms`.
    pub fn hub_time_offset_ms(&self, unix_ms: u64, monotonic_ms: u64) -> Option<i64> {
        Some(self.hub_ahead_ms?.saturating_add(difference_ms(monotonic_ms, unix_ms)))
    }
}

fn difference_ms(left_ms: u64, right_ms: u64) -> i64 {
    let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    signed(left_ms).saturating_sub(signed(right_ms))
}

/// Rows sent and received since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Rows that the hub answered.
    pub rows_pushed: u64,
    /// Rows applied.
    pub rows_pulled: u64,
    /// About how many rows the window under way has, counted like `rows_pulled`; `None` when there is none or it is
    /// short.
    pub rows_pulled_goal: Option<u64>,
}

/// What the loop is asked.
#[derive(Debug)]
pub enum SyncRequest {
    /// Exchange now. The answer comes when everything that waited when asked was pushed and a pull that began
    /// afterwards was applied whole, or when that failed.
    Now(oneshot::Sender<Result<(), String>>),
    /// Compare with the centre now; what differs is repaired and named.
    Verify(oneshot::Sender<Result<Verification, String>>),
    /// The credential file was written: begin, or begin anew.
    Enrolled,
}

/// Asks the loop and watches it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SyncHandle {
    requests: mpsc::Sender<SyncRequest>,
    link: watch::Receiver<Link>,
    changed: watch::Receiver<u64>,
}

/// The loop's end.
#[derive(Debug)]
pub struct SyncPort {
    /// What it is asked.
    pub requests: mpsc::Receiver<SyncRequest>,
    /// What it says of itself.
    pub link: watch::Sender<Link>,
    /// Counted up whenever somebody, of this process or another, has written to the file.
    pub changed: watch::Sender<u64>,
}

/// Both ends.
pub fn channel() -> (SyncHandle, SyncPort) {
    let (ask, requests) = mpsc::channel(REQUESTS_MAX);
    let (link, watched) = watch::channel(Link::default());
    let (changed, seen) = watch::channel(0);
    (SyncHandle { requests: ask, link: watched, changed: seen }, SyncPort { requests, link, changed })
}

impl SyncHandle {
    /// Exchanges now, and returns when that is done.
    ///
    /// # Errors
    /// Why it did not complete, in words for a person.
    pub async fn sync_now(&self) -> Result<(), String> {
        let stopped = || "the edge is stopping".to_owned();
        let (answer, answered) = oneshot::channel();
        self.requests.send(SyncRequest::Now(answer)).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }

    /// Compares with the centre now, and returns what was found.
    ///
    /// # Errors
    /// Why it did not complete, in words for a person.
    pub async fn verify(&self) -> Result<Verification, String> {
        let stopped = || "the edge is stopping".to_owned();
        let (answer, answered) = oneshot::channel();
        self.requests.send(SyncRequest::Verify(answer)).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }

    /// Tells the loop that there is a credential now.
    pub async fn enrolled(&self) {
        // A loop that has ended finds the credential at the next start.
        let _ = self.requests.send(SyncRequest::Enrolled).await;
    }

    /// How the link stands now.
    pub fn link(&self) -> Link {
        self.link.borrow().clone()
    }

    /// Follows how the link stands.
    pub fn watch(&self) -> watch::Receiver<Link> {
        self.link.clone()
    }

    /// Changes its value after every commit to the file, also of other programs, within
    /// [`WATCH_MS`](crate::sync_loop::WATCH_MS).
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.clone()
    }
}
