//! Bytes as text: base64url without padding (RFC 4648, section 5).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Bytes as text.
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The bytes of a text; `None` when it is no base64url.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// So many bytes of a text; `None` when it is no base64url, or not so many.
pub fn decode_exactly<const BYTES: usize>(text: &str) -> Option<[u8; BYTES]> {
    decode(text)?.try_into().ok()
}
