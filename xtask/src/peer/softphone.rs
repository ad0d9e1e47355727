//! A softphone that somebody else wrote, whichever: what baresip and Linphone have in common.

use std::io;
use std::time::Duration;

use super::baresip::{self, Baresip};
use super::certificates::Certificates;
use super::linphone::{self, Linphone};
use super::place::Place;
use crate::audio::wav::Wav;

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Make {
    Baresip,
    Linphone,
}

/// A codec that a phone is held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    G711,
    G722,
    Opus,
}

/// What a phone wants of encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encryption {
    Off,
    /// Offered beside plain RTP.
    Offered,
    Mandatory,
}

/// How a phone tells of pressed keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keys {
    /// RFC 4733 events.
    Events,
    /// SIP INFO.
    Info,
}

/// What a phone is to do.
pub(crate) struct Manner<'a> {
    pub(crate) say: &'a Wav,
    pub(crate) answer: bool,
    pub(crate) codec: Codec,
    pub(crate) encryption: Encryption,
    /// The suites that Linphone offers, by their registered names, best first; none is all of them.
    pub(crate) suites: &'a str,
    pub(crate) keys: Keys,
    /// Speaks SIP over TLS.
    pub(crate) tls: Option<&'a Certificates>,
}

impl<'a> Manner<'a> {
    /// Says `say` in G.711, in the clear, with keys as events.
    pub(crate) const fn saying(say: &'a Wav, answer: bool) -> Self {
        Self {
            say,
            answer,
            codec: Codec::G711,
            encryption: Encryption::Off,
            suites: "",
            keys: Keys::Events,
            tls: None,
        }
    }
}

/// A running softphone.
pub(crate) enum Softphone {
    Baresip(Baresip),
    Linphone(Linphone),
}

impl Make {
    /// What a case with it needs.
    pub(crate) const fn needs(self) -> &'static [&'static str] {
        match self {
            Self::Baresip => &["baresip"],
            Self::Linphone => &["linphonec"],
        }
    }
}

impl Softphone {
    /// Starts one under `name`.
    pub(crate) fn spawn(
        place: &Place,
        make: Make,
        name: &str,
        manner: &Manner<'_>,
    ) -> io::Result<Self> {
        match make {
            Make::Baresip => baresip(place, name, manner).map(Self::Baresip),
            Make::Linphone => linphone(place, name, manner).map(Self::Linphone),
        }
    }

    /// Its SIP address.
    pub(crate) fn uri(&self) -> String {
        match self {
            Self::Baresip(phone) => phone.uri(),
            Self::Linphone(phone) => phone.uri(),
        }
    }

    /// Calls.
    pub(crate) fn dial(&mut self, uri: &str) -> io::Result<()> {
        match self {
            Self::Baresip(phone) => phone.dial(uri),
            Self::Linphone(phone) => phone.dial(uri),
        }
    }

    /// Presses a key.
    pub(crate) fn press(&mut self, digit: char) -> io::Result<()> {
        match self {
            Self::Baresip(phone) => phone.press(digit),
            Self::Linphone(phone) => phone.press(digit),
        }
    }

    /// Hangs up.
    pub(crate) fn hang_up(&mut self) -> io::Result<()> {
        match self {
            Self::Baresip(phone) => phone.hang_up(),
            Self::Linphone(phone) => phone.hang_up(),
        }
    }

    /// Waits until a call is up.
    pub(crate) fn expect_up(&mut self, limit: Duration) -> io::Result<()> {
        match self {
            Self::Baresip(phone) => phone.expect_up(limit),
            Self::Linphone(phone) => phone.expect_up(limit),
        }
    }

    /// Waits until its call is over.
    pub(crate) fn expect_over(&mut self, limit: Duration) -> io::Result<()> {
        match self {
            Self::Baresip(phone) => phone.expect_over(limit),
            Self::Linphone(phone) => phone.expect_over(limit),
        }
    }

    /// Everything that it printed.
    fn log(&self) -> String {
        match self {
            Self::Baresip(phone) => phone.log(),
            Self::Linphone(phone) => phone.log(),
        }
    }

    /// Whether it says that anybody called it.
    pub(crate) fn has_rung(&self) -> bool {
        let log = self.log().to_lowercase();
        log.contains("incoming call")
    }

    /// Whether it says that `digit` was pressed at the other end.
    pub(crate) fn got(&self, digit: char) -> bool {
        let log = self.log();
        match self {
            Self::Baresip(_) => {
                log.contains(&format!("received event: '{digit}' (end=1)"))
                    || log.contains(&format!("received DTMF: '{digit}'"))
            }
            Self::Linphone(_) => log.contains(&format!("Receiving tone {digit} from")),
        }
    }

    /// What it heard; ends it.
    pub(crate) fn heard(self) -> io::Result<Wav> {
        match self {
            Self::Baresip(phone) => phone.heard(),
            Self::Linphone(phone) => phone.heard(),
        }
    }
}

fn baresip(place: &Place, name: &str, manner: &Manner<'_>) -> io::Result<Baresip> {
    let codecs = match manner.codec {
        Codec::G711 => ["PCMA/8000/1", "PCMU/8000/1"].as_slice(),
        Codec::G722 => &["G722/16000/1"],
        Codec::Opus => &["opus/48000/2"],
    };
    let account = match manner.encryption {
        Encryption::Off => [].as_slice(),
        Encryption::Offered => &["mediaenc=srtp"],
        Encryption::Mandatory => &["mediaenc=srtp-mand"],
    };
    // It takes a file only with as many channels as the codec has.
    let mut say = manner.say.clone();
    if manner.codec == Codec::Opus {
        say.channels.extend_from_within(..);
    }
    let options = baresip::Options {
        answer: manner.answer,
        codecs,
        modules: &["g722", "opus", "srtp"],
        account,
        tls: manner.tls,
        ..baresip::Options::saying(&say)
    };
    Baresip::with(place, name, &options)
}

fn linphone(place: &Place, name: &str, manner: &Manner<'_>) -> io::Result<Linphone> {
    let codecs = match manner.codec {
        Codec::G711 => ["PCMA/8000", "PCMU/8000"].as_slice(),
        Codec::G722 => &["G722/8000"],
        Codec::Opus => &["opus/48000"],
    };
    let suites = format!("srtp_crypto_suites={}", manner.suites);
    let mut sip = match manner.encryption {
        Encryption::Off => vec!["media_encryption=none"],
        Encryption::Offered => vec!["media_encryption=srtp", "media_encryption_mandatory=0"],
        Encryption::Mandatory => vec!["media_encryption=srtp", "media_encryption_mandatory=1"],
    };
    if !manner.suites.is_empty() {
        sip.push(&suites);
    }
    sip.extend(match manner.keys {
        Keys::Events => ["use_info=0", "use_rfc2833=1"],
        Keys::Info => ["use_info=1", "use_rfc2833=0"],
    });
    let options = linphone::Options {
        answer: manner.answer,
        codecs,
        sip: &sip,
        tls: manner.tls,
        ..linphone::Options::saying(manner.say)
    };
    Linphone::with(place, name, &options)
}
