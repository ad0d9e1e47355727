//! Source locking: which packets may belong to a stream, so that an outsider cannot hijack it.

pub mod control;

use std::net::{IpAddr, SocketAddr};

use crate::time::{Duration, Instant};

/// Whether a source may be learned from received packets where the peer is behind a NAT.
///
/// Whatever the mode, the signalled address comes first: its packets are always taken until a lock
/// closes, they end learning at once, and a stream that is locked is never moved by a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Learning {
    /// Only the signalled address is ever taken. For trunks and peers without NAT.
    Off,
    /// An unsignalled port is learned on a host that signalling already showed: the signalled
    /// address itself, or the host given as [`SourceConfig::hint`]. The default.
    #[default]
    KnownHost,
    /// As [`Learning::KnownHost`], and an unknown host is heard after a longer trial of
    /// [`SourceConfig::trial`], while the signalled address stays silent. It is sent
    /// [`UNCONFIRMED_PACKETS`] packets and no more until it reports on our SSRC by RTCP
    /// ([`SourceLock::confirm`]), which shows that it takes part; and until then the signalled
    /// address takes the stream back. Whoever sends first and speaks RTCP can still win: for closed
    /// networks only.
    AnyHost,
}

/// Packets sent to an unknown host before it has shown by RTCP that it takes part.
pub const UNCONFIRMED_PACKETS: u8 = 5;

/// How long a locked source must be silent before its stream may go on from another port of the
/// same host, as it does when an address translator has forgotten it.
pub const REBIND_SILENCE: Duration = Duration::from_millis(500);

/// How far the numbers of a stream may have run on while its port changed.
const REBIND_AHEAD: u16 = 3_000;

/// How a [`SourceLock`] decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceConfig {
    /// What may be learned. Default [`Learning::KnownHost`].
    pub learning: Learning,
    /// Another host that may send the media, such as the source of the peer's signalling.
    /// Default none.
    pub hint: Option<IpAddr>,
    /// Learning is possible this long after the address was signalled or [`SourceLock::reopen`]
    /// was called. Default 5 s.
    pub window: Duration,
    /// Packets in sequence that a known host must send before it is learned. Default 2.
    pub probation: u32,
    /// How long an unknown host must send in sequence before it is learned. Default 500 ms.
    pub trial: Duration,
    /// Packets from the signalled address that end learning for good. Default 1.
    pub confirm: u32,
}

impl Default for SourceConfig {
    fn default() -> Self {
        Self {
            learning: Learning::default(),
            hint: None,
            window: Duration::from_secs(5),
            probation: 2,
            trial: Duration::from_millis(500),
            confirm: 1,
        }
    }
}

/// What becomes of a received packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is from the stream's source.
    Accept,
    /// It is from a source learned with this packet: send there from now on.
    Learned,
    /// It is from an outsider, or from a candidate still on probation: drop it.
    Refuse,
}

/// Counters of a [`SourceLock`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SourceStats {
    /// Packets taken.
    pub accepted: u64,
    /// Packets refused.
    pub refused: u64,
    /// Times a source was learned.
    pub learned: u32,
    /// Times the signalled address took the stream back from a learned source.
    pub reverted: u32,
    /// Times a stream went on from another port of its host.
    pub rebound: u32,
}

/// The last packet taken.
#[derive(Debug, Clone, Copy)]
struct Last {
    ssrc: u32,
    sequence: u16,
    at: Instant,
}

/// A source that is being tried.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    address: SocketAddr,
    ssrc: u32,
    next_sequence: u16,
    count: u32,
    since: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No packet from the signalled address yet, nothing learned.
    Open,
    /// Sending to a learned address; the signalled one may still take the stream back.
    Learned,
    /// Closed until signalling names another address.
    Locked,
}

/// Decides which packets belong to a stream, from the address that signalling named.
///
/// Never gives an address as [`SourceLock::destination`] that was only seen: it was signalled, or
/// it passed the trial of its [`Learning`] mode inside the window, once. Holds one candidate, so
/// that no flood makes it grow.
///
/// A locked stream moves by itself in one case: where learning is on, its source has been silent for
/// [`REBIND_SILENCE`], and another port of the *same host* goes on with the same SSRC and numbers.
/// That is what an address translator does that has forgotten a binding; somebody else behind the
/// same address would have to know SSRC and numbers. Another host needs signalling.
///
/// ```
/// use sidetone::rtp::source::{SourceConfig, SourceLock, Verdict};
/// use sidetone::time::Instant;
///
/// let peer = "192.0.2.1:4000".parse().unwrap();
/// let outsider = "203.0.113.9:4000".parse().unwrap();
/// let mut lock = SourceLock::new(SourceConfig::default());
/// lock.signal(Instant::ZERO, peer);
/// assert_eq!(lock.handle_packet(Instant::ZERO, outsider, 1, 1), Verdict::Refuse);
/// assert_eq!(lock.handle_packet(Instant::ZERO, peer, 1, 1), Verdict::Accept);
/// assert_eq!(lock.destination(), Some(peer));
/// ```
#[derive(Debug, Clone)]
pub struct SourceLock {
    config: SourceConfig,
    state: State,
    signalled: Option<SocketAddr>,
    current: Option<SocketAddr>,
    opened: Instant,
    confirmations: u32,
    candidate: Option<Candidate>,
    last: Option<Last>,
    /// Packets that may still be sent to an unknown host that was learned; `None` where there is
    /// no such limit.
    allowance: Option<u8>,
    stats: SourceStats,
}

impl SourceLock {
    /// A lock that refuses everything until [`SourceLock::signal`] names an address.
    pub fn new(config: SourceConfig) -> Self {
        Self {
            config,
            state: State::Open,
            signalled: None,
            current: None,
            opened: Instant::ZERO,
            confirmations: 0,
            candidate: None,
            last: None,
            allowance: None,
            stats: SourceStats::default(),
        }
    }

    /// Names the address from the peer's session description.
    ///
    /// A changed address opens the lock anew for it; the same address again changes nothing, so
    /// that a session refresh cannot be used to move a stream.
    pub fn signal(&mut self, now: Instant, address: SocketAddr) {
        let address = canonical(address);
        if self.signalled == Some(address) {
            return;
        }
        self.signalled = Some(address);
        self.current = Some(address);
        self.state = State::Open;
        self.confirmations = 0;
        self.candidate = None;
        self.last = None;
        self.allowance = None;
        self.opened = now;
    }

    /// Starts the learning window again where no source has been heard yet.
    ///
    /// For a callee who is answered long after its address was signalled. Without effect once a
    /// source was learned or the lock is closed.
    pub fn reopen(&mut self, now: Instant) {
        if self.state == State::Open {
            self.opened = now;
        }
    }

    /// Judges an RTP packet that came from `from`.
    #[inline]
    pub fn handle_packet(
        &mut self,
        now: Instant,
        from: SocketAddr,
        ssrc: u32,
        sequence: u16,
    ) -> Verdict {
        let verdict = if self.state == State::Locked && self.current == Some(from) {
            self.stats.accepted += 1;
            Verdict::Accept
        } else {
            self.judge(now, canonical(from), ssrc, sequence)
        };
        if verdict != Verdict::Refuse {
            self.last = Some(Last {
                ssrc,
                sequence,
                at: now,
            });
        }
        verdict
    }

    /// Whether a datagram that is no RTP packet, such as RTCP on the same port, is from the
    /// stream's source. Never learns.
    pub fn handle_other(&mut self, from: SocketAddr) -> Verdict {
        let from = canonical(from);
        if self.current == Some(from) || self.is_signalled_and_open(from) {
            self.stats.accepted += 1;
            return Verdict::Accept;
        }
        self.refuse()
    }

    /// Where to send: the signalled address, or the learned one; the signalled one again while an
    /// unknown host has used up its [`UNCONFIRMED_PACKETS`].
    #[inline]
    pub fn destination(&self) -> Option<SocketAddr> {
        match self.allowance {
            Some(0) => self.signalled,
            _ => self.current,
        }
    }

    /// The address that packets are taken from.
    pub fn source(&self) -> Option<SocketAddr> {
        self.current
    }

    /// A packet went to [`SourceLock::destination`].
    #[inline]
    pub fn note_sent(&mut self) {
        if let Some(left) = &mut self.allowance {
            *left = left.saturating_sub(1);
        }
    }

    /// The host at `from` has reported on our SSRC, which only the parties know: an unknown host
    /// that was learned is the peer after all.
    pub fn confirm(&mut self, from: SocketAddr) {
        if self.current.map(|c| c.ip()) == Some(canonical(from).ip()) {
            self.allowance = None;
        }
    }

    /// Whether nothing but signalling can move the stream any more.
    pub fn is_locked(&self) -> bool {
        self.state == State::Locked
    }

    /// Counters since construction.
    pub fn stats(&self) -> SourceStats {
        self.stats
    }

    fn judge(&mut self, now: Instant, from: SocketAddr, ssrc: u32, sequence: u16) -> Verdict {
        if self.is_signalled_and_open(from) {
            return self.accept_signalled(from);
        }
        if self.state != State::Open && self.current == Some(from) {
            // Who has not shown that it takes part never closes the lock.
            if self.window_closed(now) && self.allowance.is_none() {
                self.state = State::Locked;
            }
            self.stats.accepted += 1;
            return Verdict::Accept;
        }
        if self.state != State::Open {
            return self.try_rebinding(now, from, ssrc, sequence);
        }
        if self.window_closed(now) {
            return self.refuse();
        }
        self.try_candidate(now, from, ssrc, sequence)
    }

    /// The stream going on from another port of its host; see [`SourceLock`].
    #[cold]
    fn try_rebinding(
        &mut self,
        now: Instant,
        from: SocketAddr,
        ssrc: u32,
        sequence: u16,
    ) -> Verdict {
        let same_host = self.current.map(|current| current.ip()) == Some(from.ip());
        let goes_on = self.last.is_some_and(|last| {
            last.ssrc == ssrc
                && matches!(sequence.wrapping_sub(last.sequence), 1..REBIND_AHEAD)
                && now.saturating_duration_since(last.at) >= REBIND_SILENCE
        });
        if self.config.learning == Learning::Off || !same_host || !goes_on {
            return self.refuse();
        }
        let tried = self.advance_candidate(now, from, ssrc, sequence, true);
        if tried.is_none_or(|candidate| candidate.count < self.config.probation.max(2)) {
            return self.refuse();
        }
        self.candidate = None;
        self.current = Some(from);
        self.stats.accepted += 1;
        self.stats.rebound += 1;
        Verdict::Learned
    }

    /// Packets from the signalled address count until the lock has closed on another.
    fn is_signalled_and_open(&self, from: SocketAddr) -> bool {
        self.signalled == Some(from) && (self.state != State::Locked || self.current == Some(from))
    }

    fn accept_signalled(&mut self, from: SocketAddr) -> Verdict {
        self.stats.accepted += 1;
        let was_learned = self.state == State::Learned;
        self.confirmations = self.confirmations.saturating_add(1);
        if self.confirmations >= self.config.confirm {
            self.state = State::Locked;
            self.candidate = None;
            self.allowance = None;
            self.current = Some(from);
            self.stats.reverted += u32::from(was_learned);
        }
        Verdict::Accept
    }

    fn try_candidate(
        &mut self,
        now: Instant,
        from: SocketAddr,
        ssrc: u32,
        sequence: u16,
    ) -> Verdict {
        let known = self.is_known_host(from.ip());
        match self.config.learning {
            Learning::Off => return self.refuse(),
            Learning::KnownHost if !known => return self.refuse(),
            Learning::KnownHost | Learning::AnyHost => {}
        }
        let candidate = self.advance_candidate(now, from, ssrc, sequence, known);
        let Some(candidate) = candidate else {
            return self.refuse();
        };
        let sent_long_enough =
            known || now.saturating_duration_since(candidate.since) >= self.config.trial;
        if candidate.count < self.config.probation.max(1) || !sent_long_enough {
            return self.refuse();
        }
        self.candidate = None;
        self.current = Some(from);
        self.allowance = (!known).then_some(UNCONFIRMED_PACKETS);
        self.state = State::Learned;
        self.stats.accepted += 1;
        self.stats.learned += 1;
        Verdict::Learned
    }

    /// Continues or replaces the candidate. A known host displaces an unknown one, never the other
    /// way round, so that a sprayer cannot keep the peer from being learned.
    fn advance_candidate(
        &mut self,
        now: Instant,
        from: SocketAddr,
        ssrc: u32,
        sequence: u16,
        known: bool,
    ) -> Option<Candidate> {
        let fresh = Candidate {
            address: from,
            ssrc,
            next_sequence: sequence.wrapping_add(1),
            count: 1,
            since: now,
        };
        let next = match self.candidate {
            Some(held) if held.address == from => {
                if held.ssrc == ssrc && held.next_sequence == sequence {
                    Candidate {
                        next_sequence: sequence.wrapping_add(1),
                        count: held.count.saturating_add(1),
                        ..held
                    }
                } else {
                    fresh
                }
            }
            Some(held) if self.is_known_host(held.address.ip()) && !known => return None,
            _ => fresh,
        };
        self.candidate = Some(next);
        Some(next)
    }

    fn is_known_host(&self, host: IpAddr) -> bool {
        self.signalled.is_some_and(|address| address.ip() == host)
            || self
                .config
                .hint
                .is_some_and(|hint| hint.to_canonical() == host)
    }

    fn window_closed(&self, now: Instant) -> bool {
        self.signalled.is_none() || now.saturating_duration_since(self.opened) > self.config.window
    }

    fn refuse(&mut self) -> Verdict {
        self.stats.refused += 1;
        Verdict::Refuse
    }
}

/// The address as signalling would write it: an IPv4 address mapped into IPv6 is the IPv4 address
/// (a socket bound to both families reports it so), and scope and flow label do not count.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests;
