//! Within a call: re-INVITE for hold and resume, glare, INFO, requests out of turn.

use super::*;
use crate::sip::agent::command::CommandError;

const SECOND: Duration = Duration::from_secs(1);

/// A call that is up, and the sessions of caller and callee.
pub(super) fn up(caller: Policy) -> (Net, SessionId, SessionId) {
    let mut net = Net::pair(3, answering);
    let session = net.call(0, 1, Some(OFFER));
    net.run(SECOND);
    let callee = net.session_of(1);
    net.nodes[0].policy = caller;
    net.nodes[0].events.clear();
    net.nodes[1].events.clear();
    net.log.clear();
    (net, session, callee)
}

pub(super) fn hang_up(mut net: Net, session: SessionId) {
    let now = net.now;
    net.agent(0).bye(now, session, Headers::new()).unwrap();
    net.settle();
}

#[test]
fn hold_and_resume_by_either_side() {
    let (mut net, session, callee) = up(answering);
    for (node, id) in [(0, session), (1, callee)] {
        for body in ["hold", "resume"] {
            let now = net.now;
            net.agent(node)
                .reinvite(now, id, vec![], Some(Body::sdp(body)))
                .unwrap();
            let again = net
                .agent(node)
                .reinvite(now, id, vec![], Some(Body::sdp(body)));
            assert_eq!(again, Err(CommandError::Pending));
            net.run(SECOND);
        }
    }
    let changes = [
        "reinvite answered false",
        "reinvite answered false",
        "reinvite",
        "acked 0",
    ];
    assert_eq!(net.events(0)[..4], changes);
    assert_eq!(
        net.events(1)[..4],
        ["reinvite", "acked 0", "reinvite", "acked 0"]
    );
    hang_up(net, session);
}

#[test]
fn a_reinvite_without_offer_gets_one() {
    let (mut net, session, _) = up(acknowledging);
    let now = net.now;
    net.agent(0).reinvite(now, session, vec![], None).unwrap();
    net.run(SECOND);
    assert_eq!(net.sent(0), ["INVITE 2", "ACK 2 +"]);
    assert_eq!(net.events(0), ["reinvite answered true"]);
    hang_up(net, session);
}

#[test]
fn a_refused_reinvite_changes_nothing() {
    let (mut net, session, callee) = up(|agent, now, event| {
        if let Event::Reinvite { session, .. } = event {
            let status = StatusCode::NOT_ACCEPTABLE_HERE;
            agent.reject(now, *session, status, Headers::new()).unwrap();
        }
    });
    let now = net.now;
    net.agent(1)
        .reinvite(now, callee, vec![], Some(Body::sdp("x")))
        .unwrap();
    net.run(SECOND);
    assert_eq!(net.events(1), ["reinvite failed 488"]);
    assert_eq!(net.agent(1).sessions(), 1);
    hang_up(net, session);
}

#[test]
fn glare_is_mended_by_waiting() {
    let (mut net, session, callee) = up(answering);
    let now = net.now;
    net.agent(0)
        .reinvite(now, session, vec![], Some(Body::sdp("a")))
        .unwrap();
    net.agent(1)
        .reinvite(now, callee, vec![], Some(Body::sdp("b")))
        .unwrap();
    net.run(Duration::from_millis(100));
    let refused = |net: &Net, node: usize| {
        net.sent(node)
            .iter()
            .filter(|line| line.starts_with("491"))
            .count()
    };
    assert_eq!((refused(&net, 0), refused(&net, 1)), (1, 1));
    let now = net.now;
    let again = net.agent(0).reinvite(now, session, vec![], None);
    assert_eq!(again, Err(CommandError::Pending));
    net.run(Duration::from_millis(2_000));
    // The callee does not own the Call-ID: it waits at most 2 s. The caller's offer is out of date
    // then, and the caller learns that after its own, longer pause.
    assert_eq!(net.events(0), ["reinvite", "acked 0"]);
    assert_eq!(net.events(1), ["reinvite answered false"]);
    net.run(Duration::from_millis(2_000));
    assert_eq!(net.events(0)[2], "reinvite failed 491");
    hang_up(net, session);
}

#[test]
fn glare_without_a_change_by_the_peer_sends_the_same_again() {
    let (mut net, session, callee) = up(answering);
    net.nodes[1].policy = ignore;
    let now = net.now;
    net.agent(1)
        .reinvite(now, callee, vec![], Some(Body::sdp("b")))
        .unwrap();
    net.nodes[0].policy = |agent, now, event| {
        if let Event::Reinvite { session, .. } = event {
            let status = StatusCode::NOT_ACCEPTABLE_HERE;
            agent.reject(now, *session, status, Headers::new()).unwrap();
        }
    };
    net.agent(0)
        .reinvite(now, session, vec![], Some(Body::sdp("a")))
        .unwrap();
    net.nodes[1].policy = answering;
    net.run(Duration::from_secs(6));
    assert_eq!(
        net.events(1),
        ["reinvite failed 488", "reinvite", "acked 0"]
    );
    assert_eq!(net.events(0), ["reinvite", "reinvite answered false"]);
    hang_up(net, session);
}

#[test]
fn a_second_reinvite_before_the_first_is_answered_gets_500() {
    let (mut net, session, _) = up(ignore);
    net.nodes[1].policy = ignore;
    let now = net.now;
    net.agent(0)
        .reinvite(now, session, vec![], Some(Body::sdp("a")))
        .unwrap();
    net.run(SECOND);
    let remote = net.nodes[0].agent.sessions[&session]
        .dialog
        .clone()
        .unwrap();
    let text = in_dialog(&remote, "INVITE", 3, "z9hG4bKsecond");
    net.inject("192.0.2.1:5060", 1, &text);
    assert_eq!(net.sent(1).last(), Some(&"500 INVITE 3"));
    skip_sequence(&mut net, session);
    hang_up(net, session);
}

#[test]
fn info_both_ways() {
    let (mut net, session, callee) = up(ignore);
    let body = Body {
        content_type: "application/dtmf-relay".into(),
        bytes: "Signal=5".into(),
    };
    for (node, id) in [(0, session), (1, callee)] {
        let now = net.now;
        net.agent(node)
            .info(now, id, vec![], Some(body.clone()))
            .unwrap();
        net.run(SECOND);
    }
    assert_eq!(net.events(0), ["info 200", "info"]);
    assert_eq!(net.events(1), ["info", "info 200"]);
    let Some(Event::Info { request, .. }) = net.nodes[1].events.first() else {
        panic!()
    };
    assert_eq!(&request.body()[..], b"Signal=5");
    hang_up(net, session);
}

#[test]
fn an_info_package_that_nobody_wants_gets_469() {
    let (mut net, session, _) = up(ignore);
    let now = net.now;
    let package = vec![("Info-Package".into(), "nothing".into())];
    net.agent(0).info(now, session, package, None).unwrap();
    net.run(SECOND);
    assert_eq!(net.events(0), ["info 469"]);
    assert!(net.events(1).is_empty());
    hang_up(net, session);
}

#[test]
fn requests_out_of_order_get_500_and_repetitions_their_first_answer() {
    let (mut net, session, _) = up(ignore);
    let dialog = net.nodes[0].agent.sessions[&session]
        .dialog
        .clone()
        .unwrap();
    for (number, branch, answer) in [
        (10, "z9hG4bKa", "200 INFO 10"),
        (10, "z9hG4bKa", "200 INFO 10"),
        (10, "z9hG4bKb", "500 INFO 10"),
        (9, "z9hG4bKc", "500 INFO 9"),
        (11, "z9hG4bKd", "200 INFO 11"),
    ] {
        let text = in_dialog(&dialog, "INFO", number, branch);
        net.inject("192.0.2.1:5060", 1, &text);
        assert_eq!(net.sent(1).last(), Some(&answer), "{number} {branch}");
    }
    assert_eq!(net.events(1), ["info", "info"]);
    assert_eq!(net.agent(1).counters().absorbed, 1);
    skip_sequence(&mut net, session);
    hang_up(net, session);
}

#[test]
fn a_stranger_who_knows_half_a_dialog_is_told_481() {
    let (mut net, session, _) = up(ignore);
    let dialog = net.nodes[0].agent.sessions[&session]
        .dialog
        .clone()
        .unwrap();
    let right = in_dialog(&dialog, "BYE", 5, "z9hG4bKx");
    let tag = dialog.local().tag().unwrap();
    for wrong in [
        right.replace(tag, "0000000000000000"),
        right.replace(dialog.remote_tag(), "0000000000000000"),
        right.replace(dialog.call_id(), "other"),
        right.replace(&format!(";tag={}", dialog.remote_tag()), ""),
    ] {
        net.inject("203.0.113.66:5060", 1, &wrong);
    }
    assert!(net.events(1).is_empty(), "{:?}", net.events(1));
    let refusals = net
        .sent(1)
        .iter()
        .filter(|line| line.starts_with("481 BYE"))
        .count();
    assert_eq!(refusals, 4);
    assert_eq!(net.agent(1).counters().rejected_no_dialog, 4);
    hang_up(net, session);
}

#[test]
fn a_session_that_the_peer_lost_ends() {
    let (mut net, session, _) = up(ignore);
    let fresh = Agent::new(config("192.0.2.2:5060".parse().unwrap()), Rng::new(9));
    net.nodes[1].agent = fresh;
    net.nodes[1].ended.clear();
    let now = net.now;
    net.agent(0)
        .reinvite(now, session, vec![], Some(Body::sdp("a")))
        .unwrap();
    net.settle();
    assert_eq!(net.events(0), ["ended dialog lost"]);
}

/// A request as the owner of `dialog` would send it.
pub(super) fn in_dialog(
    dialog: &crate::sip::dialog::Dialog,
    method: &str,
    number: u32,
    branch: &str,
) -> String {
    format!(
        "{method} {} SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch={branch};rport\n\
         Max-Forwards: 70\nFrom: {}\nTo: {}\nCall-ID: {}\nCSeq: {number} {method}\n\
         Contact: <sip:alice@192.0.2.1>\nContent-Length: 0\n\n",
        dialog.remote_target(),
        dialog.local(),
        dialog.remote(),
        dialog.call_id(),
    )
}

/// Lets the caller count on from where the requests injected in its name have come to.
pub(super) fn skip_sequence(net: &mut Net, session: SessionId) {
    let dialog = net
        .agent(0)
        .session(session)
        .unwrap()
        .dialog
        .as_mut()
        .unwrap();
    while dialog.next_sequence() < 20 {}
}
