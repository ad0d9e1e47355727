//! UPDATE within a call, both ways, with glare and requests out of turn (RFC 3311).

use super::changes::{hang_up, in_dialog, skip_sequence, up};
use super::*;
use crate::sip::agent::command::CommandError;
use crate::sip::method::Method;

const SECOND: Duration = Duration::from_secs(1);

/// Answers re-INVITEs and UPDATEs.
fn updating(agent: &mut Agent, now: Instant, event: &Event) {
    if let Event::Request {
        session,
        ticket,
        request,
    } = event
    {
        let answer = (!request.body().is_empty()).then(|| Body::sdp(ANSWER));
        agent
            .reply(now, *session, *ticket, StatusCode::OK, vec![], answer)
            .unwrap();
    }
    answering(agent, now, event);
}

fn update(net: &mut Net, node: usize, id: SessionId, offer: Option<&'static str>) {
    let (now, body) = (net.now, offer.map(Body::sdp));
    net.agent(node)
        .request(now, id, Method::Update, vec![], body)
        .unwrap();
}

#[test]
fn updates_go_both_ways_with_and_without_offers() {
    let (mut net, session, callee) = up(updating);
    net.nodes[1].policy = updating;
    for (node, id, offer) in [
        (0, session, None),
        (1, callee, Some("b")),
        (0, session, Some("a")),
    ] {
        update(&mut net, node, id, offer);
        net.run(SECOND);
    }
    assert_eq!(
        net.events(0),
        ["request 200", "asked UPDATE", "request 200"]
    );
    assert_eq!(
        net.events(1),
        ["asked UPDATE", "request 200", "asked UPDATE"]
    );
    assert_eq!(net.sent(0)[1], "200 UPDATE 1 +".replace('1', &number(&net)));
    hang_up(net, session);
}

/// The CSeq number of the callee's UPDATE, which is random.
fn number(net: &Net) -> String {
    let sent = net.sent(1);
    let own = sent.iter().find_map(|line| line.strip_prefix("UPDATE "));
    own.expect("an UPDATE").trim_end_matches(" +").to_owned()
}

#[test]
fn crossing_offers_meet_491_and_are_tried_again() {
    let (mut net, session, callee) = up(updating);
    net.nodes[1].policy = updating;
    update(&mut net, 0, session, Some("a"));
    update(&mut net, 1, callee, Some("b"));
    net.run(Duration::from_millis(100));
    for node in 0..2 {
        let refused = net
            .sent(node)
            .iter()
            .filter(|l| l.starts_with("491"))
            .count();
        assert_eq!(refused, 1, "node {node}");
    }
    let now = net.now;
    let again = net
        .agent(0)
        .request(now, session, Method::Update, vec![], None);
    assert_eq!(again, Err(CommandError::Pending));
    net.run(Duration::from_millis(2_000));
    // The callee does not own the Call-ID and waits at most 2 s; the caller's offer is then out of
    // date, which the caller learns after 2.1 to 4 s.
    assert_eq!(net.events(0), ["asked UPDATE"]);
    assert_eq!(net.events(1), ["request 200"]);
    net.run(Duration::from_millis(2_000));
    assert_eq!(net.events(0)[1], "request 491");
    hang_up(net, session);
}

#[test]
fn an_update_across_a_reinvite_meets_491_and_comes_again() {
    let (mut net, session, callee) = up(updating);
    net.nodes[1].policy = updating;
    let now = net.now;
    net.agent(0)
        .reinvite(now, session, vec![], Some(Body::sdp("a")))
        .unwrap();
    let busy = net
        .agent(0)
        .request(now, session, Method::Update, vec![], Some(Body::sdp("c")));
    assert_eq!(busy, Err(CommandError::Pending));
    update(&mut net, 1, callee, Some("b"));
    let busy = net.agent(1).reinvite(now, callee, vec![], None);
    assert_eq!(busy, Err(CommandError::Pending));
    net.run(Duration::from_secs(5));
    let refused = |node: usize| net.sent(node).iter().any(|line| line.starts_with("491"));
    assert!(refused(0) && refused(1));
    let done = net
        .events(0)
        .iter()
        .chain(&net.events(1))
        .cloned()
        .collect::<Vec<_>>();
    assert!(done.contains(&"request 200".into()), "{done:?}");
    hang_up(net, session);
}

#[test]
fn a_second_update_before_the_first_is_answered_gets_500() {
    let (mut net, session, _) = up(ignore);
    let dialog = net.nodes[0].agent.sessions[&session]
        .dialog
        .clone()
        .unwrap();
    net.nodes[1].policy = ignore;
    for (number, branch) in [(10, "z9hG4bKa"), (11, "z9hG4bKb")] {
        let text = in_dialog(&dialog, "UPDATE", number, branch);
        net.inject("192.0.2.1:5060", 1, &text);
    }
    assert_eq!(net.sent(1), ["500 UPDATE 11"]);
    net.run(Duration::from_secs(11));
    // Nobody answered the first.
    assert_eq!(net.sent(1), ["500 UPDATE 11", "500 UPDATE 10"]);
    skip_sequence(&mut net, session);
    hang_up(net, session);
}

#[test]
fn a_hang_up_answers_what_waits() {
    let (mut net, session, callee) = up(ignore);
    net.nodes[1].policy = ignore;
    update(&mut net, 0, session, None);
    net.run(SECOND);
    let now = net.now;
    net.agent(1).bye(now, callee, vec![]).unwrap();
    net.settle();
    assert_eq!(net.sent(1)[0], "487 UPDATE 2");
    assert_eq!(net.events(0), ["request 487", "ended remote bye"]);
}

#[test]
fn an_update_that_the_peer_does_not_know_ends_the_session() {
    let (mut net, session, _) = up(ignore);
    net.nodes[1].agent = Agent::new(config("192.0.2.2:5060".parse().unwrap()), Rng::new(9));
    net.nodes[1].ended.clear();
    update(&mut net, 0, session, None);
    net.settle();
    assert_eq!(net.events(0), ["request 481", "ended dialog lost"]);
}

#[test]
fn an_update_leads_the_dialog_to_a_new_contact() {
    let (mut net, session, callee) = up(ignore);
    net.nodes[1].policy = updating;
    let dialog = net.nodes[0].agent.sessions[&session]
        .dialog
        .clone()
        .unwrap();
    let text = in_dialog(&dialog, "UPDATE", 10, "z9hG4bKa");
    let moved = text.replace("sip:alice@192.0.2.1>", "sip:alice@192.0.2.9:5099>");
    net.inject("192.0.2.1:5060", 1, &moved);
    let now = net.now;
    net.agent(1).bye(now, callee, vec![]).unwrap();
    net.run(SECOND);
    assert_eq!(net.raw[0].0, "192.0.2.9:5099".parse().unwrap());
}
