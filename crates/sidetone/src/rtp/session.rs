//! An RTP session: numbering sent packets, judging received ones, scheduling RTCP.

pub mod control;
pub mod receiver;
pub mod sender;
mod timing;

use sidetone_simd::cache::prefetch;

use crate::rng::Rng;
use crate::rtp::burst::Bursts;
use crate::rtp::packet::View;
use crate::rtp::stats::{ControlStats, FeedbackStats, PeerStats, ReceiveStats, SendStats};
use crate::time::{ClockAnchor, Duration, Instant};

use control::{
    CannotRequest, Control, ControlConfig, ControlError, ControlTerms, Heard, PlayoutFigures,
    Request,
};
use receiver::{Position, Receiver, ReceiverConfig, Refusal};
use sender::Sender;

/// After a collision, further packets with our SSRC are a loop for this long (RFC 3550 §8.2 asks
/// for ten report intervals): they are dropped and do not change the SSRC again.
const LOOP_MEMORY: Duration = Duration::from_secs(50);

/// How a [`Session`] is made.
#[derive(Debug, Clone)]
pub struct SessionConfig {
    /// The canonical name sent in RTCP (RFC 3550 §6.5.1); should be random, not an address of this
    /// machine (RFC 7022). At most 255 bytes are sent.
    pub cname: String,
    /// Ties the session's clock to civil time, for sender reports.
    pub anchor: ClockAnchor,
    /// How received packets are judged; its clock rate is also the sender's.
    pub receiver: ReceiverConfig,
    /// How RTCP is sent.
    pub control: ControlConfig,
}

/// Both halves of an RTP session with one peer, and its RTCP (RFC 3550).
///
/// Drive it so: packets of the peer (after [`SourceLock`](crate::rtp::source::SourceLock)) go to
/// [`Session::handle_rtp`] and [`Session::handle_rtcp`]; headers of what is sent come from
/// [`Session::sender`]; whenever [`Session::poll_timeout`] has passed, [`Session::poll_rtcp`] gives
/// what is to be sent, until it gives none. Allocates nothing after construction.
///
/// ```
/// use sidetone::rng::Rng;
/// use sidetone::rtp::session::{Session, SessionConfig};
/// use sidetone::time::{ClockAnchor, Instant};
///
/// let config = SessionConfig {
///     cname: "c0ffee".into(),
///     anchor: ClockAnchor::default(),
///     receiver: Default::default(),
///     control: Default::default(),
/// };
/// let mut session = Session::new(Instant::ZERO, config, Rng::new(1));
/// let header = session.sender().audio(Instant::ZERO, 0, 160, 160);
/// assert!(header.marker);
/// let mut buf = [0; 580];
/// let mut due = session.poll_timeout().expect("a first report");
/// // What is due may be put off once more (timer reconsideration, §6.3.6).
/// while session.poll_rtcp(due, &mut buf).is_none() {
///     due = session.poll_timeout().expect("a later time");
/// }
/// ```
#[derive(Debug)]
pub struct Session {
    sender: Sender,
    receiver: Receiver,
    control: Control,
    rng: Rng,
    abandoned: Option<u32>,
    collided: Option<Instant>,
}

impl Session {
    /// A packet of the peer is coming: asks for the memory that it reads.
    pub(crate) fn expect_received(&self) {
        prefetch(&self.receiver);
    }

    /// A packet goes to the peer: the same.
    pub(crate) fn expect_sent(&self) {
        prefetch(&self.sender);
    }

    /// A session whose SSRC, first sequence number and first timestamp are drawn from `rng`, and
    /// whose first report is due within about 3 s of `now`.
    pub fn new(now: Instant, config: SessionConfig, mut rng: Rng) -> Self {
        // A first sequence number below 2¹⁵ spares receivers a wrap in the first seconds.
        let sequence = (rng.next_u32() & 0x7FFF) as u16;
        let clock_rate = config.receiver.clock_rate;
        let sender = Sender::new(rng.next_u32(), sequence, rng.next_u32(), clock_rate);
        let control = Control::new(
            now,
            config.control,
            &config.cname,
            config.anchor,
            rng.fork(),
        );
        Self {
            sender,
            receiver: Receiver::new(config.receiver),
            control,
            rng,
            abandoned: None,
            collided: None,
        }
    }

    /// Judges an RTP packet of the peer.
    ///
    /// # Errors
    /// [`Refusal`]: drop the packet; it is counted. On [`Refusal::Collision`] our own stream goes
    /// on under another SSRC and a goodbye for the old one is due (RFC 3550 §8.2).
    #[inline]
    pub fn handle_rtp(&mut self, now: Instant, packet: &View<'_>) -> Result<Position, Refusal> {
        if packet.ssrc() == self.sender.ssrc() {
            self.control.count_collision();
            self.resolve_collision(now);
            return Err(Refusal::Collision);
        }
        self.receiver.handle_packet(now, packet)
    }

    /// Takes an RTCP datagram of the peer.
    ///
    /// # Errors
    /// [`ControlError`]: drop the datagram; it is counted.
    pub fn handle_rtcp(&mut self, now: Instant, datagram: &[u8]) -> Result<Heard, ControlError> {
        let heard = self
            .control
            .handle_datagram(now, datagram, &self.sender, &mut self.receiver);
        if heard == Err(ControlError::Collision) {
            self.resolve_collision(now);
        }
        heard
    }

    /// Numbers what is sent.
    pub fn sender(&mut self) -> &mut Sender {
        &mut self.sender
    }

    /// How what is sent is numbered.
    pub(crate) fn sending(&self) -> &Sender {
        &self.sender
    }

    /// What is known of what is received.
    pub(crate) fn receiving(&self) -> &Receiver {
        &self.receiver
    }

    /// Judges what is received; its settings change here.
    pub fn receiver(&mut self) -> &mut Receiver {
        &mut self.receiver
    }

    /// Goes on with a codec of another clock rate, both ways.
    pub fn set_clock_rate(&mut self, clock_rate: u32) {
        if clock_rate != self.sender.clock_rate() {
            self.sender.set_clock_rate(clock_rate);
        }
        self.receiver.set_clock_rate(clock_rate);
    }

    /// Goes on with RTCP as it was agreed anew. At first, as RFC 3550 has it.
    pub fn set_control_terms(&mut self, now: Instant, terms: ControlTerms) {
        self.control.set_terms(now, terms);
    }

    /// Whether a report with VoIP metrics is due, for which [`Session::set_playout_figures`] gives
    /// what the session does not know.
    pub fn wants_playout_figures(&self, now: Instant) -> bool {
        self.control.wants_playout(now)
    }

    /// Tells what playing the received stream was like.
    pub fn set_playout_figures(&mut self, figures: PlayoutFigures) {
        self.control.set_playout(figures);
    }

    /// Sends feedback about the peer's stream: at once where AVPF was agreed and none has gone out
    /// since the last report, else with the next report. The same feedback twice is sent once.
    ///
    /// # Errors
    /// [`CannotRequest`] where four messages wait already, or nothing has been received.
    pub fn request(&mut self, request: Request) -> Result<(), CannotRequest> {
        self.receiver.ssrc().ok_or(CannotRequest)?;
        self.control.request(request)
    }

    /// Ends the session: a report with a goodbye is due at once, and none after it. `reason` may
    /// be empty.
    pub fn goodbye(&mut self, now: Instant, reason: &'static str) {
        self.control.say_goodbye(now, reason);
    }

    /// When [`Session::poll_rtcp`] has something to send.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.abandoned {
            Some(_) => Some(Instant::ZERO),
            None => self.control.poll_timeout(),
        }
    }

    /// Writes the RTCP packet that is due into `buf`, which should hold
    /// [`MAX_COMPOUND_LEN`](control::MAX_COMPOUND_LEN) bytes; returns its length. Call until
    /// `None`. A packet for which `buf` is too small is left out.
    pub fn poll_rtcp(&mut self, now: Instant, buf: &mut [u8]) -> Option<usize> {
        if let Some(ssrc) = self.abandoned.take() {
            return Control::write_goodbye(ssrc, buf).ok();
        }
        self.control
            .poll(now, &self.sender, &mut self.receiver, buf)
    }

    /// What was sent.
    pub fn send_stats(&self) -> SendStats {
        self.sender.stats()
    }

    /// What was received.
    pub fn receive_stats(&self) -> ReceiveStats {
        self.receiver.stats()
    }

    /// What the peer reports of our stream.
    pub fn peer_stats(&self) -> PeerStats {
        self.control.peer()
    }

    /// Feedback received about our stream, and sent.
    pub fn feedback_stats(&self) -> FeedbackStats {
        self.control.feedback()
    }

    /// How what was lost or discarded of the received stream clusters.
    pub fn bursts(&self) -> Bursts {
        self.receiver.bursts()
    }

    /// How RTCP fared.
    pub fn control_stats(&self) -> ControlStats {
        self.control.stats()
    }

    #[cold]
    fn resolve_collision(&mut self, now: Instant) {
        let looped = self
            .collided
            .is_some_and(|at| now.saturating_duration_since(at) < LOOP_MEMORY);
        self.collided = Some(now);
        if looped {
            return;
        }
        self.abandoned = Some(self.sender.ssrc());
        self.sender.set_ssrc(self.rng.next_u32());
    }
}

#[cfg(test)]
mod tests;
