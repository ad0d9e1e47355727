//! REGISTER at an agent: signed, absorbed, refused, and calls by the way that it came.

use super::*;
use crate::sip::auth::client::{Account, Answerer};
use crate::sip::auth::server::VerifierConfig;
use crate::sip::header::Name;
use crate::sip::registrar::config::{Anybody, RegistrarConfig};

const SECOND: Duration = Duration::from_secs(1);
const PHONE: &str = "192.0.2.9:40000";

fn strict(config: &mut AgentConfig) {
    config.authentication = Some(VerifierConfig::new("r"));
    config.registrar = Some(RegistrarConfig::new("pbx.example"));
}

fn open(config: &mut AgentConfig) {
    config.registrar = Some(RegistrarConfig::new("pbx.example").policy(Anybody));
}

/// A registrar (0) and a raw telephone.
fn net(change: fn(&mut AgentConfig)) -> Net {
    let mut net = Net::new(3);
    net.add("192.0.2.1:5060", answering, change);
    net
}

fn register(branch: &str, lines: &str) -> String {
    format!(
        "REGISTER sip:pbx.example SIP/2.0\nVia: SIP/2.0/UDP 10.0.0.7;branch=z9hG4bK{branch};rport\n\
         Max-Forwards: 70\nFrom: <sip:alice@pbx.example>;tag=1\nTo: <sip:alice@pbx.example>\n\
         Call-ID: c\nCSeq: 1 REGISTER\n{lines}Content-Length: 0\n\n"
    )
}

/// What the telephone was sent, the first line of each.
fn answers(net: &Net) -> Vec<String> {
    let texts = net
        .raw
        .iter()
        .map(|(_, bytes)| String::from_utf8_lossy(bytes));
    texts
        .map(|text| text.lines().next().unwrap_or_default().to_owned())
        .collect()
}

fn send(net: &mut Net, text: &str) {
    net.inject(PHONE, 0, text);
    net.run(SECOND);
}

fn user() -> Uri {
    "sip:alice@pbx.example".parse().unwrap()
}

#[test]
fn without_a_registrar_register_is_not_allowed() {
    let mut net = net(|_| {});
    send(&mut net, &register("1", "Contact: <sip:alice@10.0.0.7>\n"));
    assert_eq!(answers(&net), ["SIP/2.0 405 Method Not Allowed"]);
}

#[test]
fn an_open_listener_still_asks_who_registers() {
    let mut net = net(strict);
    send(&mut net, &register("1", "Contact: <sip:alice@10.0.0.7>\n"));
    assert_eq!(answers(&net), ["SIP/2.0 401 Unauthorized"]);
    assert_eq!(net.agent(0).registered(), 0);
}

#[test]
fn a_repeated_register_gets_the_same_answer() {
    let mut net = net(open);
    let text = register("1", "Contact: <sip:alice@10.0.0.7>\n");
    send(&mut net, &text);
    send(&mut net, &text);
    assert_eq!(net.raw.len(), 2);
    assert_eq!(net.raw[0].1, net.raw[1].1);
    assert!(net.raw[0].1.starts_with(b"SIP/2.0 200 OK\r\n"));
    assert_eq!(net.agent(0).registrar_counters().granted, 1);
    // The same again as a new request is out of order.
    send(&mut net, &register("2", "Contact: <sip:alice@10.0.0.7>\n"));
    assert_eq!(answers(&net)[2], "SIP/2.0 500 Server Internal Error");
    net.settle();
    assert_eq!(net.agent(0).transactions(), 0);
}

#[test]
fn require_of_what_is_not_known() {
    let mut net = net(open);
    send(&mut net, &register("1", "Require: path, gruu\n"));
    send(&mut net, &register("2", "Require: path, outbound\n"));
    assert_eq!(
        answers(&net),
        ["SIP/2.0 420 Bad Extension", "SIP/2.0 200 OK"]
    );
}

#[test]
fn a_registered_user_is_reached_by_the_way_he_came() {
    let mut net = net(open);
    send(&mut net, &register("1", "Contact: <sip:alice@10.0.0.7>\n"));
    let now = net.now;
    let binding = net.agent(0).bindings(now, &user()).remove(0);
    let target: Uri = binding.contact().parse().unwrap();
    let mut invite = Invite::new(
        target,
        NameAddr::new(&"sip:pbx@pbx.example".parse().unwrap()),
    );
    invite.flow = Some(binding.flow());
    invite.body = Some(Body::sdp(OFFER));
    net.agent(0).invite(now, invite).unwrap();
    net.run(SECOND);
    let (to, bytes) = net.raw.last().unwrap();
    assert_eq!(*to, PHONE.parse().unwrap());
    assert!(bytes.starts_with(b"INVITE sip:alice@10.0.0.7 SIP/2.0\r\n"));
}

#[test]
fn registrations_expire_by_themselves() {
    let mut net = net(open);
    send(
        &mut net,
        &register("1", "Contact: <sip:alice@10.0.0.7>;expires=60\n"),
    );
    assert_eq!(net.agent(0).registered(), 1);
    net.run(60 * SECOND);
    assert_eq!(net.agent(0).registered(), 0);
    let kinds: Vec<_> = std::iter::from_fn(|| net.agent(0).poll_binding())
        .map(|c| c.kind)
        .collect();
    use crate::sip::registrar::binding::ChangeKind::{Expired, Registered};
    assert_eq!(kinds, [Registered, Expired]);
}

/// Answers the challenge that the telephone was sent last, as `who`.
fn signed(net: &Net, who: &str, request: &str) -> String {
    let mut answerer = Answerer::new(Account::new("r", who, Secret::password("wonder")));
    let challenge = Message::parse(net.raw.last().unwrap().1.clone().into()).unwrap();
    let rows: Vec<_> = challenge
        .header_all(Name::WwwAuthenticate)
        .map(|row| row.text())
        .collect();
    assert!(answerer.take(rows.iter().map(|text| text.as_bytes()), &mut Rng::new(1)));
    let credentials = answerer
        .credentials("REGISTER", "sip:pbx.example", b"")
        .unwrap();
    let line = format!("Authorization: {credentials}\nContent-Length");
    request.replacen("Content-Length", &line, 1)
}

#[test]
fn a_user_registers_and_nobody_else_does() {
    let mut net = net(strict);
    let contact = "Contact: <sip:alice@10.0.0.7>\n";
    send(&mut net, &register("1", contact));
    let proven = signed(&net, "alice", &register("2", contact));
    send(&mut net, &proven);
    assert_eq!(answers(&net)[1], "SIP/2.0 200 OK");
    // The same credentials in a new request, with the attacker's contact: a replay.
    let stolen = proven
        .replace("z9hG4bK2", "z9hG4bK3")
        .replace("10.0.0.7>", "203.0.113.66>");
    net.inject("203.0.113.66:5060", 0, &stolen);
    net.run(SECOND);
    assert_eq!(answers(&net)[2], "SIP/2.0 401 Unauthorized");
    assert_eq!(net.agent(0).verifier_counters().replayed, 1);
    // Another user, rightly signed in, cannot take alice's address or remove what is there.
    for lines in [contact, "Contact: *\nExpires: 0\n", ""] {
        send(&mut net, &register(&format!("4{}", lines.len()), lines));
        let hijack = signed(&net, "bob", &register(&format!("5{}", lines.len()), lines));
        send(&mut net, &hijack);
        assert_eq!(answers(&net).last().unwrap(), "SIP/2.0 403 Forbidden");
    }
    // A digest of another request does not vouch for this one: relayed from an INVITE, say.
    send(&mut net, &register("6", contact));
    let relayed = signed(&net, "alice", &register("7", contact));
    let relayed = relayed.replace("uri=\"sip:pbx.example\"", "uri=\"sip:premium@pbx.example\"");
    send(&mut net, &relayed);
    assert_eq!(answers(&net).last().unwrap(), "SIP/2.0 401 Unauthorized");
    let now = net.now;
    let bindings = net.agent(0).bindings(now, &user());
    assert_eq!(bindings.len(), 1);
    assert_eq!(bindings[0].source(), PHONE.parse().unwrap());
}

#[test]
fn a_flood_of_unsigned_registers_leaves_nothing_and_draws_little() {
    let mut net = net(strict);
    let contact = "Contact: <sip:alice@10.0.0.7>\n";
    let (mut asked, mut drawn) = (0, 0);
    for n in 0..2_000 {
        let text = register(&n.to_string(), contact);
        asked += text.len();
        net.inject(PHONE, 0, &text);
        net.run(Duration::from_millis(20));
        drawn += net
            .raw
            .drain(..)
            .map(|(_, bytes)| bytes.len())
            .sum::<usize>();
    }
    assert!(drawn < 3 * asked, "{drawn} bytes drawn by {asked}");
    assert!(drawn > 0);
    let agent = net.agent(0);
    assert_eq!((agent.registered(), agent.transactions()), (0, 0));
    assert_eq!(agent.counters().challenged, 2_000);
}
