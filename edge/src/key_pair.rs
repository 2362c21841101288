//! The key pair by which this edge proves who it is (Ed25519, RFC 8032). It is made here, and its private half leaves the box in
//! backups only.

use std::fmt;
use std::sync::Arc;

use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sync::wire::base64url;

use crate::clock::Clock;

/// A key pair. It is stored as the 32 bytes that it grows from, in base64url, and its debug form shows the public half.
#[derive(Clone)]
pub struct KeyPair {
    seed: [u8; SEED_BYTES],
    pair: Arc<Ed25519KeyPair>,
}

const SEED_BYTES: usize = 32;

impl KeyPair {
    /// A new one.
    pub fn generate(clock: Clock) -> Self {
        Self::from_seed(clock.random()).expect("any 32 bytes are a seed")
    }

    fn from_seed(seed: [u8; SEED_BYTES]) -> Option<Self> {
        Ed25519KeyPair::from_seed_unchecked(&seed).ok().map(|pair| Self { seed, pair: Arc::new(pair) })
    }

    /// The public half as it is sent.
    pub fn public(&self) -> String {
        base64url::encode(self.pair.public_key().as_ref())
    }

    /// The signature of a text as it is sent.
    pub fn sign(&self, text: &str) -> String {
        base64url::encode(self.pair.sign(text.as_bytes()).as_ref())
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({})", self.public())
    }
}

impl Serialize for KeyPair {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&base64url::encode(self.seed))
    }
}

impl<'de> Deserialize<'de> for KeyPair {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let pair = base64url::decode_exactly(&text).and_then(Self::from_seed);
        pair.ok_or_else(|| de::Error::custom("the key is not 32 bytes in base64url"))
    }
}
