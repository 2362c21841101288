//! Writes by people whose access had ended when they wrote.
//!
//! An edge that was offline lets a person work whose membership is over. What they wrote before that is taken; what they
//! wrote after it is kept for somebody to decide about. Which came first is told by stamps, so a box whose clock is behind
//! is believed.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::Transaction;
use uuid::Uuid;

use super::apply::{Fate, Work};
use super::batch::Refusal;
use super::bisect::Planned;
use super::candidates::Candidate;
use super::error::StoreError;
use crate::merge::clock::{Dot, Hlc};
use crate::wire::canonical;
use crate::wire::refusals;

/// Somebody whose membership of the tenant is over.
struct Ended {
    at: Hlc,
    email: String,
}

/// Takes out what people wrote after their membership had ended or been suspended.
pub(super) async fn refuse(
    tx: &Transaction<'_>,
    work: &mut Work<'_>,
    candidates: &[Candidate],
    planned: Vec<Planned>,
) -> Result<Vec<Planned>, StoreError> {
    let candidates: BTreeMap<usize, &Candidate> = candidates.iter().map(|one| (one.index, one)).collect();
    let written = |planned: &Planned| candidates.get(&planned.index).map(|one| one.written()).unwrap_or_default();
    let people: BTreeSet<Uuid> = planned.iter().flat_map(written).filter_map(|dot| Some(dot.by?.0)).collect();
    // The operators know whose write they release.
    if people.is_empty() || work.release.is_some() {
        return Ok(planned);
    }
    let ended = ended(tx, work.edge.tenant, &people.into_iter().collect::<Vec<_>>()).await?;
    let mut kept = Vec::new();
    for one in planned {
        let late = |dot: &Dot| ended.get(&dot.by?.0).filter(|person| dot.hlc > person.at);
        match written(&one).iter().find_map(late) {
            Some(person) => {
                work.fates.insert(one.index, Fate::Refused(refusal(person)));
            }
            None => kept.push(one),
        }
    }
    Ok(kept)
}

fn refusal(person: &Ended) -> Refusal {
    let micros = i64::try_from(person.at.unix_ms()).unwrap_or(i64::MAX).saturating_mul(1000);
    let at = canonical::timestamp_from_micros(micros).unwrap_or_default();
    let (at, _) = at.split_once('.').unwrap_or((&at, ""));
    let reason = format!("the access of {} had ended when this was written (at {at}Z)", person.email);
    Refusal { code: refusals::PERSON_REVOKED, reason }
}

impl Candidate {
    /// The writes that the push brings.
    fn written(&self) -> Vec<Dot> {
        let seen = self.known.as_ref().map(|row| &row.version.vv);
        let new = |dot: &&Dot| seen.is_none_or(|seen| !seen.covers(dot));
        self.push.version.dots.iter().filter(new).copied().collect()
    }
}

/// Those of the people who once were members of the tenant and are no more, or are suspended, and since when.
async fn ended(tx: &Transaction<'_>, tenant: Uuid, people: &[Uuid]) -> Result<BTreeMap<Uuid, Ended>, StoreError> {
    let statement = "
      select past.user_id, max(past.hlc), coalesce(max(person.email), past.user_id::text)
      from (
        select membership.user_id, (coalesce(version.dots -> 'status', version.dots -> '*') ->> 2)::bigint as hlc
        from public.user_tenant_associations as membership
        join sync.row_versions as version
          on version.tenant_id = $1 and version.table_id = 3 and version.row_id = membership.id
        where membership.tenant_id = $1 and membership.user_id = any($2) and membership.status = 'suspended'
        union all
        select (version.last_row ->> 'user_id')::uuid, (version.dots -> '-' ->> 2)::bigint
        from sync.row_versions as version
        where version.tenant_id = $1 and version.table_id = 3 and version.last_row ->> 'user_id' = any($3)
      ) as past
      left join public.users as person on person.id = past.user_id
      where not exists (
        select from public.user_tenant_associations as present
        where present.tenant_id = $1 and present.user_id = past.user_id and present.status <> 'suspended'
      )
      group by past.user_id";
    let names: Vec<String> = people.iter().map(|id| id.hyphenated().to_string()).collect();
    let rows = tx.query(statement, &[&tenant, &people, &names]).await?;
    let ended = |row: &tokio_postgres::Row| {
        let at = Hlc(row.get::<_, Option<i64>>(1).unwrap_or_default().cast_unsigned());
        (row.get(0), Ended { at, email: row.get(2) })
    };
    Ok(rows.iter().map(ended).collect())
}
