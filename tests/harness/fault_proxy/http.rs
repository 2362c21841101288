//! Just enough HTTP/1.1 to know where a message's head ends and its body ends.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HEAD_BYTES_MAX: usize = 64 * 1024;
const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// The four bytes every zstd frame begins with (RFC 8878, 3.1.1).
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A request or an answer, as it stood on the wire.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// The first line and the headers, with the empty line.
    pub head: Vec<u8>,
    /// The body as sent, chunk sizes included.
    pub raw: Vec<u8>,
    /// The body.
    pub body: Vec<u8>,
}

impl Message {
    /// The first line.
    pub fn first_line(&self) -> String {
        let end = self.head.iter().position(|byte| *byte == b'\r').unwrap_or(self.head.len());
        String::from_utf8_lossy(&self.head[..end]).into_owned()
    }

    /// A header's value, by its name in any case.
    pub fn header(&self, name: &str) -> Option<String> {
        let head = String::from_utf8_lossy(&self.head);
        head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }

    /// The status of an answer.
    pub fn status(&self) -> Option<u16> {
        self.first_line().split(' ').nth(1)?.parse().ok()
    }

    /// The body's text, inflated if it is compressed.
    pub fn text(&self) -> String {
        let inflated = self.body.starts_with(&ZSTD_MAGIC).then(|| zstd::decode_all(self.body.as_slice()));
        let bytes = match &inflated {
            Some(Ok(bytes)) => bytes,
            _ => &self.body,
        };
        String::from_utf8_lossy(bytes).into_owned()
    }

    /// Head and body, as they stood on the wire.
    pub fn bytes(&self) -> Vec<u8> {
        [self.head.as_slice(), &self.raw].concat()
    }

    /// The same message with another text, well-formed: compressed if it was, with the length that it has.
    #[must_use]
    pub fn with_text(&self, text: &[u8]) -> Self {
        let body = if self.body.starts_with(&ZSTD_MAGIC) {
            zstd::encode_all(text, 1).expect("memory takes every byte")
        } else {
            text.to_vec()
        };
        let head = String::from_utf8_lossy(&self.head);
        let framing = ["content-length:", "transfer-encoding:"];
        let kept = head.split("\r\n").filter(|line| {
            let line = line.to_ascii_lowercase();
            !line.is_empty() && !framing.iter().any(|name| line.starts_with(name))
        });
        let mut lines: Vec<String> = kept.map(str::to_owned).collect();
        lines.push(format!("content-length: {}", body.len()));
        let head = format!("{}\r\n\r\n", lines.join("\r\n")).into_bytes();
        Self { head, raw: body.clone(), body }
    }

    fn length(&self) -> Option<usize> {
        self.header("content-length")?.parse().ok()
    }

    fn is_chunked(&self) -> bool {
        self.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    }
}

/// A connection that is read message by message.
pub(super) struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Self {
        // A proxy that waits to fill a packet would add delays that the link it stands for does not have.
        stream.set_nodelay(true).expect("a TCP socket has this option");
        Self { stream, read: Vec::new() }
    }

    /// The next request; none when the connection ended in order between two.
    pub(super) async fn request(&mut self) -> io::Result<Option<Message>> {
        self.message(false).await
    }

    /// The answer.
    pub(super) async fn answer(&mut self) -> io::Result<Message> {
        self.message(true).await?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// Returns when the other side closes, or fails; whatever it says before is kept.
    pub(super) async fn closed(&mut self) {
        while matches!(self.fill().await, Ok(bytes) if bytes > 0) {}
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Ends the connection with FIN, once the other side has taken what was written.
    pub(super) async fn finish(mut self) {
        // A side that is gone already has nothing left to be told.
        drop(self.stream.shutdown().await);
    }

    /// Ends the connection with RST.
    pub(super) fn reset(self) {
        self.stream.set_zero_linger().expect("a TCP socket has this option");
    }

    async fn message(&mut self, is_answer: bool) -> io::Result<Option<Message>> {
        let end = loop {
            if let Some(end) = position(&self.read, END_OF_HEAD) {
                break end + END_OF_HEAD.len();
            }
            if self.read.len() > HEAD_BYTES_MAX {
                return Err(io::Error::other("a head without end"));
            }
            if self.fill().await? == 0 {
                let cut = !self.read.is_empty();
                return if cut { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(None) };
            }
        };
        let mut message = Message { head: self.take(end), ..Message::default() };
        if message.is_chunked() {
            self.chunks(&mut message).await?;
        } else if let Some(length) = message.length() {
            message.raw = self.exactly(length).await?;
            message.body.clone_from(&message.raw);
        } else if is_answer && !matches!(message.status(), Some(100..=199 | 204 | 304)) {
            self.closed().await;
            message.raw = std::mem::take(&mut self.read);
            message.body.clone_from(&message.raw);
        }
        Ok(Some(message))
    }

    async fn chunks(&mut self, message: &mut Message) -> io::Result<()> {
        loop {
            let line = self.line().await?;
            let digits = String::from_utf8_lossy(&line);
            let size = usize::from_str_radix(digits.trim().split(';').next().unwrap_or_default(), 16)
                .map_err(|_| io::Error::other("a chunk without a size"))?;
            message.raw.extend_from_slice(&line);
            let chunk = self.exactly(size + 2).await?;
            message.raw.extend_from_slice(&chunk);
            message.body.extend_from_slice(&chunk[..size]);
            if size == 0 {
                return Ok(());
            }
        }
    }

    async fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = position(&self.read, b"\r\n") {
                return Ok(self.take(end + 2));
            }
            if self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    async fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.read.len() < length {
            if self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.take(length))
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.stream.read_buf(&mut self.read).await
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let rest = self.read.split_off(length);
        std::mem::replace(&mut self.read, rest)
    }
}

/// Where `needle` begins.
pub fn position(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// The first place in a compressed body where a frame's header or a block of it ends (RFC 8878, 3.1.1); the middle of a
/// body that is not compressed.
pub(super) fn first_boundary(body: &[u8]) -> usize {
    if !body.starts_with(&ZSTD_MAGIC) || body.len() < 6 {
        return body.len() / 2;
    }
    let descriptor = body[4];
    let single_segment = descriptor & 0x20 != 0;
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let content = match descriptor >> 6 {
        0 => usize::from(single_segment),
        1 => 2,
        2 => 4,
        _ => 8,
    };
    let header = 5 + usize::from(!single_segment) + dictionary + content;
    let Some(block) = body.get(header..header + 3) else { return header.min(body.len()) };
    let block = u32::from_le_bytes([block[0], block[1], block[2], 0]);
    let is_last = block & 1 == 1;
    let size = if (block >> 1) & 3 == 1 { 1 } else { usize::try_from(block >> 3).unwrap_or(usize::MAX) };
    // After the only block there is nothing left to cut off but a checksum; then the header's end is the boundary.
    if is_last { header } else { header + 3 + size }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_body_has_its_first_boundary_after_a_block_that_inflates() {
        let text: Vec<u8> = (0..400_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let body = zstd::encode_all(text.as_slice(), 1).unwrap();
        let boundary = first_boundary(&body);
        assert!(boundary > 64 && boundary < body.len(), "{boundary} of {}", body.len());
        let mut inflated = vec![0; 128 * 1024];
        let mut decoder = zstd::Decoder::new(&body[..boundary]).unwrap();
        io::Read::read_exact(&mut decoder, &mut inflated).unwrap();
        assert_eq!(inflated, text[..inflated.len()]);
    }

    #[test]
    fn a_short_body_has_its_first_boundary_after_the_frame_header() {
        let body = zstd::encode_all(&b"{\"end\":0}\n"[..], 1).unwrap();
        assert!((6..=14).contains(&first_boundary(&body)), "{}", first_boundary(&body));
    }

    #[test]
    fn a_message_with_another_text_is_framed_for_it() {
        let body = zstd::encode_all(&b"one\ntwo\n"[..], 1).unwrap();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nx: y\r\n\r\n", body.len()).into_bytes();
        let message = Message { head, raw: body.clone(), body };
        let shorter = message.with_text(b"one\n");
        assert_eq!(shorter.text(), "one\n");
        assert_eq!(shorter.header("content-length").unwrap(), shorter.body.len().to_string());
        assert_eq!(shorter.header("x").unwrap(), "y");
        assert!(shorter.head.ends_with(b"\r\n\r\n"));
    }
}
