//! Opus in stereo with baresip, both ways: left and right must arrive apart.

use std::io;
use std::thread;
use std::time::Duration;

use super::secure::with;
use super::{Case, Proof, SOON, must_hear_wide};
use crate::audio::speech::{Voice, say_wide};
use crate::audio::wav::Wav;
use crate::audio::wide;
use crate::peer::baresip::{Baresip, Options};
use crate::peer::own::Own;
use crate::peer::place::Place;
use crate::peer::softphone::Make;

pub(super) const CASES: [Case; 2] = [
    with(
        Make::Baresip,
        "codecs: sidetone calls baresip in stereo",
        called,
    ),
    with(
        Make::Baresip,
        "codecs: baresip wants mono, not stereo",
        calls_for_mono,
    ),
];

/// Two speakers, each in one ear.
fn both(left: Voice, right: Voice) -> Wav {
    let mut sound = say_wide(left, 40.0);
    sound.channels.extend(say_wide(right, 40.0).channels);
    sound
}

/// A phone that has Opus alone, with as many channels as it says.
fn phone(place: &Place, say: &Wav, answer: bool) -> io::Result<Baresip> {
    let (codecs, settings) = match say.channels.len() {
        1 => (["opus/48000/1"], ["opus_stereo no", "opus_sprop_stereo no"]),
        _ => (
            ["opus/48000/2"],
            ["opus_stereo yes", "opus_sprop_stereo yes"],
        ),
    };
    let options = Options {
        answer,
        codecs: &codecs,
        modules: &["opus"],
        settings: &settings,
        ..Options::saying(say)
    };
    Baresip::with(place, "phone", &options)
}

fn called(place: &Place) -> io::Result<Proof> {
    let ours = both(Voice::Caller, Voice::Agent);
    let theirs = both(Voice::Agent, Voice::Caller);
    let mut phone = phone(place, &theirs, true)?;
    let options = [
        "--codecs",
        "opus/stereo",
        "--duration",
        "6",
        "--party-alone",
    ];
    let mut client = Own::call(place, &phone.uri(), ours.clone(), &options)?;
    phone.expect_up(SOON)?;
    client.exit(0, SOON)?;
    phone.expect_over(SOON)?;
    must_hear_apart("the phone", &ours, &phone.heard()?)?;
    must_hear_apart("sidetone", &theirs, &client.heard()?)?;
    let proof = Proof {
        open: true,
        ..Proof::none()
    };
    let asked = "sip && sdp.fmtp.parameter contains \"stereo=1\"";
    Ok(proof.shows("stereo, offered and answered", asked, 2))
}

fn calls_for_mono(place: &Place) -> io::Result<Proof> {
    let ours = both(Voice::Caller, Voice::Agent);
    let theirs = say_wide(Voice::Agent, 40.0);
    let mut phone = phone(place, &theirs, false)?;
    let options = ["--count", "1", "--codecs", "opus/stereo", "--party-alone"];
    let mut client = Own::answer(place, ours.clone(), &options)?;
    phone.dial(&client.uri())?;
    phone.expect_up(SOON)?;
    thread::sleep(Duration::from_secs(5));
    phone.hang_up()?;
    client.exit(0, SOON)?;
    // It wants no stereo: it is sent the mean of ours, and is heard in both ears.
    let heard = phone.heard()?.channel(0);
    must_hear_wide("the phone", &mean(&ours), &heard, 2.0)?;
    let heard = client.heard()?;
    for ear in [0, 1] {
        must_hear_wide("sidetone", &theirs, &heard.channel(ear), 2.0)?;
    }
    Ok(Proof {
        open: true,
        ..Proof::none()
    })
}

/// What a mono listener hears of both channels.
fn mean(both: &Wav) -> Wav {
    let [left, right] = [0, 1].map(|channel| both.channels[channel].iter());
    let mean = |(left, right): (&i16, &i16)| ((i32::from(*left) + i32::from(*right)) / 2) as i16;
    Wav {
        rate: both.rate,
        channels: vec![left.zip(right).map(mean).collect()],
    }
}

/// Each channel holds what was said in it, in wide band, and nothing of the other.
fn must_hear_apart(who: &str, said: &Wav, heard: &Wav) -> io::Result<()> {
    for channel in [0, 1] {
        let ear = heard.channel(channel);
        must_hear_wide(who, &said.channel(channel), &ear, 2.0)?;
        let other = wide::carried(&said.channel(1 - channel), &ear);
        if let Some(found) = other.filter(|found| found.lower.carried > 0.5) {
            let fault = format!("{who} heard the other channel in channel {channel}: {found:?}");
            return Err(io::Error::other(fault));
        }
    }
    Ok(())
}
