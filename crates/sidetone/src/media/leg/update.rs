//! A change of a leg after negotiation, prepared away from the media thread.

use crate::media::frame::SampleRate;
use crate::media::jitter;
use crate::media::leg::config::{
    Direction, LegError, LegSettings, LevelExtension, MediaAddress, TelephoneEventFormat,
};
use crate::media::leg::inbound::Inbound;
use crate::media::leg::outbound::Outbound;
use crate::media::leg::secure::Secure;
use crate::rtp::session::control::ControlTerms;
use crate::time::Duration;

/// New settings of a leg, with the codecs that they need already made.
///
/// Codecs that stay the same go on undisturbed. What the leg no longer needs comes back inside the
/// update, to be dropped away from the media thread.
#[derive(Debug)]
pub struct LegUpdate {
    pub(super) rate: SampleRate,
    pub(super) line: Line,
    pub(super) secure: Secure,
    pub(super) inbound: Inbound,
    pub(super) outbound: Outbound,
}

impl LegUpdate {
    /// The update of a leg at `rate`, whose jitter buffer, if its formats change, is made anew by
    /// `jitter`.
    ///
    /// # Errors
    /// [`LegError`]: the settings are impossible.
    pub fn new(
        settings: &LegSettings,
        rate: SampleRate,
        jitter: jitter::Config,
    ) -> Result<Self, LegError> {
        settings.check()?;
        Ok(Self {
            rate,
            line: Line::new(settings),
            secure: Secure::new(settings.keying.as_ref()),
            inbound: Inbound::new(settings, jitter, rate)?,
            outbound: Outbound::new(settings, rate)?,
        })
    }
}

/// What negotiation settled besides codecs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    pub(super) remote: Option<MediaAddress>,
    pub(super) rtcp_mux: bool,
    pub(super) direction: Direction,
    pub(super) telephone_event: Option<TelephoneEventFormat>,
    /// Payload types of redundant audio that may arrive, and their clocks.
    pub(super) redundancy: [Option<(u8, u32)>; 2],
    pub(super) media_timeout: Option<Duration>,
    pub(super) control: ControlTerms,
    pub(super) audio_level: Option<LevelExtension>,
}

impl Line {
    pub(super) fn new(settings: &LegSettings) -> Self {
        Self {
            remote: settings.remote,
            rtcp_mux: settings.rtcp_mux,
            direction: settings.direction,
            telephone_event: settings.telephone_event,
            redundancy: settings
                .redundancy
                .map_or([None; 2], |red| red.receive_payload_types),
            media_timeout: settings.media_timeout,
            control: settings.control,
            audio_level: settings.audio_level,
        }
    }
}
