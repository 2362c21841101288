//! How an edge gets its next credential, by its key: see `wire::renewal`.
//!
//! These two routes ask for no credential: an edge that was away for longer than its own was good comes here.

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::HeaderMap;
use axum::response::Response;
use uuid::Uuid;

use super::error::Error;
use super::sync_routes::{answer_one, read};
use super::{Hub, clock, edge_auth};
use crate::merge::limits::ENROLL_BYTES_MAX;
use crate::pg::reach::Reach;
use crate::pg::{edge_credentials, edges, incarnation};
use crate::wire::base64url;
use crate::wire::renewal::{AskChallenge, Challenge, Renew, Renewed};
use crate::wire::stream;

/// `POST /sync/v1/challenge`: what an edge has to sign.
pub(super) async fn challenge(
    State(hub): State<Hub>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    body: Body,
) -> Result<Response, Error> {
    let AskChallenge { edge } = stream::read_one(&read(body, ENROLL_BYTES_MAX).await?)?;
    let client = hub.rows.get(Reach::Nobody).await?;
    hub.let_try(peer, public_key(&client, edge)).await?;
    let key = incarnation::present(&**client).await?.key;
    answer_one(&Challenge { challenge: edge_auth::challenge(&key, edge, clock::unix_ms()) })
}

/// `POST /sync/v1/renew`: the next credential. The one that the request carries, if it is good, ends when the next is used.
pub(super) async fn renew(
    State(hub): State<Hub>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    let renew: Renew = stream::read_one(&read(body, ENROLL_BYTES_MAX).await?)?;
    let mut client = hub.rows.get(Reach::Nobody).await?;
    hub.let_try(peer, prove(&client, &renew)).await?;
    let next = base64url::decode_exactly::<32>(&renew.hash);
    let next = next.ok_or_else(|| Error::Message("the hash is no SHA-256".to_owned()))?;
    let shown = edge_auth::shown(&headers).filter(|(edge, _)| *edge == renew.edge).map(|(_, hash)| hash);
    edge_credentials::renew(&mut client, renew.edge, &next, shown.as_deref()).await?;
    answer_one(&Renewed {})
}

/// Whether it is the edge that asks.
async fn prove(client: &tokio_postgres::Client, renew: &Renew) -> Result<(), Error> {
    let public_key = public_key(client, renew.edge).await?;
    let key = incarnation::present(client).await?.key;
    match edge_auth::is_signed(&key, &public_key, renew, clock::unix_ms()) {
        true => Ok(()),
        false => Err(Error::Unauthorized),
    }
}

/// The key of an edge that is enrolled and has one.
async fn public_key(client: &tokio_postgres::Client, edge: Uuid) -> Result<Vec<u8>, Error> {
    match edges::find(client, edge).await? {
        Some(edge) if edge.revoked => Err(Error::Revoked(edge.name)),
        _ => edge_credentials::public_key(client, edge).await?.ok_or(Error::Unauthorized),
    }
}
