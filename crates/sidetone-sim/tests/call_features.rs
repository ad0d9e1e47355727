//! What a call can do beyond answering and hanging up: changes, in the simulator.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sidetone::engine::config::Config;
use sidetone::engine::event::{CallError, CallEvent};
use sidetone::face::call::Call;
use sidetone::face::engine::Engine;
use sidetone::sip::message::Message;
use sidetone_sim::peer::sip::SipPeer;
use sidetone_sim::peer::sip::call::SipCall;
use sidetone_sim::sim::Sim;

const SECOND: Duration = Duration::from_secs(1);

/// What flows write down, in order.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    fn write(&self, line: impl Into<String>) {
        self.0.lock().expect("one thread").push(line.into());
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().expect("one thread").clone()
    }
}

fn serve<F, T>(sim: &Sim, engine: &Engine, flow: F)
where
    F: Fn(Call) -> T + 'static,
    T: Future<Output = Result<(), CallError>> + Send + 'static,
{
    let engine = engine.clone();
    sim.spawn(async move { engine.serve(flow).await });
}

/// Answers, and writes down what happens.
async fn watch(call: Call, diary: Diary) -> Result<(), CallError> {
    call.answer().await?;
    note(&call, &diary).await;
    Ok(())
}

async fn note(call: &Call, diary: &Diary) {
    while let Some(event) = call.next_event().await {
        match event {
            CallEvent::Held => diary.write("held"),
            CallEvent::Resumed => diary.write("resumed"),
            CallEvent::Ended(end) => diary.write(end.reason.to_string()),
            _ => {}
        }
    }
}

/// The description that a peer offered last, in another direction.
fn offer(peer: &SipPeer, direction: &str) -> String {
    let mut sent = peer.log().into_iter().rev().filter(|entry| entry.sent);
    let body = sent.find(|entry| !entry.message.body().is_empty());
    let body = body.expect("a description").message.body();
    String::from_utf8_lossy(&body).replace("sendrecv", direction)
}

async fn update(call: &SipCall, offer: &str) -> Message {
    let body = ("application/sdp", offer);
    call.request("UPDATE", &[], body).await.expect("an answer")
}

fn status(message: &Message) -> u16 {
    message.status().map_or(0, |status| status.code())
}

#[test]
fn an_update_changes_a_call_and_is_refused_by_cause() {
    let sim = Sim::seeded(1);
    let engine = sim.engine("engine", Config::default()).expect("an engine");
    let diary = Diary::default();
    let seen = diary.clone();
    serve(&sim, &engine, move |call| watch(call, seen.clone()));
    let alice = SipPeer::open(&sim, "alice").expect("a peer");
    sim.block_on(async {
        let call = alice.call("sip:100@engine").await.expect("an answer");
        let both_ways = offer(&alice, "sendrecv");
        let held = update(&call, &both_ways.replace("sendrecv", "sendonly")).await;
        assert_eq!(status(&held), 200);
        let answer = String::from_utf8_lossy(&held.body()).into_owned();
        assert!(answer.contains("a=recvonly"), "{answer}");
        assert!(held.contact().is_ok(), "UPDATE refreshes the target");
        let alive = call.request("UPDATE", &[], ("", "")).await;
        assert_eq!(status(&alive.expect("an answer")), 200);

        // Nothing in common, then no description at all: refused by cause, and the call goes on.
        let strange = both_ways
            .replace("RTP/AVP 0", "RTP/AVP 3")
            .replace("PCMU", "GSM");
        let only_strange: String = strange
            .lines()
            .filter(|line| !line.starts_with("a=rtpmap") || line.contains("GSM"))
            .map(|line| match line.strip_prefix("m=audio ") {
                Some(rest) => {
                    let port = rest.split(' ').next().unwrap_or_default();
                    format!("m=audio {port} RTP/AVP 3\r\n")
                }
                None => format!("{line}\r\n"),
            })
            .collect();
        assert_eq!(status(&update(&call, &only_strange).await), 488);
        assert_eq!(status(&update(&call, "hello").await), 400);
        let json = call
            .request("UPDATE", &[], ("application/json", "{}"))
            .await;
        assert_eq!(status(&json.expect("an answer")), 415);
        assert_eq!(status(&update(&call, &both_ways).await), 200);
        sim.sleep(SECOND).await;
        call.hang_up().await.expect("an answer to BYE");
    });
    sim.run_for(SECOND);
    assert_eq!(
        diary.lines(),
        ["held", "resumed", "the other party hung up"]
    );
}
