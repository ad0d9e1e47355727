//! Calls in wide band with softphones, both ways; what was said above 4 kHz must arrive. Those that
//! we make are encrypted besides.

use std::io;

use super::Case;
use super::Proof;
use super::secure::{MANDATORY, with};
use super::talk::{Talk, Way};
use crate::peer::place::Place;
use crate::peer::softphone::{Codec, Encryption, Make};

pub(super) const CASES: [Case; 8] = [
    with(Make::Baresip, "codecs: baresip calls in Opus", |place| {
        plain(place, Make::Baresip, Codec::Opus)
    }),
    with(Make::Baresip, "codecs: baresip calls in G.722", |place| {
        plain(place, Make::Baresip, Codec::G722)
    }),
    with(Make::Linphone, "codecs: Linphone calls in Opus", |place| {
        plain(place, Make::Linphone, Codec::Opus)
    }),
    with(Make::Linphone, "codecs: Linphone calls in G.722", |place| {
        plain(place, Make::Linphone, Codec::G722)
    }),
    with(
        Make::Baresip,
        "codecs: sidetone calls baresip in Opus, encrypted",
        |place| encrypted(place, Make::Baresip, Codec::Opus),
    ),
    with(
        Make::Baresip,
        "codecs: sidetone calls baresip in G.722, encrypted",
        |place| encrypted(place, Make::Baresip, Codec::G722),
    ),
    with(
        Make::Linphone,
        "codecs: sidetone calls Linphone in Opus, encrypted",
        |place| encrypted(place, Make::Linphone, Codec::Opus),
    ),
    with(
        Make::Linphone,
        "codecs: sidetone calls Linphone in G.722, encrypted",
        |place| encrypted(place, Make::Linphone, Codec::G722),
    ),
];

fn plain(place: &Place, make: Make, codec: Codec) -> io::Result<Proof> {
    let talk = Talk {
        codec,
        ..Talk::plain(make, Way::In)
    };
    talk.hold(place)
}

fn encrypted(place: &Place, make: Make, codec: Codec) -> io::Result<Proof> {
    let agreed = match make {
        Make::Baresip => "AEAD_AES_256_GCM",
        Make::Linphone => "AES_256_CM_HMAC_SHA1_80",
    };
    let talk = Talk {
        codec,
        encryption: Encryption::Mandatory,
        agreed,
        own: MANDATORY,
        ..Talk::plain(make, Way::Out)
    };
    talk.hold(place)
}
