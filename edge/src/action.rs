//! One action of a person: one transaction, on their behalf, with the rights that they have at that moment.

use rusqlite::{Transaction, TransactionBehavior};
use sync::merge::ids::PersonId;
use sync::sqlite::self_state;
use uuid::Uuid;

use crate::App;
use crate::audit::{self, Event};
use crate::clock::Clock;
use crate::people::Person;
use crate::refusal::Refusal;
use crate::times;

/// Who acts, where and when.
#[derive(Clone, Debug)]
pub struct Act {
    /// Who, for what they may do.
    pub person: Person,
    /// Whose name the writes carry; `None` for nobody of the tenant, such as the operator of the box.
    pub author: Option<Uuid>,
    /// The tenant of this edge.
    pub tenant: Uuid,
    /// The site of this edge.
    pub site: Uuid,
    /// When, in stored form; one moment for the whole action.
    pub now: String,
    clock: Clock,
}

impl Act {
    /// An id for a new row.
    pub fn new_id(&self) -> Uuid {
        self.clock.uuid_v7()
    }

    /// When, in stored form, for what is kept for a time: no jump of the box's clock makes it older or newer.
    pub fn steady_now(&self) -> String {
        times::timestamp(self.clock.steady_ms())
    }

    /// Random bytes fit for secrets.
    pub fn random<const N: usize>(&self) -> [u8; N] {
        self.clock.random()
    }

    /// Writes down what was done, and by whom when it was nobody of the tenant.
    ///
    /// # Errors
    /// [`Refusal::Store`].
    pub fn record(&self, tx: &Transaction<'_>, mut event: Event) -> Result<(), Refusal> {
        if self.author.is_none() {
            event.details = audit::with_text(&event.details, "by", &self.person.email);
        }
        let id = self.clock.uuid_v7();
        Ok(audit::record(tx, id, &self.now, Some(self.tenant), self.author, event)?)
    }
}

/// Does what `job` does, as one transaction in the name of a person. When the job refuses, nothing has happened.
///
/// # Errors
/// What the job says; [`Refusal::MembershipEnded`], [`Refusal::NotEnrolled`] and [`Refusal::Store`].
pub async fn perform<T: Send + 'static>(
    app: &App,
    person: &Person,
    job: impl FnOnce(&Transaction<'_>, &Act) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    run(app, person.clone(), job).await
}

/// Does what `job` does for the operator of the box, who may do everything and is nobody of the tenant.
///
/// # Errors
/// What the job says; [`Refusal::NotEnrolled`] and [`Refusal::Store`].
pub async fn perform_for_operator<T: Send + 'static>(
    app: &App,
    job: impl FnOnce(&Transaction<'_>, &Act) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    run(app, Person::operator(), job).await
}

async fn run<T: Send + 'static>(
    app: &App,
    person: Person,
    job: impl FnOnce(&Transaction<'_>, &Act) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    if !app.storage.has_room() {
        return Err(Refusal::DiskFull);
    }
    let clock = app.clock;
    let work = move |connection: &mut rusqlite::Connection| {
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let edge = self_state::load(&tx)?;
        let (tenant, site) = edge.tenant.zip(edge.site).ok_or(Refusal::NotEnrolled)?;
        let person = person.as_of_now(&tx, tenant)?;
        let author = person.user();
        let act = Act { person, author, tenant, site, now: times::timestamp(clock.unix_ms()), clock };
        self_state::set_actor(&tx, author.map(PersonId))?;
        let done = job(&tx, &act)?;
        self_state::set_actor(&tx, None)?;
        tx.commit()?;
        Ok(done)
    };
    let done = app.db.write(work).await;
    if let Err(Refusal::Store(error)) = &done {
        app.storage.notice(error);
    }
    done
}
