//! No string that an integrator hands in can put a header field, a line or a message of its own on the
//! wire.

use std::time::Duration;

use sidetone::call::cause::Cause;
use sidetone::call::data::CallData;
use sidetone::call::details::Details;
use sidetone::call::redirect::{RedirectPolicy, Telling};
use sidetone::engine::config::Config;
use sidetone::face::call::Call;
use sidetone::face::engine::Engine;
use sidetone::rng::Rng;
use sidetone::sip::auth::client::Account;
use sidetone::sip::auth::digest::Secret;
use sidetone::sip::header::address::NameAddr;
use sidetone::sip::header::diversion::Diversion;
use sidetone::sip::header::history::HistoryEntry;
use sidetone::sip::header::reason::Reason;
use sidetone::sip::header::reference::Reference;
use sidetone::sip::header::user_to_user::UserToUser;
use sidetone_sim::peer::sip::{Dial, SipPeer};
use sidetone_sim::sim::Sim;

/// Pieces that break out of a value, a row or a message, in some grammar or other.
const PIECES: [&str; 24] = [
    "\r\n",
    "\n",
    "\r",
    "\0",
    "\u{7f}",
    "\u{85}",
    "\u{2028}",
    "\t",
    "X-Evil: 1",
    "\r\nX-Evil: 1\r\n",
    "\r\n\r\nINVITE sip:evil@x SIP/2.0\r\n",
    "\"",
    "\\",
    "<",
    ">",
    ";x=1",
    ",",
    "?X-Evil=1",
    "&",
    "%0D%0AX-Evil:%201",
    "sip:a@b",
    "é",
    " ",
    "a",
];

fn hostile(rng: &mut Rng) -> String {
    let pieces = 1 + rng.below(5);
    let mut text = String::new();
    for _ in 0..pieces {
        text.push_str(PIECES[rng.below(PIECES.len() as u64) as usize]);
    }
    text
}

/// Half of the time something harmless, so that the rest gets through to the wire.
fn string(rng: &mut Rng, harmless: &str) -> String {
    match rng.below(2) {
        0 => harmless.to_owned(),
        _ => format!("{harmless}{}", hostile(rng)),
    }
}

/// Details made of hostile strings by every constructor there is; those that are refused are left out.
fn details(rng: &mut Rng) -> Details {
    let uri = "sip:a@b".parse().expect("a URI");
    let address = |text: String| NameAddr::parse(&text).ok();
    let named = NameAddr::new(&uri).with_display_name(&string(rng, "Alice"));
    let entry = HistoryEntry::new(&uri, &string(rng, "1"));
    let reason = Reason::sip(302, &string(rng, "Moved"));
    let value = UserToUser::text(&string(rng, "x"));
    let value = value.and_then(|value| value.with_purpose(&string(rng, "p")));
    let value = value.and_then(|value| value.with_content(&string(rng, "c")));
    let reference = Reference::new(&string(rng, "http://h/x"));
    let reference = reference.and_then(|it| it.with_param("purpose", &string(rng, "icon")));
    let named_by = string(rng, "purpose");
    Details {
        asserted: named.ok().into_iter().collect(),
        preferred: address(string(rng, "<sip:p@q>")).into_iter().collect(),
        diversions: Diversion::parse(&string(rng, "<sip:d@e>;reason=away"))
            .into_iter()
            .collect(),
        history: entry
            .and_then(|it| it.left_for(&reason))
            .into_iter()
            .collect(),
        user_to_user: value.into_iter().collect(),
        call_info: reference.into_iter().collect(),
        alert_info: Reference::parse(&string(rng, "<urn:alert:x:y>"))
            .and_then(|it| it.with_param(&named_by, "x"))
            .into_iter()
            .collect(),
        reasons: vec![reason, Reason::q850(16, &string(rng, "Normal"))],
        ..Details::default()
    }
}

fn data(rng: &mut Rng) -> CallData {
    let mut data = CallData::default();
    // A name that is none is refused.
    let _refused = data.set(&string(rng, "key"), string(rng, "value"));
    if rng.below(3) == 0 {
        let _refused = data.set("long", hostile(rng).repeat(100));
    }
    data
}

fn account(rng: &mut Rng) -> Account {
    let secret = Secret::password(string(rng, "secret"));
    Account::new(string(rng, "realm"), string(rng, "alice"), secret)
}

async fn dial(engine: &Engine, rng: &mut Rng, peer: &str) -> Option<Call> {
    let mut dial = engine
        .dial(&string(rng, peer))
        .display_name(&string(rng, "Alice"))
        .details(details(rng))
        .data(data(rng))
        .trusted(rng.below(2) == 0)
        .account(account(rng))
        .redirects(RedirectPolicy::to_hosts([hostile(rng)]).telling(Telling::Both));
    if rng.below(2) == 0 {
        dial = dial.header(&string(rng, "X-Ours"), &string(rng, "x"));
    }
    if rng.below(4) == 0 {
        dial = dial.from(&string(rng, "sip:a@b"));
    }
    if rng.below(4) == 0 {
        dial = dial.via(&string(rng, &format!("{peer};lr")));
    }
    dial.start().await.ok()
}

/// Says everything that can be said within a call.
async fn talk(call: &Call, rng: &mut Rng) {
    let _refused = call
        .send_info(&string(rng, "text/plain"), hostile(rng).as_bytes())
        .await;
    let _refused = call.send_digits(&hostile(rng)).await;
    let _refused = call.set_value(&hostile(rng), hostile(rng)).await;
    match rng.below(2) {
        0 => drop(call.hang_up_for(&[Reason::sip(200, &hostile(rng))]).await),
        _ => drop(call.hang_up_with(Cause::new(16, &hostile(rng))).await),
    }
}

async fn answer(call: Call, mut rng: Rng) {
    let _refused = call.set_details(details(&mut rng)).await;
    match rng.below(4) {
        0 => {
            let target = string(&mut rng, "sip:x@y");
            if call.redirect(302, &[&target]).await.is_err() {
                drop(call.reject(480).await);
            }
        }
        1 => drop(call.hang_up_with(Cause::new(1, &hostile(&mut rng))).await),
        _ => {
            let _refused = call.ring().await;
            if call.answer().await.is_ok() {
                let target = string(&mut rng, "sip:x@y");
                let limit = Duration::from_secs(1);
                let _refused = call.engine().timeout(limit, call.transfer(&target)).await;
                talk(&call, &mut rng).await;
            }
        }
    }
}

/// Whether the evil header field stands anywhere as one, or a message was not one.
fn assert_clean(peer: &SipPeer, seed: u64) -> usize {
    let log = peer.log();
    let arrived = log.iter().filter(|entry| !entry.sent);
    let mut count = 0;
    for entry in arrived {
        count += 1;
        let message = &entry.message;
        assert_eq!(message.validate(), Ok(()), "seed {seed}: {message:?}");
        for header in message.headers() {
            let name = header.name.as_str();
            assert!(
                !name.eq_ignore_ascii_case("X-Evil"),
                "seed {seed}: {message:?}"
            );
            let value = header.value();
            let control = value.iter().any(|b| b.is_ascii_control() && *b != b'\t');
            assert!(!control, "seed {seed}: {name} in {message:?}");
        }
        let evil = message.method().is_some() && {
            let uri = message.request_uri();
            uri.is_ok_and(|uri| uri.user() == Some("evil"))
        };
        assert!(!evil, "seed {seed}: {message:?}");
    }
    count
}

#[test]
fn no_string_injects_anything() {
    let mut arrived = 0;
    for seed in 0..150 {
        let sim = Sim::seeded(seed);
        let mut config = Config::default();
        config.listeners[0].trusted = seed % 2 == 0;
        let engine = sim.engine("engine", config).expect("an engine");
        let [alice, bob] = ["alice", "bob"].map(|host| SipPeer::open(&sim, host).expect("a peer"));
        let served = engine.clone();
        sim.spawn(async move {
            served
                .serve(move |call| async move {
                    answer(call, Rng::new(seed)).await;
                    Ok::<(), ()>(())
                })
                .await;
        });
        sim.spawn({
            let bob = bob.clone();
            async move {
                while let Ok(call) = bob.incoming().await {
                    call.respond(200, true, &[]);
                }
            }
        });
        sim.block_on(async {
            let mut rng = Rng::new(seed ^ 0xabcd);
            for _ in 0..4 {
                if let Some(call) = dial(&engine, &mut rng, &bob.uri("bob")).await {
                    let limit = Duration::from_secs(2);
                    let _silent = engine.timeout(limit, call.answered()).await;
                    talk(&call, &mut rng).await;
                }
            }
            if let Ok(call) = alice.dial("sip:100@engine", Dial::default()) {
                let _over = sim.timeout(Duration::from_secs(5), call.ended()).await;
            }
            sim.sleep(Duration::from_secs(40)).await;
        });
        arrived += assert_clean(&alice, seed) + assert_clean(&bob, seed);
    }
    assert!(arrived > 1_000, "only {arrived} messages got through");
}
