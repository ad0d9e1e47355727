//! Outsiders and rude peers: what they send draws the protocol's own answer or none, and calls in
//! progress do not notice.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sidetone::engine::config::{Authentication, Config};
use sidetone::engine::event::CallError;
use sidetone::face::call::Call;
use sidetone::face::engine::Engine;
use sidetone::face::prompt::Prompt;
use sidetone::rng::Rng;
use sidetone::rtp::packet::{HEADER_LEN, Header};
use sidetone::sip::auth::client::Account;
use sidetone::sip::auth::digest::Secret;
use sidetone::sip::auth::server::VerifierConfig;
use sidetone::sip::auth::store::UserTable;
use sidetone::sip::transport::access::{AccessList, Admission};
use sidetone_sim::engine::Machine;
use sidetone_sim::peer::rtp::{Habits, Outlet, RtpPeer};
use sidetone_sim::peer::sip::call::{CallError as PeerError, End};
use sidetone_sim::peer::sip::{Dial, Profile, SipPeer};
use sidetone_sim::peer::sound::Sound;
use sidetone_sim::sim::Sim;

use crate::stage::SECOND;

/// An engine that answers everybody with a long tone of 440 Hz, and records what they say.
fn start(sim: &Sim, config: Config) -> (Engine, Machine) {
    let (engine, machine) = sim.machine("engine", config).expect("an engine");
    let tone = Sound::tone(440.0, -20.0, SECOND * 10);
    let tone = Prompt::from_wav(&tone.to_wav()).expect("a WAV file");
    sim.spawn({
        let engine = engine.clone();
        async move { engine.serve(move |call| flow(call, tone.clone())).await }
    });
    (engine, machine)
}

async fn flow(call: Call, tone: Prompt) -> Result<(), CallError> {
    call.answer().await?;
    drop(call.record(format!("{}.wav", call.id())).await?);
    call.play(&tone).looped().await?;
    Ok(())
}

fn peer(sim: &Sim, host: &str) -> SipPeer {
    SipPeer::open(sim, host).expect("a peer")
}

fn engine_address(engine: &Engine) -> SocketAddr {
    engine.listening()[0]
}

/// A request of somebody's, with any method and headers.
fn request(method: &str, from: SocketAddr, headers: &str) -> String {
    format!(
        "{method} sip:100@engine SIP/2.0\r\nVia: SIP/2.0/UDP {from};rport;branch=z9hG4bK{method}7\r\n\
         Max-Forwards: 70\r\nFrom: <sip:a@{from}>;tag=1\r\nTo: <sip:100@engine>\r\n\
         Call-ID: {method}@{from}\r\nCSeq: 1 {method}\r\n{headers}Content-Length: 0\r\n\r\n"
    )
}

/// The status that the engine answers a raw request with, once.
fn status_of(sim: &Sim, engine: &Engine, text: &str) -> Option<u16> {
    let name = format!("asker{}", sim.now().as_nanos());
    let asker = SipPeer::open(sim, &name).expect("a peer");
    let text = text.replace("SELF", &asker.address().to_string());
    asker.send_raw(engine_address(engine), text.into_bytes());
    sim.run_for(SECOND);
    let log = asker.log();
    let mut answers = log.iter().filter(|entry| !entry.sent);
    let last = answers.next_back()?;
    last.message.status().map(|status| status.code())
}

#[test]
fn requests_outside_of_calls_get_the_answer_of_the_rfc() {
    let sim = Sim::seeded(1);
    let (engine, _machine) = start(&sim, Config::default());
    let own: SocketAddr = "10.9.9.9:5060".parse().expect("an address");
    let ask = |method: &str, headers: &str| {
        let text = request(method, own, headers).replace(&own.to_string(), "SELF");
        status_of(&sim, &engine, &text)
    };
    assert_eq!(ask("OPTIONS", ""), Some(200));
    assert_eq!(ask("BYE", ""), Some(481));
    assert_eq!(ask("CANCEL", ""), Some(481));
    // Nobody takes messages here.
    assert_eq!(ask("MESSAGE", ""), Some(480));
    assert_eq!(ask("FROBNICATE", ""), Some(501));
    assert_eq!(ask("ACK", ""), None);
    assert_eq!(ask("OPTIONS", "Require: teleport\r\n"), Some(420));
    assert_eq!(ask("OPTIONS", "Max-Forwards: 0\r\n"), Some(400));
    // What has arrived need not be forwarded.
    let spent = request("OPTIONS", own, "").replace("Max-Forwards: 70", "Max-Forwards: 0");
    let spent = spent.replace(&own.to_string(), "SELF");
    assert_eq!(status_of(&sim, &engine, &spent), Some(200));
    assert_eq!(engine.call_count(), 0);
}

#[test]
fn bodies_that_cannot_be_served_are_refused() {
    let sim = Sim::seeded(1);
    let (engine, machine) = start(&sim, Config::default());
    let own = "SELF";
    let invite = |content_type: &str, body: &str| {
        format!(
            "INVITE sip:100@engine SIP/2.0\r\nVia: SIP/2.0/UDP {own};rport;branch=z9hG4bK77\r\n\
             Max-Forwards: 70\r\nFrom: <sip:a@{own}>;tag=1\r\nTo: <sip:100@engine>\r\n\
             Call-ID: 7@{own}\r\nCSeq: 1 INVITE\r\nContact: <sip:a@{own}>\r\n\
             Content-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let refused =
        |content_type: &str, body: &str| status_of(&sim, &engine, &invite(content_type, body));
    let audio = "v=0\r\no=- 1 1 IN IP4 10.0.0.9\r\ns=-\r\nc=IN IP4 10.0.0.9\r\nt=0 0\r\n";
    assert_eq!(refused("text/plain", "hello"), Some(415));
    assert!(matches!(
        refused("application/sdp", "nonsense"),
        Some(400 | 488)
    ));
    let video = format!("{audio}m=video 4000 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n");
    assert_eq!(refused("application/sdp", &video), Some(488));
    let exotic = format!("{audio}m=audio 4000 RTP/AVP 18\r\n");
    assert_eq!(refused("application/sdp", &exotic), Some(488));
    sim.run_for(SECOND * 120);
    assert_eq!(engine.call_count(), 0);
    assert_eq!(machine.workers()[0].legs, 0);
}

#[test]
fn poison_on_every_port_disturbs_no_call() {
    let sim = Sim::seeded(2);
    let (engine, machine) = start(&sim, Config::default());
    let host = sim.network().add_host("outsider", &[]).expect("a host");
    let socket = sim.network().bind(host, 0).expect("a socket");
    let peers: Vec<_> = (0..5).map(|n| peer(&sim, &format!("peer{n}"))).collect();
    let mut rng = sim.fork_rng();
    sim.block_on(async {
        let mut calls = Vec::new();
        for peer in &peers {
            calls.push(peer.call("sip:100@engine").await.expect("an answer"));
        }
        sim.sleep(SECOND).await;
        let sip = engine_address(&engine);
        let ports: Vec<SocketAddr> = calls
            .iter()
            .filter_map(|call| call.description())
            .flat_map(|theirs| [theirs.rtp, theirs.rtcp])
            .chain([sip])
            .collect();
        for round in 0..2_000 {
            let now = sim.now();
            let target = ports[round % ports.len()];
            let poison = poison(&mut rng);
            sim.network().send(now, socket, target, poison);
            if round % 10 == 0 {
                sim.sleep(Duration::from_millis(7)).await;
            }
        }
        for call in &calls {
            let heard = call.media().hear_for(SECOND).await;
            assert!((heard.tone_level(440.0) + 20.0).abs() < 1.5);
            assert_eq!(call.media().statistics().lost, 0);
            assert_eq!(call.media().statistics().streams, 1);
            assert_eq!(call.end(), None);
        }
        let alive = peers[0].request("OPTIONS", "sip:x@engine", &[]).await;
        assert_eq!(
            alive.expect("an answer").status().map(|s| s.code()),
            Some(200)
        );
        for call in calls {
            call.hang_up().await.expect("an answer to BYE");
        }
        sim.sleep(SECOND * 60).await;
    });
    assert_eq!(engine.call_count(), 0);
    assert_eq!(machine.workers()[0].legs, 0);
}

/// The torture messages of RFC 4475 and RFC 5118, and what fuzzing starts from.
fn corpus() -> Vec<(String, Bytes)> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folders = [
        "crates/sidetone/tests/torture/rfc4475",
        "crates/sidetone/tests/torture/rfc5118",
        "fuzz/seeds/sip_message",
    ];
    let mut files: Vec<_> = folders
        .iter()
        .flat_map(|folder| std::fs::read_dir(root.join(folder)).expect("a folder"))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    let read = |path: &std::path::PathBuf| {
        let bytes = std::fs::read(path).expect("a file");
        (path.display().to_string(), Bytes::from(bytes))
    };
    files.iter().map(read).collect()
}

#[test]
fn no_message_of_the_corpus_disturbs_fifty_calls() {
    let sim = Sim::seeded(3);
    let (engine, machine) = start(&sim, Config::default());
    let outsider = sim.network().add_host("outsider", &[]).expect("a host");
    let socket = sim.network().bind(outsider, 0).expect("a socket");
    let peers: Vec<_> = (0..5).map(|n| peer(&sim, &format!("peer{n}"))).collect();
    let corpus = corpus();
    assert!(corpus.len() > 60, "{}", corpus.len());
    sim.block_on(async {
        let mut calls = Vec::new();
        for n in 0..50 {
            calls.push(
                peers[n % 5]
                    .call("sip:100@engine")
                    .await
                    .expect("an answer"),
            );
        }
        for (name, message) in &corpus {
            let now = sim.now();
            sim.network()
                .send(now, socket, engine_address(&engine), message.clone());
            sim.sleep(Duration::from_millis(40)).await;
            let alive = peers[0].request("OPTIONS", "sip:x@engine", &[]).await;
            let status = alive.expect("an answer").status().map(|s| s.code());
            assert_eq!(status, Some(200), "after {name}");
            assert!(
                calls.iter().all(|call| call.end().is_none()),
                "after {name}"
            );
        }
        for call in &calls {
            let heard = call.media().hear_for(SECOND / 5).await;
            assert!((heard.tone_level(440.0) + 20.0).abs() < 1.5);
            assert_eq!(call.media().statistics().lost, 0);
        }
        for call in calls {
            call.hang_up().await.expect("an answer to BYE");
        }
        sim.sleep(SECOND * 400).await;
    });
    assert_eq!(engine.call_count(), 0);
    assert_eq!(machine.workers()[0].legs, 0);
}

/// Noise: random bytes, RTP of a stranger, RTCP with odd lengths, broken SIP.
fn poison(rng: &mut Rng) -> Bytes {
    let length = rng.below(200) as usize;
    let mut bytes: Vec<u8> = (0..length).map(|_| rng.next_u32() as u8).collect();
    match rng.below(5) {
        0 => {}
        1 if length > HEADER_LEN => {
            let header = Header {
                payload_type: rng.below(128) as u8,
                marker: true,
                sequence: rng.next_u32() as u16,
                timestamp: rng.next_u32(),
                ssrc: rng.next_u32(),
            };
            header.emit(&mut bytes);
        }
        2 if length > 4 => {
            bytes[0] = 0x80 | (bytes[0] & 0x3f);
            bytes[1] = 200 + (bytes[1] % 5);
        }
        3 => {
            let mut text = request("INVITE", SocketAddr::from(([10, 1, 1, 1], 5060)), "");
            for _ in 0..4 {
                let at = rng.below(text.len() as u64) as usize;
                if text.is_char_boundary(at) {
                    text.insert(at, char::from(rng.below(128) as u8));
                }
            }
            bytes = text.into_bytes();
        }
        _ => {
            let start = b"SIP/2.0 200 OK\r\nVia: ";
            bytes.splice(..0, start.iter().copied());
        }
    }
    Bytes::from(bytes)
}

#[test]
fn an_outsider_neither_hears_nor_is_heard() {
    let sim = Sim::seeded(3);
    let (_engine, machine) = start(&sim, Config::default());
    let alice = peer(&sim, "alice");
    sim.network().add_host("outsider", &[]).expect("a host");
    let outsider = RtpPeer::open(&sim, "outsider", Habits::default()).expect("ports");
    sim.block_on(async {
        let call = alice.call("sip:100@engine").await.expect("an answer");
        call.media().keep_saying(&Sound::tone(600.0, -20.0, SECOND));
        sim.sleep(SECOND * 5).await;
        let theirs = call.description().expect("an answer with SDP");
        outsider.start(Outlet::to(theirs.rtp));
        outsider.keep_saying(&Sound::tone(1500.0, -10.0, SECOND));
        outsider.press("999").await;
        let heard = call.media().hear_for(SECOND * 5).await;
        assert!(
            (heard.tone_level(440.0) + 20.0).abs() < 1.5,
            "the stream goes on"
        );
        assert_eq!(outsider.statistics().received, 0, "nothing is sent there");
        call.hang_up().await.expect("an answer to BYE");
        sim.sleep(SECOND * 5).await;
    });
    let disk = machine.disk();
    let wav = disk.read(&disk.paths()[0]).expect("the recording");
    let [said, _] = Sound::of_recording(&wav).expect("stereo");
    assert!(
        said.as_heard().tone_level(600.0) > -24.0,
        "the caller is recorded"
    );
    assert!(
        said.as_heard().tone_level(1500.0) < -50.0,
        "the outsider is not"
    );
}

#[test]
fn a_call_is_ended_only_by_its_own_party() {
    let sim = Sim::seeded(4);
    let (_engine, _machine) = start(&sim, Config::default());
    let (alice, mallory) = (peer(&sim, "alice"), peer(&sim, "mallory"));
    sim.block_on(async {
        let call = alice.call("sip:100@engine").await.expect("an answer");
        sim.sleep(SECOND).await;
        let engine = sim.network().resolve("engine")[0];
        let target = SocketAddr::new(engine, 5060);
        for (from, to) in [("1", "2"), ("", ""), ("a", "")] {
            let forged = format!(
                "BYE sip:100@engine SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bKx{from}\r\n\
                 Max-Forwards: 70\r\nFrom: <sip:alice@x>;tag={from}\r\n\
                 To: <sip:100@engine>;tag={to}\r\nCall-ID: {}\r\nCSeq: 9 BYE\r\n\
                 Content-Length: 0\r\n\r\n",
                mallory.address(),
                call.call_id()
            );
            mallory.send_raw(target, forged.into_bytes());
        }
        sim.sleep(SECOND * 2).await;
        assert_eq!(call.end(), None);
        let heard = call.media().hear_for(SECOND).await;
        assert!((heard.tone_level(440.0) + 20.0).abs() < 1.5);
        call.hang_up().await.expect("an answer to BYE");
    });
}

#[test]
fn a_full_engine_refuses_the_next_caller_and_keeps_the_others() {
    let sim = Sim::seeded(5);
    let mut config = Config::default();
    config.max_calls = 4;
    let (engine, machine) = start(&sim, config);
    let peers: Vec<_> = (0..5).map(|n| peer(&sim, &format!("peer{n}"))).collect();
    sim.block_on(async {
        let mut calls = Vec::new();
        for peer in &peers[..4] {
            calls.push(peer.call("sip:100@engine").await.expect("an answer"));
        }
        let refused = peers[4].call("sip:100@engine").await.map(|_| ());
        assert_eq!(refused, Err(PeerError::Refused(503)));
        let heard = calls[0].media().hear_for(SECOND).await;
        assert!((heard.tone_level(440.0) + 20.0).abs() < 1.5);
        calls[0].hang_up().await.expect("an answer to BYE");
        sim.sleep(SECOND).await;
        let next = peers[4].call("sip:100@engine").await.expect("an answer");
        next.hang_up().await.expect("an answer to BYE");
    });
    assert_eq!(engine.call_count(), 3);
    assert_eq!(machine.counters().map(|c| c.refused_full), Some(1));
}

#[test]
fn a_flood_of_callers_who_never_acknowledge_passes() {
    let sim = Sim::seeded(6);
    let mut config = Config::default();
    config.max_calls = 50;
    let (engine, machine) = start(&sim, config);
    let (alice, flood) = (peer(&sim, "alice"), peer(&sim, "flood"));
    sim.block_on(async {
        let call = alice.call("sip:100@engine").await.expect("an answer");
        // The flood's calls are never acknowledged: nothing that comes back is heard.
        flood.drop_incoming(u32::MAX);
        for _ in 0..500 {
            drop(
                flood
                    .dial("sip:100@engine", Dial::default())
                    .expect("a call"),
            );
            sim.sleep(Duration::from_millis(10)).await;
        }
        let heard = call.media().hear_for(SECOND).await;
        assert!(
            (heard.tone_level(440.0) + 20.0).abs() < 1.5,
            "the call goes on"
        );
        flood.die();
        sim.sleep(SECOND * 200).await;
        assert_eq!(call.end(), None, "the call goes on");
        assert_eq!(engine.call_count(), 1, "the flood's calls are over");
        let again = peer(&sim, "again").call("sip:100@engine").await;
        again
            .expect("room again")
            .hang_up()
            .await
            .expect("an answer to BYE");
    });
    assert_eq!(machine.workers()[0].legs, 1);
}

#[test]
fn no_answer_is_much_larger_than_its_request() {
    let sim = Sim::seeded(7);
    let (engine, _machine) = start(&sim, Config::default());
    let asker = peer(&sim, "asker");
    // Requests as small as they may be, of a sender who never hears what comes back.
    for method in ["OPTIONS", "INVITE", "BYE", "REGISTER", "FOO"] {
        let text = format!(
            "{method} sip:e SIP/2.0\r\nv: SIP/2.0/UDP {};branch=z9hG4bK{method}\r\n\
             f: <sip:a@b>;tag=1\r\nt: <sip:e>\r\ni: {method}\r\nCSeq: 1 {method}\r\n\
             Max-Forwards: 9\r\nm: <sip:a@{}>\r\n\r\n",
            asker.address(),
            asker.address()
        );
        let before = sim.network().counters().bytes;
        let length = text.len() as u64;
        asker.drop_incoming(u32::MAX);
        asker.send_raw(engine_address(&engine), text.into_bytes());
        sim.run_for(SECOND * 70);
        asker.drop_incoming(0);
        let answered = sim.network().counters().bytes - before - length;
        let most = match method {
            // A 200 with a session description, repeated for 32 s, then BYE.
            "INVITE" => length * 80,
            _ => length * 3,
        };
        assert!(answered <= most, "{method}: {length} bytes drew {answered}");
    }
}

#[test]
fn a_peer_that_never_answers_bye_leaves_nothing() {
    let sim = Sim::seeded(8);
    let (engine, machine) = start(&sim, Config::default());
    let rude = SipPeer::with_profile(
        &sim,
        "rude",
        Profile {
            automatic: false,
            ..Profile::default()
        },
    )
    .expect("a peer");
    sim.block_on(async {
        let call = rude.call("sip:100@engine").await.expect("an answer");
        sim.sleep(SECOND * 2).await;
        let stopping = sim.spawn({
            let engine = engine.clone();
            async move { engine.shutdown(SECOND).await }
        });
        let bye = rude.next_request().await;
        assert_eq!(bye.method().map(|m| m.as_str()), Some("BYE"));
        stopping.await;
        assert_eq!(call.end(), None::<End>);
    });
    assert!(machine.has_stopped());
}

#[test]
fn whoever_guesses_a_password_is_counted() {
    let sim = Sim::seeded(9);
    let mut config = Config::default();
    let users = UserTable::new("pbx.example").user("6001", Secret::password("opensesame"));
    config.authentication = Some(Authentication {
        challenge: VerifierConfig::new("pbx.example"),
        users: Arc::new(users),
    });
    for listener in &mut config.listeners {
        listener.access = AccessList::all(Admission::Authenticate);
    }
    let (engine, _machine) = start(&sim, config);
    let (telephone, _other) = sim
        .machine("telephone", Config::default())
        .expect("an engine");
    let dial = |password: &str| {
        let account = Account::new("pbx.example", "6001", Secret::password(password));
        telephone.dial("sip:100@engine").account(account)
    };
    sim.block_on(async {
        let guessed = dial("password1").await;
        assert!(guessed.is_err());
        let known = dial("opensesame").await.expect("an answer");
        known.hang_up().await.expect("an end");
        let report = engine.report().await.expect("a report");
        assert_eq!(report.authentication.refused, 1);
        assert_eq!(report.authentication.accepted, 1);
        assert_eq!(report.admission.refused, 0);
    });
}
