//! A comparison with the centre, carried out: one question to the hub a step, and what its answer changes here.
//!
//! What is asked next is the comparison's own to say ([`sync::sqlite::comparison`]). One that is dropped in the middle has
//! changed only rows that it had settled; the next one begins anew. Nothing is compared while a push is unanswered.

use std::sync::Arc;

use rusqlite::Connection;
use sync::merge::ids::ReplicaId;
use sync::sqlite::comparison::{Comparison, Terms};
use sync::sqlite::error::StoreError;
use sync::sqlite::outbox;
use sync::sqlite::reconcile::{self, Theirs};
use sync::wire::message::PullRow;
use sync::wire::recovery::Difference;
use sync::wire::stream::Writer;

use crate::exchange::{Exchange, StepError};

/// Bytes of one offer, before compression.
const OFFER_BYTES_MAX: usize = 512 * 1024;

impl Exchange {
    /// Asks for a comparison with the next hello.
    ///
    /// # Errors
    /// [`StepError`].
    pub async fn ask_comparison(&self) -> Result<(), StepError> {
        Ok(self.app.db.write(reconcile::ask).await?)
    }

    /// Begins a comparison, when what is in flight was answered: the centre may have taken it, and forgotten since that such a
    /// row was deleted. Compared before that, the row would stay because it waits, and wait no more when the answer comes.
    ///
    /// # Errors
    /// [`StepError`].
    pub async fn begin_comparison(&self, terms: Terms) -> Result<Comparison, StepError> {
        let reconcile = terms.reconcile.clone();
        let work = move |connection: &mut Connection| {
            reconcile::begin(connection, &reconcile)?;
            outbox::load(connection)
        };
        if self.app.db.write(work).await?.is_some() {
            self.push().await?;
        }
        Ok(self.app.db.read(move |connection: &mut Connection| Comparison::new(connection, terms)).await?)
    }

    /// Makes one step; says whether it was the last.
    ///
    /// # Errors
    /// [`StepError`]; the comparison can be begun anew then.
    pub async fn compare(&self, mut comparison: Comparison) -> Result<(Comparison, bool), StepError> {
        let Some(asked) = comparison.question() else {
            self.complete(&comparison).await?;
            return Ok((comparison, true));
        };
        let (answer, bytes) = self.hub.digest(&asked).await?;
        let read = move |connection: &mut Connection| -> Result<_, StoreError> {
            let theirs = comparison.handle_answer(connection, answer, bytes)?;
            Ok((comparison, theirs))
        };
        let (mut comparison, theirs) = self.app.db.read(read).await?;
        if !theirs.is_empty() {
            let proof = comparison.proof().map(str::to_owned);
            let Some(differences) = self.settle(theirs, comparison.lost(), proof).await? else {
                return Err(self.note_fork());
            };
            comparison.note(differences);
        }
        Ok((comparison, false))
    }

    /// Settles rows that differ. What is to be offered is at the hub before anything here is replaced: whatever somebody writes
    /// to meanwhile is offered again.
    async fn settle(
        &self,
        mut theirs: Vec<Theirs>,
        lost: Vec<ReplicaId>,
        proof: Option<String>,
    ) -> Result<Option<Vec<Difference>>, StepError> {
        let basis = Arc::new((lost, proof));
        let mut differences = Vec::new();
        loop {
            let given = Arc::clone(&basis);
            let read = move |connection: &mut Connection| -> Result<_, StoreError> {
                let offers = reconcile::offers(connection, &theirs, &given.0)?;
                Ok((theirs, offers))
            };
            let (rows, offered) = self.app.db.read(read).await?;
            self.offer(&offered).await?;
            let (now_ms, given) = (self.app.clock.unix_ms(), Arc::clone(&basis));
            let work = move |connection: &mut Connection| {
                reconcile::store(connection, (&rows, &offered), (&given.0, given.1.as_deref()), now_ms)
            };
            let Some(settled) = self.app.db.write(work).await? else { return Ok(None) };
            differences.extend(settled.differences);
            if settled.rewritten.is_empty() {
                return Ok(Some(differences));
            }
            theirs = settled.rewritten;
        }
    }

    async fn offer(&self, offers: &[PullRow]) -> Result<(), StepError> {
        let mut writer = Writer::default();
        for row in offers {
            writer.line(row)?;
            if writer.len() > OFFER_BYTES_MAX {
                self.hub.offer(std::mem::take(&mut writer).finish()?).await?;
            }
        }
        if !writer.is_empty() {
            self.hub.offer(writer.finish()?).await?;
        }
        Ok(())
    }

    async fn complete(&self, comparison: &Comparison) -> Result<(), StepError> {
        self.hub.verified(comparison.found()).await?;
        let comparison = comparison.clone();
        Ok(self.app.db.write(move |connection: &mut Connection| comparison.complete(connection)).await?)
    }
}
