//! Why an offer/answer exchange fails.

use thiserror::Error;

use crate::sdp::negotiate::state::{State, Verb};
use crate::sdp::session::ParseError;

/// Why an offer/answer exchange fails; the negotiator stays as it was.
///
/// [`NegotiationError::status`] tells how to refuse an offer. An answer that fails leaves nothing
/// to refuse: acknowledge it and end the call.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NegotiationError {
    /// The peer's description cannot be read.
    #[error(transparent)]
    Syntax(#[from] ParseError),
    /// The verb is not allowed now: the caller's mistake, or offers that crossed.
    #[error("{verb:?} is not allowed in state {state:?}")]
    State {
        /// The state.
        state: State,
        /// What was tried.
        verb: Verb,
    },
    /// The description has no audio.
    #[error("no audio is offered")]
    NoAudio,
    /// The audio has port 0: in an answer, the peer refuses it; in an offer, it ends it.
    #[error("the audio is refused")]
    Refused,
    /// Offer and answer agree on no protection where one of them wants it: another key exchange than
    /// SDES, no suite in common, protection that our policy switches off, or none that it demands.
    #[error("no protection of the media in common")]
    SecureMedia,
    /// The audio's transport is not RTP/AVP, RTP/AVPF, or one of their protected kin.
    #[error("the media's transport is not supported")]
    Transport,
    /// The audio's address is missing, a name, or one of many.
    #[error("the media's address is not usable")]
    Address,
    /// The audio's address is IPv6 where ours is IPv4, or the other way round.
    #[error("the media's address is of the other family")]
    AddressFamily,
    /// No codec is common to both.
    #[error("no codec in common")]
    NoCommonFormat,
    /// An answer whose media lines are not those of the offer in number or kind (RFC 3264 §6), or
    /// an offer with fewer than the session has (RFC 3264 §8).
    #[error("the media lines do not match those of the session")]
    MediaLines,
}

impl NegotiationError {
    /// The SIP status that refuses an offer for this reason; `None` where the fault is the
    /// caller's and nothing was offered.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Syntax(_) | Self::MediaLines => Some(400),
            Self::State {
                state,
                verb: Verb::HandleOffer,
            } => Some(match state {
                // Offers crossed (RFC 3261 §14.2), or a second one before our answer.
                State::LocalOffer | State::EarlyAnswer => 491,
                State::Stable | State::RemoteOffer => 500,
            }),
            Self::State { .. } => None,
            _ => Some(488),
        }
    }
}
