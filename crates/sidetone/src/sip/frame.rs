//! Framing of SIP messages on a byte stream by Content-Length (RFC 3261 §18.3): wire format.

use bytes::{Buf, Bytes, BytesMut};

use crate::sip::header::Known;
use crate::sip::lex;
use crate::sip::message::{MAX_MESSAGE_BYTES, Message, ParseError};

/// The most bytes that a header may take on a stream, start line included.
pub const MAX_HEAD_BYTES: usize = 32 * 1024;

/// What came out of a stream.
#[derive(Debug, Clone)]
#[non_exhaustive]
#[expect(
    clippy::large_enum_variant,
    reason = "a box would cost an allocation for every message"
)]
pub enum Frame {
    /// A whole message. It is still to be validated.
    Message(Message),
    /// A double CRLF between messages: the peer asks for a single CRLF back (RFC 5626 §3.5.1).
    Ping,
    /// A single CRLF between messages: the answer to our ping, or harmless padding.
    Pong,
}

/// Why a stream cannot be read on: where the next message starts is not known, so **the connection
/// is to be closed**.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The header is larger than [`MAX_HEAD_BYTES`] and has not ended.
    #[error("header does not end")]
    HeadTooLarge,
    /// Header and body together are larger than the limit.
    #[error("message is too large")]
    MessageTooLarge,
    /// No Content-Length, which a stream cannot do without (RFC 3261 §18.3).
    #[error("no Content-Length")]
    NoContentLength,
    /// Content-Length is no number, or stands twice.
    #[error("invalid Content-Length")]
    ContentLength,
    /// What came is not SIP.
    #[error("not SIP: {0}")]
    NotSip(ParseError),
}

/// Cuts a byte stream into messages.
///
/// Push what was read, then poll until `Ok(None)`. After an error the deframer gives nothing but
/// that error. It never holds more than one partial message, at most the limit, plus what was
/// pushed since the last poll; the time that a partial message may take is the caller's to bound,
/// with [`Deframer::is_partial`].
///
/// ```
/// use sidetone::sip::frame::{Deframer, Frame};
///
/// let mut deframer = Deframer::new();
/// deframer.push(b"\r\n\r\nSIP/2.0 200 OK\r\nContent-Le");
/// assert!(matches!(deframer.poll(), Ok(Some(Frame::Ping))));
/// assert!(matches!(deframer.poll(), Ok(None)));
/// deframer.push(b"ngth: 2\r\n\r\nhi");
/// let Ok(Some(Frame::Message(message))) = deframer.poll() else { panic!() };
/// assert_eq!(&message.body()[..], b"hi");
/// ```
#[derive(Debug)]
pub struct Deframer {
    buffer: BytesMut,
    /// How far the end of the header has been looked for.
    searched: usize,
    /// The length of the whole message, once its header is there.
    length: Option<usize>,
    limit: usize,
    failed: Option<FrameError>,
}

impl Default for Deframer {
    fn default() -> Self {
        Self::new()
    }
}

impl Deframer {
    /// A deframer that takes messages up to [`MAX_MESSAGE_BYTES`].
    pub fn new() -> Self {
        Self::with_limit(MAX_MESSAGE_BYTES)
    }

    /// A deframer that takes messages up to `limit` bytes, at most [`MAX_MESSAGE_BYTES`].
    pub fn with_limit(limit: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            searched: 0,
            length: None,
            limit: limit.min(MAX_MESSAGE_BYTES),
            failed: None,
        }
    }

    /// Takes bytes as they were read. After an error they are dropped.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Whether bytes of an unfinished message are held; a peer that leaves it so for long is to be
    /// cut off.
    pub fn is_partial(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// The next thing in the stream; `Ok(None)` asks for more bytes.
    ///
    /// # Errors
    /// [`FrameError`]: close the connection.
    pub fn poll(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let result = self.advance();
        if let Err(error) = result {
            self.failed = Some(error);
            self.buffer = BytesMut::new();
        }
        result
    }

    fn advance(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(frame) = self.keep_alive() {
            return Ok(Some(frame));
        }
        if self.length.is_none() {
            self.length = self.message_length()?;
        }
        match self.length {
            Some(length) if self.buffer.len() >= length => self.cut(length).map(Some),
            _ => Ok(None),
        }
    }

    /// Takes line breaks between messages away.
    fn keep_alive(&mut self) -> Option<Frame> {
        if self.length.is_some() || self.searched > 0 {
            return None;
        }
        match &self.buffer[..] {
            [b'\r', b'\n', b'\r', b'\n', ..] => {
                self.buffer.advance(4);
                Some(Frame::Ping)
            }
            // The last byte of a ping is still to come.
            [b'\r', b'\n', b'\r'] => None,
            [b'\r', b'\n', ..] => {
                self.buffer.advance(2);
                Some(Frame::Pong)
            }
            _ => None,
        }
    }

    /// The length of the message whose header starts the buffer; `None` where it is not all there.
    fn message_length(&mut self) -> Result<Option<usize>, FrameError> {
        if matches!(&self.buffer[..], [] | [b'\r', ..]) && self.buffer.len() < 4 {
            return Ok(None);
        }
        let Some(head) = self.head_end() else {
            return match self.buffer.len() > MAX_HEAD_BYTES.min(self.limit) {
                true => Err(FrameError::HeadTooLarge),
                false => Ok(None),
            };
        };
        if head > MAX_HEAD_BYTES {
            return Err(FrameError::HeadTooLarge);
        }
        let message = Message::parse(Bytes::copy_from_slice(&self.buffer[..head]))
            .map_err(FrameError::NotSip)?;
        let mut lengths = message.header_values(Known::ContentLength);
        let length = lengths.next().ok_or(FrameError::NoContentLength)?;
        if lengths.next().is_some() {
            return Err(FrameError::ContentLength);
        }
        let body = lex::number(length, u64::MAX).ok_or(FrameError::ContentLength)?;
        match usize::try_from(body)
            .ok()
            .and_then(|body| body.checked_add(head))
        {
            Some(total) if total <= self.limit => Ok(Some(total)),
            _ => Err(FrameError::MessageTooLarge),
        }
    }

    /// One past the empty line that ends the header, searched for only where not yet looked.
    fn head_end(&mut self) -> Option<usize> {
        let from = self.searched.saturating_sub(3);
        let found = self.buffer[from..]
            .windows(4)
            .position(|window| window == b"\r\n\r\n");
        self.searched = self.buffer.len();
        found.map(|at| from + at + 4)
    }

    fn cut(&mut self, length: usize) -> Result<Frame, FrameError> {
        let bytes = self.buffer.split_to(length).freeze();
        self.length = None;
        self.searched = 0;
        Message::parse(bytes)
            .map(Frame::Message)
            .map_err(FrameError::NotSip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str = "SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP a\r\nContent-Length: 3\r\n\r\nabc";

    /// What comes out of `text` in pieces of `size` bytes, one letter a frame.
    fn run(text: &[u8], size: usize) -> (String, Option<FrameError>) {
        let mut deframer = Deframer::new();
        let mut seen = String::new();
        for piece in text.chunks(size) {
            deframer.push(piece);
            loop {
                match deframer.poll() {
                    Ok(Some(Frame::Message(message))) => {
                        assert_eq!(&message.body()[..], b"abc");
                        seen.push('m');
                    }
                    Ok(Some(Frame::Ping)) => seen.push('i'),
                    Ok(Some(Frame::Pong)) => seen.push('o'),
                    Ok(None) => break,
                    Err(error) => {
                        assert_eq!(deframer.poll().err(), Some(error), "it stays failed");
                        deframer.push(b"SIP/2.0 200 OK\r\nl: 0\r\n\r\n");
                        assert_eq!(deframer.poll().err(), Some(error), "it stays failed");
                        assert!(!deframer.is_partial(), "it holds nothing more");
                        return (seen, Some(error));
                    }
                }
            }
        }
        (seen, None)
    }

    #[test]
    fn messages_come_out_whatever_the_pieces() {
        let text = MESSAGE.repeat(3);
        for size in 1..text.len() {
            assert_eq!(
                run(text.as_bytes(), size),
                ("mmm".to_owned(), None),
                "{size}"
            );
        }
    }

    #[test]
    fn keep_alives_are_told_apart() {
        let text = format!("\r\n\r\n{MESSAGE}\r\n{MESSAGE}\r\n\r\n\r\n\r\n");
        assert_eq!(
            run(text.as_bytes(), text.len()),
            ("imomii".to_owned(), None)
        );
        assert_eq!(run(b"\r\n", 2), ("o".to_owned(), None));
        let mut deframer = Deframer::new();
        deframer.push(b"\r\n\r");
        assert!(matches!(deframer.poll(), Ok(None)));
        deframer.push(b"\n");
        assert!(matches!(deframer.poll(), Ok(Some(Frame::Ping))));
        assert!(!deframer.is_partial());
    }

    #[test]
    fn bad_framing_closes_the_connection() {
        let line = "SIP/2.0 200 OK\r\n";
        for (rest, error) in [
            ("\r\n", FrameError::NoContentLength),
            ("Content-Length: -1\r\n\r\n", FrameError::ContentLength),
            (
                "Content-Length: 1\r\nl: 1\r\n\r\n",
                FrameError::ContentLength,
            ),
            (
                "Content-Length: 99999999999999999999\r\n\r\n",
                FrameError::ContentLength,
            ),
            (
                "Content-Length: 18446744073709551615\r\n\r\n",
                FrameError::MessageTooLarge,
            ),
            ("Content-Length: 65536\r\n\r\n", FrameError::MessageTooLarge),
        ] {
            let text = format!("{line}{rest}");
            for size in [1, text.len()] {
                assert_eq!(
                    run(text.as_bytes(), size),
                    (String::new(), Some(error)),
                    "{rest:?}"
                );
            }
        }
        let http = b"GET / HTTP/1.1\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(run(http, 7).1, Some(FrameError::NotSip(ParseError::NotSip)));
        let endless = vec![b'x'; MAX_HEAD_BYTES + 1];
        assert_eq!(run(&endless, 1000).1, Some(FrameError::HeadTooLarge));
    }

    #[test]
    fn a_smaller_limit_holds() {
        let mut deframer = Deframer::with_limit(40);
        deframer.push(&[b'x'; 41]);
        assert_eq!(deframer.poll().err(), Some(FrameError::HeadTooLarge));
        let mut deframer = Deframer::with_limit(40);
        deframer.push(b"SIP/2.0 200 OK\r\nl: 30\r\n\r\n");
        assert_eq!(deframer.poll().err(), Some(FrameError::MessageTooLarge));
    }
}
