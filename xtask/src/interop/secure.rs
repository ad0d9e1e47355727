//! Encrypted calls with softphones, by keys in SDP.

use std::io;

use super::talk::{Talk, Way};
use super::{Case, Proof, SOON};
use crate::audio::speech::{Voice, say};
use crate::peer::baresip::Baresip;
use crate::peer::own::Own;
use crate::peer::place::Place;
use crate::peer::softphone::{Encryption, Make};

const MANDATORY: &[&str] = &["--srtp", "required"];
const BEST_EFFORT: &[&str] = &["--srtp", "optional"];

pub(super) const CASES: [Case; 12] = [
    with(Make::Baresip, "SRTP: baresip calls, mandatory", |place| {
        mandatory(place, Make::Baresip, Way::In)
    }),
    with(
        Make::Baresip,
        "SRTP: sidetone calls baresip, mandatory",
        |place| mandatory(place, Make::Baresip, Way::Out),
    ),
    with(Make::Baresip, "SRTP: baresip calls, best effort", |place| {
        best_effort(place, Make::Baresip, Way::In, true)
    }),
    with(
        Make::Baresip,
        "SRTP: sidetone calls baresip, best effort",
        |place| best_effort(place, Make::Baresip, Way::Out, true),
    ),
    with(Make::Linphone, "SRTP: Linphone calls, mandatory", |place| {
        mandatory(place, Make::Linphone, Way::In)
    }),
    with(
        Make::Linphone,
        "SRTP: sidetone calls Linphone, mandatory",
        |place| mandatory(place, Make::Linphone, Way::Out),
    ),
    with(
        Make::Linphone,
        "SRTP: Linphone calls, best effort",
        |place| best_effort(place, Make::Linphone, Way::In, true),
    ),
    // It reads no keys beside plain RTP.
    with(
        Make::Linphone,
        "SRTP: sidetone calls Linphone, best effort is plain",
        |place| best_effort(place, Make::Linphone, Way::Out, false),
    ),
    with(
        Make::Linphone,
        "SRTP: Linphone calls with AES-256",
        |place| suite(place, Way::In, "AES_256_CM_HMAC_SHA1_80"),
    ),
    with(
        Make::Linphone,
        "SRTP: Linphone calls with short tags",
        |place| suite(place, Way::In, "AES_CM_128_HMAC_SHA1_32"),
    ),
    with(
        Make::Linphone,
        "SRTP: sidetone calls Linphone with AES-128 GCM",
        |place| suite(place, Way::Out, "AEAD_AES_128_GCM"),
    ),
    with(
        Make::Baresip,
        "SRTP: baresip calls in the clear, is refused",
        refused,
    ),
];

const fn with(make: Make, name: &'static str, run: fn(&Place) -> io::Result<Proof>) -> Case {
    Case {
        name,
        needs: make.needs(),
        run,
    }
}

/// Both want it encrypted.
fn mandatory(place: &Place, make: Make, way: Way) -> io::Result<Proof> {
    let talk = Talk {
        encryption: Encryption::Mandatory,
        encrypted: true,
        own: MANDATORY,
        ..Talk::plain(make, way)
    };
    talk.hold(place)
}

/// Both would rather have it encrypted.
fn best_effort(place: &Place, make: Make, way: Way, encrypted: bool) -> io::Result<Proof> {
    let talk = Talk {
        encryption: Encryption::Offered,
        encrypted,
        own: BEST_EFFORT,
        ..Talk::plain(make, way)
    };
    talk.hold(place)
}

/// By the one suite that Linphone knows.
fn suite(place: &Place, way: Way, suites: &'static str) -> io::Result<Proof> {
    let talk = Talk {
        encryption: Encryption::Mandatory,
        encrypted: true,
        suites,
        own: MANDATORY,
        ..Talk::plain(Make::Linphone, way)
    };
    let proof = talk.hold(place)?;
    let filter = match suites {
        "AES_256_CM_HMAC_SHA1_80" => "sip && frame contains \"AES_256_CM_HMAC_SHA1_80 inline\"",
        "AES_CM_128_HMAC_SHA1_32" => "sip && frame contains \"AES_CM_128_HMAC_SHA1_32 inline\"",
        _ => "sip && frame contains \"AEAD_AES_128_GCM inline\"",
    };
    Ok(proof.shows("the suite, offered and taken", filter, 2))
}

fn refused(place: &Place) -> io::Result<Proof> {
    let client = Own::answer(place, &Vec::new(), MANDATORY)?;
    let mut caller = Baresip::spawn(place, "caller", &say(Voice::Agent, 30.0), false)?;
    caller.dial(&client.uri())?;
    caller.expect_refused(SOON)?;
    Ok(Proof::none().shows("the refusal", "sip.Status-Code == 488", 1))
}
