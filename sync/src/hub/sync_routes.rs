//! The protocol's routes: know the edge, read a body, ask `pg`, write a body. Nothing is decided here but who is told
//! what.
//!
//! A body is read only when the credential in the request's head is an edge's; the one of `enroll`, which has none, has
//! room for a code and no more.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;

use super::error::{Error, causes};
use super::recovery_routes::{Judged, adopted, judge, present};
use super::{Hub, clock, edge_auth};
use crate::merge::ids::ReplicaId;
use crate::merge::limits::{ENROLL_BYTES_MAX, LONG_POLL_MS, PUSH_BYTES_MAX};
use crate::pg::apply::{self, Moment, Receipt};
use crate::pg::cursor::{self, Cursor};
use crate::pg::edge_credentials::Caller;
use crate::pg::edges::{self, Edge, Enrolling, NewEdge};
use crate::pg::reach::Reach;
use crate::pg::{batch, digest, feed, fences, health, incarnation, ledger};
use crate::wire::base64url;
use crate::wire::message::{
    Enroll, Enrolled, FormerEdge, Hello, NDJSON, NONCE_HEADER, PROTOCOL, PROTOCOL_HEADER, Page, Pull, PullEnd,
    PullLine, Verdict, Welcome,
};
use crate::wire::one_time_code;
use crate::wire::renewal;
use crate::wire::stream::{self, Writer};

/// The longest nonce that is echoed, in bytes.
const NONCE_BYTES_MAX: usize = 200;
/// How long a body may take to arrive, in milliseconds.
const BODY_MS_MAX: u64 = 60_000;

/// Checks what every request carries and echoes the nonce, so that no captive portal is taken for a hub.
pub(super) async fn speak(request: Request, next: Next) -> Response {
    let nonce = request.headers().get(NONCE_HEADER).filter(|nonce| nonce.len() <= NONCE_BYTES_MAX).cloned();
    let mut response = match check(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    response.headers_mut().insert(PROTOCOL_HEADER, HeaderValue::from(PROTOCOL));
    if let Some(nonce) = nonce {
        response.headers_mut().insert(NONCE_HEADER, nonce);
    }
    response
}

fn check(headers: &HeaderMap) -> Result<(), Error> {
    let said = headers.get(PROTOCOL_HEADER).and_then(|said| said.to_str().ok()).unwrap_or_default();
    if said != PROTOCOL.to_string() || !headers.contains_key(NONCE_HEADER) {
        return Err(Error::Protocol(said.chars().take(40).collect()));
    }
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if media_type.split(';').next().map(str::trim) != Some(NDJSON) {
        return Err(Error::MediaType);
    }
    Ok(())
}

/// `POST /sync/v1/enroll`: a one-time code for an identity.
pub(super) async fn enroll(
    State(hub): State<Hub>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    body: Body,
) -> Result<Response, Error> {
    let enroll: Enroll = stream::read_one(&read(body, ENROLL_BYTES_MAX).await?)?;
    hub.let_try(peer, enrolled(&hub, &enroll)).await
}

async fn enrolled(hub: &Hub, enroll: &Enroll) -> Result<Response, Error> {
    let id = clock::id();
    let malformed = || Error::Message("the key is no Ed25519 public key of 32 bytes".to_owned());
    let public_key = base64url::decode_exactly::<32>(&enroll.key).ok_or_else(malformed)?;
    let credential = renewal::credential(id, clock::random()?);
    let (code_hash, credential_hash) =
        (edge_auth::hash(&one_time_code::normal(&enroll.code)), edge_auth::hash(&credential));
    let mut client = hub.rows.get(Reach::Nobody).await?;
    let present = present(&mut client).await?;
    let former = enroll.former.as_ref();
    if let Some(FormerEdge { replicas, fence, .. }) = former {
        // Another centre has other numbers, and its own writes under those of this edge.
        let ours = |id: &u32| fences::is_sealed(&present.key, ReplicaId(*id), fence);
        if !replicas.first().is_some_and(ours) {
            return Err(Error::OtherCentre);
        }
    }
    let new =
        NewEdge { id, public_key: &public_key, credential_hash: &credential_hash, random: clock::random()?, former };
    let (edge, own) = match edges::enroll(&mut client, &present.key, &code_hash, new).await? {
        Enrolling::Enrolled(edge, own) => (*edge, own),
        Enrolling::Unknown => return Err(Error::UnknownCode),
        Enrolling::Used => return Err(Error::UsedCode),
        Enrolling::Expired => return Err(Error::ExpiredCode),
        Enrolling::NameTaken(name) => return Err(Error::NameTaken(name)),
        Enrolling::OtherTenant => return Err(Error::OtherTenant),
    };
    tracing::info!(edge = edge.name, replica = edge.replica.0, again = former.is_some(), "edge enrolled");
    if let Some(former) = former {
        adopted(&mut client, &present, &edge, former, &own).await?;
    }
    answer_one(&Enrolled {
        edge: edge.id,
        name: edge.name,
        replica: edge.replica.0,
        credential,
        tenant: edge.tenant,
        site: edge.site,
        fence: edge.fence,
        former: own.iter().map(|id| id.0).collect(),
    })
}

/// `POST /sync/v1/hello`: begins a session.
pub(super) async fn hello(State(hub): State<Hub>, edge: Edge, body: Body) -> Result<Response, Error> {
    let hello: Hello = read_one(body).await?;
    let mut client = hub.rows.get(Reach::Tenant(edge.tenant)).await?;
    let now_ms = clock::unix_ms();
    let Judged { verdict, incarnation, reconcile } = judge(&mut client, &edge, &hello).await?;
    let offset_ms = i64::try_from(hello.unix_ms).unwrap_or(i64::MAX).saturating_sub_unsigned(now_ms);
    if verdict == Verdict::Ok {
        fences::reported(&**client, ReplicaId(hello.replica), hello.seq).await?;
    }
    edges::greet(&**client, edge.id, (&hello.app_version, hello.schema), offset_ms).await?;
    edges::report(&**client, edge.id, &hello.report).await?;
    for finding in health::verify(&client).await?.iter().filter(|finding| finding.problem.is_error()) {
        tracing::error!(%finding, "writes at the centre may go unseen");
    }
    if verdict != Verdict::Ok {
        tracing::warn!(edge = edge.name, ?verdict, "a session does not simply go on");
    }
    answer_one(&Welcome {
        verdict,
        unix_ms: now_ms,
        directory: edges::directory(&**client, edge.tenant).await?,
        app_version: env!("CARGO_PKG_VERSION").to_owned(),
        incarnation: Some(incarnation.id),
        reconcile,
    })
}

/// `POST /sync/v1/push`: writes of an edge.
pub(super) async fn push(State(hub): State<Hub>, edge: Edge, body: Body) -> Result<Response, Error> {
    // The body is here and parsed before anything is locked: a slow sender holds nothing.
    let batch = batch::parse(&read(body, PUSH_BYTES_MAX).await?)?;
    let mut client = hub.rows.get(Reach::Tenant(edge.tenant)).await?;
    let moment = Moment { unix_ms: clock::unix_ms(), random: clock::random()? };
    let body = match apply::push(&mut client, edge.id, &batch, &moment).await? {
        Receipt::Answered(body) => body,
        Receipt::Fenced => return Err(Error::Fence),
        Receipt::Revoked => return Err(Error::Revoked(edge.name)),
    };
    if let Some(first) = batch.strange.first() {
        let (count, reason) = (batch.strange.len(), &first.refusal.reason);
        tracing::warn!(
            edge = edge.name,
            count,
            reason,
            "conflicts or audit records were set aside, see the quarantine"
        );
    }
    hub.wake.wake(edge.tenant);
    Ok(answer(body))
}

/// `POST /sync/v1/pull`: what the edge has not seen. Waits for something if it may.
pub(super) async fn pull(
    State(hub): State<Hub>,
    Caller { edge, is_due }: Caller,
    body: Body,
) -> Result<Response, Error> {
    let pull: Pull = read_one(body).await?;
    let until = clock::instant() + Duration::from_millis(pull.wait_ms.min(LONG_POLL_MS));
    let (edge, cursor, key) = {
        let client = hub.rows.get(Reach::Tenant(edge.tenant)).await?;
        let edge = edges::find_as(&**client, edge.id, ReplicaId(pull.replica)).await?.ok_or(Error::Fence)?;
        let unknown = || Error::Message("the cursor was not given to this edge by this hub; say hello".to_owned());
        let present = incarnation::present(&**client).await?;
        let mut cursor = open(pull.cursor.as_deref(), &present.key, &edge).ok_or_else(unknown)?;
        // What was read of a history that is no more says nothing about this one.
        let stale = is_stale(&cursor, &edge);
        let asked = pull.cursor.is_some() && (stale || digest::is_due(&**client, edge.id).await?);
        if asked
            || cursor.checkpoint.is_foreign(edge.replica.0, &edge.checkpoint)
            || present.moved
            || !cursor.incarnation.is_nil() && cursor.incarnation != present.id
        {
            return Err(Error::Fence);
        }
        cursor.incarnation = present.id;
        edges::report(&**client, edge.id, &pull.report).await?;
        ledger::unstorable(&**client, &edge, &pull.report.unstorable).await?;
        if let Some(start) = &cursor.start {
            edges::acknowledge_cursor(&**client, edge.id, &start.text()).await?;
            fences::acknowledge_cursor(&**client, edge.replica, &start.text()).await?;
        }
        (edge, cursor, present.key)
    };
    let mut woken = hub.wake.subscribe(edge.tenant);
    loop {
        woken.mark_unchanged();
        let page = hub.page(&edge, &cursor).await?;
        let more_to_wait = page.lines.is_empty() && page.complete && clock::instant() < until;
        if !more_to_wait || hub.is_stopping() {
            return hub.answer_page(&edge, &key, page, is_due).await;
        }
        if pull.cursor.is_some()
            && digest::is_asked(&**hub.rows.get(Reach::Tenant(edge.tenant)).await?, edge.id).await?
        {
            return Err(Error::Fence);
        }
        tokio::select! {
            _ = woken.changed() => {}
            () = tokio::time::sleep_until(until.into()) => {}
            () = hub.stopping() => {}
        }
    }
}

impl Hub {
    /// The feed's next page. Rows that cannot be sent are listed for the operators and stop nothing.
    async fn page(&self, edge: &Edge, cursor: &Cursor) -> Result<feed::Page, Error> {
        let mut client = self.rows.get(Reach::Tenant(edge.tenant)).await?;
        let page = feed::page(&mut client, edge, cursor).await?;
        if !page.unsendable.is_empty() {
            ledger::quarantine(&**client, edge.tenant, &page.unsendable).await?;
        }
        if !page.sendable.is_empty() {
            ledger::repaired(&**client, edge.tenant, &page.sendable).await?;
        }
        Ok(page)
    }

    async fn answer_page(&self, edge: &Edge, key: &[u8], page: feed::Page, renew: bool) -> Result<Response, Error> {
        let feed::Page { lines, cursor, complete, rows_total, replicas, .. } = page;
        let head = Page { unix_ms: clock::unix_ms(), rows_total, replicas, renew };
        let mut writer = Writer::default();
        writer.line(&PullLine::Page(head)).map_err(Error::Answer)?;
        for line in &lines {
            writer.line(line).map_err(Error::Answer)?;
        }
        let cursor = self.seal(edge, key, cursor).await?;
        let end = PullEnd { lines: lines.len() as u64, cursor, complete };
        writer.line(&PullLine::End(end)).map_err(Error::Answer)?;
        Ok(answer(writer.finish().map_err(Error::Answer)?))
    }

    /// A cursor as it leaves, with a checkpoint that is committed after all was read that it stands for: a centre that
    /// knows the checkpoint has all of it.
    pub(super) async fn seal(&self, edge: &Edge, key: &[u8], cursor: Cursor) -> Result<String, Error> {
        let client = self.rows.get(Reach::Tenant(edge.tenant)).await?;
        incarnation::settle(&**client).await?;
        let checkpoint = fences::checkpoint(&**client, edge.replica, clock::id()).await?;
        let sealed = cursor::seal(&Cursor { checkpoint, ..cursor }, key, edge.id, clock::random()?);
        sealed.map_err(|error| Error::Message(error.to_string()))
    }
}

/// An edge's cursor; `None` for one that this hub did not give to it.
pub(super) fn open(sealed: Option<&str>, key: &[u8], edge: &Edge) -> Option<Cursor> {
    sealed.map_or_else(|| Some(Cursor::default()), |sealed| cursor::open(sealed, key, edge.id).ok())
}

/// Whether deaths may be forgotten that whoever shows this cursor was not told of.
pub(super) fn is_stale(cursor: &Cursor, edge: &Edge) -> bool {
    edge.stale || cursor.checkpoint.is_before(edge.replica.0, edge.compared)
}

pub(super) async fn read(body: Body, bytes_max: usize) -> Result<Bytes, Error> {
    let arrived = tokio::time::timeout(Duration::from_millis(BODY_MS_MAX), to_bytes(body, bytes_max)).await;
    let slow = || Error::Message(format!("the body did not arrive within {BODY_MS_MAX} ms"));
    arrived.map_err(|_| slow())?.map_err(|error| {
        let causes = causes(&error);
        match causes.contains("length limit") {
            true => Error::TooLarge(format!("the body has more than {bytes_max} bytes; send it in parts")),
            false => Error::Message(format!("the body broke off: {causes}")),
        }
    })
}

pub(super) async fn read_one<T: DeserializeOwned>(body: Body) -> Result<T, Error> {
    Ok(stream::read_one(&read(body, PUSH_BYTES_MAX).await?)?)
}

pub(super) fn answer_one<T: serde::Serialize>(message: &T) -> Result<Response, Error> {
    Ok(answer(stream::write_one(message).map_err(Error::Answer)?))
}

pub(super) fn answer(body: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, NDJSON)], body).into_response()
}
