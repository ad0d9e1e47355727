//! Overload at two agents: what is refused, what is told, and who heeds it (RFC 7339).

use super::*;
use crate::sip::overload::feedback::Feedback;

/// Lets an agent believe that everything has waited for so long, `times` tenths of a second.
fn burden(net: &mut Net, node: usize, wait: Duration, times: u32) {
    for _ in 0..times * 5 {
        net.run(Duration::from_millis(20));
        let now = net.now;
        net.agent(node).handle_wait(now, wait);
    }
}

/// A request of a stranger to the second agent, and the time for the answer to arrive.
fn ask(net: &mut Net, text: &str) {
    net.inject("203.0.113.1:5060", 1, text);
    net.run(Duration::from_millis(20));
}

fn invite(uri: &str, via: &str, more: &str) -> String {
    format!(
        "INVITE {uri} SIP/2.0\nVia: SIP/2.0/UDP 203.0.113.1;branch=z9hG4bK{}{via}\n\
         Max-Forwards: 70\nFrom: <sip:eve@203.0.113.1>;tag=e\nTo: <sip:bob@192.0.2.2>\n\
         Call-ID: {}@203.0.113.1\nCSeq: 1 INVITE\nContact: <sip:eve@203.0.113.1>\n\
         {more}Content-Length: 0\n\n",
        uri.len() + via.len() + more.len(),
        uri.len() + more.len(),
    )
}

fn last(net: &Net) -> Message {
    let (_, bytes) = net.raw.last().expect("an answer");
    Message::parse(bytes.clone().into()).expect("SIP")
}

fn status(message: &Message) -> u16 {
    message.status().map_or(0, StatusCode::code)
}

#[test]
fn too_much_is_refused_before_there_is_a_transaction() {
    let mut net = Net::pair(1, answering);
    let session = net.call(0, 1, Some(OFFER));
    net.run(Duration::from_secs(1));
    burden(&mut net, 1, Duration::from_millis(400), 50);
    let before = net.agent(1).transactions();
    ask(&mut net, &invite("sip:bob@192.0.2.2", "", ""));
    let answer = last(&net);
    assert_eq!(status(&answer), 503);
    let seconds = answer.retry_after().unwrap().expect("Retry-After").seconds;
    assert!((5..=10).contains(&seconds), "{seconds}");
    assert_eq!(net.agent(1).transactions(), before);
    assert_eq!(net.agent(1).counters().refused_overload, 1);
    // An emergency, and what is in progress, come in.
    ask(&mut net, &invite("urn:service:sos", "", ""));
    assert_ne!(status(&last(&net)), 503);
    let now = net.now;
    net.agent(0).bye(now, session, Headers::new()).unwrap();
    net.collect();
    net.run(Duration::from_secs(1));
    assert_eq!(net.nodes[1].ended.len(), 1);
}

#[test]
fn who_obeys_is_told_how_much_to_spare() {
    let mut net = Net::pair(1, answering);
    burden(&mut net, 1, Duration::from_millis(60), 30);
    let offer = ";oc;oc-algo=\"loss\"";
    ask(&mut net, &invite("sip:bob@192.0.2.2", offer, ""));
    let via = last(&net).top_via().unwrap();
    let told = Feedback::read(&via).expect("feedback");
    assert!(told.reduction > 20, "{told:?}");
    assert_eq!(via.params().filter(|param| param.is("oc")).count(), 1);
    // Who has not offered to is told nothing.
    ask(&mut net, &invite("sip:bobby@192.0.2.2", "", ""));
    assert_eq!(Feedback::read(&last(&net).top_via().unwrap()), None);
}

#[test]
fn a_server_that_asks_for_it_is_spared() {
    let mut net = Net::new(1);
    let caller = net.add("192.0.2.1:5060", acknowledging, |c| c.obeys_overload = true);
    let callee = net.add("192.0.2.2:5060", answering, |_| {});
    let mut sent = 0;
    for round in 0..200 {
        net.call(caller, callee, Some(OFFER));
        // Nearly everything waits too long.
        burden(&mut net, callee, Duration::from_millis(90), 1);
        if round == 100 {
            sent = net.agent(callee).counters().requests;
        }
    }
    let withheld = net.agent(caller).counters().withheld;
    assert!(withheld > 50, "{withheld}");
    let later = net.agent(callee).counters().requests - sent;
    assert!(later < sent, "{later} requests after {sent}");
    // Each attempt has come to its end or stands.
    assert!(net.nodes[caller].ended.values().all(|times| *times == 1));
}
