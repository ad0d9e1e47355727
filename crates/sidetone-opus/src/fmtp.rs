//! Opus in SDP: the format parameters of RFC 7587 §6.1.

use std::fmt;

/// What one party says of what it wants to receive, and of what it will send.
///
/// All of it is a wish or a hint: no two sets of parameters exclude each other (RFC 7587 §7). What
/// cannot be read, or is out of its range, counts as not given.
///
/// ```
/// use sidetone_opus::fmtp::Parameters;
/// let theirs = Parameters::parse("minptime=10; useinbandfec=1;maxaveragebitrate=20000");
/// assert!(theirs.in_band_fec);
/// assert_eq!(theirs.max_average_bit_rate, Some(20_000));
/// assert_eq!(theirs.to_string(), "maxaveragebitrate=20000;useinbandfec=1");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Parameters {
    /// `maxplaybackrate`: the highest sampling rate that its decoder makes use of, 8 to 48 kHz.
    pub max_playback_rate: Option<u32>,
    /// `sprop-maxcapturerate`: the highest sampling rate of what it will send.
    pub max_capture_rate: Option<u32>,
    /// `maxaveragebitrate`: bits a second, 6,000 to 510,000.
    pub max_average_bit_rate: Option<u32>,
    /// `stereo`: it prefers to receive stereo.
    pub stereo: bool,
    /// `sprop-stereo`: it is likely to send stereo.
    pub sends_stereo: bool,
    /// `cbr`: it prefers a constant bit rate.
    pub constant_bit_rate: bool,
    /// `useinbandfec`: its decoder makes use of forward error correction.
    pub in_band_fec: bool,
    /// `usedtx`: it prefers that silence is not sent.
    pub dtx: bool,
}

impl Parameters {
    /// Reads an `a=fmtp` value without its payload type; names regardless of case.
    pub fn parse(text: &str) -> Self {
        let mut read = Self::default();
        for item in text.split(';') {
            let Some((name, value)) = item.split_once('=') else {
                continue;
            };
            read.set(name.trim(), value.trim());
        }
        read
    }

    fn set(&mut self, name: &str, value: &str) {
        let within = |low: u32, high: u32| {
            let number = value.parse::<u32>().ok();
            number.filter(|n| (low..=high).contains(n))
        };
        let flag = value == "1";
        match name.to_ascii_lowercase().as_str() {
            "maxplaybackrate" => self.max_playback_rate = within(8_000, 48_000),
            "sprop-maxcapturerate" => self.max_capture_rate = within(8_000, 48_000),
            "maxaveragebitrate" => self.max_average_bit_rate = within(6_000, 510_000),
            "stereo" => self.stereo = flag,
            "sprop-stereo" => self.sends_stereo = flag,
            "cbr" => self.constant_bit_rate = flag,
            "useinbandfec" => self.in_band_fec = flag,
            "usedtx" => self.dtx = flag,
            // `minptime`, which drafts had, and what others make up.
            _ => {}
        }
    }
}

/// The `a=fmtp` value without its payload type; what is by default is left out.
impl fmt::Display for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = [
            ("maxplaybackrate", self.max_playback_rate),
            ("sprop-maxcapturerate", self.max_capture_rate),
            ("maxaveragebitrate", self.max_average_bit_rate),
        ];
        let flags = [
            ("stereo", self.stereo),
            ("sprop-stereo", self.sends_stereo),
            ("cbr", self.constant_bit_rate),
            ("useinbandfec", self.in_band_fec),
            ("usedtx", self.dtx),
        ];
        let flags = flags.map(|(name, is_set)| (name, is_set.then_some(1)));
        let given = numbers.into_iter().chain(flags);
        let mut separator = "";
        for (name, value) in given.filter_map(|(name, value)| Some((name, value?))) {
            write!(f, "{separator}{name}={value}")?;
            separator = ";";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_rfc_7587_read() {
        let one =
            Parameters::parse("maxplaybackrate=16000; sprop-maxcapturerate=16000; maxptime=40");
        assert_eq!(one.max_playback_rate, Some(16_000));
        assert_eq!(one.max_capture_rate, Some(16_000));
        let two = Parameters::parse(
            "maxaveragebitrate=20000; stereo=1; useinbandfec=1; usedtx=0; cbr=1;sprop-stereo=1",
        );
        assert_eq!(two.max_average_bit_rate, Some(20_000));
        assert!(two.stereo && two.sends_stereo && two.in_band_fec && two.constant_bit_rate);
        assert!(!two.dtx);
        assert_eq!(Parameters::parse(&two.to_string()), two);
    }

    #[test]
    fn nonsense_counts_as_not_given() {
        for text in [
            "",
            ";;;",
            "=",
            "stereo",
            "stereo=2",
            "maxaveragebitrate=5",
            "maxaveragebitrate=999999999999999",
            "maxplaybackrate=-1",
            "cbr=yes",
        ] {
            assert_eq!(Parameters::parse(text), Parameters::default(), "{text:?}");
        }
    }
}
