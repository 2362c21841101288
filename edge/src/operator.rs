//! What the operator of the box may ask, carried out.
//!
//! The control socket and the commands perform the same requests here, so that it makes no difference whether an edge
//! runs. The operator acts as nobody of the tenant, whose writes carry no person and whose audit records say so, or as
//! the person that they name: whoever may write to the box's files could do that in other ways as well.

use rusqlite::{Connection, Transaction, TransactionBehavior};
use sync::sqlite::error::StoreError;
use sync::sqlite::reidentify;
use sync::sqlite::self_state::{self, SelfState};
use sync::wire::message::{FORMER_MAX, FormerEdge};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::action::{self, Act};
use crate::clock::Clock;
use crate::control::{Answer, Decision, Request};
use crate::credential::Credential;
use crate::data_dir::{DataDir, passed_credential};
use crate::key_pair::KeyPair;
use crate::people::{self, Person};
use crate::refusal::{Mistake, Refusal};
use crate::trust::{Transport, Trust};
use crate::{App, break_glass, conflicts, hub_client, quarantine, sessions, status};

/// Performs a request. The last answer is any but progress; a caller that went away changes nothing.
pub async fn perform(app: App, request: Request, answers: mpsc::Sender<Answer>) {
    let answer = match request {
        Request::Status => status::load(&app).await.map_or_else(failed, |status| json(&status)),
        Request::Sync => sync(&app, &answers).await,
        Request::Verify => verify(&app).await,
        Request::Enroll { hub, code, ca } => enroll(&app, &hub, &code, ca).await,
        Request::Token { email } => token(&app, email).await.map_or_else(failed, Answer::Token),
        Request::DecideConflict { id, decision, email } => {
            decide(&app, id, decision, email).await.map_or_else(failed, |()| Answer::Done)
        }
        Request::NewEmergencyCodes { count } => {
            let made = action::perform_for_operator(&app, move |tx, act| break_glass::make(tx, act, count));
            made.await.map_or_else(failed, Answer::EmergencyCodes)
        }
        Request::RevokeEmergencyCode(id) => {
            let revoked = action::perform_for_operator(&app, move |tx, act| break_glass::revoke(tx, act, id));
            revoked.await.map_or_else(failed, |()| Answer::Done)
        }
        Request::DiscardRefused(id) => {
            let discarded = action::perform_for_operator(&app, move |tx, act| quarantine::discard(tx, act, id));
            discarded.await.map_or_else(failed, |()| Answer::Done)
        }
    };
    // Whoever asked may have gone.
    let _ = answers.send(answer).await;
}

/// Trades a one-time code for an identity at a hub. Nothing is kept here yet.
///
/// # Errors
/// In words for a person: a wrong or used code, a hub that does not answer, an address that is no hub's.
pub async fn trade(clock: Clock, hub: &str, trust: Trust, code: &str) -> Result<Credential, String> {
    trade_as(clock, hub, trust, code, None).await
}

async fn trade_as(
    clock: Clock,
    hub: &str,
    trust: Trust,
    code: &str,
    former: Option<&SelfState>,
) -> Result<Credential, String> {
    let hub = hub.trim_end_matches('/');
    let was = former.map(|state| FormerEdge {
        tenant: state.tenant.unwrap_or_default(),
        replicas: state.own().iter().take(FORMER_MAX).map(|replica| replica.0).collect(),
        fence: state.fence.clone(),
        incarnation: state.incarnation,
    });
    let key = KeyPair::generate(clock);
    let identity =
        hub_client::enroll(clock, hub, &trust, (code, &key), was).await.map_err(|error| error.to_string())?;
    // A hub that shows no certificate has nothing to pin.
    let ca = trust.ca.filter(|_| Transport::to(hub) == Some(Transport::Tls));
    Ok(Credential { hub: hub.to_owned(), ca, key: Some(key), follows: former.and_then(|state| state.edge), identity })
}

/// Takes an identity: keeps the credential, then tells the database and the sync loop.
pub async fn adopt(app: &App, credential: Credential) -> Answer {
    let path = DataDir::new(&app.config.data).own_credential();
    if let Err(error) = credential.store(&path) {
        return failed(error);
    }
    let Credential { hub, ca: _, key: _, follows, identity } = credential;
    let (name, tenant, site) = (identity.name.clone(), identity.tenant, identity.site);
    let work = move |connection: &mut Connection| -> Result<(), StoreError> {
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        match follows {
            Some(_) => reidentify::enroll_again(&tx, &identity, &hub)?,
            None => self_state::enrolled(&tx, &identity, &hub)?,
        }
        tx.commit()?;
        Ok(())
    };
    if let Err(error) = app.db.write(work).await {
        return failed(error);
    }
    app.sync.enrolled().await;
    Answer::Enrolled { name, tenant, site }
}

async fn enroll(app: &App, hub: &str, code: &str, ca: Option<String>) -> Answer {
    if let Some(passed) = passed_credential() {
        return failed(format!(
            "systemd passes this edge's credential as {}, which enrolment cannot replace: take LoadCredential= out of the \
             unit, start the edge and enrol it, then give the new credential.json to the unit",
            passed.display()
        ));
    }
    // What the hub said of the time does not count here: whoever brings a code stands at the box and sees its clock.
    let trust = Trust { ca, plain_http: app.config.plain_http, hub_ms: None };
    match app.db.read(|connection| self_state::load(connection)).await {
        Ok(state) if state.is_enrolled() => match enroll_again(app, hub, trust, code, &state).await {
            Ok(credential) => adopt(app, credential).await,
            Err(why) => failed(why),
        },
        Ok(_) => match trade(app.clock, hub, trust, code).await {
            Ok(credential) => adopt(app, credential).await,
            Err(why) => failed(why),
        },
        Err(error) => failed(error),
    }
}

/// A second identity for an edge that has one: only when the hub refuses that, because it was restored from a backup which is
/// older than the edge, or has revoked it. The edge's work stays.
async fn enroll_again(app: &App, hub: &str, trust: Trust, code: &str, state: &SelfState) -> Result<Credential, String> {
    let known = Credential::load(&DataDir::new(&app.config.data).credential()).map_err(|error| error.to_string())?;
    // The CA that it was enrolled with is trusted until another one is given.
    let trust = Trust { ca: trust.ca.or_else(|| known.as_ref()?.ca.clone()), ..trust };
    let refused = match &known {
        None => true,
        Some(known) => hub_client::refuses(app.clock, hub, &trust, known).await.map_err(|error| error.to_string())?,
    };
    if !refused {
        let name = state.edge_name.as_deref().unwrap_or_default();
        let at = state.hub_url.as_deref().unwrap_or_default();
        return Err(format!("this edge is enrolled already, as {name} at {at}: give another --data for another edge"));
    }
    trade_as(app.clock, hub, trust, code, Some(state)).await
}

/// Exchanges now, and says how far it is on the way.
async fn sync(app: &App, answers: &mpsc::Sender<Answer>) -> Answer {
    let mut link = app.sync.watch();
    let mut shown = link.borrow_and_update().progress;
    let exchange = app.sync.sync_now();
    tokio::pin!(exchange);
    let exchanged = loop {
        tokio::select! {
            exchanged = &mut exchange => break exchanged,
            Ok(()) = link.changed() => {
                let progress = link.borrow_and_update().progress;
                if std::mem::replace(&mut shown, progress) != progress {
                    // A client that reads slowly misses some of it.
                    let _ = answers.try_send(Answer::Progress(progress));
                }
            }
        }
    };
    exchanged.map_or_else(failed, |()| Answer::Done)
}

/// What waits is exchanged first, so that only what should not differ is found.
async fn verify(app: &App) -> Answer {
    match app.sync.sync_now().await {
        Ok(()) => app.sync.verify().await.map_or_else(failed, Answer::Verified),
        Err(why) => failed(why),
    }
}

async fn token(app: &App, email: String) -> Result<String, Refusal> {
    let clock = app.clock;
    let work = move |connection: &mut Connection| -> Result<String, Refusal> {
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let tenant = self_state::load(&tx)?.tenant.ok_or(Refusal::NotEnrolled)?;
        let person = named(&tx, tenant, &email)?;
        let signed_in = sessions::issue(&tx, clock, person.id)?;
        tx.commit()?;
        Ok(signed_in.token)
    };
    app.db.write(work).await
}

/// The person of the tenant with an address.
fn named(tx: &Connection, tenant: Uuid, email: &str) -> Result<Person, Refusal> {
    let unknown = || format!("nobody with an active membership of this tenant has the address {email:?}");
    let nobody = || Refusal::invalid("email", Mistake::Reference, unknown());
    people::find_by_email(tx, tenant, email)?.ok_or_else(nobody)
}

async fn decide(app: &App, id: Uuid, decision: Decision, email: Option<String>) -> Result<(), Refusal> {
    let job = move |tx: &Transaction<'_>, act: &Act| match decision {
        Decision::Restore => conflicts::restore(tx, act, id),
        Decision::Dismiss => conflicts::dismiss(tx, act, id),
    };
    let Some(email) = email else {
        return action::perform_for_operator(app, job).await.map(drop);
    };
    let find = move |connection: &mut Connection| {
        let tenant = self_state::load(connection)?.tenant.ok_or(Refusal::NotEnrolled)?;
        named(connection, tenant, &email)
    };
    let person = app.db.read(find).await?;
    action::perform(app, &person, job).await.map(drop)
}

fn json(status: &impl serde::Serialize) -> Answer {
    serde_json::to_value(status).map_or_else(failed, Answer::Status)
}

fn failed(why: impl std::fmt::Display) -> Answer {
    Answer::Failed(why.to_string())
}
