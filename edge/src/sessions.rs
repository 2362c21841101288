//! Signing in and out, and who a token belongs to. Works with the WAN down.
//!
//! Secrets are checked against the argon2id verifiers that the centre sent for this site. An address that nobody has costs
//! the same work as a wrong secret, and gets the same answer. Only hashes of tokens are stored. Sessions end by the steady
//! clock: a box whose clock is set, or jumps, signs nobody out and lets nobody stay.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use argon2::password_hash::PasswordVerifier as _;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, Params};
use ring::digest;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use sync::peers::{Peers, Wait};
use sync::sqlite::emergency_codes;
use sync::sqlite::error::StoreError;
use sync::sqlite::self_state;
use sync::sqlite::sessions::{self, SessionRow};
use sync::wire::{base64url, one_time_code};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::App;
use crate::action::{self, Act};
use crate::audit::{self, Event};
use crate::break_glass;
use crate::clock::Clock;
use crate::lockouts::{Turn, Waits};
use crate::people::{self, Person};
use crate::refusal::Refusal;
use crate::times;

/// How long a session lives without use, in milliseconds.
pub const IDLE_MS_MAX: u64 = 12 * 60 * 60 * 1000;
/// How long a session lives, in milliseconds.
pub const AGE_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1000;
/// How far the box's clock may stand from the steady one before a session's end is told in the time of the former, in
/// milliseconds.
pub const DRIFT_MS_MAX: u64 = 60_000;
/// How old the stored time of last use may be, in milliseconds, so that reading does not write each time.
pub const TOUCH_MS: u64 = 60_000;
/// How many secrets are checked at once: each takes a core and 19 MiB for some 30 ms.
pub const CHECKS: usize = 2;
/// How many people may wait for their secret to be checked.
pub const CHECKS_WAITING_MAX: usize = 64;
/// Characters of an address or a secret.
pub const INPUT_CHARS_MAX: usize = 1_024;

/// Signs people in. One for the whole process.
#[derive(Clone, Debug)]
pub struct Door {
    waits: Arc<Waits>,
    peers: Arc<Peers>,
    checks: Arc<Semaphore>,
    work: Arc<AtomicU64>,
    queue: Arc<Semaphore>,
}

/// A session that began.
#[derive(Clone)]
pub struct SignedIn {
    /// The bearer token. It is not stored and cannot be shown again.
    pub token: String,
    /// When the session ends at the latest, in stored form, as this box's clock stands now.
    pub expires_at: String,
    /// Who it is.
    pub person: Person,
}

impl fmt::Debug for SignedIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { expires_at, person, .. } = self;
        f.debug_struct("SignedIn").field("expires_at", expires_at).field("person", person).finish_non_exhaustive()
    }
}

/// Who makes a request.
#[derive(Clone, Debug)]
pub struct Visitor {
    /// The person.
    pub person: Person,
    /// The tenant of this edge.
    pub tenant: Uuid,
    /// The site of this edge.
    pub site: Uuid,
    /// When the session ends at the latest, in stored form, as this box's clock stands now.
    pub expires_at: String,
    /// The session's id.
    pub session: Uuid,
    token_hash: Vec<u8>,
}

/// A session as people see it; times are in stored form, as this box's clock stands now.
#[derive(Clone, Debug)]
pub struct SessionView {
    /// Its id, from which the token does not follow.
    pub id: Uuid,
    /// The person; `None` for whoever had an emergency code.
    pub user: Option<Uuid>,
    /// The person's name.
    pub name: String,
    /// Whether it is the one that asks.
    pub is_own: bool,
    /// Since when.
    pub created_at: String,
    /// When it was last used, give or take a minute.
    pub last_used_at: String,
    /// When it ends at the latest.
    pub expires_at: String,
}

/// Why somebody is not signed in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// The address or the secret is wrong; which of them is not told.
    #[error("the e-mail address or the PIN is wrong")]
    Wrong,
    /// The emergency code is wrong, used or revoked; which of them is not told.
    #[error("the emergency code is wrong, or was used already")]
    WrongCode,
    /// Too many wrong secrets, for this address.
    #[error("too many wrong tries: wait, or ask for a new PIN")]
    Wait {
        /// How long, in milliseconds.
        ms: u64,
    },
    /// Too many wrong tries, by this device.
    #[error("too many wrong tries came from this device: wait")]
    PeerWait {
        /// How long, in milliseconds.
        ms: u64,
    },
    /// Too many people at the door.
    #[error("too many people are signing in at once: try again")]
    Crowded,
    /// The edge is not able to.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl From<Wait> for SignInError {
    fn from(Wait { ms }: Wait) -> Self {
        Self::PeerWait { ms }
    }
}

impl Default for Door {
    fn default() -> Self {
        Self {
            waits: Arc::default(),
            peers: Arc::default(),
            checks: Arc::new(Semaphore::new(CHECKS)),
            work: Arc::default(),
            queue: Arc::new(Semaphore::new(CHECKS_WAITING_MAX)),
        }
    }
}

impl Door {
    /// Signs a person in by e-mail address, in any case, and secret. `peer` is where they ask from.
    ///
    /// # Errors
    /// [`SignInError`].
    pub async fn sign_in(&self, app: &App, peer: IpAddr, email: &str, secret: &str) -> Result<SignedIn, SignInError> {
        self.let_try(app, peer, self.try_secret(app, email, secret)).await
    }

    /// Begins a session with an emergency code, which is used up in the same moment. `peer` is where somebody asks from.
    ///
    /// # Errors
    /// [`SignInError`].
    pub async fn sign_in_by_code(&self, app: &App, peer: IpAddr, code: &str) -> Result<SignedIn, SignInError> {
        self.let_try(app, peer, self.try_code(app, code)).await
    }

    /// Counts a try to the device that it comes from, if it is a wrong one.
    async fn let_try(
        &self,
        app: &App,
        peer: IpAddr,
        attempt: impl Future<Output = Result<SignedIn, SignInError>>,
    ) -> Result<SignedIn, SignInError> {
        let is_wrong = |error: &SignInError| matches!(error, SignInError::Wrong | SignInError::WrongCode);
        self.peers.let_try(peer, app.clock.monotonic_ms(), attempt, is_wrong).await
    }

    /// How much work went into checking secrets, in KiB of memory times passes over them: what a try can be timed by.
    pub fn work(&self) -> u64 {
        self.work.load(Ordering::Relaxed)
    }

    async fn try_secret(&self, app: &App, email: &str, secret: &str) -> Result<SignedIn, SignInError> {
        let _place = self.queue.try_acquire().map_err(|_| SignInError::Crowded)?;
        let email = email.trim().to_lowercase();
        if email.len() > INPUT_CHARS_MAX || secret.len() > INPUT_CHARS_MAX {
            return Err(SignInError::Wrong);
        }
        let candidate = self.take_turn(app, email.clone()).await?;
        let right = self.check(candidate.verifier, secret.to_owned()).await;
        match candidate.person.filter(|_| right) {
            Some(person) => self.begin(app, email, person.id).await,
            None => {
                note_failure(app, candidate.known).await?;
                Err(SignInError::Wrong)
            }
        }
    }

    async fn try_code(&self, app: &App, code: &str) -> Result<SignedIn, SignInError> {
        let clock = app.clock;
        let code_hash = hash(&one_time_code::normal(code.get(..INPUT_CHARS_MAX).unwrap_or(code)));
        let work = move |connection: &mut Connection| -> Result<_, Refusal> {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let used = emergency_codes::use_up(&tx, &code_hash, &times::timestamp(clock.unix_ms()))?;
            let signed_in = match used {
                Some(code) => Some(begin(&tx, clock, Person::emergency(), Some(code))?),
                None => None,
            };
            tx.commit()?;
            Ok(signed_in)
        };
        app.db.write(work).await?.ok_or(SignInError::WrongCode)
    }

    async fn take_turn(&self, app: &App, email: String) -> Result<Candidate, SignInError> {
        let (waits, clock) = (Arc::clone(&self.waits), app.clock);
        let work = move |connection: &mut Connection| -> Result<_, Refusal> {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let candidate = candidate(&tx, &email)?;
            let set_at = candidate.verifier_set_at.as_deref();
            let turn = waits.take_turn(&tx, &email, set_at, clock.unix_ms(), clock.monotonic_ms())?;
            tx.commit()?;
            Ok((candidate, turn))
        };
        match app.db.write(work).await? {
            (candidate, Turn::Granted) => Ok(candidate),
            (_, Turn::Wait(ms)) => Err(SignInError::Wait { ms }),
        }
    }

    async fn check(&self, verifier: String, secret: String) -> bool {
        let Ok(_permit) = self.checks.acquire().await else { return false };
        let work = Arc::clone(&self.work);
        let check = move || {
            let Ok(verifier) = PasswordHash::new(&verifier) else { return false };
            work.fetch_add(Params::try_from(&verifier).map_or(0, |params| cost(&params)), Ordering::Relaxed);
            Argon2::default().verify_password(secret.as_bytes(), &verifier).is_ok()
        };
        tokio::task::spawn_blocking(check).await.unwrap_or(false)
    }

    async fn begin(&self, app: &App, email: String, user: Uuid) -> Result<SignedIn, SignInError> {
        let (waits, clock) = (Arc::clone(&self.waits), app.clock);
        let work = move |connection: &mut Connection| -> Result<_, Refusal> {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let signed_in = issue(&tx, clock, user)?;
            waits.clear(&tx, &email)?;
            tx.commit()?;
            Ok(signed_in)
        };
        Ok(app.db.write(work).await?)
    }
}

/// Begins a session for a person without asking for a secret: for the operator on the box.
///
/// # Errors
/// [`Refusal::NotEnrolled`], [`Refusal::MembershipEnded`], [`Refusal::Store`].
pub fn issue(tx: &Transaction<'_>, clock: Clock, user: Uuid) -> Result<SignedIn, Refusal> {
    let tenant = self_state::load(tx)?.tenant.ok_or(Refusal::NotEnrolled)?;
    let person = people::find(tx, tenant, user)?.ok_or(Refusal::MembershipEnded)?;
    begin(tx, clock, person, None)
}

/// Begins a session of a person, or, with an emergency code that is used up already, of nobody.
fn begin(tx: &Transaction<'_>, clock: Clock, person: Person, code: Option<Uuid>) -> Result<SignedIn, Refusal> {
    let tenant = self_state::load(tx)?.tenant.ok_or(Refusal::NotEnrolled)?;
    let age_ms = if code.is_some() { break_glass::AGE_MS_MAX } else { AGE_MS_MAX };
    let (steady_ms, token) = (clock.steady_ms(), base64url::encode(clock.random::<32>()));
    let steady = times::timestamp(steady_ms);
    let expires_at = times::timestamp(steady_ms.saturating_add(age_ms));
    sessions::remove_expired(tx, &steady, &times::timestamp(steady_ms.saturating_sub(IDLE_MS_MAX)))?;
    let (id, user, created_at) = (clock.uuid_v4(), person.user().unwrap_or_default(), steady.clone());
    let session = SessionRow { id, user, code, created_at, last_seen_at: steady, expires_at };
    sessions::insert(tx, &hash(&token), &session)?;
    let details = match code {
        Some(code) => audit::with_text("{}", break_glass::RESOURCE, &code.to_string()),
        None => "{}".to_owned(),
    };
    let event = Event { action: "login", resource_type: "session", resource: Some(id), details };
    let now = times::timestamp(clock.unix_ms());
    audit::record(tx, clock.uuid_v7(), &now, Some(tenant), person.user(), event)?;
    Ok(SignedIn { token, expires_at: told(clock, &session.expires_at), person })
}

/// Who a token belongs to; `None` when it belongs to nobody, has expired, or the person is no longer a member.
///
/// # Errors
/// [`Refusal::Store`].
pub async fn find(app: &App, token: &str) -> Result<Option<Visitor>, Refusal> {
    let now_ms = app.clock.steady_ms();
    let Some((visitor, last_seen_at)) = look(app, hash(token), now_ms).await? else { return Ok(None) };
    if last_seen_at < times::timestamp(now_ms.saturating_sub(TOUCH_MS)) {
        // A disk that takes no writes keeps nobody from reading.
        if let Err(error) = touch(app, visitor.token_hash.clone(), now_ms).await {
            tracing::warn!(%error, "the use of a session could not be noted");
            app.storage.notice(&error);
        }
    }
    Ok(Some(visitor))
}

/// Whether a visitor's session still lives. Asking does not keep it alive.
///
/// # Errors
/// [`Refusal::Store`].
pub async fn is_alive(app: &App, visitor: &Visitor) -> Result<bool, Refusal> {
    Ok(look(app, visitor.token_hash.clone(), app.clock.steady_ms()).await?.is_some())
}

/// Whose session has a token, and when it was last used.
async fn look(app: &App, token_hash: Vec<u8>, now_ms: u64) -> Result<Option<(Visitor, String)>, Refusal> {
    let clock = app.clock;
    let look = move |tx: &Transaction<'_>| -> Result<_, Refusal> {
        let Some(session) = sessions::find(tx, &token_hash)? else { return Ok(None) };
        if !lives(&session, now_ms) {
            return Ok(None);
        }
        let edge = self_state::load(tx)?;
        let Some((tenant, site)) = edge.tenant.zip(edge.site) else { return Ok(None) };
        let Some(person) = person_of(tx, tenant, &session)? else { return Ok(None) };
        let expires_at = told(clock, &session.expires_at);
        let visitor = Visitor { person, tenant, site, expires_at, session: session.id, token_hash };
        Ok(Some((visitor, session.last_seen_at)))
    };
    app.db.snapshot(look).await
}

fn lives(session: &SessionRow, now_ms: u64) -> bool {
    let now = times::timestamp(now_ms);
    let idle_until = times::shifted(&session.last_seen_at, i64::try_from(IDLE_MS_MAX).unwrap_or(i64::MAX));
    now < session.expires_at && now < idle_until
}

fn person_of(tx: &Connection, tenant: Uuid, session: &SessionRow) -> Result<Option<Person>, StoreError> {
    match session.code {
        Some(_) => Ok(Some(Person::emergency())),
        None => people::find(tx, tenant, session.user),
    }
}

/// The sessions of this edge that a visitor may see, the last used first: their own, and for who administers the tenant
/// everybody's.
///
/// # Errors
/// [`Refusal::Store`].
pub fn list(tx: &Connection, visitor: &Visitor, clock: Clock) -> Result<Vec<SessionView>, Refusal> {
    let mut views = Vec::new();
    for session in visible(tx, &visitor.person, visitor.session)? {
        if !lives(&session, clock.steady_ms()) {
            continue;
        }
        let Some(person) = person_of(tx, visitor.tenant, &session)? else { continue };
        views.push(SessionView {
            id: session.id,
            user: person.user(),
            name: person.name(),
            is_own: session.id == visitor.session,
            created_at: told(clock, &session.created_at),
            last_used_at: told(clock, &session.last_seen_at),
            expires_at: told(clock, &session.expires_at),
        });
    }
    Ok(views)
}

fn visible(tx: &Connection, person: &Person, own: Uuid) -> Result<Vec<SessionRow>, StoreError> {
    let all = sessions::list(tx)?.into_iter();
    Ok(all.filter(|session| session.id == own || person.oversees(session.user)).collect())
}

/// Ends a session that the visitor may see.
///
/// # Errors
/// [`Refusal::NotFound`] also for one that they may not see; [`Refusal::MembershipEnded`], [`Refusal::Store`].
pub async fn end(app: &App, visitor: &Visitor, id: Uuid) -> Result<(), Refusal> {
    let own = visitor.session;
    let end = move |tx: &Transaction<'_>, act: &Act| {
        let visible = visible(tx, &act.person, own)?;
        let session = visible.iter().find(|session| session.id == id).ok_or(Refusal::NotFound("session"))?;
        sessions::remove_by_id(tx, id)?;
        let details = match session.code {
            Some(code) => audit::with_text("{}", break_glass::RESOURCE, &code.to_string()),
            None => audit::with_text("{}", "of", &session.user.to_string()),
        };
        act.record(tx, Event { action: "logout", resource_type: "session", resource: Some(id), details })
    };
    action::perform(app, &visitor.person, end).await
}

/// Ends a visitor's session.
///
/// # Errors
/// [`Refusal::Store`].
pub async fn sign_out(app: &App, visitor: &Visitor) -> Result<(), Refusal> {
    let (clock, visitor) = (app.clock, visitor.clone());
    let work = move |connection: &mut Connection| -> Result<_, Refusal> {
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        sessions::remove(&tx, &visitor.token_hash)?;
        let (resource, details) = (Some(visitor.session), "{}".to_owned());
        let event = Event { action: "logout", resource_type: "session", resource, details };
        let now = times::timestamp(clock.unix_ms());
        audit::record(&tx, clock.uuid_v7(), &now, Some(visitor.tenant), visitor.person.user(), event)?;
        tx.commit()?;
        Ok(())
    };
    app.db.write(work).await
}

/// A moment of the steady clock as people's clocks show it, which agree with the box's.
fn told(clock: Clock, steady: &str) -> String {
    let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    let drift_ms = signed(clock.unix_ms()).saturating_sub(signed(clock.steady_ms()));
    if drift_ms.unsigned_abs() < DRIFT_MS_MAX { steady.to_owned() } else { times::shifted(steady, drift_ms) }
}

fn cost(params: &Params) -> u64 {
    u64::from(params.m_cost()) * u64::from(params.t_cost())
}

struct Candidate {
    /// The person, if they may sign in here.
    person: Option<Person>,
    /// The person behind the address, whether they may or not.
    known: Option<(Uuid, Uuid)>,
    verifier: String,
    verifier_set_at: Option<String>,
}

fn candidate(tx: &Connection, email: &str) -> Result<Candidate, Refusal> {
    let edge = self_state::load(tx)?;
    let (tenant, site) = edge.tenant.zip(edge.site).ok_or(Refusal::NotEnrolled)?;
    let person = people::find_by_email(tx, tenant, email)?;
    let known = person.as_ref().map(|person| (tenant, person.id));
    let credential = match &person {
        Some(person) => sync::sqlite::people::credential(tx, site, person.id)?,
        None => None,
    };
    Ok(match credential {
        Some(credential) => {
            Candidate { person, known, verifier: credential.verifier, verifier_set_at: Some(credential.updated_at) }
        }
        None => Candidate { person: None, known, verifier: NOBODYS_VERIFIER.to_owned(), verifier_set_at: None },
    })
}

/// The verifier of a secret that nobody knows, as costly as everybody's.
const NOBODYS_VERIFIER: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IHNpZ25zIGlu$Q+lWjgOuEIVnhwzoun+wA9qx+rg/xSYFXrp5vLJzKjs";

/// Writes a failed sign-in down. One with an address that nobody has is counted with the lockouts alone: whoever
/// guesses addresses would otherwise fill the disk with records.
async fn note_failure(app: &App, known: Option<(Uuid, Uuid)>) -> Result<(), Refusal> {
    let Some((tenant, user)) = known else { return Ok(()) };
    let clock = app.clock;
    let work = move |connection: &mut Connection| -> Result<_, Refusal> {
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let event =
            Event { action: "login_failed", resource_type: "session", resource: None, details: "{}".to_owned() };
        let now = times::timestamp(clock.unix_ms());
        audit::record(&tx, clock.uuid_v7(), &now, Some(tenant), Some(user), event)?;
        tx.commit()?;
        Ok(())
    };
    app.db.write(work).await
}

async fn touch(app: &App, token_hash: Vec<u8>, now_ms: u64) -> Result<(), StoreError> {
    let work = move |connection: &mut Connection| -> Result<_, StoreError> {
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        sessions::touch(&tx, &token_hash, &times::timestamp(now_ms))?;
        tx.commit()?;
        Ok(())
    };
    app.db.write(work).await
}

/// What is kept of a token or a code.
pub(crate) fn hash(token: &str) -> Vec<u8> {
    digest::digest(&digest::SHA256, token.as_bytes()).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobodys_verifier_is_checked_like_any_other() {
        let verifier = PasswordHash::new(NOBODYS_VERIFIER).unwrap();
        let error = Argon2::default().verify_password(b"123456", &verifier).unwrap_err();
        assert_eq!(error, argon2::password_hash::Error::PasswordInvalid);
    }
}
