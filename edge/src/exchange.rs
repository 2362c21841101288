//! One step of an exchange each: what is read from the database, said to the hub, and stored of its answer.
//!
//! A step may be dropped at any point. What it had given to the writer's thread is then still stored, whole; what the
//! hub had got is asked about again by the next session. Nothing here decides what comes next.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::{Connection, TransactionBehavior};
use sync::catalog;
use sync::merge::limits::PUSH_ROWS_MAX;
use sync::session::{Failure, Verdict};
use sync::sqlite::apply::{self, Applied};
use sync::sqlite::comparison::Terms;
use sync::sqlite::error::StoreError;
use sync::sqlite::receipts::{self, Receipt};
use sync::sqlite::{directory, outbox, reidentify, self_state, status, versions};
use sync::wire::base64url;
use sync::wire::frames::PulledPage;
use sync::wire::message::{Hello, Page, Pull, Welcome};
use sync::wire::recovery::{Accepted, Reidentify};
use sync::wire::renewal::{self, Challenge, Renew};
use sync::wire::stream::StreamError;

use crate::App;
use crate::credential::{Credential, CredentialError};
use crate::data_dir::DataDir;
use crate::hub_client::{HubClient, HubError};
use crate::sessions;

/// An edge and its hub.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub(crate) app: App,
    pub(crate) hub: HubClient,
    /// Whether the hub has sent writes of ours that we never made; the next hello says so.
    forked: Arc<AtomicBool>,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The hub, or the way to it.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The edge's own database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The answer is to another question.
    #[error("the hub answered another batch than the one that was sent")]
    Stale,
    /// A page holds writes under our own id that we never made.
    #[error("the hub holds writes of this edge that were not made here: it was restored, or there is a copy of it")]
    Forked,
    /// The credential cannot be read or kept.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// A line cannot be put together.
    #[error("what was to be sent cannot be put together")]
    Unsendable(#[from] StreamError),
    /// The step itself broke.
    #[error("a step of the exchange broke: this is a defect of the program")]
    Broken,
}

impl StepError {
    /// What it means for the session.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Hub(error) => error.failure(),
            Self::Store(_) | Self::Credential(_) | Self::Unsendable(_) | Self::Broken => Failure::Local,
            Self::Stale => Failure::Unreachable,
            Self::Forked => Failure::Fenced,
        }
    }

    /// Whether the hub was reached.
    pub fn is_the_hubs(&self) -> bool {
        match self {
            Self::Hub(error) => error.is_the_hubs(),
            Self::Stale | Self::Forked => true,
            Self::Store(_) | Self::Credential(_) | Self::Unsendable(_) | Self::Broken => false,
        }
    }
}

/// The hub's greeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// What to do.
    pub verdict: Verdict,
    /// How to begin the comparison, if that is what to do.
    pub terms: Option<Terms>,
    /// What the hub's clock says, in Unix milliseconds.
    pub hub_ms: u64,
}

impl Exchange {
    /// Of an edge with its hub.
    pub fn new(app: App, hub: HubClient) -> Self {
        Self { app, hub, forked: Arc::default() }
    }

    /// Begins a session. What was refused may be sent again in it.
    ///
    /// # Errors
    /// [`StepError`].
    pub async fn greet(&self) -> Result<Greeting, StepError> {
        let welcome = self.welcome().await?;
        let now_ms = self.app.clock.unix_ms();
        let (verdict, hub_ms) = (Verdict::from(welcome.verdict), welcome.unix_ms);
        let terms = match (welcome.reconcile.clone(), welcome.incarnation) {
            (Some(reconcile), Some(incarnation)) => Some(Terms { reconcile, incarnation }),
            _ => None,
        };
        let agreed = welcome.incarnation.filter(|_| verdict == Verdict::Ok);
        let work = move |connection: &mut Connection| -> Result<(), StoreError> {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            directory::replace(&tx, &welcome.directory)?;
            self_state::heard(&tx, now_ms, welcome.unix_ms)?;
            if let Some(incarnation) = agreed {
                self_state::set_incarnation(&tx, incarnation)?;
            }
            versions::forgive(&tx)?;
            tx.commit()?;
            Ok(())
        };
        self.app.db.write(work).await?;
        Ok(Greeting { verdict, terms, hub_ms })
    }

    /// The hub's answer to a hello. When it does not know the credential, which may have ended while the edge was away, it gets
    /// another one by the edge's key first; an edge whose key it does not know either is told so.
    async fn welcome(&self) -> Result<Welcome, StepError> {
        let hello = self.hello().await?;
        let refused = |error| match error {
            StepError::Hub(HubError::Unknown(why)) => StepError::Hub(HubError::Revoked(why)),
            error => error,
        };
        match self.hub.hello(&hello).await {
            Err(HubError::Unknown(why)) => {
                let renewed = self.renew().await.map_err(refused)?;
                let again = match renewed {
                    true => self.hub.hello(&hello).await.map_err(StepError::Hub),
                    false => Err(StepError::Hub(HubError::Unknown(why))),
                };
                again.map_err(refused)
            }
            welcome => Ok(welcome?),
        }
    }

    /// Gets another credential by the edge's key, and keeps it if it can be kept; `false` for an edge without a key. Until it is shown for the first
    /// time, the former one is good too.
    ///
    /// # Errors
    /// [`StepError`].
    async fn renew(&self) -> Result<bool, StepError> {
        let path = DataDir::new(&self.app.config.data).credential();
        let Some(known) = Credential::load(&path)? else { return Ok(false) };
        let (Some(key), edge) = (known.key, known.identity.edge) else { return Ok(false) };
        let Challenge { challenge } = self.hub.challenge(edge).await?;
        let next = renewal::credential(edge, self.app.clock.random());
        let hash = base64url::encode(sessions::hash(&next));
        let signature = key.sign(&renewal::signed_text(edge, &challenge, &hash));
        self.hub.renew(&Renew { edge, challenge, hash, signature }).await?;
        // What cannot be kept, as in a file that systemd passes, is used until this process ends; the next one gets another.
        match Credential::renew(&path, edge, &next) {
            Ok(false) => return Ok(true),
            Ok(true) => tracing::info!("the credential was renewed"),
            Err(error) => tracing::info!(%error, "the credential was renewed, and is not kept"),
        }
        self.hub.show(&next)?;
        Ok(true)
    }

    /// Takes a new id. What waits and the hub has not got goes over to it.
    ///
    /// # Errors
    /// [`StepError`]; then nothing has changed here.
    pub async fn reidentify(&self) -> Result<(), StepError> {
        let read = |connection: &mut Connection| -> Result<_, StoreError> {
            Ok((self_state::load(connection)?, reidentify::waiting(connection)?))
        };
        let (this, waiting) = self.app.db.read(read).await?;
        let mut taken = reidentify::Taken::new();
        for rows in waiting.chunks(PUSH_ROWS_MAX) {
            let answer = self.hub.accepted(&Accepted { rows: rows.to_vec() }).await?;
            taken.extend(reidentify::taken(&answer.rows));
        }
        let former = this.former.iter().map(|id| id.0).collect();
        let given = self.hub.reidentify(&Reidentify { replica: this.replica.0, former }).await?;
        let work = move |connection: &mut Connection| reidentify::adopt(connection, &given, &taken);
        self.app.db.write(work).await?;
        self.forked.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Sends the batch in flight, or a new one; `None` when nothing waits.
    ///
    /// # Errors
    /// [`StepError`].
    pub async fn push(&self) -> Result<Option<Receipt>, StepError> {
        let (batch, now_ms) = (self.app.clock.uuid_v4(), self.app.clock.unix_ms());
        let room = self.app.budget.room(now_ms);
        let prepare = move |connection: &mut Connection| outbox::prepare_within(connection, batch, now_ms, room);
        let Some(in_flight) = self.app.db.write(prepare).await? else { return Ok(None) };
        let answer = self.hub.push(in_flight.body).await?;
        let now_ms = self.app.clock.unix_ms();
        let acknowledge = move |connection: &mut Connection| receipts::acknowledge(connection, &answer, now_ms);
        match self.app.db.write(acknowledge).await? {
            Receipt::Stale => Err(StepError::Stale),
            receipt => Ok(Some(receipt)),
        }
    }

    /// Asks for the next page, which the hub may hold for `wait_ms` when there is nothing.
    ///
    /// # Errors
    /// [`StepError`].
    pub async fn pull(&self, wait_ms: u64) -> Result<PulledPage, StepError> {
        let now_ms = self.app.clock.unix_ms();
        let read = move |connection: &mut Connection| -> Result<Pull, StoreError> {
            let tx = connection.transaction()?;
            let this = self_state::load(&tx)?;
            let report = status::report(&tx, now_ms)?;
            tx.commit()?;
            Ok(Pull { replica: this.replica.0, cursor: this.cursor, wait_ms, report })
        };
        let pull = self.app.db.read(read).await?;
        Ok(self.hub.pull(&pull).await?)
    }

    /// Stores a page.
    ///
    /// # Errors
    /// [`StepError`].
    pub async fn apply(&self, page: PulledPage) -> Result<Applied, StepError> {
        let now_ms = self.app.clock.unix_ms();
        let Page { replicas, renew, .. } = page.head;
        let work = move |connection: &mut Connection| -> Result<(Applied, u64), StoreError> {
            let applied = apply::page(connection, &page, now_ms)?;
            Ok((applied, self_state::load(connection)?.directory_size))
        };
        let (applied, known) = self.app.db.write(work).await?;
        if applied.forked {
            return Err(self.note_fork());
        }
        if replicas > known {
            self.learn_names().await;
        }
        if renew && let Err(error) = self.renew().await {
            tracing::warn!(%error, "the credential could not be renewed; the next page asks again");
        }
        Ok(applied)
    }

    /// Remembers, for the next hello, that the hub has writes under this edge's id that it never made.
    pub(crate) fn note_fork(&self) -> StepError {
        self.forked.store(true, Ordering::Relaxed);
        StepError::Forked
    }

    /// Lets refused rows be sent once more, and tries again to store those of the hub that could not be stored here. Says
    /// whether anything is to be sent now.
    ///
    /// # Errors
    /// [`StepError`].
    pub async fn retry_refused(&self) -> Result<bool, StepError> {
        let now_ms = self.app.clock.unix_ms();
        let work = move |connection: &mut Connection| -> Result<bool, StoreError> {
            let found = apply::retry(connection, now_ms)?;
            Ok(outbox::retry_refused(connection)? > 0 || found > 0)
        };
        Ok(self.app.db.write(work).await?)
    }

    /// Keeps the reason of a failure, for those who ask when no edge runs.
    pub async fn note_failure(&self, reason: String) {
        let work = move |connection: &mut Connection| -> Result<(), StoreError> {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            self_state::failed(&tx, &reason)?;
            tx.commit()?;
            Ok(())
        };
        if let Err(error) = self.app.db.write(work).await {
            tracing::warn!(%error, "the reason of a failed exchange could not be kept");
        }
    }

    /// Brings the names of replicas that appeared since the session began. No push is under way while a page is
    /// applied, so the hub finds the fence token that it expects.
    async fn learn_names(&self) {
        let learn = async {
            let Welcome { directory, .. } = self.hub.hello(&self.hello().await?).await?;
            let work = move |connection: &mut Connection| -> Result<(), StoreError> {
                let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                directory::replace(&tx, &directory)?;
                tx.commit()?;
                Ok(())
            };
            Ok::<(), StepError>(self.app.db.write(work).await?)
        };
        if let Err(error) = learn.await {
            tracing::debug!(%error, "names of new replicas could not be had; the next session brings them");
        }
    }

    async fn hello(&self) -> Result<Hello, StepError> {
        let unix_ms = self.app.clock.unix_ms();
        let forked = self.forked.load(Ordering::Relaxed);
        let read = move |connection: &mut Connection| -> Result<Hello, StoreError> {
            let tx = connection.transaction()?;
            let this = self_state::load(&tx)?;
            let in_flight = outbox::load(&tx)?.map(|in_flight| in_flight.batch);
            let report = status::report(&tx, unix_ms)?;
            tx.commit()?;
            Ok(Hello {
                replica: this.replica.0,
                seq: this.seq,
                fence: this.fence,
                in_flight,
                cursor: this.cursor,
                schema: catalog::VERSION,
                app_version: env!("CARGO_PKG_VERSION").to_owned(),
                unix_ms,
                report,
                incarnation: this.incarnation,
                reconcile: this.reconcile,
                forked,
            })
        };
        Ok(self.app.db.read(read).await?)
    }
}
