//! Encrypted calls with softphones, by keys in SDP. Each phone is both caller and callee; the suite
//! is the one that both name. Neither phone offers GCM when it calls, and Debian's Linphone has none.

use std::io;

use super::talk::{Talk, Way};
use super::{Case, Proof, SOON};
use crate::audio::speech::{Voice, say};
use crate::peer::baresip::Baresip;
use crate::peer::own::Own;
use crate::peer::place::Place;
use crate::peer::softphone::{Encryption, Make};

pub(super) const MANDATORY: &[&str] = &["--srtp", "required"];
const BEST_EFFORT: &[&str] = &["--srtp", "optional"];
const USUAL: &str = "AES_CM_128_HMAC_SHA1_80";
const SHORT: &str = "AES_CM_128_HMAC_SHA1_32";
const LONG: &str = "AES_256_CM_HMAC_SHA1_80";
const LONG_SHORT: &str = "AES_256_CM_HMAC_SHA1_32";
pub(super) const GCM: &str = "AEAD_AES_256_GCM";

pub(super) const CASES: [Case; 13] = [
    baresip("SRTP: baresip calls, mandatory, AES-128", |place| {
        mandatory(place, Make::Baresip, Way::In, USUAL)
    }),
    baresip(
        "SRTP: sidetone calls baresip, mandatory, AES-256 GCM",
        |place| mandatory(place, Make::Baresip, Way::Out, GCM),
    ),
    baresip("SRTP: baresip calls, best effort", |place| {
        best_effort(place, Make::Baresip, Way::In, USUAL)
    }),
    baresip("SRTP: sidetone calls baresip, best effort", |place| {
        best_effort(place, Make::Baresip, Way::Out, GCM)
    }),
    baresip("SRTP: baresip calls in the clear, is refused", refused),
    linphone("SRTP: Linphone calls, mandatory, AES-128", |place| {
        mandatory(place, Make::Linphone, Way::In, USUAL)
    }),
    linphone(
        "SRTP: sidetone calls Linphone, mandatory, AES-256",
        |place| mandatory(place, Make::Linphone, Way::Out, LONG),
    ),
    linphone("SRTP: Linphone calls, best effort", |place| {
        best_effort(place, Make::Linphone, Way::In, USUAL)
    }),
    // It reads no keys beside plain RTP.
    linphone(
        "SRTP: sidetone calls Linphone, best effort is plain",
        |place| best_effort(place, Make::Linphone, Way::Out, ""),
    ),
    linphone("SRTP: Linphone calls with AES-256 alone", |place| {
        only(place, Way::In, LONG)
    }),
    linphone("SRTP: Linphone calls with short tags", |place| {
        only(place, Way::In, SHORT)
    }),
    linphone(
        "SRTP: sidetone calls Linphone that has AES-128 alone",
        |place| only(place, Way::Out, USUAL),
    ),
    linphone(
        "SRTP: sidetone calls Linphone that has short tags alone",
        |place| only(place, Way::Out, LONG_SHORT),
    ),
];

const fn baresip(name: &'static str, run: fn(&Place) -> io::Result<Proof>) -> Case {
    with(Make::Baresip, name, run)
}

const fn linphone(name: &'static str, run: fn(&Place) -> io::Result<Proof>) -> Case {
    with(Make::Linphone, name, run)
}

pub(super) const fn with(
    make: Make,
    name: &'static str,
    run: fn(&Place) -> io::Result<Proof>,
) -> Case {
    Case {
        name,
        needs: make.needs(),
        run,
    }
}

/// Both want it encrypted.
fn mandatory(place: &Place, make: Make, way: Way, agreed: &'static str) -> io::Result<Proof> {
    let talk = Talk {
        encryption: Encryption::Mandatory,
        agreed,
        own: MANDATORY,
        ..Talk::plain(make, way)
    };
    talk.hold(place)
}

/// Both would rather have it encrypted; plain where no suite comes of it.
fn best_effort(place: &Place, make: Make, way: Way, agreed: &'static str) -> io::Result<Proof> {
    let talk = Talk {
        encryption: Encryption::Offered,
        agreed,
        own: BEST_EFFORT,
        ..Talk::plain(make, way)
    };
    talk.hold(place)
}

/// By the one suite that Linphone knows.
fn only(place: &Place, way: Way, suite: &'static str) -> io::Result<Proof> {
    let talk = Talk {
        encryption: Encryption::Mandatory,
        agreed: suite,
        suites: suite,
        own: MANDATORY,
        ..Talk::plain(Make::Linphone, way)
    };
    talk.hold(place)
}

fn refused(place: &Place) -> io::Result<Proof> {
    let client = Own::answer(place, &Vec::new(), MANDATORY)?;
    let mut caller = Baresip::spawn(place, "caller", &say(Voice::Agent, 30.0), false)?;
    caller.dial(&client.uri())?;
    caller.expect_refused(SOON)?;
    Ok(Proof::none().shows("the refusal", "sip.Status-Code == 488", 1))
}
