//! How this edge stands: what the link says of itself, and what the database knows.

use serde::Serialize;
use sync::sqlite::error::StoreError;
use sync::sqlite::{self_state, status};
use utoipa::ToSchema;

use crate::App;
use crate::page_tls::{Standing, Visits};
use crate::sync_handle::{Link, LinkState};
use crate::times;
use crate::trust::Transport;

/// How this edge stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Status {
    /// `unenrolled`, `online`, `offline`, `hydrating`, `stuck`, `revoked` or `upgrade_hub`.
    #[schema(pattern = "^(unenrolled|online|offline|hydrating|stuck|revoked|upgrade_hub)$", example = "online")]
    pub state: &'static str,
    /// Whether both sides are known to have all of each other.
    pub in_sync: bool,
    /// Rows with writes that the hub has not acknowledged.
    pub pending: u64,
    /// When the hub last answered, in stored form.
    #[schema(format = DateTime)]
    pub last_exchange_at: Option<String>,
    /// What went wrong last; null after a success.
    pub last_error: Option<String>,
    /// The hub's clock less ours.
    pub hub_time_offset_ms: Option<i64>,
    /// Conflicts that nobody decided.
    pub conflicts_open: u64,
    /// Rows that were refused, here or at the hub.
    pub quarantined: u64,
    /// How the box's disk takes writes: `ok`, `full`, `read_only` or `failing`. Reading goes on in any case, and sending
    /// what waits also when it is full.
    #[schema(pattern = "^(ok|full|read_only|failing)$", example = "ok")]
    pub storage: &'static str,
    /// How what is exchanged with the hub is kept from others: `tls`, `loopback` (it does not leave the box), `plain_http` (it
    /// is not: that was allowed), or `none` when there is no hub.
    #[schema(pattern = "^(tls|loopback|plain_http|none)$", example = "tls")]
    pub transport: &'static str,
    /// How this edge's pages are kept from others on the site's network: `tls`, `loopback` (they are served within the box
    /// alone), `plain_http` (they are not: that was allowed), or `no_certificate` (nobody else is served yet).
    #[schema(pattern = "^(tls|loopback|plain_http|no_certificate)$", example = "tls")]
    pub pages: &'static str,
    /// When the certificate of the pages ends, in stored form.
    #[schema(format = DateTime)]
    pub pages_certificate_ends_at: Option<String>,
}

/// How this edge stands now.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub async fn load(app: &App) -> Result<Status, StoreError> {
    let link = app.sync.link();
    let read =
        |tx: &rusqlite::Transaction<'_>| -> Result<_, StoreError> { Ok((self_state::load(tx)?, status::counts(tx)?)) };
    let (edge, counts) = app.db.snapshot(read).await?;
    // The box's clock may have been set since the hub said what time it is.
    let offset_ms = link.hub_time_offset_ms(app.clock.unix_ms(), app.clock.monotonic_ms());
    let hub = app.config.hub.as_deref().or(edge.hub_url.as_deref());
    let transport = hub.and_then(Transport::to).map_or("none", Transport::name);
    let Link { state, caught_up, last_exchange_ms, last_error, .. } = link;
    let Standing { visits, certificate } = app.pages.standing();
    let ends_ms =
        certificate.filter(|_| visits == Visits::Tls).map(|one| u64::try_from(one.ends_ms).unwrap_or_default());
    // The link knows of nothing before this process began; the database does.
    Ok(Status {
        state: if edge.is_enrolled() { name(state) } else { name(LinkState::Unenrolled) },
        in_sync: state == LinkState::Online && caught_up && counts.nothing_waits(),
        pending: counts.rows_pending,
        last_exchange_at: last_exchange_ms.map(times::timestamp).or(edge.last_exchange_at),
        last_error: last_error.or(edge.last_error),
        hub_time_offset_ms: offset_ms.or(edge.clock_offset_ms),
        conflicts_open: counts.conflicts_open,
        quarantined: counts.quarantined,
        storage: app.storage.condition().name(),
        transport,
        pages: match visits {
            Visits::Tls if ends_ms.is_none() => "no_certificate",
            Visits::Tls => "tls",
            Visits::Loopback => "loopback",
            Visits::Plain => "plain_http",
        },
        pages_certificate_ends_at: ends_ms.map(times::timestamp),
    })
}

fn name(state: LinkState) -> &'static str {
    match state {
        LinkState::Unenrolled => "unenrolled",
        LinkState::Offline => "offline",
        LinkState::Online => "online",
        LinkState::Hydrating => "hydrating",
        LinkState::Stuck => "stuck",
        LinkState::Revoked => "revoked",
        LinkState::UpgradeHub => "upgrade_hub",
    }
}
