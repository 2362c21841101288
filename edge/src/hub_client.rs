//! The edge's side of the protocol over HTTP.
//!
//! Every request carries the protocol's version and a random nonce. An answer that does not echo them was not made by
//! a hub, whatever its status says: the link counts as down, and nothing of it is believed. No redirect is followed
//! and no proxy of the environment is used. Every wait and every body has an end. Who may be a hub, `trust` says; without
//! TLS only one on this box is spoken to, unless it was allowed.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, redirect};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sync::merge::limits::{BODY_BYTES_MAX, HEAD_MS_MAX, LONG_POLL_MS};
use sync::session::Failure;
use sync::wire::frames::{self, DigestAnswer, FrameError, PulledPage, PushAnswer};
use sync::wire::message::{
    Enroll, Enrolled, FormerEdge, Hello, NDJSON, NONCE_HEADER, PROTOCOL, PROTOCOL_HEADER, Pull, Welcome,
};
use sync::wire::pages::{AskCertificate, PageCertificate};
use sync::wire::problem::Problem;
use sync::wire::recovery::{Accepted, Digest, Offered, Reidentified, Reidentify, Verification};
use sync::wire::renewal::{AskChallenge, Challenge, Renew, Renewed};
use sync::wire::stream::{self, StreamError};
use tokio::time::timeout;
use uuid::Uuid;

use crate::budget::{Budget, UsedUp};
use crate::clock::Clock;
use crate::credential::Credential;
use crate::handshake::Trouble;
use crate::key_pair::KeyPair;
use crate::trust::{CertificateTime, Transport, Trust, TrustError};

/// How long a connection may take to come about, in milliseconds.
pub const CONNECT_MS_MAX: u64 = 10_000;
/// How long the hub may take to answer a request that it does not hold, and how long it may pause in an answer, in
/// milliseconds.
pub const SILENCE_MS_MAX: u64 = 20_000;
/// How long the hub may take to read what it is asked to compare, in milliseconds.
pub const COMPARING_MS_MAX: u64 = 60_000;
/// The slowest link on which a body is waited for, in bytes per second.
pub const BYTES_PER_SECOND_MIN: u64 = 1_000;
/// How long to stay away when the hub says that it has too much to do and not how long, in milliseconds.
pub const OVERLOADED_MS: u64 = 2_000;

/// How long a connection is kept for the next request, in milliseconds: shorter than the hub keeps it, so that none is
/// chosen which the hub is just closing.
pub const IDLE_MS_MAX: u64 = HEAD_MS_MAX / 2;

/// Why a hub did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// Nobody answers there, or the answer broke off.
    #[error("{url} cannot be reached: {reason}")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        reason: String,
    },
    /// TLS with the hub does not come about. What waits is kept, and sent when it does.
    #[error("{url}: {trouble}")]
    Tls {
        /// Where.
        url: String,
        /// Why.
        trouble: Box<Trouble>,
    },
    /// The hub is on another machine, and is not to be spoken to without TLS.
    #[error(
        "{0} is no https:// address, and what is exchanged could be read on the way: give the hub a certificate (`hub ca init`) and \
         its https:// URL, or set EDGE_PLAIN_HTTP=true for `edge serve` if the way is safe"
    )]
    PlainHttp(String),
    /// Whom to trust as the hub cannot be told.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// Somebody else answers there: a captive portal, a proxy, another server.
    #[error("something that is not the hub answered at {0}: sign in to this network, or check the address")]
    NotTheHub(String),
    /// Something on the way answers in the hub's place, and says that it cannot or will not pass the request on.
    #[error("a proxy before {url} answered {status}: {}", on_the_way(*.status))]
    OnTheWay {
        /// Where.
        url: String,
        /// What it answered.
        status: StatusCode,
        /// When to come back, in milliseconds, if it said so.
        after_ms: Option<u64>,
    },
    /// The hub does not know the credential or the code.
    #[error("{0}")]
    Unknown(String),
    /// The hub refuses the edge.
    #[error("{0}")]
    Revoked(String),
    /// The hub holds another fence token for this edge.
    #[error("the hub takes this edge for a copy, or was restored itself: {0}")]
    Fence(String),
    /// Nothing more may be exchanged today. Nothing was sent.
    #[error("{0}")]
    UsedUp(UsedUp),
    /// The hub asks to come back later.
    #[error("the hub cannot serve at the moment: {reason}")]
    Overloaded {
        /// When, in milliseconds.
        after_ms: u64,
        /// What it says.
        reason: String,
    },
    /// The hub does not take the request.
    #[error("the hub refused: {detail} ({code})")]
    Refused {
        /// Its stable code.
        code: String,
        /// What it says.
        detail: String,
    },
}

impl HubError {
    /// What it means for the session.
    pub fn failure(&self) -> Failure {
        match self {
            Self::UsedUp(used_up) => Failure::Overloaded(used_up.after_ms),
            Self::OnTheWay { after_ms: Some(after_ms), .. } => Failure::Overloaded(*after_ms),
            Self::Unreachable { .. }
            | Self::Tls { .. }
            | Self::PlainHttp(_)
            | Self::Trust(_)
            | Self::NotTheHub(_)
            | Self::OnTheWay { .. }
            | Self::Refused { .. } => Failure::Unreachable,
            Self::Revoked(_) => Failure::Revoked,
            // The next hello gets another credential.
            Self::Unknown(_) | Self::Fence(_) => Failure::Fenced,
            Self::Overloaded { after_ms, .. } => Failure::Overloaded(*after_ms),
        }
    }

    /// Whether it was the hub that said so.
    pub fn is_the_hubs(&self) -> bool {
        matches!(
            self,
            Self::Unknown(_) | Self::Revoked(_) | Self::Fence(_) | Self::Overloaded { .. } | Self::Refused { .. }
        )
    }
}

/// Speaks to one hub as one edge. Cheap to clone.
#[derive(Clone)]
pub struct HubClient {
    http: Client,
    hub: String,
    transport: Option<Transport>,
    is_pinned: bool,
    time: CertificateTime,
    authorization: Arc<RwLock<Option<HeaderValue>>>,
    clock: Clock,
    budget: Option<Arc<Budget>>,
}

/// Trades a one-time code for an identity with a key pair; `former` is who asks, if it has work already.
///
/// # Errors
/// [`HubError`].
pub async fn enroll(
    clock: Clock,
    hub: &str,
    trust: &Trust,
    (code, key): (&str, &KeyPair),
    former: Option<FormerEdge>,
) -> Result<Enrolled, HubError> {
    let client = HubClient::new(clock, hub, trust, None)?;
    let app_version = env!("CARGO_PKG_VERSION").to_owned();
    let enroll = Enroll { code: code.to_owned(), app_version, key: key.public(), former };
    client.ask_one("enroll", &enroll).await
}

/// Asks whether a hub refuses an edge: its credential, and its key. Nothing is changed there.
///
/// # Errors
/// [`HubError`], when that is not to be had from it now.
pub async fn refuses(clock: Clock, hub: &str, trust: &Trust, known: &Credential) -> Result<bool, HubError> {
    let Credential { identity, key, .. } = known;
    let client = HubClient::new(clock, hub, trust, Some(&identity.credential))?;
    let nothing = stream::write_one(&()).map_err(|error| client.unsendable(&error))?;
    // Who asks is looked at before what is asked, which is nothing that a hub takes.
    let mut answer = client.ask("hello", nothing, SILENCE_MS_MAX).await.map(drop);
    if matches!(answer, Err(HubError::Unknown(_))) && key.is_some() {
        answer = client.challenge(identity.edge).await.map(drop);
    }
    match answer {
        Err(HubError::Unknown(_) | HubError::Revoked(_)) => Ok(true),
        Err(HubError::Refused { .. }) | Ok(()) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Asks whether it is a hub that answers at a URL. Nothing is changed there: it is asked something that no hub takes.
///
/// # Errors
/// Whatever is not the hub's own word, and [`HubError::Overloaded`] when its database does not answer.
pub async fn reach(clock: Clock, hub: &str, trust: &Trust) -> Result<(), HubError> {
    let client = HubClient::new(clock, hub, trust, None)?;
    let nothing = stream::write_one(&()).map_err(|error| client.unsendable(&error))?;
    match client.ask("hello", nothing, SILENCE_MS_MAX).await {
        Err(error) if !error.is_the_hubs() || matches!(error, HubError::Overloaded { .. }) => Err(error),
        _ => Ok(()),
    }
}

impl HubClient {
    /// A client of the hub at a URL, with the credential that it gave, if it did.
    ///
    /// # Errors
    /// [`HubError::Unreachable`] when the system lacks what a client needs, or the credential is no header's value;
    /// [`HubError::PlainHttp`] and [`HubError::Trust`] when it is not to be spoken to.
    #[expect(clippy::disallowed_methods, reason = "the client is given what TLS needs")]
    pub fn new(clock: Clock, hub: &str, trust: &Trust, credential: Option<&str>) -> Result<Self, HubError> {
        let hub = hub.trim_end_matches('/').to_owned();
        let transport = Transport::to(&hub);
        if transport == Some(Transport::PlainHttp) && !trust.plain_http {
            return Err(HubError::PlainHttp(hub));
        }
        let time = CertificateTime::new(clock, trust.hub_ms);
        let tls = trust.client_config(transport, time.clone())?;
        let unusable = |reason: String| HubError::Unreachable { url: hub.clone(), reason };
        let builder = Client::builder().redirect(redirect::Policy::none()).no_proxy().tls_backend_preconfigured(tls);
        let builder = builder.pool_idle_timeout(Duration::from_millis(IDLE_MS_MAX));
        let http = builder.connect_timeout(Duration::from_millis(CONNECT_MS_MAX)).build();
        let http = http.map_err(|error| unusable(causes(&error)))?;
        let is_pinned = trust.ca.is_some();
        let client = Self { http, hub, transport, is_pinned, time, authorization: Arc::default(), clock, budget: None };
        credential.map(|credential| client.show(credential)).transpose()?;
        Ok(client)
    }

    /// Shows a credential from now on, also to those who have a clone of this client.
    ///
    /// # Errors
    /// [`HubError::Unreachable`] when it is no header's value.
    pub fn show(&self, credential: &str) -> Result<(), HubError> {
        let damaged = |_| self.unreachable("the credential is damaged: enrol this edge again".to_owned());
        let mut value = HeaderValue::from_str(&format!("Bearer {credential}")).map_err(damaged)?;
        value.set_sensitive(true);
        *self.authorization.write().unwrap_or_else(PoisonError::into_inner) = Some(value);
        Ok(())
    }

    /// The same client, which exchanges no more than a budget allows.
    #[must_use]
    pub fn within(self, budget: Arc<Budget>) -> Self {
        Self { budget: Some(budget), ..self }
    }

    /// Asks for a text to sign as an edge.
    ///
    /// # Errors
    /// [`HubError`]; [`HubError::Unknown`] when the hub has no key of that edge.
    pub async fn challenge(&self, edge: Uuid) -> Result<Challenge, HubError> {
        self.ask_one("challenge", &AskChallenge { edge }).await
    }

    /// Says what the next credential will be recognised by.
    ///
    /// # Errors
    /// [`HubError`].
    pub async fn renew(&self, renew: &Renew) -> Result<Renewed, HubError> {
        self.ask_one("renew", renew).await
    }

    /// Asks for a certificate for this edge's own pages.
    ///
    /// # Errors
    /// [`HubError`].
    pub async fn certificate(&self, asked: &AskCertificate) -> Result<PageCertificate, HubError> {
        self.ask_one("certificate", asked).await
    }

    /// Begins a session.
    ///
    /// # Errors
    /// [`HubError`].
    pub async fn hello(&self, hello: &Hello) -> Result<Welcome, HubError> {
        let welcome: Welcome = self.ask_one("hello", hello).await?;
        self.time.heard(welcome.unix_ms);
        Ok(welcome)
    }

    /// Sends a batch.
    ///
    /// # Errors
    /// [`HubError`].
    pub async fn push(&self, body: Vec<u8>) -> Result<PushAnswer, HubError> {
        let answer = self.ask("push", body, SILENCE_MS_MAX).await?;
        frames::read_answer(&answer).map_err(|error| self.broken(&error))
    }

    /// Asks for the next page.
    ///
    /// # Errors
    /// [`HubError`].
    pub async fn pull(&self, pull: &Pull) -> Result<PulledPage, HubError> {
        let body = stream::write_one(pull).map_err(|error| self.unsendable(&error))?;
        let answer = self.ask("pull", body, SILENCE_MS_MAX + pull.wait_ms.min(LONG_POLL_MS)).await?;
        let page = frames::read_page(&answer).map_err(|error| self.broken(&error))?;
        self.time.heard(page.head.unix_ms);
        Ok(page)
    }

    /// Asks which writes the hub has taken, exactly.
    ///
    /// # Errors
    /// [`HubError`].
    pub async fn accepted(&self, asked: &Accepted) -> Result<Accepted, HubError> {
        self.ask_one("accepted", asked).await
    }

    /// Asks for a new replica id.
    ///
    /// # Errors
    /// [`HubError`].
    pub async fn reidentify(&self, asked: &Reidentify) -> Result<Reidentified, HubError> {
        self.ask_one("reidentify", asked).await
    }

    /// Compares ranges with the centre and asks for rows; also how many bytes went over the wire for it.
    ///
    /// # Errors
    /// [`HubError`].
    pub async fn digest(&self, asked: &Digest) -> Result<(DigestAnswer, u64), HubError> {
        let body = stream::write_one(asked).map_err(|error| self.unsendable(&error))?;
        let sent = body.len();
        let answer = self.ask("digest", body, COMPARING_MS_MAX).await?;
        let bytes = u64::try_from(sent + answer.len()).unwrap_or(u64::MAX);
        Ok((frames::read_digest(&answer).map_err(|error| self.broken(&error))?, bytes))
    }

    /// Offers rows that the centre has lost; also how many bytes that took.
    ///
    /// # Errors
    /// [`HubError`].
    pub async fn offer(&self, body: Vec<u8>) -> Result<Offered, HubError> {
        let answer = self.ask("offer", body, SILENCE_MS_MAX).await?;
        stream::read_one(&answer).map_err(|error| self.broken(&FrameError::Stream(error)))
    }

    /// Tells what a comparison found.
    ///
    /// # Errors
    /// [`HubError`].
    pub async fn verified(&self, found: &Verification) -> Result<Offered, HubError> {
        self.ask_one("verified", found).await
    }

    async fn ask_one<A: Serialize, B: DeserializeOwned>(&self, route: &str, message: &A) -> Result<B, HubError> {
        let body = stream::write_one(message).map_err(|error| self.unsendable(&error))?;
        let answer = self.ask(route, body, SILENCE_MS_MAX).await?;
        stream::read_one(&answer).map_err(|error| self.broken(&FrameError::Stream(error)))
    }

    /// Sends a body and returns the answer's, if the budget has anything left.
    async fn ask(&self, route: &str, body: Vec<u8>, head_ms: u64) -> Result<Vec<u8>, HubError> {
        let Some(budget) = &self.budget else { return self.send(route, body, head_ms).await };
        if let Some(used_up) = budget.used_up(self.clock.unix_ms()) {
            return Err(HubError::UsedUp(used_up));
        }
        let sent = body.len();
        let answer = self.send(route, body, head_ms).await;
        let received = answer.as_ref().map_or(0, Vec::len);
        budget.spend(self.clock.unix_ms(), u64::try_from(sent + received).unwrap_or(u64::MAX));
        answer
    }

    /// Sends a body and returns the answer's, which the hub begins within `head_ms` of having all of ours.
    async fn send(&self, route: &str, body: Vec<u8>, head_ms: u64) -> Result<Vec<u8>, HubError> {
        let nonce: String = self.clock.random::<16>().iter().map(|byte| format!("{byte:02x}")).collect();
        let bytes = u64::try_from(body.len()).unwrap_or(u64::MAX);
        let limit_ms = head_ms.saturating_add(bytes.saturating_mul(1000) / BYTES_PER_SECOND_MIN);
        let mut request = self.http.post(format!("{}/sync/v1/{route}", self.hub)).body(body);
        request = request.header(CONTENT_TYPE, NDJSON).header(PROTOCOL_HEADER, PROTOCOL).header(NONCE_HEADER, &nonce);
        let authorization = self.authorization.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let sent = timeout(Duration::from_millis(limit_ms), request.send()).await;
        let silent = |_| self.unreachable(format!("no answer within {} s", limit_ms / 1000));
        let response = sent.map_err(silent)?.map_err(|error| self.broken_off(&error))?;
        self.check_speaker(&response, &nonce)?;
        let (status, retry_after) = (response.status(), retry_after_ms(&response));
        let body = self.read(response).await?;
        if status == StatusCode::OK { Ok(body) } else { Err(refusal(status, retry_after, &body)) }
    }

    fn check_speaker(&self, response: &Response, nonce: &str) -> Result<(), HubError> {
        let said = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let speaks = said(PROTOCOL_HEADER) == Some(PROTOCOL.to_string().as_str());
        if speaks && said(NONCE_HEADER) == Some(nonce) {
            return Ok(());
        }
        let (status, url) = (response.status(), self.hub.clone());
        // It may keep us away for a while, as anybody on the way can; nothing else of it is believed.
        let is_gateway =
            status.is_server_error() || matches!(status, StatusCode::PAYLOAD_TOO_LARGE | StatusCode::TOO_MANY_REQUESTS);
        match is_gateway {
            true => Err(HubError::OnTheWay { url, status, after_ms: retry_after_ms(response) }),
            false => Err(HubError::NotTheHub(url)),
        }
    }

    async fn read(&self, mut response: Response) -> Result<Vec<u8>, HubError> {
        let mut body = Vec::new();
        loop {
            let chunk = timeout(Duration::from_millis(SILENCE_MS_MAX), response.chunk()).await;
            let silent = |_| self.unreachable(format!("the answer stopped for {} s", SILENCE_MS_MAX / 1000));
            match chunk.map_err(silent)?.map_err(|error| self.broken_off(&error))? {
                None => return Ok(body),
                Some(chunk) if body.len() + chunk.len() <= BODY_BYTES_MAX => body.extend_from_slice(&chunk),
                Some(_) => return Err(self.unreachable(format!("the answer has more than {BODY_BYTES_MAX} bytes"))),
            }
        }
    }

    fn unreachable(&self, reason: String) -> HubError {
        HubError::Unreachable { url: self.hub.clone(), reason }
    }

    fn broken_off(&self, error: &reqwest::Error) -> HubError {
        match Trouble::of(error, self.transport, self.is_pinned, &self.time) {
            Some(trouble) => HubError::Tls { url: self.hub.clone(), trouble: Box::new(trouble) },
            None => self.unreachable(causes(error)),
        }
    }

    fn broken(&self, error: &FrameError) -> HubError {
        self.unreachable(error.to_string())
    }

    fn unsendable(&self, error: &StreamError) -> HubError {
        HubError::Refused { code: "unsendable".to_owned(), detail: error.to_string() }
    }
}

impl std::fmt::Debug for HubClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HubClient").field("hub", &self.hub).finish_non_exhaustive()
    }
}

fn refusal(status: StatusCode, retry_after_ms: Option<u64>, body: &[u8]) -> HubError {
    let problem: Option<Problem> = serde_json::from_slice(body).ok();
    let detail = problem.as_ref().map_or_else(|| format!("it answered {status}"), |problem| problem.detail.clone());
    let code = problem.map_or_else(|| status.as_u16().to_string(), |problem| problem.code);
    match status {
        StatusCode::UNAUTHORIZED => HubError::Unknown(detail),
        StatusCode::FORBIDDEN => HubError::Revoked(detail),
        StatusCode::CONFLICT if code == "fence" => HubError::Fence(detail),
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
            HubError::Overloaded { after_ms: retry_after_ms.unwrap_or(OVERLOADED_MS), reason: detail }
        }
        _ => HubError::Refused { code, detail },
    }
}

fn retry_after_ms(response: &Response) -> Option<u64> {
    let seconds: u64 = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(seconds.saturating_mul(1000))
}

/// What an answer of somebody on the way means, and what to do.
fn on_the_way(status: StatusCode) -> &'static str {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => "it takes no body of that size: let it pass 1 MiB",
        StatusCode::TOO_MANY_REQUESTS => "it asks to come back later",
        _ => "it does not reach the hub; what waits is kept",
    }
}

/// An error with what caused it, for a person.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    // The client names this cause in its text alone.
    match text.contains("dns error") {
        true => "its name cannot be looked up: check the address, and this network's DNS".to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_on_another_machine_is_not_spoken_to_without_tls_unless_it_was_allowed() {
        let client = |hub: &str, plain_http| {
            let trust = Trust { plain_http, ..Trust::default() };
            HubClient::new(Clock::new(), hub, &trust, None).map(drop)
        };
        let refused = client("http://192.0.2.7:7400/", false).unwrap_err();
        assert!(matches!(refused, HubError::PlainHttp(_)) && !refused.is_the_hubs(), "{refused}");
        assert!(refused.to_string().contains("EDGE_PLAIN_HTTP=true"), "{refused}");
        assert!(client("http://192.0.2.7:7400", true).is_ok());
        assert!(client("http://127.0.0.1:7400", false).is_ok());
    }
}
