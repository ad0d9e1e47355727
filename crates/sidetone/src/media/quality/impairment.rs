//! What each codec costs of a rating (G.113 appendices I, IV and V).

use crate::media::codec::RtpMap;
use crate::media::quality::emodel::{Band, Equipment};

/// The factors of a codec by its name in SDP, with the concealment that the library plays.
///
/// | codec | Ie | Bpl | from |
/// |---|---|---|---|
/// | G.711, L16 at 8 kHz | 0 | 25.1 | G.113 table I.4: G.711 with concealment |
/// | G.729, G.723.1, GSM, iLBC | 10, 15, 20, 11 | 19, 16.1, 10, 32 | G.113 appendix I; iLBC by common practice |
/// | G.722 | 13 | 7 | G.113 table IV.1 for 64 kbit/s; Bpl is ours |
/// | AMR-WB | 13 | 4.3 | G.113 tables IV.1 and IV.4, 12.65 kbit/s |
/// | EVS | 7.2 | 11.4 | G.113 table V.1, 24.4 kbit/s |
/// | Opus | 7.2 | 11.4 | none are published: those of EVS, its like in band and rate |
/// | L16 at 16 kHz, at 48 kHz | 0 | 7, 10 | uncoded; Bpl is ours |
/// | anything else | 0 | 4.3 | G.711 without concealment |
pub fn equipment(map: &RtpMap) -> Equipment {
    let named = |name: &str| map.encoding.eq_ignore_ascii_case(name);
    let (band, impairment, robustness) = match () {
        () if named("PCMU") || named("PCMA") => (Band::Narrow, 0.0, 25.1),
        () if named("L16") && map.clock_rate >= 32_000 => (Band::Full, 0.0, 10.0),
        () if named("L16") && map.clock_rate >= 16_000 => (Band::Wide, 0.0, 7.0),
        () if named("L16") => (Band::Narrow, 0.0, 25.1),
        () if named("G722") => (Band::Wide, 13.0, 7.0),
        () if named("AMR-WB") => (Band::Wide, 13.0, 4.3),
        () if named("opus") || named("EVS") => (Band::Full, 7.2, 11.4),
        () if named("G729") => (Band::Narrow, 10.0, 19.0),
        () if named("G723") => (Band::Narrow, 15.0, 16.1),
        () if named("GSM") => (Band::Narrow, 20.0, 10.0),
        () if named("iLBC") => (Band::Narrow, 11.0, 32.0),
        () => (Band::Narrow, 0.0, 4.3),
    };
    Equipment {
        band,
        impairment,
        robustness,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::quality::emodel::{Conditions, rate};

    fn map(encoding: &'static str, clock_rate: u32) -> RtpMap {
        RtpMap {
            encoding,
            clock_rate,
            channels: 1,
            payload_type: None,
        }
    }

    #[test]
    fn wider_bands_and_lighter_coding_rate_better() {
        let mos = |encoding, clock| {
            let rating = rate(&equipment(&map(encoding, clock)), &Conditions::default());
            rating.mos_lq
        };
        assert!(mos("OPUS", 48_000) > 4.4);
        assert!(mos("G722", 8_000) > 4.3);
        assert!(mos("pcmu", 8_000) > mos("G729", 8_000));
        assert!(mos("L16", 16_000) > mos("G722", 8_000));
    }
}
