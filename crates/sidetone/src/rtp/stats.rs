//! Reception and transmission statistics (RFC 3550 §6.4, appendix A).

use crate::rtp::rtcp::xr::VoipMetrics;
use crate::time::Duration;

/// What was received on a stream since it was created, over all its SSRCs.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ReceiveStats {
    /// Packets taken, duplicates and refused ones not counted.
    pub packets: u64,
    /// Payload bytes of those packets.
    pub bytes: u64,
    /// Packets expected by sequence number but not received (RFC 3550 appendix A.3).
    pub lost: u64,
    /// Packets that came a second time.
    pub duplicates: u64,
    /// Packets that came after one with a higher sequence number, and were taken.
    pub out_of_order: u64,
    /// Packets so far behind the highest sequence number that they were refused.
    pub late: u64,
    /// Packets that were taken, and then came too late to be played or were left out of the buffer.
    pub discarded: u64,
    /// Packets refused in probation or for an impossible jump of the sequence (appendix A.1).
    pub invalid: u64,
    /// Packets refused for an SSRC that is not (or not yet, or no longer) the stream's.
    pub wrong_ssrc: u64,
    /// Packets refused for a payload type that was not negotiated.
    pub wrong_payload_type: u64,
    /// How often the stream started over: a new SSRC, or a jump that the sender kept to.
    pub restarts: u64,
    /// Inter-arrival jitter in ticks of the stream's clock (RFC 3550 §6.4.1, appendix A.8).
    pub jitter_ticks: u32,
    /// The same as a time.
    pub jitter: Duration,
    /// The share lost in the last reporting interval of ours, in 1/256 (appendix A.3).
    pub fraction_lost: u8,
}

/// What was sent on a stream since it was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SendStats {
    /// Packets sent.
    pub packets: u64,
    /// Payload bytes of those packets.
    pub bytes: u64,
}

/// What the peer says about the stream we send (RFC 3550 §6.4.1), from its latest report.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PeerStats {
    /// Reports about our stream received.
    pub reports: u64,
    /// The share of our packets lost in the peer's last interval, in 1/256.
    pub fraction_lost: u8,
    /// Our packets lost since the start; negative where duplicates outnumber losses.
    pub lost: i32,
    /// Jitter of our stream at the peer, in ticks of our clock.
    pub jitter_ticks: u32,
    /// The same as a time.
    pub jitter: Duration,
    /// Time from us to the peer and back, from the latest report that could tell.
    pub round_trip: Option<Duration>,
    /// How our stream sounds at the peer, from its latest VoIP metrics (RFC 3611 §4.7).
    pub voip: Option<VoipMetrics>,
}

/// Feedback about our stream received (RFC 4585, RFC 5104), and sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FeedbackStats {
    /// Generic NACKs.
    pub nacks: u64,
    /// Packets that they named.
    pub nacked_packets: u64,
    /// Picture loss indications.
    pub picture_losses: u64,
    /// Full intra requests.
    pub full_intras: u64,
    /// The limit in bits a second that the peer asked for last, by TMMBR or REMB.
    pub bitrate_limit: Option<u64>,
    /// Feedback of other kinds, or about other streams.
    pub other: u64,
    /// Feedback messages sent.
    pub sent: u64,
}

/// How RTCP itself fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ControlStats {
    /// Compound packets sent.
    pub sent: u64,
    /// Compound packets taken.
    pub received: u64,
    /// Datagrams refused because they failed validation (RFC 3550 appendix A.2).
    pub invalid: u64,
    /// Packets that carried our own SSRC: collisions and loops (RFC 3550 §8.2).
    pub collisions: u64,
}
