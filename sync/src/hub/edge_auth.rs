//! Which edge asks. The tenant comes from the credential alone, on every read and write.
//!
//! A credential is the edge's id and 256 random bits. The id finds the row, so nothing is looked up by a secret; the
//! stored SHA-256 is compared in constant time. The bits are random, so a fast hash is enough.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use tokio_postgres::Client;
use uuid::Uuid;

use super::Hub;
use super::error::Error;
use crate::pg::edges::{self, Edge};

/// A new credential for an edge.
pub fn credential(edge: Uuid, random: [u8; 32]) -> String {
    format!("{}.{}", edge.simple(), URL_SAFE_NO_PAD.encode(random))
}

/// What the hub keeps of a secret.
pub fn hash(secret: &str) -> Vec<u8> {
    digest::digest(&digest::SHA256, secret.as_bytes()).as_ref().to_vec()
}

/// Known by the head of the request, before its body is read.
impl FromRequestParts<Hub> for Edge {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Error> {
        authenticate(&*hub.pool.get().await?, &parts.headers).await
    }
}

/// The edge whose credential the request carries.
async fn authenticate(client: &Client, headers: &HeaderMap) -> Result<Edge, Error> {
    let credential = bearer(headers).ok_or(Error::Unauthorized)?;
    let id = credential.split_once('.').and_then(|(id, _)| Uuid::try_parse(id).ok()).ok_or(Error::Unauthorized)?;
    let edge = edges::find(client, id).await?.ok_or(Error::Unauthorized)?;
    if !equal(&edge.credential_hash, &hash(credential)) {
        return Err(Error::Unauthorized);
    }
    if edge.revoked {
        return Err(Error::Revoked(edge.name));
    }
    Ok(edge)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, credential) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(credential.trim())
}

/// Compares without stopping at the first difference.
fn equal(left: &[u8], right: &[u8]) -> bool {
    let differences = left.iter().zip(right).fold(0, |differences, (left, right)| differences | (left ^ right));
    left.len() == right.len() && std::hint::black_box(differences) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_equal_only_when_they_are() {
        assert!(equal(&hash("a"), &hash("a")));
        assert!(!equal(&hash("a"), &hash("b")));
        assert!(!equal(&hash("a"), &[]));
    }
}
