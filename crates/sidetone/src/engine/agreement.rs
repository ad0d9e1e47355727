//! From what offer and answer say to what a media leg is told.

use std::net::IpAddr;

use crate::engine::config::Config;
use crate::engine::io::MediaPort;
use crate::id::LegId;
use crate::media::frame::SampleRate;
use crate::media::jitter;
use crate::media::leg::config::{
    Codec, Direction, LegConfig, LegSettings, MAX_PTIME, MAX_RECEIVE_FORMATS, MediaAddress,
    PayloadFormat, TelephoneEventFormat,
};
use crate::rtp::source::{Learning, SourceConfig};
use crate::sdp::attribute::{Direction as SdpDirection, Format};
use crate::sdp::negotiate::{Agreed, LocalMedia};
use crate::time::ClockAnchor;

/// What this side can and wants to do with a call's media.
pub(crate) fn local_media(config: &Config, port: MediaPort, hold: bool) -> LocalMedia {
    let formats = config
        .codecs
        .iter()
        .map(|codec| format_of(*codec))
        .collect();
    let mut local = LocalMedia::new(config.media_address(), port.rtp.port(), formats);
    local.rtcp_port = port.rtcp.port();
    local.ptime = config.ptime;
    if hold {
        local.direction = SdpDirection::SendOnly;
    }
    local
}

/// The leg's settings for what is agreed; `None` where the peer's codec is not one of ours, which
/// offer and answer rule out.
pub(crate) fn settings(config: &Config, agreed: &Agreed) -> Option<LegSettings> {
    let send = payload_format(&agreed.send)?;
    let receive = agreed
        .receive
        .iter()
        .filter_map(payload_format)
        .take(MAX_RECEIVE_FORMATS);
    let mut settings = LegSettings::new(send);
    settings.receive = receive.collect();
    settings.remote = agreed.remote_rtp.map(|rtp| MediaAddress {
        rtp,
        rtcp: agreed.remote_rtcp,
    });
    settings.rtcp_mux = agreed.rtcp_mux;
    settings.direction = Direction {
        send: agreed.direction.sends(),
        receive: agreed.direction.receives(),
    };
    settings.telephone_event = agreed
        .telephone_event
        .as_ref()
        .map(|event| TelephoneEventFormat {
            send_payload_type: event.send_payload_type,
            receive_payload_type: event.receive_payload_type,
            clock_rate: event.clock_rate,
        });
    let step =
        |ptime: std::time::Duration| ptime.as_millis().is_multiple_of(10) && ptime <= MAX_PTIME;
    settings.ptime = agreed
        .ptime
        .filter(|ptime| step(*ptime))
        .unwrap_or(config.ptime);
    settings.media_timeout = config.media_timeout;
    Some(settings)
}

/// The jitter buffer of every leg.
pub(crate) fn jitter(config: &Config) -> jitter::Config {
    jitter::Config {
        target: config.jitter_target,
        ..jitter::Config::default()
    }
}

/// Everything that a new leg is told. `hint` is the host that the peer's signalling comes from.
pub(crate) fn config(
    config: &Config,
    id: LegId,
    port: MediaPort,
    settings: LegSettings,
    rate: SampleRate,
    hint: Option<IpAddr>,
    anchor: ClockAnchor,
) -> LegConfig {
    let mut leg = LegConfig::new(id, port.id, settings, anchor);
    leg.rate = rate;
    leg.jitter = jitter(config);
    leg.source = if config.symmetric_media {
        SourceConfig {
            learning: Learning::KnownHost,
            hint,
            ..SourceConfig::default()
        }
    } else {
        SourceConfig {
            learning: Learning::Off,
            ..SourceConfig::default()
        }
    };
    leg
}

fn format_of(codec: Codec) -> Format {
    match codec {
        Codec::Pcmu => Format::pcmu(),
        Codec::Pcma => Format::pcma(),
    }
}

fn payload_format(format: &Format) -> Option<PayloadFormat> {
    let codec = Codec::from_sdp(&format.encoding, format.clock_rate, format.channels)?;
    Some(PayloadFormat {
        payload_type: format.payload_type,
        codec,
    })
}
