//! The RTCP half of a session: when to report, what, and what the peer's reports say.

use thiserror::Error;

use crate::rng::Rng;
use crate::rtp::rtcp::feedback::{Feedback, Message};
use crate::rtp::rtcp::xr::{self, Block, Content, Delay, ExtendedReport, VoipMetrics};
use crate::rtp::rtcp::{BufferFull, Compound, Packet, ParseError, ReportBlock, Writer, round_trip};
use crate::rtp::session::receiver::Receiver;
use crate::rtp::session::sender::{Sender, ticks_to_time};
use crate::rtp::session::timing::Timing;
use crate::rtp::stats::{ControlStats, FeedbackStats, PeerStats};
use crate::time::{ClockAnchor, Duration, Instant};

/// Bytes that any compound packet of a two-party session fits in: a sender report with one block
/// (52), an extended report (72), a canonical name (at most 264), feedback (80) and a goodbye with a
/// reason (at most 264).
pub const MAX_COMPOUND_LEN: usize = 732;

/// Feedback messages that wait at most.
const MAX_REQUESTS: usize = 4;

/// How RTCP is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlConfig {
    /// Mean time between reports, from which each is drawn at 0.41 to 1.23 times (RFC 3550
    /// §6.3.1); the first comes after half of it. Default 5 s, 500 ms to 2 minutes. It grows where
    /// the session's share of 400 octets a second does not suffice: at two parties never.
    pub interval: Duration,
}

impl Default for ControlConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(5),
        }
    }
}

/// What was agreed about RTCP beyond RFC 3550.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ControlTerms {
    /// Packets need not begin with a report (RFC 5506): those of the peer are taken so, and
    /// feedback of ours goes out without one.
    pub reduced_size: bool,
    /// The profile is AVPF (RFC 4585): feedback need not wait for the next report.
    pub early_feedback: bool,
    /// Mean time between reports in place of [`ControlConfig::interval`] (`trr-int` of RFC 4585).
    pub interval: Option<Duration>,
    /// Reports carry VoIP metrics of the stream received (RFC 3611 §4.7).
    pub voip_metrics: bool,
    /// Reference times are sent while we only receive, and those of the peer answered (RFC 3611
    /// §4.4, §4.5).
    pub reference_time: bool,
}

/// What playing the received stream was like, for VoIP metrics. Whatever is not known stays zero,
/// or `None`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PlayoutFigures {
    /// The jitter buffer's delay now.
    pub delay: Duration,
    /// The most that it has had to grow to.
    pub delay_maximum: Duration,
    /// The most that it may ever grow to.
    pub delay_limit: Duration,
    /// The buffer adapts to the network.
    pub adaptive: bool,
    /// R factor of the conversation, 0 to 100 (G.107).
    pub r_factor: Option<f64>,
    /// MOS for listening, 1 to 5.
    pub mos_listening: Option<f64>,
    /// MOS for conversation, 1 to 5.
    pub mos_conversation: Option<f64>,
}

/// Feedback about the peer's stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Packets have not arrived: the first, and one bit for each of the 16 after it (RFC 4585
    /// §6.2.1).
    Nack {
        /// The first.
        first: u16,
        /// Bit n stands for `first + n + 1`.
        following: u16,
    },
    /// A picture was lost (RFC 4585 §6.3.1).
    PictureLoss,
    /// A full picture is needed (RFC 5104 §4.3.1).
    FullIntra,
}

/// Feedback cannot be sent: four messages wait already, or no stream has been received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("no stream to send feedback about, or too much of it waits")]
pub struct CannotRequest;

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
    /// It came from the SSRC of the stream that we receive.
    pub named: bool,
}

/// A report of the peer that ours refers to.
#[derive(Debug, Clone, Copy)]
struct Reference {
    ssrc: u32,
    ntp_middle: u32,
    at: Instant,
}

impl Reference {
    fn new(now: Instant, ssrc: u32, ntp: u64) -> Self {
        Self {
            ssrc,
            ntp_middle: (ntp >> 16) as u32,
            at: now,
        }
    }

    /// Time since it came, in 1/65536 s.
    fn age(&self, now: Instant) -> u32 {
        let passed = now.saturating_duration_since(self.at).as_nanos();
        u32::try_from((passed << 16) / 1_000_000_000).unwrap_or(u32::MAX)
    }
}

/// Schedules and interprets RTCP between two parties (RFC 3550 §6.2, §6.3).
#[derive(Debug)]
pub(super) struct Control {
    cname: Box<str>,
    anchor: ClockAnchor,
    interval: Duration,
    terms: ControlTerms,
    timing: Timing,
    last_sent: Option<Instant>,
    before_last_sent: Option<Instant>,
    goodbye: Option<&'static str>,
    last_report: Option<Reference>,
    reference_time: Option<Reference>,
    playout: PlayoutFigures,
    requests: [Option<Request>; MAX_REQUESTS],
    /// Feedback may go out before the next report (RFC 4585 §3.5.2).
    may_be_early: bool,
    full_intra_number: u8,
    peer: PeerStats,
    feedback: FeedbackStats,
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
        Self {
            cname: cname.into(),
            anchor,
            interval: config.interval,
            terms: ControlTerms::default(),
            timing: Timing::new(now, config.interval, rng),
            last_sent: None,
            before_last_sent: None,
            goodbye: None,
            last_report: None,
            reference_time: None,
            playout: PlayoutFigures::default(),
            requests: [None; MAX_REQUESTS],
            may_be_early: true,
            full_intra_number: 0,
            peer: PeerStats::default(),
            feedback: FeedbackStats::default(),
            stats: ControlStats::default(),
        }
    }

    pub(super) fn set_terms(&mut self, now: Instant, terms: ControlTerms) {
        self.terms = terms;
        let interval = terms.interval.unwrap_or(self.interval);
        self.timing.set_minimum(now, interval);
    }

    pub(super) fn set_playout(&mut self, figures: PlayoutFigures) {
        self.playout = figures;
    }

    pub(super) fn wants_playout(&self, now: Instant) -> bool {
        self.terms.voip_metrics && self.timing.due().is_some_and(|due| due <= now)
    }

    pub(super) fn request(&mut self, request: Request) -> Result<(), CannotRequest> {
        if self.requests.contains(&Some(request)) {
            return Ok(());
        }
        let free = self.requests.iter_mut().find(|r| r.is_none());
        *free.ok_or(CannotRequest)? = Some(request);
        Ok(())
    }

    pub(super) fn handle_datagram(
        &mut self,
        now: Instant,
        datagram: &[u8],
        sender: &Sender,
        receiver: &mut Receiver,
    ) -> Result<Heard, ControlError> {
        let compound = match self.terms.reduced_size {
            true => Compound::parse_reduced(datagram),
            false => Compound::parse(datagram),
        };
        let compound = compound.inspect_err(|_| self.stats.invalid += 1)?;
        let mut heard = Heard::default();
        for packet in compound.packets() {
            if let Some((ssrc, sends)) = reporter(&packet) {
                self.check_collision(ssrc, sender)?;
                self.timing.heard(now, ssrc, sends);
                heard.named |= receiver.ssrc() == Some(ssrc);
            }
            match packet {
                Packet::SenderReport(report) => {
                    let ntp = report.info().ntp;
                    self.last_report = Some(Reference::new(now, report.ssrc(), ntp));
                    heard.report |= self.read_blocks(now, report.blocks(), sender);
                }
                Packet::ReceiverReport(report) => {
                    heard.report |= self.read_blocks(now, report.blocks(), sender);
                }
                Packet::Goodbye(goodbye) => {
                    for ssrc in goodbye.sources() {
                        heard.goodbye |= receiver.ssrc() == Some(ssrc);
                        receiver.handle_goodbye(now, ssrc);
                        self.timing.left(now, ssrc);
                    }
                }
                Packet::Feedback(feedback) => self.read_feedback(&feedback, sender),
                Packet::ExtendedReport(report) => self.read_extended(now, &report, sender),
                _ => {}
            }
        }
        self.timing.note_size(datagram.len());
        self.stats.received += 1;
        Ok(heard)
    }

    pub(super) fn say_goodbye(&mut self, now: Instant, reason: &'static str) {
        self.goodbye = Some(reason);
        self.timing.leave(now);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self.may_send_early() {
            true => Some(Instant::ZERO),
            false => self.timing.due(),
        }
    }

    /// Writes what is due; after a goodbye, nothing is ever due again.
    pub(super) fn poll(
        &mut self,
        now: Instant,
        sender: &Sender,
        receiver: &mut Receiver,
        buf: &mut [u8],
    ) -> Option<usize> {
        let we_sent = self.has_sent(sender);
        if let Some(ssrc) = receiver.ssrc()
            && receiver.last_received() > self.last_sent
        {
            self.timing.heard(now, ssrc, true);
        }
        let ends = self.goodbye.is_some() && self.timing.due().is_some();
        if !ends && !self.timing.expires(now, we_sent) {
            return self.poll_early(now, sender, receiver, buf);
        }
        match ends {
            true => self.timing.stop(),
            false => self.timing.sent(now, we_sent),
        }
        self.may_be_early = true;
        let len = self.write(now, sender, receiver, buf).ok()?;
        self.before_last_sent = self.last_sent.replace(now);
        self.timing.note_size(len);
        self.stats.sent += 1;
        Some(len)
    }

    /// Feedback that need not wait for a report: between two parties nothing else delays it, but
    /// only one such packet goes out between two reports (RFC 4585 §3.5.2).
    fn poll_early(
        &mut self,
        now: Instant,
        sender: &Sender,
        receiver: &mut Receiver,
        buf: &mut [u8],
    ) -> Option<usize> {
        if !self.may_send_early() {
            return None;
        }
        self.may_be_early = false;
        let len = if self.terms.reduced_size {
            let mut writer = Writer::new(buf);
            self.write_requests(sender, receiver, &mut writer).ok()?;
            writer.finish()
        } else {
            self.write(now, sender, receiver, buf).ok()?
        };
        self.timing.postpone();
        self.timing.note_size(len);
        self.stats.sent += 1;
        (len > 0).then_some(len)
    }

    fn may_send_early(&self) -> bool {
        let waits = self.requests[0].is_some() && self.goodbye.is_none();
        waits && self.terms.early_feedback && self.may_be_early
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

    pub(super) fn feedback(&self) -> FeedbackStats {
        self.feedback
    }

    pub(super) fn stats(&self) -> ControlStats {
        self.stats
    }

    fn write(
        &mut self,
        now: Instant,
        sender: &Sender,
        receiver: &mut Receiver,
        buf: &mut [u8],
    ) -> Result<usize, BufferFull> {
        let block = receiver.report().map(|block| self.timed(now, block));
        let blocks = block.as_slice();
        let ssrc = sender.ssrc();
        let mut writer = Writer::new(buf);
        let we_sent = self.has_sent(sender);
        if we_sent {
            let info = sender.info(now, self.anchor.wall_at(now));
            writer.sender_report(ssrc, &info, blocks)?;
        } else {
            writer.receiver_report(ssrc, blocks)?;
        }
        writer.cname(ssrc, &self.cname)?;
        let content = self.extended(now, we_sent, receiver);
        writer.extended_report(ssrc, &content)?;
        self.write_requests(sender, receiver, &mut writer)?;
        if let Some(reason) = self.goodbye {
            writer.goodbye(ssrc, reason)?;
        }
        Ok(writer.finish())
    }

    fn write_requests(
        &mut self,
        sender: &Sender,
        receiver: &Receiver,
        writer: &mut Writer<'_>,
    ) -> Result<(), BufferFull> {
        let requests = std::mem::take(&mut self.requests);
        let Some(media) = receiver.ssrc() else {
            return Ok(());
        };
        let ssrc = sender.ssrc();
        for request in requests.into_iter().flatten() {
            match request {
                Request::Nack { first, following } => {
                    writer.nack_entry(ssrc, media, first, following)?;
                }
                Request::PictureLoss => writer.picture_loss(ssrc, media)?,
                Request::FullIntra => {
                    writer.full_intra(ssrc, media, self.full_intra_number)?;
                    self.full_intra_number = self.full_intra_number.wrapping_add(1);
                }
            }
            self.feedback.sent += 1;
        }
        Ok(())
    }

    /// What was agreed to be told in extended reports.
    fn extended(&self, now: Instant, we_sent: bool, receiver: &Receiver) -> Content {
        let asks = self.terms.reference_time && !we_sent;
        let answered = self.reference_time.filter(|_| self.terms.reference_time);
        Content {
            reference_time: asks.then(|| self.anchor.wall_at(now).to_ntp()),
            delay: answered.map(|reference| Delay {
                ssrc: reference.ssrc,
                last_reference: reference.ntp_middle,
                delay: reference.age(now),
            }),
            metrics: receiver
                .ssrc()
                .filter(|_| self.terms.voip_metrics)
                .map(|ssrc| self.metrics(ssrc, receiver)),
        }
    }

    fn metrics(&self, ssrc: u32, receiver: &Receiver) -> VoipMetrics {
        let (stats, bursts) = (receiver.stats(), receiver.bursts());
        let expected = (stats.packets + stats.lost).max(1) as f64;
        let packet = receiver.packet_time();
        let playout = &self.playout;
        let score = |mos: Option<f64>| match mos {
            Some(mos) => (mos.clamp(1.0, 5.0) * 10.0).round() as u8,
            None => xr::UNAVAILABLE,
        };
        VoipMetrics {
            loss_rate: in_256(stats.lost as f64 / expected),
            discard_rate: in_256(stats.discarded as f64 / expected),
            burst_density: in_256(bursts.burst_density()),
            gap_density: in_256(bursts.gap_density()),
            burst_duration: millis(packet.mul_f64(bursts.mean_burst())),
            gap_duration: millis(packet.mul_f64(bursts.mean_gap())),
            round_trip: millis(self.peer.round_trip.unwrap_or_default()),
            end_system_delay: millis(playout.delay + packet),
            r_factor: match playout.r_factor {
                Some(r) => r.clamp(0.0, 100.0).round() as u8,
                None => xr::UNAVAILABLE,
            },
            mos_listening: score(playout.mos_listening),
            mos_conversation: score(playout.mos_conversation),
            receiver: xr::receiver_configuration(playout.adaptive),
            buffer_nominal: millis(playout.delay),
            buffer_maximum: millis(playout.delay_maximum),
            buffer_limit: millis(playout.delay_limit),
            ..VoipMetrics::unknown(ssrc)
        }
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
        if let Some(last) = self.last_report.filter(|last| last.ssrc == block.ssrc) {
            block.last_sender_report = last.ntp_middle;
            block.delay = last.age(now);
        }
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
                voip: self.peer.voip,
            };
            found = true;
        }
        found
    }

    fn read_feedback(&mut self, feedback: &Feedback<'_>, sender: &Sender) {
        let ours = sender.ssrc();
        let stats = &mut self.feedback;
        match feedback.message {
            Message::Nack(nack) if feedback.media == ours => {
                stats.nacks += 1;
                stats.nacked_packets += nack.sequences().count() as u64;
            }
            Message::PictureLoss if feedback.media == ours => stats.picture_losses += 1,
            Message::FullIntra(full) if full.requests().any(|(ssrc, _)| ssrc == ours) => {
                stats.full_intras += 1;
            }
            Message::BitrateRequest(limits) => {
                if let Some(limit) = limits.limits().find(|limit| limit.ssrc == ours) {
                    stats.bitrate_limit = Some(limit.bits);
                }
            }
            Message::EstimatedBitrate(estimate) if estimate.streams().any(|s| s == ours) => {
                stats.bitrate_limit = Some(estimate.bits);
            }
            _ => stats.other += 1,
        }
    }

    fn read_extended(&mut self, now: Instant, report: &ExtendedReport<'_>, sender: &Sender) {
        for block in report.blocks() {
            match block {
                Block::ReferenceTime(ntp) => {
                    self.reference_time = Some(Reference::new(now, report.ssrc, ntp));
                }
                Block::Delays(delays) => {
                    let wall = self.anchor.wall_at(now);
                    let ours = delays.entries().find(|d| d.ssrc == sender.ssrc());
                    let trip = ours.and_then(|d| round_trip(wall, d.last_reference, d.delay));
                    self.peer.round_trip = trip.or(self.peer.round_trip);
                }
                Block::VoipMetrics(metrics) if metrics.ssrc == sender.ssrc() => {
                    self.peer.voip = Some(metrics);
                }
                _ => {}
            }
        }
    }

    fn check_collision(&mut self, ssrc: u32, sender: &Sender) -> Result<(), ControlError> {
        if ssrc == sender.ssrc() {
            self.stats.collisions += 1;
            return Err(ControlError::Collision);
        }
        Ok(())
    }
}

/// Who speaks in a packet, and whether as a sender.
fn reporter(packet: &Packet<'_>) -> Option<(u32, bool)> {
    match packet {
        Packet::SenderReport(report) => Some((report.ssrc(), true)),
        Packet::ReceiverReport(report) => Some((report.ssrc(), false)),
        Packet::Feedback(feedback) => Some((feedback.sender, false)),
        Packet::ExtendedReport(report) => Some((report.ssrc, false)),
        _ => None,
    }
}

fn in_256(share: f64) -> u8 {
    (share * 256.0).min(255.0) as u8
}

fn millis(time: Duration) -> u16 {
    u16::try_from(time.as_millis()).unwrap_or(u16::MAX)
}
