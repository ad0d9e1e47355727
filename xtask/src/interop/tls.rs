//! Calls whose signalling goes over TLS, with keys in SDP that nobody on the way can read. Linphone
//! takes no calls over TLS without a server between.

use std::io;

use super::secure::MANDATORY;
use super::talk::{Talk, Way};
use super::{Case, Proof, SOON};
use crate::audio::speech::{Voice, say};
use crate::audio::wav::Wav;
use crate::peer::certificates::Certificates;
use crate::peer::own::Own;
use crate::peer::place::Place;
use crate::peer::softphone::{Encryption, Make, Manner, Softphone};

pub(super) const CASES: [Case; 4] = [
    Case {
        name: "TLS: baresip calls, keys in SDP",
        needs: &["baresip", "openssl"],
        run: |place| hold(place, Make::Baresip, Way::In),
    },
    Case {
        name: "TLS: Linphone calls, keys in SDP",
        needs: &["linphonec", "openssl"],
        run: |place| hold(place, Make::Linphone, Way::In),
    },
    Case {
        name: "TLS: sidetone calls baresip, keys in SDP",
        needs: &["baresip", "openssl"],
        run: |place| hold(place, Make::Baresip, Way::Out),
    },
    Case {
        name: "TLS: sidetone does not call whom it cannot trust",
        needs: &["baresip", "openssl"],
        run: stranger,
    },
];

fn hold(place: &Place, make: Make, way: Way) -> io::Result<Proof> {
    let talk = Talk {
        encryption: Encryption::Mandatory,
        agreed: "of either",
        own: MANDATORY,
        tls: true,
        ..Talk::plain(make, way)
    };
    talk.hold(place)
}

/// The phone's certificate is of another authority than the one that we trust.
fn stranger(place: &Place) -> io::Result<Proof> {
    let [theirs, ours] = ["theirs", "ours"].map(|name| Certificates::make(place, name));
    let (theirs, ours) = (theirs?, ours?);
    let say = Wav::mono(say(Voice::Agent, 10.0));
    let manner = Manner {
        tls: Some(&theirs),
        ..Manner::saying(&say, true)
    };
    let phone = Softphone::spawn(place, Make::Baresip, "phone", &manner)?;
    let authority = ours.authority.display().to_string();
    let mut client = Own::call(place, &phone.uri(), &say, &["--tls-ca", &authority])?;
    client.exit(1, SOON)?;
    if phone.has_rung() {
        return Err(io::Error::other("the call came through"));
    }
    Ok(Proof {
        veiled: true,
        ..Proof::none()
    })
}
