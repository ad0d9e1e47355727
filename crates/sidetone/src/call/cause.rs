//! Why a call ended, and who ended it.

use std::fmt;

use crate::sip::header::reason::Reason;

/// Characters of a cause's text.
const MAX_TEXT: usize = 128;

/// A reason to hang up, written as a Reason header by ITU-T Q.850 cause value (RFC 3326 §2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The Q.850 cause value, 1 to 127.
    pub q850: u8,
    /// A short text for people.
    pub text: String,
}

impl Cause {
    /// Q.850 cause 16.
    pub fn normal() -> Self {
        Self::new(16, "Normal call clearing")
    }

    /// Q.850 cause 102: a timer ran out; used where media stopped.
    pub fn media_timeout() -> Self {
        Self::new(102, "No media received")
    }

    /// Q.850 cause 41: the engine is stopping.
    pub fn shutdown() -> Self {
        Self::new(41, "Engine is shutting down")
    }

    /// Q.850 cause 88: the two sides have no codec in common.
    pub fn incompatible() -> Self {
        Self::new(88, "Incompatible destination")
    }

    /// A cause with its Q.850 value (clamped to 1 to 127) and text. Quotes, backslashes and control
    /// characters are removed from the text, and what is beyond 128 characters.
    pub fn new(q850: u8, text: &str) -> Self {
        let text = text
            .chars()
            .filter(|c| !c.is_control() && !matches!(c, '"' | '\\'))
            .take(MAX_TEXT)
            .collect();
        Self {
            q850: q850.clamp(1, 127),
            text,
        }
    }

    /// The value of a Reason header.
    pub fn to_reason(&self) -> Reason {
        Reason::q850(self.q850, &self.text)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text, self.q850)
    }
}

/// How a call came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndReason {
    /// The other party hung up an established call.
    RemoteHangup,
    /// This side hung up an established call.
    LocalHangup,
    /// The caller gave up before an answer (CANCEL).
    Cancelled,
    /// This side gave up its own attempt before an answer.
    Abandoned,
    /// The callee refused, with this SIP status.
    Refused(u16),
    /// This side refused the caller, with this SIP status.
    Rejected(u16),
    /// Nobody answered in time, or the other party stopped answering.
    TimedOut,
    /// No media arrived for the configured time.
    MediaTimeout,
    /// The session was not refreshed in time: the other party has probably vanished (RFC 4028).
    SessionExpired,
    /// Another call took its place (RFC 3891).
    Replaced,
    /// The two sides could not agree on media.
    Incompatible,
    /// The destination could not be reached.
    Unreachable,
    /// The engine was stopped.
    Shutdown,
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RemoteHangup => f.write_str("the other party hung up"),
            Self::LocalHangup => f.write_str("hung up"),
            Self::Cancelled => f.write_str("the caller gave up before an answer"),
            Self::Abandoned => f.write_str("given up before an answer"),
            Self::Refused(status) => write!(f, "refused with status {status}"),
            Self::Rejected(status) => write!(f, "rejected with status {status}"),
            Self::TimedOut => f.write_str("timed out"),
            Self::MediaTimeout => f.write_str("no media arrived"),
            Self::SessionExpired => f.write_str("the session was not refreshed"),
            Self::Replaced => f.write_str("another call took its place"),
            Self::Incompatible => f.write_str("no common media"),
            Self::Unreachable => f.write_str("the destination could not be reached"),
            Self::Shutdown => f.write_str("the engine was stopped"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_text_cannot_leave_its_quotes() {
        let cause = Cause::new(200, "a\"\r\nEvil: x\\");
        assert_eq!(
            cause.to_reason().to_string(),
            "Q.850;cause=127;text=\"aEvil: x\""
        );
    }
}
