//! From what offer and answer say to what a media leg is told.

use std::net::IpAddr;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::engine::config::Config;
use crate::engine::io::MediaPort;
use crate::id::LegId;
use crate::media::codec::{Codec, Terms};
use crate::media::frame::SampleRate;
use crate::media::jitter;
use crate::media::leg::config::{
    Direction, LegConfig, LegSettings, LevelExtension, MAX_PTIME, MAX_RECEIVE_FORMATS,
    MediaAddress, PayloadFormat, Redundancy, RedundancyFormat, TelephoneEventFormat,
};
use crate::rng::Rng;
use crate::rtp::session::control::ControlTerms;
use crate::rtp::source::{Learning, SourceConfig};
use crate::sdp::attribute::{Direction as SdpDirection, Format};
use crate::sdp::crypto::{Crypto, CryptoSuite, Mki};
use crate::sdp::negotiate::control::AgreedControl;
use crate::sdp::negotiate::formats::{AgreedFormat, FormatRules};
use crate::sdp::negotiate::security::{AgreedSecurity, LocalSecurity, MediaSecurity};
use crate::sdp::negotiate::{Agreed, LocalMedia};
use crate::srtp::key::{Keying, MasterKey};
use crate::srtp::suite::Suite;
use crate::time::ClockAnchor;

/// The payload type that we wish for where a codec has none of its own; a free one is found.
const DYNAMIC: u8 = 96;

/// What this side can and wants to do with a call's media.
pub(crate) fn local_media(
    config: &Config,
    port: MediaPort,
    hold: bool,
    security: &LocalSecurity,
) -> LocalMedia {
    let formats = config
        .codecs
        .iter()
        .map(|codec| format_of(&**codec))
        .collect();
    let mut local = LocalMedia::new(config.media_address(), port.rtp.port(), formats);
    local.rules = Arc::new(Rules(config.codecs.clone()));
    local.security = security.clone();
    local.redundancy = config.redundancy != Redundancy::Off;
    local.rtcp_port = port.rtcp.port();
    local.ptime = config.ptime;
    if hold {
        local.direction = SdpDirection::SendOnly;
    }
    local
}

/// Leaves those codecs that `names` allow, in that order; descriptions of pauses stay.
pub(crate) fn choose(formats: &mut Vec<Format>, names: &[String]) {
    let place = |format: &Format| {
        let mut names = names.iter();
        let named = names.position(|name| name.eq_ignore_ascii_case(&format.encoding));
        named.or(format.is_comfort_noise().then_some(usize::MAX))
    };
    formats.retain(|format| place(format).is_some());
    formats.sort_by_key(|format| place(format));
}

/// The leg's settings for what is agreed; `None` where the peer's codec is not one of ours, which
/// offer and answer rule out.
pub(crate) fn settings(config: &Config, agreed: &Agreed) -> Option<LegSettings> {
    let sent = agreed.receive.iter().find(|f| f.theirs == agreed.send)?;
    let send = payload_format(config, agreed.send.payload_type, sent)?;
    let receive = agreed
        .receive
        .iter()
        .filter_map(|format| payload_format(config, format.own.payload_type, format))
        .take(MAX_RECEIVE_FORMATS);
    let mut settings = LegSettings::new(send);
    settings.receive = receive.collect();
    settings.remote = agreed.remote_rtp.map(|rtp| MediaAddress {
        rtp,
        rtcp: agreed.remote_rtcp,
    });
    settings.rtcp_mux = agreed.rtcp_mux;
    settings.control = control_terms(&agreed.control);
    settings.audio_level = agreed.control.audio_level.map(|level| LevelExtension {
        id: level.id,
        send: level.send,
        voice: level.voice,
    });
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
            also_received: other_events(agreed, event.receive_payload_type),
        });
    settings.redundancy = redundancy(config, agreed);
    settings.comfort_noise = comfort_noise(agreed, &settings.send);
    let step =
        |ptime: std::time::Duration| ptime.as_millis().is_multiple_of(10) && ptime <= MAX_PTIME;
    let wish = agreed.ptime.filter(|ptime| step(*ptime));
    let codec = &settings.send.codec;
    settings.ptime = codec.packet_time(wish.unwrap_or(config.ptime));
    if let Some(security) = &agreed.security {
        settings.keying = Some(keying(security)?);
    }
    settings.media_timeout = config.media_timeout;
    Some(settings)
}

/// Our own keys for a new call: one a suite, none where they must not be told. Where signalling is
/// `hidden` by TLS they may be.
pub(crate) fn own_security(
    config: &Config,
    policy: MediaSecurity,
    hidden: bool,
    rng: &mut Rng,
) -> LocalSecurity {
    let may_tell = (hidden || config.sdes_in_clear) && policy != MediaSecurity::Off;
    let suites = config.srtp_suites.iter().filter(|_| may_tell);
    let keys = suites.zip(1..).filter_map(|(suite, tag)| {
        let mut secret = Zeroizing::new(vec![0; suite.key_len() + suite.salt_len()]);
        for part in secret.chunks_mut(8) {
            part.copy_from_slice(&rng.next_u64().to_be_bytes()[..part.len()]);
        }
        Crypto::new(tag, *suite, secret)
    });
    let keys = keys.collect();
    LocalSecurity { policy, keys }
}

fn control_terms(agreed: &AgreedControl) -> ControlTerms {
    ControlTerms {
        reduced_size: agreed.reduced_size,
        early_feedback: agreed.early_feedback,
        interval: agreed.interval,
        voip_metrics: agreed.extended_reports.voip_metrics,
        reference_time: agreed.extended_reports.reference_time,
    }
}

/// The leg's keys; `None` where a suite is not one of ours, which offer and answer rule out.
fn keying(security: &AgreedSecurity) -> Option<Keying> {
    Some(Keying {
        local: master_key(&security.local)?,
        remote: master_key(&security.remote)?,
    })
}

fn master_key(crypto: &Crypto) -> Option<MasterKey> {
    let suite = match crypto.suite {
        CryptoSuite::AesCm128HmacSha1_80 => Suite::AesCm128HmacSha1_80,
        CryptoSuite::AesCm128HmacSha1_32 => Suite::AesCm128HmacSha1_32,
        CryptoSuite::AesCm256HmacSha1_80 => Suite::AesCm256HmacSha1_80,
        CryptoSuite::AesCm256HmacSha1_32 => Suite::AesCm256HmacSha1_32,
        CryptoSuite::AeadAes128Gcm => Suite::AeadAes128Gcm,
        CryptoSuite::AeadAes256Gcm => Suite::AeadAes256Gcm,
    };
    let mut key = MasterKey::new(suite, crypto.key(), crypto.salt()).ok()?;
    if let Some(packets) = crypto.lifetime {
        key = key.with_lifetime(packets).ok()?;
    }
    if let Some(Mki { value, length }) = crypto.mki {
        let bytes = value.to_be_bytes();
        let start = bytes.len().checked_sub(usize::from(length))?;
        key = key.with_mki(&bytes[start..]).ok()?;
    }
    Some(key)
}

/// The payload type of events on another clock than `own` has, and that clock.
fn other_events(agreed: &Agreed, own: u8) -> Option<(u8, u32)> {
    let formats = agreed.receive.iter().map(|format| &format.own);
    let mut events = formats.filter(|f| f.is_telephone_event());
    let other = events.find(|f| f.payload_type != own)?;
    Some((other.payload_type, other.clock_rate))
}

/// Redundant audio as the leg is told of it.
fn redundancy(config: &Config, agreed: &Agreed) -> Option<RedundancyFormat> {
    let formats = agreed.receive.iter().map(|format| &format.own);
    let mut received = formats
        .filter(|f| f.is_redundancy())
        .map(|f| (f.payload_type, f.clock_rate));
    let receive_payload_types = [received.next(), received.next()];
    receive_payload_types[0]?;
    Some(RedundancyFormat {
        send_payload_type: agreed.redundancy,
        receive_payload_types,
        when: config.redundancy,
        generations: config.redundant_packets,
    })
}

/// The payload type that the peer takes descriptions of pauses under, beside what we send.
fn comfort_noise(agreed: &Agreed, send: &PayloadFormat) -> Option<u8> {
    let clock = send.codec.rtp_map().clock_rate;
    let formats = agreed.receive.iter().map(|format| &format.theirs);
    let mut noise = formats.filter(|f| f.is_comfort_noise() && f.clock_rate == clock);
    noise.next().map(|f| f.payload_type)
}

/// The jitter buffer of every leg.
pub(crate) fn jitter(config: &Config) -> jitter::Config {
    jitter::Config {
        mode: config.jitter,
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
    leg.room_rates = config.room_rates();
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

fn format_of(codec: &dyn Codec) -> Format {
    let map = codec.rtp_map();
    Format {
        payload_type: map.payload_type.unwrap_or(DYNAMIC),
        encoding: map.encoding.to_owned(),
        clock_rate: map.clock_rate,
        channels: map.channels,
        fmtp: Some(codec.fmtp()).filter(|fmtp| !fmtp.is_empty()),
    }
}

/// The rules of the configured codecs.
#[derive(Debug)]
struct Rules(Vec<Arc<dyn Codec>>);

impl FormatRules for Rules {
    fn agree(&self, own: &Format, theirs: &Format) -> Option<Option<String>> {
        let offered = own.fmtp.as_deref().unwrap_or_default();
        let theirs = theirs.fmtp.as_deref().unwrap_or_default();
        let codec = codec_of(&self.0, own, offered)?;
        let answer = codec.answer(theirs)?;
        Some(Some(answer).filter(|answer| !answer.is_empty()))
    }
}

/// The codec that `format` names: where several share the name, the one of these parameters.
fn codec_of<'a>(
    codecs: &'a [Arc<dyn Codec>],
    format: &Format,
    fmtp: &str,
) -> Option<&'a Arc<dyn Codec>> {
    let named = || {
        codecs
            .iter()
            .filter(|codec| format_of(&***codec).matches(format))
    };
    named()
        .find(|codec| codec.fmtp() == fmtp)
        .or_else(|| named().next())
}

/// What the leg is told of an agreed format; `None` for those that are no codec.
fn payload_format(
    config: &Config,
    payload_type: u8,
    format: &AgreedFormat,
) -> Option<PayloadFormat> {
    let own = format.own.fmtp.clone().unwrap_or_default();
    let codec = codec_of(&config.codecs, &format.own, &own)?;
    Some(PayloadFormat {
        payload_type,
        codec: codec.clone(),
        terms: Terms {
            own,
            peer: format.theirs.fmtp.clone().unwrap_or_default(),
            rate: codec.sample_rate(),
        },
    })
}
