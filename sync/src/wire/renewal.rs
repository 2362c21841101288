//! How an edge gets a new credential: it proves that it has the private key whose public half it was enrolled with.
//!
//! A credential is a bearer token with an end. The hub never sees the next one: the edge draws it, and sends what the hub keeps
//! of it, signed (Ed25519, RFC 8032) together with a challenge that the hub made a moment ago.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::base64url;

/// Asks for a challenge.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AskChallenge {
    /// The edge's id.
    pub edge: Uuid,
}

/// A text to sign, good for a few minutes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Challenge {
    /// What to sign. Only the hub that made it can tell it from others.
    pub challenge: String,
}

/// Says what the next credential will be recognised by.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Renew {
    /// The edge's id.
    pub edge: Uuid,
    /// The hub's challenge.
    pub challenge: String,
    /// SHA-256 of the next credential, in base64url without padding.
    pub hash: String,
    /// The edge's signature of [`signed_text`], in base64url without padding.
    pub signature: String,
}

/// The hub has noted the next credential. The one that the request carried is good until the next one is used.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Renewed {}

/// A credential: the edge's id, and 256 random bits.
pub fn credential(edge: Uuid, random: [u8; 32]) -> String {
    format!("{}.{}", edge.simple(), base64url::encode(random))
}

/// What an edge signs. The first line keeps a signature from meaning anything else.
pub fn signed_text(edge: Uuid, challenge: &str, hash: &str) -> String {
    format!("waystation: next credential, 1\n{}\n{challenge}\n{hash}", edge.simple())
}
