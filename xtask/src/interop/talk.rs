//! One call between our client and a softphone: sound and keys both ways.

use std::io;
use std::thread;
use std::time::Duration;

use super::{Proof, SOON, Secret, must_hear, must_hear_wide};
use crate::audio::speech::{Voice, say, say_wide};
use crate::audio::wav::Wav;
use crate::peer::certificates::Certificates;
use crate::peer::own::Own;
use crate::peer::place::Place;
use crate::peer::softphone::{Codec, Encryption, Keys, Make, Manner, Softphone};

/// Who calls whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// The phone calls us.
    In,
    /// We call the phone.
    Out,
}

/// What is special about a call.
pub(super) struct Talk {
    pub(super) make: Make,
    pub(super) way: Way,
    pub(super) codec: Codec,
    /// What the phone wants of encryption.
    pub(super) encryption: Encryption,
    /// The suite that both name in SDP; none where the call stays plain. Over TLS it is not looked for.
    pub(super) agreed: &'static str,
    /// Suites that Linphone has.
    pub(super) suites: &'static str,
    /// How the phone tells of its keys.
    pub(super) keys: Keys,
    /// Signalling goes over TLS.
    pub(super) tls: bool,
    /// More options of our client.
    pub(super) own: &'static [&'static str],
}

impl Talk {
    /// A plain call in G.711.
    pub(super) const fn plain(make: Make, way: Way) -> Self {
        Self {
            make,
            way,
            codec: Codec::G711,
            encryption: Encryption::Off,
            agreed: "",
            suites: "",
            keys: Keys::Events,
            tls: false,
            own: &[],
        }
    }

    /// Has the call; an error unless both heard each other, and each other's keys.
    pub(super) fn hold(&self, place: &Place) -> io::Result<Proof> {
        let ours = self.sound(Voice::Caller);
        let theirs = self.sound(Voice::Agent);
        let certificates = if self.tls {
            Some(Certificates::make(place, "certificates")?)
        } else {
            None
        };
        let manner = Manner {
            say: &theirs,
            answer: self.way == Way::Out,
            codec: self.codec,
            encryption: self.encryption,
            suites: self.suites,
            keys: self.keys,
            tls: certificates.as_ref(),
        };
        let trust = certificates
            .as_ref()
            .map(Certificates::options)
            .unwrap_or_default();
        let trust: Vec<&str> = trust.iter().map(String::as_str).collect();
        let mut phone = Softphone::spawn(place, self.make, "phone", &manner)?;
        let client = match self.way {
            Way::In => self.answer(place, &mut phone, &ours, &trust)?,
            Way::Out => self.call(place, &mut phone, &ours, &trust)?,
        };
        self.must_hear("the phone", &ours, &phone.heard()?)?;
        self.must_hear("sidetone", &theirs, &client.heard()?)?;
        if self.agreed.is_empty() {
            return Ok(Proof {
                open: true,
                ..Proof::none()
            });
        }
        let secret = Secret {
            logs: vec![client.log_file().to_owned()],
        };
        if self.tls {
            return Ok(Proof {
                secret: Some(secret),
                veiled: true,
                opaque: true,
                ..Proof::none()
            });
        }
        let filter = format!("sip && frame contains \"{} inline\"", self.agreed);
        let proof = Proof {
            secret: Some(secret),
            // tshark knows the suites of RFC 4568, and those only behind RTP/SAVP.
            opaque: self.encryption == Encryption::Offered
                || !self.agreed.starts_with("AES_CM_128_"),
            ..Proof::none()
        };
        Ok(proof.shows("the suite, offered and taken", filter, 2))
    }

    fn answer(
        &self,
        place: &Place,
        phone: &mut Softphone,
        say: &Wav,
        trust: &[&str],
    ) -> io::Result<Own> {
        let port = place.take(2).to_string();
        let listen = if self.tls {
            &["--tls-port", &port][..]
        } else {
            &[]
        };
        let options = [&["--count", "1"], self.own, trust, listen].concat();
        let mut client = Own::answer(place, say, &options)?;
        if self.tls {
            // baresip adds what its account says, and so names the transport twice.
            phone.dial(&format!(
                "sip:sidetone@{}:{port};transport=tls",
                place.address()
            ))?;
        } else {
            phone.dial(&client.uri())?;
        }
        phone.expect_up(SOON)?;
        thread::sleep(Duration::from_secs(1));
        phone.press('7')?;
        client.expect("digit 7")?;
        thread::sleep(Duration::from_millis(3500));
        phone.hang_up()?;
        client.exit(0, SOON)?;
        Ok(client)
    }

    fn call(
        &self,
        place: &Place,
        phone: &mut Softphone,
        say: &Wav,
        trust: &[&str],
    ) -> io::Result<Own> {
        let options = [&["--duration", "5", "--digits", "4#"], self.own, trust].concat();
        let mut client = Own::call(place, &phone.uri(), say, &options)?;
        phone.expect_up(SOON)?;
        thread::sleep(Duration::from_millis(2500));
        phone.press('8')?;
        client.expect("digit 8")?;
        client.exit(0, SOON)?;
        phone.expect_over(SOON)?;
        match ['4', '#'].into_iter().find(|digit| !phone.got(*digit)) {
            Some(digit) => Err(io::Error::other(format!(
                "the phone did not get the digit {digit}"
            ))),
            None => Ok(client),
        }
    }

    fn sound(&self, voice: Voice) -> Wav {
        match self.codec {
            Codec::G711 => Wav::mono(say(voice, 40.0)),
            Codec::G722 | Codec::Opus => say_wide(voice, 40.0),
        }
    }

    fn must_hear(&self, who: &str, said: &Wav, heard: &Wav) -> io::Result<()> {
        match self.codec {
            Codec::G711 => must_hear(who, &said.channels[0], heard, 2.0),
            Codec::G722 | Codec::Opus => must_hear_wide(who, said, heard, 2.0),
        }
    }
}
