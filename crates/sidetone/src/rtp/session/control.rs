//! The RTCP half of a session: when to report, what, and what the peer's reports say.

use thiserror::Error;

use crate::rng::Rng;
use crate::rtp::rtcp::{BufferFull, Compound, Packet, ParseError, ReportBlock, Writer};
use crate::rtp::session::receiver::Receiver;
use crate::rtp::session::sender::{Sender, ticks_to_time};
use crate::rtp::stats::{ControlStats, PeerStats};
use crate::time::{ClockAnchor, Duration, Instant};

/// Bytes that any compound packet of a two-party session fits in: a sender report with one block
/// (52), a canonical name (at most 264) and a goodbye with a reason (at most 264).
pub const MAX_COMPOUND_LEN: usize = 580;

/// Compensation for timer reconsideration, e − 3/2 (RFC 3550 §6.3.1).
const COMPENSATION: f64 = 1.218_28;

/// How RTCP is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlConfig {
    /// Mean time between reports, from which each is drawn at 0.41 to 1.23 times (RFC 3550
    /// §6.3.1); the first comes after half of it. Default 5 s, not below 500 ms. At two parties
    /// the 5 % share of bandwidth always allows more, so that it does not enter.
    pub interval: Duration,
}

impl Default for ControlConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(5),
        }
    }
}

/// Why an RTCP datagram was not taken. Drop it; it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ControlError {
    /// It is not a valid compound packet.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// It carries our own SSRC: a collision or a loop (RFC 3550 §8.2).
    #[error("RTCP carries our own SSRC")]
    Collision,
}

/// What an RTCP datagram told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Heard {
    /// The peer's stream has said goodbye (RFC 3550 §6.6).
    pub goodbye: bool,
    /// A report about our stream renewed [`PeerStats`].
    pub report: bool,
}

/// A sender report received.
#[derive(Debug, Clone, Copy)]
struct LastReport {
    ssrc: u32,
    ntp_middle: u32,
    at: Instant,
}

/// Schedules and interprets RTCP between two parties (RFC 3550 §6.2, §6.3).
#[derive(Debug)]
pub(super) struct Control {
    cname: Box<str>,
    anchor: ClockAnchor,
    interval: Duration,
    rng: Rng,
    due: Option<Instant>,
    last_sent: Option<Instant>,
    before_last_sent: Option<Instant>,
    goodbye: Option<&'static str>,
    last_report: Option<LastReport>,
    peer: PeerStats,
    stats: ControlStats,
}

impl Control {
    pub(super) fn new(
        now: Instant,
        config: ControlConfig,
        cname: &str,
        anchor: ClockAnchor,
        rng: Rng,
    ) -> Self {
        let mut control = Self {
            cname: cname.into(),
            anchor,
            interval: config.interval.max(Duration::from_millis(500)),
            rng,
            due: None,
            last_sent: None,
            before_last_sent: None,
            goodbye: None,
            last_report: None,
            peer: PeerStats::default(),
            stats: ControlStats::default(),
        };
        control.due = Some(now + control.draw(control.interval / 2));
        control
    }

    pub(super) fn handle_datagram(
        &mut self,
        now: Instant,
        datagram: &[u8],
        sender: &Sender,
        receiver: &mut Receiver,
    ) -> Result<Heard, ControlError> {
        let compound = Compound::parse(datagram).inspect_err(|_| self.stats.invalid += 1)?;
        let mut heard = Heard::default();
        for packet in compound.packets() {
            match packet {
                Packet::SenderReport(report) => {
                    self.check_collision(report.ssrc(), sender)?;
                    self.last_report = Some(LastReport {
                        ssrc: report.ssrc(),
                        ntp_middle: (report.info().ntp >> 16) as u32,
                        at: now,
                    });
                    heard.report |= self.read_blocks(now, report.blocks(), sender);
                }
                Packet::ReceiverReport(report) => {
                    self.check_collision(report.ssrc(), sender)?;
                    heard.report |= self.read_blocks(now, report.blocks(), sender);
                }
                Packet::Goodbye(goodbye) => {
                    for ssrc in goodbye.sources() {
                        heard.goodbye |= receiver.ssrc() == Some(ssrc);
                        receiver.handle_goodbye(now, ssrc);
                    }
                }
                _ => {}
            }
        }
        self.stats.received += 1;
        Ok(heard)
    }

    pub(super) fn say_goodbye(&mut self, now: Instant, reason: &'static str) {
        self.goodbye = Some(reason);
        self.due = Some(now);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Writes the compound that is due; after a goodbye, nothing is ever due again.
    pub(super) fn poll(
        &mut self,
        now: Instant,
        sender: &Sender,
        receiver: &mut Receiver,
        buf: &mut [u8],
    ) -> Option<usize> {
        if self.due.is_none_or(|due| due > now) {
            return None;
        }
        self.due = match self.goodbye {
            Some(_) => None,
            None => Some(now + self.draw(self.interval)),
        };
        let len = self.write(now, sender, receiver, buf).ok()?;
        self.before_last_sent = self.last_sent.replace(now);
        self.stats.sent += 1;
        Some(len)
    }

    pub(super) fn count_collision(&mut self) {
        self.stats.collisions += 1;
    }

    /// A goodbye for an SSRC given up after a collision, to be sent at once (RFC 3550 §8.2).
    pub(super) fn write_goodbye(ssrc: u32, buf: &mut [u8]) -> Result<usize, BufferFull> {
        let mut writer = Writer::new(buf);
        writer.receiver_report(ssrc, &[])?;
        writer.goodbye(ssrc, "collision")?;
        Ok(writer.finish())
    }

    pub(super) fn peer(&self) -> PeerStats {
        self.peer
    }

    pub(super) fn stats(&self) -> ControlStats {
        self.stats
    }

    fn write(
        &self,
        now: Instant,
        sender: &Sender,
        receiver: &mut Receiver,
        buf: &mut [u8],
    ) -> Result<usize, BufferFull> {
        let block = receiver.report().map(|block| self.timed(now, block));
        let blocks = block.as_slice();
        let ssrc = sender.ssrc();
        let mut writer = Writer::new(buf);
        if self.has_sent(sender) {
            let info = sender.info(now, self.anchor.wall_at(now));
            writer.sender_report(ssrc, &info, blocks)?;
        } else {
            writer.receiver_report(ssrc, blocks)?;
        }
        writer.cname(ssrc, &self.cname)?;
        if let Some(reason) = self.goodbye {
            writer.goodbye(ssrc, reason)?;
        }
        Ok(writer.finish())
    }

    /// A sender is who has sent since the report before the last (RFC 3550 §6.4).
    fn has_sent(&self, sender: &Sender) -> bool {
        match (sender.last_sent(), self.before_last_sent) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(sent), Some(since)) => sent > since,
        }
    }

    /// Adds what RFC 3550 §6.4.1 wants of the last sender report.
    fn timed(&self, now: Instant, mut block: ReportBlock) -> ReportBlock {
        let Some(last) = self.last_report.filter(|last| last.ssrc == block.ssrc) else {
            return block;
        };
        let passed = now.saturating_duration_since(last.at).as_nanos();
        block.last_sender_report = last.ntp_middle;
        block.delay = u32::try_from((passed << 16) / 1_000_000_000).unwrap_or(u32::MAX);
        block
    }

    fn read_blocks(
        &mut self,
        now: Instant,
        blocks: impl Iterator<Item = ReportBlock>,
        sender: &Sender,
    ) -> bool {
        let mut found = false;
        for block in blocks.filter(|block| block.ssrc == sender.ssrc()) {
            let round_trip = block.round_trip(self.anchor.wall_at(now));
            self.peer = PeerStats {
                reports: self.peer.reports + 1,
                fraction_lost: block.fraction_lost,
                lost: block.lost,
                jitter_ticks: block.jitter,
                jitter: ticks_to_time(block.jitter, sender.clock_rate()),
                round_trip: round_trip.or(self.peer.round_trip),
            };
            found = true;
        }
        found
    }

    fn check_collision(&mut self, ssrc: u32, sender: &Sender) -> Result<(), ControlError> {
        if ssrc == sender.ssrc() {
            self.stats.collisions += 1;
            return Err(ControlError::Collision);
        }
        Ok(())
    }

    /// A random time around `interval` (RFC 3550 §6.3.1).
    fn draw(&mut self, interval: Duration) -> Duration {
        interval.mul_f64((self.rng.next_f64() + 0.5) / COMPENSATION)
    }
}
