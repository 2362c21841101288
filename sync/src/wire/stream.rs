//! Bodies as bytes: one JSON value a line, compressed with zstd, bounded on the way in.

use std::io::Read as _;

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::merge::limits::{BODY_BYTES_MAX, INFLATE_RATIO_MAX};

const LEVEL: i32 = 1;
/// The first word of a frame that decoders skip.
const SKIPPED_FRAME: u32 = 0x184d_2a50;

/// A body that cannot be read. None of these is the sender's data: the transfer was cut, or the peer is no hub.
#[derive(Debug, Error)]
pub enum StreamError {
    /// Not zstd, or cut short.
    #[error("the body is not complete: {0}")]
    Compression(#[source] std::io::Error),
    /// Larger than a message may be once inflated.
    #[error("the body inflates beyond {BODY_BYTES_MAX} bytes or {INFLATE_RATIO_MAX} times its size")]
    TooLarge,
    /// A line is not what the protocol has in its place.
    #[error("line {line} of the body is not understood: {source}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
}

/// Lines, then compressed.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Adds a line.
    pub fn line<T: Serialize>(&mut self, message: &T) -> Result<(), StreamError> {
        let written = serde_json::to_writer(&mut self.bytes, message);
        written.map_err(|source| StreamError::Line { line: 0, source })?;
        self.bytes.push(b'\n');
        Ok(())
    }

    /// The bytes so far, before compression.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The body. One that compresses too well is padded, so that no reader takes it for a bomb.
    pub fn finish(self) -> Result<Vec<u8>, StreamError> {
        let mut body = zstd::encode_all(self.bytes.as_slice(), LEVEL).map_err(StreamError::Compression)?;
        if self.bytes.len() > inflated_max(body.len()) {
            pad(&mut body, self.bytes.len().div_ceil(INFLATE_RATIO_MAX));
        }
        Ok(body)
    }
}

/// Brings a body to a length with a frame that decoders skip (RFC 8878 section 3.1.2).
fn pad(body: &mut Vec<u8>, length: usize) {
    let padding = length.saturating_sub(body.len());
    body.extend_from_slice(&SKIPPED_FRAME.to_le_bytes());
    body.extend_from_slice(&u32::try_from(padding).unwrap_or(u32::MAX).to_le_bytes());
    body.resize(body.len() + padding, 0);
}

fn inflated_max(body_bytes: usize) -> usize {
    BODY_BYTES_MAX.min(body_bytes.saturating_mul(INFLATE_RATIO_MAX).max(64 * 1024))
}

/// The lines of a body. Refuses what inflates too far before it is all in memory.
pub fn read<T: DeserializeOwned>(body: &[u8]) -> Result<Vec<T>, StreamError> {
    read_with(body, |line| serde_json::from_slice(line))
}

/// The lines of a body, for a reader that can make something of a line which is not quite what the protocol has there.
pub fn read_with<T>(body: &[u8], parse: impl Fn(&[u8]) -> Result<T, serde_json::Error>) -> Result<Vec<T>, StreamError> {
    let inflated_max = inflated_max(body.len());
    let decoder = zstd::Decoder::new(body).map_err(StreamError::Compression)?;
    let mut bytes = Vec::new();
    let limit = u64::try_from(inflated_max).unwrap_or(u64::MAX).saturating_add(1);
    decoder.take(limit).read_to_end(&mut bytes).map_err(StreamError::Compression)?;
    if bytes.len() > inflated_max {
        return Err(StreamError::TooLarge);
    }
    let mut lines = Vec::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
        lines.push(parse(line).map_err(|source| StreamError::Line { line: index + 1, source })?);
    }
    Ok(lines)
}

/// One JSON value as a body, for messages that are no stream.
pub fn write_one<T: Serialize>(message: &T) -> Result<Vec<u8>, StreamError> {
    let mut writer = Writer::default();
    writer.line(message)?;
    writer.finish()
}

/// The one value of a body.
pub fn read_one<T: DeserializeOwned>(body: &[u8]) -> Result<T, StreamError> {
    let missing = || StreamError::Compression(std::io::ErrorKind::UnexpectedEof.into());
    read(body)?.pop().ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_cut_anywhere_is_refused() {
        let mut writer = Writer::default();
        for number in 0..2_000_u32 {
            writer.line(&number).unwrap();
        }
        let body = writer.finish().unwrap();
        assert_eq!(read::<u32>(&body).unwrap().len(), 2_000);
        for cut in 0..body.len() {
            assert!(read::<u32>(&body[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_long_run_of_one_letter_is_no_bomb() {
        let text = "a".repeat(1_000_000);
        let body = write_one(&text).unwrap();
        assert!(body.len() * INFLATE_RATIO_MAX >= text.len());
        assert_eq!(read_one::<String>(&body).unwrap(), text);
    }

    #[test]
    fn a_body_that_inflates_without_end_is_refused() {
        let bomb = zstd::encode_all(&vec![b'\n'; 64 * 1024 * 1024][..], LEVEL).unwrap();
        assert!(matches!(read::<u32>(&bomb), Err(StreamError::TooLarge)));
    }
}
