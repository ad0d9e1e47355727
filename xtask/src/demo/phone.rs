//! The softphones of the demonstration: baresip, or our own client where it is missing.

use std::io;
use std::ops::Range;
use std::time::Duration;

use super::{GREETING, RINGING, TALK};
use crate::audio::wav::Wav;
use crate::peer::baresip::Baresip;
use crate::peer::own::Own;
use crate::peer::place::Place;

/// How long a phone may take for anything.
const SOON: Duration = Duration::from_secs(20);

/// A softphone.
pub(super) enum Phone<'a> {
    /// One that does what it is told when it is told.
    Baresip(Baresip),
    /// Our own as an agent: it picks up by itself after a while.
    Answering(Own),
    /// Our own as a caller: everything it will do is said when it dials.
    Calling {
        place: &'a Place,
        say: &'a [i16],
        call: Option<Own>,
    },
}

impl<'a> Phone<'a> {
    /// The agent's phone.
    pub(super) fn agent(place: &Place, say: &[i16], real: bool) -> io::Result<Self> {
        if real {
            return Baresip::spawn(place, "agent", say, false).map(Self::Baresip);
        }
        let ring = RINGING.as_secs().to_string();
        Own::answer(place, say, &["--ring", &ring]).map(Self::Answering)
    }

    /// The caller's phone.
    pub(super) fn caller(place: &'a Place, say: &'a [i16], real: bool) -> io::Result<Self> {
        if real {
            return Baresip::spawn(place, "caller", say, false).map(Self::Baresip);
        }
        Ok(Self::Calling {
            place,
            say,
            call: None,
        })
    }

    /// Its name on the terminal.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Baresip(_) => "baresip",
            Self::Answering(_) => "sidetone answer",
            Self::Calling { .. } => "sidetone call",
        }
    }

    /// Its SIP address; a caller of ours has none before it calls.
    pub(super) fn uri(&self) -> String {
        match self {
            Self::Baresip(phone) => phone.uri(),
            Self::Answering(phone) => phone.uri(),
            Self::Calling { .. } => String::new(),
        }
    }

    /// Calls.
    pub(super) fn dial(&mut self, uri: &str) -> io::Result<()> {
        match self {
            Self::Baresip(phone) => phone.dial(uri),
            Self::Answering(_) => Err(io::Error::other("this phone only answers")),
            Self::Calling { place, say, call } => {
                let (first, whole) = (
                    GREETING.as_secs_f64(),
                    (GREETING + RINGING + TALK).as_secs(),
                );
                let (first, whole) = (first.to_string(), (whole + 1).to_string());
                let options = [
                    "--digits",
                    "2",
                    "--digits-after",
                    &first,
                    "--duration",
                    &whole,
                ];
                *call = Some(Own::call(place, uri, *say, &options)?);
                Ok(())
            }
        }
    }

    /// Presses a key, where the phone does not do so by itself.
    pub(super) fn press(&mut self, digit: char) -> io::Result<()> {
        if let Self::Baresip(phone) = self {
            phone.press(digit)
        } else {
            Ok(())
        }
    }

    /// Takes the call, where the phone does not do so by itself.
    pub(super) fn accept(&mut self) -> io::Result<()> {
        if let Self::Baresip(phone) = self {
            phone.accept()
        } else {
            Ok(())
        }
    }

    /// Hangs up, and waits until the call is over.
    pub(super) fn hang_up(&mut self) -> io::Result<()> {
        match self {
            Self::Baresip(phone) => phone.hang_up(),
            Self::Calling {
                call: Some(call), ..
            } => call.exit(0, SOON),
            _ => Ok(()),
        }
    }

    /// Waits until its call is over.
    pub(super) fn expect_over(&mut self) -> io::Result<()> {
        match self {
            Self::Baresip(phone) => phone.expect_over(SOON),
            Self::Answering(phone) => phone.expect("ended after"),
            Self::Calling { .. } => Ok(()),
        }
    }

    /// What it heard.
    pub(super) fn heard(&self) -> io::Result<Wav> {
        match self {
            Self::Baresip(phone) => phone.heard(),
            Self::Answering(phone)
            | Self::Calling {
                call: Some(phone), ..
            } => phone.heard(),
            Self::Calling { .. } => Err(io::Error::other("this phone never called")),
        }
    }

    /// The ports of its sound, where they are known.
    pub(super) fn ports(&self) -> Option<Range<u16>> {
        if let Self::Baresip(phone) = self {
            Some(phone.media_ports())
        } else {
            None
        }
    }

    /// What it reports itself about the packets that it received.
    pub(super) fn report(&self) -> Option<String> {
        let (log, mark) = match self {
            Self::Baresip(phone) => (phone.log(), "lost:"),
            Self::Answering(phone)
            | Self::Calling {
                call: Some(phone), ..
            } => (phone.log(), "received "),
            Self::Calling { .. } => return None,
        };
        let line = log
            .split(['\r', '\n'])
            .rfind(|line| line.trim_start().starts_with(mark))?;
        let words = line.split_whitespace().collect::<Vec<_>>();
        match self {
            // Sent and received stand in two columns.
            Self::Baresip(_) => Some(format!("{} packets", words.get(2)?)),
            _ => Some(words.join(" ")),
        }
    }
}
