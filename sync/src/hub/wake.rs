//! Wakes the pulls that wait: one poll of the database a process, whatever the number of edges, and at once for what
//! came through this hub.
//!
//! Nothing here notifies inside of a transaction of an application, which would take a lock of the whole cluster.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use uuid::Uuid;

use super::error::{Error, causes};
use crate::pg::cursor::Snapshot;
use crate::pg::reach::{Connections, Reach};
use crate::pg::{digest, feed};

/// How often the database is asked while somebody waits, in milliseconds.
const POLL_MS: u64 = 50;
/// How often while it does not answer, in milliseconds.
const AWAY_MS: u64 = 500;
/// Every how many times it is also asked whom somebody wants compared.
const ASK_EVERY: u64 = 20;

/// Who waits for which tenant.
#[derive(Clone, Debug, Default)]
pub(super) struct Wake(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    tenants: Mutex<HashMap<Uuid, watch::Sender<u64>>>,
    waiting: Notify,
}

impl Wake {
    /// Begins to watch a tenant. Whatever is committed from here on wakes the watcher, so a reader subscribes before it
    /// looks.
    pub(super) fn subscribe(&self, tenant: Uuid) -> watch::Receiver<u64> {
        let mut tenants = self.0.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let receiver = tenants.entry(tenant).or_insert_with(|| watch::Sender::new(0)).subscribe();
        self.0.waiting.notify_one();
        receiver
    }

    /// Wakes a tenant's watchers; those of every tenant for the nil id, which stands for users.
    pub(super) fn wake(&self, tenant: Uuid) {
        let tenants = self.0.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let woken = tenants.iter().filter(|(other, _)| tenant.is_nil() || **other == tenant);
        for (_, sender) in woken {
            sender.send_modify(|count| *count += 1);
        }
    }

    /// Asks the database for ever, as often as somebody waits.
    pub(super) async fn poll(self, rows: Connections) {
        let (mut since, mut count) = (None, 0_u64);
        loop {
            if !self.is_watched() {
                self.0.waiting.notified().await;
                continue;
            }
            count = count.wrapping_add(1);
            let pause_ms = match look(&rows, since.as_ref(), count.is_multiple_of(ASK_EVERY)).await {
                Ok((snapshot, tenants)) => {
                    // Between the last poll and this one anything may have been missed only before the first.
                    let first = since.replace(snapshot).is_none();
                    let tenants = if first { vec![Uuid::nil()] } else { tenants };
                    tenants.into_iter().for_each(|tenant| self.wake(tenant));
                    POLL_MS
                }
                Err(error) => {
                    tracing::debug!(cause = causes(&error), "the poll found no database");
                    AWAY_MS
                }
            };
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        }
    }

    /// Whether anybody watches; tenants that nobody watches are forgotten.
    fn is_watched(&self) -> bool {
        let mut tenants = self.0.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        tenants.retain(|_, sender| sender.receiver_count() > 0);
        !tenants.is_empty()
    }
}

async fn look(rows: &Connections, since: Option<&Snapshot>, asks: bool) -> Result<(Snapshot, Vec<Uuid>), Error> {
    let client = rows.get(Reach::Everybody).await?;
    let (snapshot, mut tenants) = feed::changed_since(&**client, since).await?;
    if asks {
        tenants.extend(digest::asked_tenants(&**client).await?);
    }
    Ok((snapshot, tenants))
}
