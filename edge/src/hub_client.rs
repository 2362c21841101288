//! The edge's side of the protocol over HTTP. A stand-in until the exchange lands: it reaches no hub.

use sync::wire::message::Enrolled;

use crate::clock::Clock;

/// Why a hub did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// Nobody answers there.
    #[error("{0} cannot be reached: this edge cannot exchange yet")]
    Unreachable(String),
}

/// Trades a one-time code for an identity.
///
/// # Errors
/// [`HubError`].
pub async fn enroll(_clock: Clock, hub: &str, _code: &str) -> Result<Enrolled, HubError> {
    Err(HubError::Unreachable(hub.to_owned()))
}
