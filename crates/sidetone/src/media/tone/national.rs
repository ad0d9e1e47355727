//! The call-progress tones of nations, by ITU-T E.180 Supplement 2.

use crate::media::tone::Tone;

/// What a tone tells a caller (ITU-T E.182).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Signal {
    /// Dial: the exchange waits for digits.
    Dial,
    /// The called party rings.
    Ringback,
    /// The called party is busy.
    Busy,
    /// No way to the called party is free.
    Congestion,
    /// Another call waits.
    CallWaiting,
    /// The call cannot succeed, and an announcement says why: three rising tones.
    SpecialInformation,
    /// The conversation is being recorded.
    RecordWarning,
}

impl Signal {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Dial,
        Self::Ringback,
        Self::Busy,
        Self::Congestion,
        Self::CallWaiting,
        Self::SpecialInformation,
        Self::RecordWarning,
    ];
}

/// Whose tones are meant.
///
/// ```
/// use sidetone::media::tone::national::{Country, Signal};
/// let ringback = Country::from_iso("gb").expect("known").tone(Signal::Ringback);
/// assert!(ringback.repeats());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Country {
    /// What E.180 recommends, and most of Europe keeps: 425 Hz.
    #[default]
    International,
    /// Australia.
    Australia,
    /// Brazil.
    Brazil,
    /// China.
    China,
    /// France.
    France,
    /// Germany.
    Germany,
    /// India.
    India,
    /// Italy.
    Italy,
    /// Japan.
    Japan,
    /// Mexico.
    Mexico,
    /// The Netherlands.
    Netherlands,
    /// North America: the United States and Canada, by the precise tone plan.
    NorthAmerica,
    /// Spain.
    Spain,
    /// The United Kingdom.
    UnitedKingdom,
}

/// The seven signals in the order of [`Signal::ALL`], in the notation of [`Tone`].
type Plan = [&'static str; 7];

/// Three tones in a row and a pause.
const SPECIAL: &str = "950/330,1400/330,1800/330,0/1000";

impl Country {
    /// All of them, by the code that ISO 3166 gives the country.
    const CODES: [(&'static str, Self); 14] = [
        ("AU", Self::Australia),
        ("BR", Self::Brazil),
        ("CA", Self::NorthAmerica),
        ("CN", Self::China),
        ("DE", Self::Germany),
        ("ES", Self::Spain),
        ("FR", Self::France),
        ("GB", Self::UnitedKingdom),
        ("IN", Self::India),
        ("IT", Self::Italy),
        ("JP", Self::Japan),
        ("MX", Self::Mexico),
        ("NL", Self::Netherlands),
        ("US", Self::NorthAmerica),
    ];

    /// The country of a two-letter code of ISO 3166, case ignored; `None` where its tones are not
    /// known here. Most whose are not keep to [`Country::International`].
    pub fn from_iso(code: &str) -> Option<Self> {
        let mut known = Self::CODES.iter();
        let found = known.find(|(known, _)| known.eq_ignore_ascii_case(code))?;
        Some(found.1)
    }

    /// What this nation's telephones say: at -10 dBm0, in North America by its precise tone plan.
    pub fn tone(self, signal: Signal) -> Tone {
        let place = Signal::ALL.iter().position(|known| *known == signal);
        let text = self.plan()[place.unwrap_or(0)];
        // Cannot fail: a test reads every plan.
        let tone: Tone = text.parse().unwrap_or(Tone::beep());
        match (self, signal) {
            (Self::NorthAmerica, Signal::Ringback) => tone.louder(-6.0),
            (Self::NorthAmerica, Signal::Busy | Signal::Congestion) => tone.louder(-11.0),
            _ => tone,
        }
    }

    #[rustfmt::skip]
    const fn plan(self) -> Plan {
        match self {
            Self::International => [
                "425", "425/1000,0/4000", "425/500,0/500", "425/250,0/250",
                "425/200,0/600,425/200,0/3000", SPECIAL, "1400/500,0/15000",
            ],
            Self::Australia => [
                "413+438", "413+438/400,0/200,413+438/400,0/2000", "425/375,0/375",
                "425/375,0/375,420/375,0/375", "425/200,0/200,425/200,0/4400", "425/2500,0/500",
                "425/360,0/15000",
            ],
            Self::Brazil => [
                "425", "425/1000,0/4000", "425/250,0/250", "425/250,0/250,425/750,0/250",
                "425/50,0/1000", SPECIAL, "425/250,0/15000",
            ],
            Self::China => [
                "450", "450/1000,0/4000", "450/350,0/350", "450/700,0/700", "450/400,0/4000",
                "450/100,0/100,450/100,0/100,450/100,0/100,450/400,0/400", "950/400,0/10000",
            ],
            Self::France => [
                "440", "440/1500,0/3500", "440/500,0/500", "440/250,0/250", "440/300,0/10000",
                SPECIAL, "1400/500,0/15000",
            ],
            Self::Germany => [
                "425", "425/1000,0/4000", "425/480,0/480", "425/240,0/240",
                "425/200,0/200,425/200,0/5000", SPECIAL, "1400/80,0/15000",
            ],
            Self::India => [
                "400*25", "400*25/400,0/200,400*25/400,0/2000", "400/750,0/750", "400/250,0/250",
                "400/200,0/100,400/200,0/7500", SPECIAL, "1400/500,0/15000",
            ],
            Self::Italy => [
                "425/200,0/200,425/600,0/1000", "425/1000,0/4000", "425/500,0/500",
                "425/200,0/200", "425/400,0/100,425/250,0/100,425/150,0/14000", SPECIAL,
                "1400/400,0/15000",
            ],
            Self::Japan => [
                "400", "400*16/1000,0/2000", "400/500,0/500", "400/500,0/500",
                "400*16/500,0/8000", SPECIAL, "1400/500,0/15000",
            ],
            Self::Mexico => [
                "425", "425/1000,0/4000", "425/250,0/250", "425/250,0/250",
                "425/200,0/600,425/200,0/10000", "950/330,0/30,1400/330,0/30,1800/330,0/1000",
                "1400/500,0/15000",
            ],
            Self::Netherlands => [
                "425", "425/1000,0/4000", "425/500,0/500", "425/250,0/250", "425/500,0/9500",
                SPECIAL, "1400/500,0/15000",
            ],
            Self::NorthAmerica => [
                "350+440", "440+480/2000,0/4000", "480+620/500,0/500", "480+620/250,0/250",
                "440/300,0/10000", SPECIAL, "1400/500,0/15000",
            ],
            Self::Spain => [
                "425", "425/1500,0/3000", "425/200,0/200",
                "425/200,0/200,425/200,0/200,425/200,0/600", "425/175,0/175,425/175,0/3500",
                SPECIAL, "1400/500,0/15000",
            ],
            Self::UnitedKingdom => [
                "350+440", "400+450/400,0/200,400+450/400,0/2000", "400/375,0/375",
                "400/400,0/350,400/225,0/525", "400/100,0/4000",
                "950/330,0/15,1400/330,0/15,1800/330,0/1000", "1400/500,0/60000",
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::frame::SampleRate;
    use crate::media::tone::{Generator, ToneError};

    fn countries() -> impl Iterator<Item = Country> {
        let coded = Country::CODES.iter().map(|&(_, country)| country);
        coded.chain([Country::International])
    }

    #[test]
    fn every_plan_is_read_and_sounds() {
        for country in countries() {
            for (signal, text) in Signal::ALL.into_iter().zip(country.plan()) {
                let read: Result<Tone, _> = text.parse();
                assert!(read.is_ok(), "{country:?} {signal:?}: {read:?}");
                let mut generator = Generator::new(&country.tone(signal), SampleRate::HZ_8000);
                let mut samples = [0; 400];
                assert_eq!(generator.fill(&mut samples), 400);
                let peak = samples.iter().map(|s: &i16| s.unsigned_abs()).max();
                let peak = peak.expect("samples");
                assert!((1_000..23_000).contains(&peak), "{country:?}");
            }
        }
    }

    #[test]
    fn codes_are_read_in_either_case() {
        assert_eq!(Country::from_iso("us"), Some(Country::NorthAmerica));
        assert_eq!(Country::from_iso("DE"), Some(Country::Germany));
        assert_eq!(Country::from_iso("XX"), None);
    }

    #[test]
    fn text_that_is_no_tone_is_refused() {
        let read = |text: &str| text.parse::<Tone>().expect_err("refused");
        assert_eq!(read(""), ToneError::Part(1));
        assert_eq!(read("0/100,425"), ToneError::Part(1));
        assert_eq!(read("425/100,x/2"), ToneError::Part(2));
        assert_eq!(read("425/-1"), ToneError::Part(1));
        assert_eq!(read("70000"), ToneError::Part(1));
        assert_eq!(read("1/1,2/1,3/1,4/1,5/1"), ToneError::Steps);
    }
}
