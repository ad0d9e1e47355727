//! Signing in: challenges both ways, access lists, replays and strangers within dialogs.

use super::*;
use crate::sip::auth::client::Account;
use crate::sip::auth::server::{ChallengeAs, VerifierConfig};
use crate::sip::header::Name;
use crate::sip::transport::access::{AccessList, Admission};

const SECOND: Duration = Duration::from_secs(1);

fn guarded(config: &mut AgentConfig) {
    config.authentication = Some(VerifierConfig::new("r"));
    for listener in &mut config.listeners {
        listener.access = AccessList::all(Admission::Authenticate);
    }
}

fn guarded_as_proxy(config: &mut AgentConfig) {
    guarded(config);
    let authentication = config.authentication.as_mut().unwrap();
    authentication.challenge_as = ChallengeAs::Proxy;
}

/// A caller and a callee that asks who calls.
fn net(change: fn(&mut AgentConfig)) -> Net {
    let mut net = Net::new(5);
    net.add("192.0.2.1:5060", acknowledging, |_| {});
    net.add("192.0.2.2:5060", answering, change);
    net
}

fn account(realm: &str, user: &str, password: &str) -> Account {
    Account::new(realm, user, Secret::password(password))
}

fn call_as(net: &mut Net, params: &str, account: Account) -> SessionId {
    net.call_with(0, 1, params, |invite| {
        invite.body = Some(Body::sdp(OFFER));
        invite.account = Some(account);
    })
}

#[test]
fn a_user_signs_in_and_every_later_request_is_signed_ahead() {
    for (change, params) in [
        (guarded as fn(&mut AgentConfig), ""),
        (guarded, ";transport=tcp"),
        (guarded_as_proxy, ""),
    ] {
        let mut net = net(change);
        let session = call_as(&mut net, params, account("r", "alice", "wonder"));
        net.run(SECOND);
        let user = net.nodes[1].events.iter().find_map(|event| match event {
            Event::Incoming { user, .. } => user.clone(),
            _ => None,
        });
        assert_eq!(user.as_deref(), Some("alice"));
        let now = net.now;
        net.agent(0).info(now, session, vec![], None).unwrap();
        net.run(SECOND);
        net.agent(0).bye(net_now(now), session, vec![]).unwrap();
        net.settle();
        assert_eq!(
            net.sent(0),
            [
                "INVITE 1 +",
                "ACK 1",
                "INVITE 2 +",
                "ACK 2",
                "INFO 3",
                "BYE 4"
            ]
        );
        assert_eq!(net.agent(1).verifier_counters().accepted, 1);
        assert_eq!(net.agent(0).counters().challenges_answered, 1);
    }
}

/// A second after `now`, for a command between two runs.
fn net_now(now: Instant) -> Instant {
    now + SECOND
}

#[test]
fn a_wrong_password_is_tried_once() {
    let mut net = net(guarded);
    call_as(&mut net, "", account("r", "alice", "guess"));
    net.settle();
    assert_eq!(net.sent(0), ["INVITE 1 +", "ACK 1", "INVITE 2 +", "ACK 2"]);
    assert_eq!(
        net.events(0),
        [format!("ended rejected {}", StatusCode::UNAUTHORIZED)]
    );
    assert!(net.events(1).is_empty());
    assert_eq!(net.agent(1).verifier_counters().refused, 1);
}

#[test]
fn unknown_users_and_wrong_passwords_look_the_same() {
    let refusal = |user: &str| {
        let mut net = net(guarded);
        call_as(&mut net, "", account("r", user, "guess"));
        net.settle();
        net.sent(1)
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(refusal("alice"), refusal("nobody"));
}

#[test]
fn another_realm_and_no_account_get_no_credentials() {
    let mut net = net(guarded);
    call_as(&mut net, "", account("other", "alice", "wonder"));
    net.call(0, 1, Some(OFFER));
    net.settle();
    assert_eq!(net.sent(0), ["INVITE 1 +", "INVITE 1 +", "ACK 1", "ACK 1"]);
}

#[test]
fn whom_we_answered_learns_nothing_from_challenging_us() {
    // The "digest leak": a stranger calls, waits for our BYE and challenges it.
    let mut net = Net::new(5);
    net.add("192.0.2.2:5060", answering, |_| {});
    let stranger = "198.51.100.7:5060";
    let invite = "INVITE sip:bob@192.0.2.2 SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bK1
Max-Forwards: 70
From: <sip:eve@198.51.100.7>;tag=1
To: <sip:bob@192.0.2.2>
Call-ID: leak
CSeq: 1 INVITE
Contact: <sip:eve@198.51.100.7:5060>
Content-Length: 0

";
    net.inject(stranger, 0, invite);
    net.run(SECOND);
    let session = net.session_of(0);
    let tag = tag_of(&net.raw_text());
    net.inject(
        stranger,
        0,
        &format!(
            "ACK sip:sidetone@192.0.2.2 SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bK2
Max-Forwards: 70
From: <sip:eve@198.51.100.7>;tag=1
To: <sip:bob@192.0.2.2>;tag={tag}
Call-ID: leak
CSeq: 1 ACK
Content-Length: 0

"
        ),
    );
    let now = net.now;
    net.agent(0).bye(now, session, vec![]).unwrap();
    net.run(SECOND);
    let bye = net.raw_text();
    let bye = bye.rsplit("BYE sip:").next().unwrap().replace('\r', "");
    let head: Vec<&str> = bye
        .lines()
        .filter(|line| {
            ["Via", "From", "To", "Call-ID", "CSeq"]
                .iter()
                .any(|name| line.starts_with(&format!("{name}: ")))
        })
        .collect();
    net.raw.clear();
    net.inject(
        stranger,
        0,
        &format!(
            "SIP/2.0 407 Proxy Authentication Required\n{}\nProxy-Authenticate: Digest realm=\"r\", nonce=\"n\"\nContent-Length: 0\n\n",
            head.join("\n")
        ),
    );
    net.settle();
    assert!(
        !net.raw_text().contains("Authorization"),
        "{}",
        net.raw_text()
    );
}

fn tag_of(text: &str) -> String {
    let to = text.lines().rfind(|line| line.starts_with("To: ")).unwrap();
    to.split(";tag=").nth(1).unwrap().trim().to_owned()
}

#[test]
fn a_replayed_request_is_challenged_again() {
    let mut net = net(guarded);
    // Another network path: what the caller sent is also heard by an eavesdropper.
    let session = call_as(&mut net, "", account("r", "alice", "wonder"));
    net.run(SECOND);
    let now = net.now;
    net.agent(0).bye(now, session, vec![]).unwrap();
    net.run(SECOND);
    assert_eq!(net.agent(1).verifier_counters().accepted, 1);
    let invite = signed_invite(&net);
    let replayed = invite.replacen("z9hG4bK", "z9hG4bKreplay", 1);
    let incoming = net.events(1).iter().filter(|e| *e == "incoming").count();
    net.inject("203.0.113.9:5060", 1, &replayed.replace("\r\n", "\n"));
    net.settle();
    assert_eq!(
        net.events(1).iter().filter(|e| *e == "incoming").count(),
        incoming
    );
    assert_eq!(net.agent(1).verifier_counters().replayed, 1);
    assert!(net.raw_text().contains("stale=true"), "{}", net.raw_text());
}

/// The INVITE with credentials, as the callee was shown it.
fn signed_invite(net: &Net) -> String {
    let request = net.nodes[1].events.iter().find_map(|event| match event {
        Event::Incoming { request, .. } => Some(request.clone()),
        _ => None,
    });
    String::from_utf8(request.unwrap().as_bytes().to_vec()).unwrap()
}

#[test]
fn within_a_dialog_only_its_peer_is_let_in_without_credentials() {
    let mut net = net(guarded);
    call_as(&mut net, "", account("r", "alice", "wonder"));
    net.run(SECOND);
    let invite = signed_invite(&net).replace("\r\n", "\n");
    let callee = net.session_of(1);
    let local_tag = format!("{:016x}", net.agent(1).sessions[&callee].tag);
    let line = |name: &str| {
        let line = invite.lines().find(|l| l.starts_with(name)).unwrap();
        line.to_owned()
    };
    let bye = format!(
        "BYE sip:sidetone@192.0.2.2 SIP/2.0
Via: SIP/2.0/UDP 203.0.113.9:5060;branch=z9hG4bKstranger
Max-Forwards: 70
{}
{};tag={local_tag}
{}
CSeq: 9 BYE
Content-Length: 0

",
        line("From:"),
        line("To:"),
        line("Call-ID:"),
    );
    net.inject("203.0.113.9:5060", 1, &bye);
    net.run(SECOND);
    assert!(net.raw_text().contains("SIP/2.0 401"), "{}", net.raw_text());
    assert!(!net.events(1).iter().any(|e| e.starts_with("ended")));
    net.inject("192.0.2.1:5060", 1, &bye);
    net.run(SECOND);
    assert!(net.events(1).contains(&"ended remote bye".to_owned()));
}

#[test]
fn every_method_without_credentials_is_challenged_or_refused() {
    for method in [
        "INVITE",
        "OPTIONS",
        "BYE",
        "INFO",
        "MESSAGE",
        "SUBSCRIBE",
        "NOTIFY",
        "REFER",
        "PUBLISH",
        "UPDATE",
        "PRACK",
        "REGISTER",
        "FOO",
        "CANCEL",
    ] {
        for credentials in [
            "",
            "Authorization: Digest username=\"alice\", realm=\"r\", nonce=\"1-2-3\", uri=\"sip:bob@192.0.2.2\", response=\"00\", cnonce=\"c\", qop=auth, nc=00000001\n",
        ] {
            let mut net = net(guarded);
            net.inject(
                "203.0.113.9:5060",
                1,
                &format!(
                    "{method} sip:bob@192.0.2.2 SIP/2.0
Via: SIP/2.0/UDP 203.0.113.9:5060;branch=z9hG4bK1
Max-Forwards: 70
From: <sip:eve@203.0.113.9>;tag=1
To: <sip:bob@192.0.2.2>
Call-ID: m
CSeq: 1 {method}
Contact: <sip:eve@203.0.113.9>
{credentials}Content-Length: 0

"
                ),
            );
            net.settle();
            let answer = net.raw_text();
            let status = answer.get(8..11).unwrap_or_default();
            let expected = match method {
                "CANCEL" => "481",
                "FOO" => "501",
                known
                    if AgentConfig::default()
                        .allow()
                        .split(", ")
                        .any(|m| m == known) =>
                {
                    "401"
                }
                _ => "405",
            };
            assert_eq!(status, expected, "{method} {credentials}\n{answer}");
            assert!(net.events(1).is_empty());
        }
    }
}

#[test]
fn an_access_list_refuses_or_ignores_by_address() {
    fn listed(config: &mut AgentConfig) {
        for listener in &mut config.listeners {
            listener.access = AccessList::all(Admission::Refuse)
                .rule("192.0.2.0/24".parse().unwrap(), Admission::Open)
                .rule("203.0.113.0/24".parse().unwrap(), Admission::Ignore);
        }
    }
    let mut net = net(listed);
    let options = "OPTIONS sip:x SIP/2.0
Via: SIP/2.0/UDP 203.0.113.9:5060;branch=z9hG4bK1;rport
Max-Forwards: 70
From: <sip:eve@203.0.113.9>;tag=1
To: <sip:bob@192.0.2.2>
Call-ID: m
CSeq: 1 OPTIONS
Content-Length: 0

";
    net.inject("203.0.113.9:5060", 1, options);
    net.settle();
    assert!(net.raw.is_empty());
    net.inject("198.51.100.9:5060", 1, options);
    net.settle();
    assert!(net.raw_text().starts_with("SIP/2.0 403"));
    net.inject("192.0.2.77:5060", 1, options);
    net.settle();
    assert!(net.raw_text().contains("SIP/2.0 200"));
    assert_eq!(net.agent(1).counters().refused_access, 2);
}

#[test]
fn a_store_that_does_not_answer_costs_a_503_and_repetitions_wait() {
    let mut net = net(guarded);
    call_as(&mut net, "", account("r", "overdue", "x"));
    net.run(SECOND * 5);
    assert!(net.agent(1).counters().absorbed > 0);
    net.settle();
    assert_eq!(
        net.events(0),
        [format!(
            "ended rejected {}",
            StatusCode::SERVICE_UNAVAILABLE
        )]
    );
}

#[test]
fn cancel_must_come_from_where_its_invite_came_from() {
    let mut net = Net::new(5);
    net.add("192.0.2.1:5060", acknowledging, |_| {});
    net.add("192.0.2.2:5060", ignore, |_| {});
    net.call(0, 1, Some(OFFER));
    net.run(SECOND);
    let invite = signed_invite(&net).replace("\r\n", "\n");
    let head = invite.split("\nContact:").next().unwrap();
    let cancel = head.replace("INVITE", "CANCEL") + "\nContent-Length: 0\n\n";
    net.inject("203.0.113.9:5060", 1, &cancel);
    net.run(SECOND);
    assert!(!net.events(1).iter().any(|event| event.starts_with("ended")));
    net.inject("192.0.2.1:5060", 1, &cancel);
    net.settle();
    assert!(net.events(1).contains(&"ended remote cancel".to_owned()));
}

#[test]
fn the_server_shows_that_it_knows_the_secret_and_gives_the_next_nonce() {
    let mut net = net(guarded);
    let session = call_as(&mut net, "", account("r", "alice", "wonder"));
    net.run(SECOND);
    let answer = net.nodes[0].events.iter().find_map(|event| match event {
        Event::Answered { response, .. } => Some(response.clone()),
        _ => None,
    });
    let info = answer.unwrap().authentication_info().unwrap().unwrap();
    // The nonce is new: nothing else is to be used yet.
    assert!(info.proof.is_some() && info.next_nonce.is_none());
    net.run(SECOND * 200);
    let late = call_as(&mut net, "", account("r", "bob", "wonder"));
    net.run(SECOND);
    let now = net.now;
    net.agent(0).bye(now, session, vec![]).unwrap();
    net.agent(0).bye(now, late, vec![]).unwrap();
    net.settle();
    assert_eq!(net.agent(0).counters().impostors, 0);
}

#[test]
fn a_nonce_that_grows_old_is_replaced_without_a_challenge() {
    let mut net = Net::new(5);
    net.add("192.0.2.1:5060", acknowledging, |_| {});
    net.add("192.0.2.2:5060", answering, |config| {
        guarded(config);
        config.registrar = Some(crate::sip::registrar::config::RegistrarConfig::new(
            "192.0.2.2",
        ));
    });
    let mut command =
        super::super::registration::Register::new("sip:alice@192.0.2.2".parse().unwrap());
    command.account = Some(account("r", "alice", "wonder"));
    // Refreshed after more than half of the nonce's life, and before its end, for ever.
    command.expires = 200;
    let now = net.now;
    let registration = net.agent(0).register(now, command).unwrap();
    net.run(SECOND * 2_000);
    assert_eq!(net.agent(1).counters().challenged, 1);
    assert!(net.agent(1).verifier_counters().accepted > 10);
    assert_eq!(net.agent(0).counters().impostors, 0);
    let now = net.now;
    net.agent(0).unregister(now, registration);
    net.settle();
}

#[test]
fn a_registrar_that_does_not_know_the_secret_is_not_believed() {
    let mut net = net(|_| {});
    let mut command =
        super::super::registration::Register::new("sip:alice@192.0.2.9".parse().unwrap());
    command.account = Some(account("r", "alice", "wonder"));
    let now = net.now;
    net.agent(0).register(now, command).unwrap();
    net.run(SECOND);
    let answer = |net: &mut Net, status: &str, line: &str| {
        let (_, bytes) = net.raw.last().unwrap().clone();
        let request = String::from_utf8(bytes).unwrap();
        let kept = request.lines().filter(|line| {
            let names = ["Via", "From", "To", "Call-ID", "CSeq", "Contact"];
            names.contains(&line.split(':').next().unwrap_or_default())
        });
        let kept: Vec<&str> = kept.collect();
        let text = format!("SIP/2.0 {status}\n{}\n{line}\n\n", kept.join("\n"));
        net.inject("192.0.2.9:5060", 0, &text);
        net.run(SECOND);
    };
    let challenge = "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\"";
    answer(&mut net, "401 Unauthorized", challenge);
    let (_, bytes) = net.raw.last().unwrap().clone();
    let signed = Message::parse(bytes.into()).unwrap();
    let sent = signed
        .credentials(Name::Authorization)
        .next()
        .unwrap()
        .unwrap();
    let cnonce = sent.qop.unwrap().cnonce;
    let lie =
        format!("Authentication-Info: qop=auth, rspauth=\"00\", cnonce=\"{cnonce}\", nc=00000001");
    answer(&mut net, "200 OK", &lie);
    assert_eq!(net.agent(0).counters().impostors, 1);
    let last = net.events(0).pop().unwrap();
    assert!(last.starts_with("registration Failed"), "{last}");
}

#[test]
fn a_timestamp_comes_back_with_how_long_the_answer_took() {
    let mut net = net(|_| {});
    let invite = "INVITE sip:x@192.0.2.2 SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\n\
        Max-Forwards: 70\nFrom: <sip:a@b>;tag=1\nTo: <sip:x@b>\nCall-ID: 1\nCSeq: 1 INVITE\n\
        Contact: <sip:a@192.0.2.9>\nTimestamp: 54.50 7\nContent-Length: 0\n\n";
    net.inject("192.0.2.9:5060", 1, invite);
    net.run(SECOND);
    let trying = String::from_utf8(net.raw[0].1.clone()).unwrap();
    assert!(trying.starts_with("SIP/2.0 100 "), "{trying}");
    assert!(trying.contains("\r\nTimestamp: 54.50\r\n"), "{trying}");
    assert!(!net.raw_text()[trying.len()..].contains("Timestamp"));
}
