//! What offer and answer settle about RTCP and header extensions.

use crate::sdp::extension::{
    AUDIO_LEVEL, ExtendedReports, ExtensionMap, bundles, is_mid, report_interval,
};
use crate::sdp::session::{Attribute, Media, SessionDescription};
use crate::time::Duration;

/// Time between reports under AVPF where the peer asks for no other.
const FEEDBACK_INTERVAL: Duration = Duration::from_secs(1);

/// What we are ready for beside plain RTP and RTCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalControl {
    /// RTCP packets without a report at their beginning (RFC 5506). Offered; default yes.
    pub reduced_size: bool,
    /// Extended reports (RFC 3611). Offered; default both kinds.
    pub extended_reports: ExtendedReports,
    /// The audio level of packets in their header (RFC 6464). Taken where the peer offers it, which
    /// mixers and browsers do; not offered, since it adds 8 bytes to each packet. Default yes.
    pub audio_level: bool,
}

impl Default for LocalControl {
    fn default() -> Self {
        Self {
            reduced_size: true,
            extended_reports: ExtendedReports {
                voip_metrics: true,
                reference_time: true,
            },
            audio_level: true,
        }
    }
}

/// What was agreed about RTCP and header extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AgreedControl {
    /// RTCP packets need not begin with a report, both ways (RFC 5506 §5).
    pub reduced_size: bool,
    /// The profile has early feedback: AVPF or SAVPF (RFC 4585).
    pub early_feedback: bool,
    /// Mean time between reports, where it is not the usual.
    pub interval: Option<Duration>,
    /// Extended reports, both ways.
    pub extended_reports: ExtendedReports,
    /// The audio level extension.
    pub audio_level: Option<AgreedLevel>,
}

/// The agreed audio level extension (RFC 6464).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgreedLevel {
    /// The identifier, both ways.
    pub id: u8,
    /// We send it.
    pub send: bool,
    /// The peer's voice flag means something.
    pub voice: bool,
}

impl AgreedControl {
    /// What `media` of the peer's offer or answer leaves of `local`.
    pub(super) fn new(local: &LocalControl, media: &Media) -> Self {
        let asked = media.values("rtcp-xr").map(ExtendedReports::parse);
        let asked = asked.fold(ExtendedReports::default(), |all, one| ExtendedReports {
            voip_metrics: all.voip_metrics || one.voip_metrics,
            reference_time: all.reference_time || one.reference_time,
        });
        let early_feedback = media.protocol.ends_with("AVPF");
        let interval = media.values("rtcp-fb").find_map(report_interval);
        Self {
            reduced_size: local.reduced_size && media.has("rtcp-rsize"),
            early_feedback,
            interval: interval
                .filter(|interval| !interval.is_zero())
                .or(early_feedback.then_some(FEEDBACK_INTERVAL)),
            extended_reports: local.extended_reports.intersect(asked),
            audio_level: level(media).filter(|_| local.audio_level),
        }
    }
}

fn level(media: &Media) -> Option<AgreedLevel> {
    let mut maps = media.values("extmap").filter_map(ExtensionMap::parse);
    let map = maps.find(|map| map.uri == AUDIO_LEVEL && map.id <= 255)?;
    Some(AgreedLevel {
        id: u8::try_from(map.id).ok()?,
        send: map.direction.receives(),
        // On unless said otherwise (RFC 6464 §4).
        voice: map.parameters.as_deref() != Some("vad=off"),
    })
}

/// The lines of an offer.
pub(super) fn offered(local: &LocalControl) -> Vec<Attribute> {
    lines(local.reduced_size, local.extended_reports)
}

/// The lines of an answer: what of the offer we take.
pub(super) fn answered(agreed: &AgreedControl, media: &Media) -> Vec<Attribute> {
    let mut lines = lines(agreed.reduced_size, agreed.extended_reports);
    let mut maps = media.values("extmap").filter_map(ExtensionMap::parse);
    if let Some(level) = agreed.audio_level
        && let Some(map) = maps.find(|map| map.uri == AUDIO_LEVEL && map.id == u16::from(level.id))
    {
        let answer = ExtensionMap {
            direction: map.direction.reversed(),
            // We tell levels, and do not judge whether they are voice.
            parameters: Some("vad=off".to_owned()),
            ..map
        };
        lines.push(Attribute::new("extmap", answer));
    }
    lines
}

fn lines(reduced_size: bool, reports: ExtendedReports) -> Vec<Attribute> {
    let mut lines = Vec::new();
    if reduced_size {
        lines.push(Attribute::flag("rtcp-rsize"));
    }
    if reports != ExtendedReports::default() {
        lines.push(Attribute::new("rtcp-xr", reports));
    }
    lines
}

/// The identification tags of a session's media lines, and which line stands in a BUNDLE group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Tags {
    mids: Vec<Option<String>>,
    group: Option<String>,
}

impl Tags {
    /// The tags for an answer to `offer` that takes its media line `index` alone: the group keeps
    /// that line where it was in one (RFC 9143 §7.3), and every tag is repeated (RFC 5888 §9.1).
    pub(super) fn answering(offer: &SessionDescription, index: usize) -> Self {
        let mid = |media: &Media| media.value("mid").filter(|m| is_mid(m)).map(str::to_owned);
        let mids: Vec<_> = offer.media.iter().map(mid).collect();
        let taken = mids.get(index).cloned().flatten();
        let group = taken.filter(|mid| offer.values("group").any(|value| bundles(value, mid)));
        Self { mids, group }
    }

    /// The session's own line.
    pub(super) fn group(&self) -> Option<Attribute> {
        let mid = self.group.as_ref()?;
        Some(Attribute::new("group", format!("BUNDLE {mid}")))
    }

    /// The line of media `index`.
    pub(super) fn mid(&self, index: usize) -> Option<Attribute> {
        let mid = self.mids.get(index)?.as_ref()?;
        Some(Attribute::new("mid", mid))
    }
}

#[cfg(test)]
mod tests {
    use crate::sdp::attribute::Format;
    use crate::sdp::negotiate::{Agreed, LocalMedia, Negotiator};
    use crate::time::Duration;

    fn local() -> LocalMedia {
        LocalMedia::new("192.0.2.9".parse().unwrap(), 9000, vec![Format::pcmu()])
    }

    fn description(session: &str, media: &str) -> String {
        let text = format!(
            "v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\n{session}{media}"
        );
        text.replace('\n', "\r\n")
    }

    fn answer(offer: &str) -> (String, Agreed) {
        let mut negotiator = Negotiator::new(1);
        negotiator.handle_offer(offer.as_bytes()).unwrap();
        negotiator.answer(&local()).unwrap()
    }

    #[test]
    fn what_is_offered_and_known_is_taken_and_nothing_else() {
        let (text, agreed) = answer(&description(
            "",
            "m=audio 4000 RTP/AVPF 0\na=rtcp-mux\na=rtcp-rsize\na=rtcp-fb:* nack\n\
             a=rtcp-fb:0 trr-int 3000\na=rtcp-xr:rcvr-rtt=all stat-summary=loss voip-metrics\n\
             a=extmap:3 urn:ietf:params:rtp-hdrext:ssrc-audio-level\n\
             a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\n",
        ));
        let control = agreed.control;
        assert!(control.reduced_size && control.early_feedback);
        assert_eq!(control.interval, Some(Duration::from_secs(3)));
        assert!(control.extended_reports.voip_metrics && control.extended_reports.reference_time);
        let level = control.audio_level.unwrap();
        assert_eq!((level.id, level.send, level.voice), (3, true, true));
        for line in [
            "m=audio 9000 RTP/AVPF 0\r\n",
            "a=rtcp-mux\r\n",
            "a=rtcp-rsize\r\n",
            "a=rtcp-xr:rcvr-rtt=all voip-metrics\r\n",
            "a=extmap:3 urn:ietf:params:rtp-hdrext:ssrc-audio-level vad=off\r\n",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
        // A lost packet is not sent again here: no promise is made.
        assert!(!text.contains("nack") && !text.contains("sdes:mid"));
    }

    #[test]
    fn a_plain_offer_gets_a_plain_answer() {
        let (text, agreed) = answer(&description("", "m=audio 4000 RTP/AVP 0\n"));
        assert_eq!(agreed.control, Default::default());
        for name in ["rtcp", "extmap", "group", "mid"] {
            assert!(!text.contains(&format!("a={name}")), "{text}");
        }
    }

    #[test]
    fn our_offer_takes_effect_where_the_answer_repeats_it() {
        let mut negotiator = Negotiator::new(1);
        let offer = negotiator.offer(&local()).unwrap();
        assert!(offer.contains("a=rtcp-xr:rcvr-rtt=all voip-metrics\r\n"));
        let media = "m=audio 4000 RTP/AVP 0\na=rtcp-rsize\na=rtcp-xr:voip-metrics\n";
        let answer = description("", media);
        let agreed = negotiator.handle_answer(answer.as_bytes()).unwrap();
        assert!(agreed.control.reduced_size && agreed.control.extended_reports.voip_metrics);
        assert!(!agreed.control.extended_reports.reference_time);
        assert!(!agreed.control.early_feedback);
    }

    #[test]
    fn level_directions_are_turned_round() {
        let level = |direction: &str| {
            let uri = super::AUDIO_LEVEL;
            let media = format!("m=audio 4000 RTP/AVP 0\na=extmap:1{direction} {uri} vad=off\n");
            answer(&description("", &media))
        };
        let (text, agreed) = level("/sendonly");
        assert!(text.contains("a=extmap:1/recvonly "), "{text}");
        let taken = agreed.control.audio_level.unwrap();
        assert!(!taken.send && !taken.voice);
        let (text, agreed) = level("/recvonly");
        assert!(text.contains("a=extmap:1/sendonly ") && agreed.control.audio_level.unwrap().send);
    }

    #[test]
    fn a_bundle_keeps_the_audio_alone() {
        let offer = description(
            "a=group:BUNDLE v0 a1\n",
            "m=video 4000 RTP/AVP 31\na=mid:v0\nm=audio 4002 RTP/AVP 0\na=mid:a1\na=rtcp-mux\n",
        );
        let mut negotiator = Negotiator::new(1);
        negotiator.handle_offer(offer.as_bytes()).unwrap();
        let (text, _) = negotiator.answer(&local()).unwrap();
        assert!(text.contains("a=group:BUNDLE a1\r\n"), "{text}");
        assert!(text.contains("m=video 0 RTP/AVP 31\r\n") && text.contains("a=mid:v0\r\n"));
        assert!(text.contains("a=mid:a1\r\n"));
        // And in a later offer of ours.
        let text = negotiator.offer(&local()).unwrap();
        assert!(text.contains("a=group:BUNDLE a1\r\n") && text.contains("a=mid:v0\r\n"));
    }

    #[test]
    fn what_is_in_no_group_or_unfit_is_not_repeated_as_one() {
        let media = "m=audio 4002 RTP/AVP 0\na=mid:a1\n";
        let (text, _) = answer(&description("a=group:LS a1\na=group:BUNDLE b\n", media));
        assert!(text.contains("a=mid:a1\r\n") && !text.contains("a=group"));
        let media = "m=audio 4002 RTP/AVP 0\na=mid:a b\n";
        let (text, _) = answer(&description("a=group:BUNDLE a b\n", media));
        assert!(!text.contains("a=mid") && !text.contains("a=group"));
    }

    #[test]
    fn ports_are_not_shared_where_payload_types_would_look_like_rtcp() {
        let media = |number: u8| {
            let map = format!("a=rtpmap:{number} PCMU/8000");
            format!("m=audio 4000 RTP/AVP {number}\n{map}\na=rtcp-mux\n")
        };
        for (number, shared) in [(63, true), (64, false), (95, false), (96, true)] {
            let (text, agreed) = answer(&description("", &media(number)));
            assert_eq!(agreed.rtcp_mux, shared, "{number}");
            assert_eq!(text.contains("a=rtcp-mux"), shared);
        }
    }
}
