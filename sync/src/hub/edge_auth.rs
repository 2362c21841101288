//! Which edge asks. The tenant comes from the credential alone, on every read and write.
//!
//! A credential is the edge's id and 256 random bits, and what is looked up is its SHA-256: how long that takes tells nothing of
//! the credential. The bits are random, so a fast hash is enough. It has an end; the edge gets the next one with its key.

use std::net::SocketAddr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use ring::signature::{ED25519, UnparsedPublicKey};
use ring::{digest, hmac};
use tokio_postgres::Client;
use uuid::Uuid;

use super::error::Error;
use super::{Hub, clock};
use crate::merge::limits::CHALLENGE_MS_MAX;
use crate::pg::edge_credentials::{self, Caller};
use crate::pg::edges::Edge;
use crate::pg::reach::Reach;
use crate::wire::base64url;
use crate::wire::renewal::{self, Renew};

/// What the hub keeps of a secret.
pub fn hash(secret: &str) -> Vec<u8> {
    digest::digest(&digest::SHA256, secret.as_bytes()).as_ref().to_vec()
}

/// Known by the head of the request, before its body is read.
impl FromRequestParts<Hub> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Error> {
        authenticate(&*hub.rows.get(Reach::Nobody).await?, &parts.headers).await
    }
}

impl FromRequestParts<Hub> for Edge {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Error> {
        Ok(Caller::from_request_parts(parts, hub).await?.edge)
    }
}

/// The edge whose credential the request carries.
async fn authenticate(client: &Client, headers: &HeaderMap) -> Result<Caller, Error> {
    let (id, hash) = shown(headers).ok_or(Error::Unauthorized)?;
    let caller = edge_credentials::find(client, id, &hash).await?.ok_or(Error::Unauthorized)?;
    if caller.edge.revoked {
        return Err(Error::Revoked(caller.edge.name));
    }
    Ok(caller)
}

/// Whose credential the request carries, as it says, and the hash of that.
pub(super) fn shown(headers: &HeaderMap) -> Option<(Uuid, Vec<u8>)> {
    let (scheme, credential) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let credential = scheme.eq_ignore_ascii_case("bearer").then_some(credential.trim())?;
    let (id, _) = credential.split_once('.')?;
    Some((Uuid::try_parse(id).ok()?, hash(credential)))
}

impl Hub {
    /// Counts a try to the address that it comes from, if it is a wrong one: of a code, or of an edge's key.
    pub(super) async fn let_try<T>(
        &self,
        peer: SocketAddr,
        attempt: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let is_wrong = |error: &Error| matches!(error, Error::UnknownCode | Error::Unauthorized);
        self.peers.let_try(peer.ip(), clock::monotonic_ms(), attempt, is_wrong).await
    }
}

/// A challenge for an edge: the time, sealed with the hub's key, so that nothing has to be remembered.
pub(super) fn challenge(key: &[u8], edge: Uuid, now_ms: u64) -> String {
    let tag = hmac::sign(&challenge_key(key), &challenge_text(edge, now_ms));
    format!("{now_ms}.{}", base64url::encode(tag.as_ref()))
}

/// Whether the edge that has this public key signed a challenge of this hub in time, and with it the next credential.
pub(super) fn is_signed(key: &[u8], public_key: &[u8], renew: &Renew, now_ms: u64) -> bool {
    let Renew { edge, challenge, hash, signature } = renew;
    let sealed = || {
        let (made_ms, tag) = challenge.split_once('.')?;
        let made_ms: u64 = made_ms.parse().ok()?;
        let tag: [u8; 32] = base64url::decode_exactly(tag)?;
        let is_ours = hmac::verify(&challenge_key(key), &challenge_text(*edge, made_ms), &tag).is_ok();
        (is_ours && now_ms.checked_sub(made_ms)? <= CHALLENGE_MS_MAX).then_some(())
    };
    let text = renewal::signed_text(*edge, challenge, hash);
    let signature = base64url::decode_exactly::<64>(signature);
    let signed =
        |signature: [u8; 64]| UnparsedPublicKey::new(&ED25519, public_key).verify(text.as_bytes(), &signature).is_ok();
    sealed().is_some() && signature.is_some_and(signed)
}

fn challenge_key(key: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, key)
}

fn challenge_text(edge: Uuid, unix_ms: u64) -> Vec<u8> {
    [b"challenge".as_slice(), edge.as_bytes(), &unix_ms.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use ring::signature::{Ed25519KeyPair, KeyPair as _};

    use super::*;

    #[test]
    fn a_renewal_is_taken_from_the_edges_key_for_this_hubs_challenge_in_time_and_from_nothing_else() {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let (hub, edge, now_ms) = ([1; 32], Uuid::from_u128(9), 1_800_000_000_000);
        let renew = |challenge: String, of: Uuid| {
            let hash = base64url::encode(hash("next"));
            let text = renewal::signed_text(of, &challenge, &hash);
            let signature = base64url::encode(pair.sign(text.as_bytes()).as_ref());
            Renew { edge: of, challenge, hash, signature }
        };
        let good = renew(challenge(&hub, edge, now_ms), edge);
        let taken = |renew: &Renew, now_ms| is_signed(&hub, pair.public_key().as_ref(), renew, now_ms);
        assert!(taken(&good, now_ms) && taken(&good, now_ms + CHALLENGE_MS_MAX));
        assert!(!taken(&good, now_ms + CHALLENGE_MS_MAX + 1), "too late");
        assert!(!taken(&good, now_ms - 1), "from the future");
        assert!(!taken(&renew(challenge(&[2; 32], edge, now_ms), edge), now_ms), "another hub's challenge");
        assert!(!taken(&renew(challenge(&hub, Uuid::from_u128(8), now_ms), edge), now_ms), "another edge's challenge");
        assert!(!taken(&renew(String::new(), edge), now_ms));
        let other = Ed25519KeyPair::from_seed_unchecked(&[8; 32]).unwrap();
        assert!(!is_signed(&hub, other.public_key().as_ref(), &good, now_ms), "another key");
        let swapped = Renew { hash: base64url::encode(hash("mine")), ..good.clone() };
        assert!(!taken(&swapped, now_ms), "another credential than was signed");
        let cut = Renew { signature: String::new(), ..good };
        assert!(!taken(&cut, now_ms));
    }
}
