//! The torture messages of RFC 4475 and RFC 5118 at a user agent: what each draws on the wire.

use super::*;
use crate::sip::registrar::config::{Anybody, RegistrarConfig};

const PEER: &str = "198.51.100.7:5060";

/// The message, and the status of the first answer; `None` where nothing is answered.
const ANSWERS: [(&str, Option<u16>); 61] = [
    // A To tag that belongs to no dialog here.
    ("rfc4475/wsinv", Some(481)),
    ("rfc4475/intmeth", Some(501)),
    ("rfc4475/esc01", Some(100)),
    ("rfc4475/escnull", Some(405)),
    ("rfc4475/esc02", Some(501)),
    ("rfc4475/lwsdisp", Some(200)),
    ("rfc4475/longreq", Some(100)),
    ("rfc4475/dblreq", Some(405)),
    ("rfc4475/semiuri", Some(200)),
    ("rfc4475/transports", Some(200)),
    // Messages of several parts are not among those that are read.
    ("rfc4475/mpart01", Some(415)),
    ("rfc4475/unreason", None),
    ("rfc4475/noreason", None),
    ("rfc4475/badinv01", Some(400)),
    ("rfc4475/clerr", Some(400)),
    ("rfc4475/ncl", Some(400)),
    ("rfc4475/scalar02", Some(400)),
    ("rfc4475/scalarlg", None),
    ("rfc4475/quotbal", Some(400)),
    ("rfc4475/ltgtruri", Some(400)),
    ("rfc4475/lwsruri", Some(400)),
    ("rfc4475/lwsstart", Some(400)),
    ("rfc4475/trws", Some(400)),
    ("rfc4475/escruri", Some(400)),
    ("rfc4475/baddate", Some(400)),
    ("rfc4475/regbadct", Some(400)),
    ("rfc4475/badaspec", Some(400)),
    ("rfc4475/baddn", Some(400)),
    ("rfc4475/badvers", Some(505)),
    ("rfc4475/mismatch01", Some(400)),
    ("rfc4475/mismatch02", Some(400)),
    ("rfc4475/bigcode", None),
    ("rfc4475/badbranch", Some(200)),
    ("rfc4475/insuf", Some(400)),
    ("rfc4475/unkscm", Some(416)),
    ("rfc4475/novelsc", Some(416)),
    ("rfc4475/unksm2", Some(405)),
    ("rfc4475/bext01", Some(420)),
    ("rfc4475/invut", Some(415)),
    ("rfc4475/regaut01", Some(405)),
    ("rfc4475/multi01", Some(400)),
    ("rfc4475/mcl01", Some(400)),
    // A response whose Via is somebody else's.
    ("rfc4475/bcast", None),
    // No proxy: a server that is the target answers (RFC 3261 §11.1).
    ("rfc4475/zeromf", Some(200)),
    ("rfc4475/cparam01", Some(405)),
    ("rfc4475/cparam02", Some(405)),
    ("rfc4475/regescrt", Some(405)),
    ("rfc4475/sdp01", Some(406)),
    ("rfc4475/inv2543", Some(100)),
    ("rfc5118/ipv6-good", Some(405)),
    ("rfc5118/ipv6-bad", Some(400)),
    ("rfc5118/port-ambiguous", Some(405)),
    ("rfc5118/port-unambiguous", Some(405)),
    ("rfc5118/via-received-param-with-delim", Some(481)),
    ("rfc5118/via-received-param-no-delim", Some(200)),
    ("rfc5118/ipv6-in-sdp", Some(100)),
    ("rfc5118/mult-ip-in-header", Some(481)),
    ("rfc5118/mult-ip-in-sdp", Some(100)),
    ("rfc5118/ipv4-mapped-ipv6", Some(100)),
    ("rfc5118/ipv6-bug-abnf-3-colons", Some(200)),
    ("rfc5118/ipv6-correct-abnf-2-colons", Some(200)),
];

/// The same for REGISTER at a registrar of their domain that asks nobody who he is.
const REGISTRATIONS: [(&str, u16); 9] = [
    // A user whose name holds a NUL is nobody's, though the message may say so.
    ("rfc4475/escnull", 404),
    ("rfc4475/dblreq", 200),
    // Whoever an ISBN is, he is not of the domain.
    ("rfc4475/unksm2", 404),
    // Credentials of a scheme that nobody knows are none.
    ("rfc4475/regaut01", 200),
    ("rfc4475/cparam01", 200),
    ("rfc4475/cparam02", 200),
    // A Contact with header fields would put a Route of its own into others' requests (RFC 3261 §19.1.5):
    // the registrar refuses it, though the message is well-formed.
    ("rfc4475/regescrt", 400),
    ("rfc4475/regbadct", 400),
    ("rfc5118/ipv6-good", 200),
];

fn bytes(name: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture");
    let path = path.join(format!("{name}.dat"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The status that a message draws first, from an agent that has heard nothing before.
fn answer(name: &str, change: fn(&mut AgentConfig)) -> Option<u16> {
    let mut net = Net::new(1);
    net.add("192.0.2.1:5060", ignore, change);
    let now = net.now;
    let peer: SocketAddr = PEER.parse().unwrap();
    net.agent(0)
        .handle_datagram(now, ListenerId(0), peer, &bytes(name));
    let first = net.agent(0).poll_transmit()?;
    let Path::Datagram { destination, .. } = first.path else {
        panic!("{name}: not answered by a datagram");
    };
    assert_eq!(destination.ip(), peer.ip(), "{name}: goes elsewhere");
    let message = Message::parse(first.bytes).unwrap();
    Some(message.status().unwrap().code())
}

#[test]
fn every_torture_message_gets_its_answer_on_the_wire() {
    let wrong: Vec<String> = ANSWERS
        .iter()
        .map(|(name, expected)| (name, *expected, answer(name, |_| {})))
        .filter(|(_, expected, got)| expected != got)
        .map(|(name, expected, got)| format!("{name}: expected {expected:?}, got {got:?}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_registration_among_them_gets_its_answer_of_a_registrar() {
    let open: fn(&mut AgentConfig) = |config| {
        let mut registrar = RegistrarConfig::new("example.com").policy(Anybody);
        registrar.aliases = vec!["[2001:db8::10]".into(), "2001:db8::10".into()];
        config.registrar = Some(registrar);
    };
    let wrong: Vec<String> = REGISTRATIONS
        .iter()
        .map(|(name, expected)| (name, *expected, answer(name, open)))
        .filter(|(_, expected, got)| Some(*expected) != *got)
        .map(|(name, expected, got)| format!("{name}: expected {expected}, got {got:?}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
