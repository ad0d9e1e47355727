//! Encrypted calls: policies that meet, changes of keys, forgeries, and keys that stay out of sight.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use sidetone::engine::config::Config;
use sidetone::engine::event::CallError;
use sidetone::face::call::Call;
use sidetone::face::engine::Engine;
use sidetone::face::prompt::Prompt;
use sidetone::media::leg::LegReport;
use sidetone::sdp::crypto::CryptoSuite;
use sidetone::sdp::negotiate::security::MediaSecurity;
use sidetone::time::Instant;
use sidetone_sim::network::Delivery;
use sidetone_sim::node::{Context, Node};
use sidetone_sim::peer::offer::{Abilities, Direction, Secrecy};
use sidetone_sim::peer::sip::call::CallError as PeerError;
use sidetone_sim::peer::sip::{Profile, SipPeer};
use sidetone_sim::peer::sound::Sound;
use sidetone_sim::sim::Sim;

use crate::stage::SECOND;

fn config(policy: MediaSecurity) -> Config {
    let mut config = Config::default();
    config.media_security = policy;
    config.srtp_suites = CryptoSuite::ALL.to_vec();
    config.sdes_in_clear = true;
    config
}

fn phone(sim: &Sim, name: &str, srtp: Option<Secrecy>) -> SipPeer {
    let profile = Profile {
        abilities: Abilities {
            srtp,
            ..Abilities::default()
        },
        ..Profile::default()
    };
    SipPeer::with_profile(sim, name, profile).expect("a peer")
}

fn required(suite: CryptoSuite) -> Option<Secrecy> {
    Some(Secrecy::required(suite))
}

/// Plays the sound again and again, and keeps the last report.
fn play_for_ever(sim: &Sim, engine: &Engine, sound: &Sound) -> Rc<RefCell<Option<LegReport>>> {
    let prompt = Prompt::from_wav(&sound.to_wav()).expect("a WAV file");
    let (engine, sim_, report) = (engine.clone(), sim.handle(), Rc::default());
    let kept: Rc<RefCell<Option<LegReport>>> = Rc::clone(&report);
    sim.spawn(async move {
        while let Some(call) = engine.incoming().await {
            let (prompt, kept) = (prompt.clone(), Rc::clone(&kept));
            sim_.spawn(async move { serve(call, prompt, kept).await });
        }
    });
    report
}

async fn serve(
    call: Call,
    prompt: Prompt,
    kept: Rc<RefCell<Option<LegReport>>>,
) -> Result<(), CallError> {
    call.answer().await?;
    loop {
        call.play(&prompt).await?;
        *kept.borrow_mut() = Some(call.report().await?);
    }
}

fn start(sim: &Sim, config: Config) -> Engine {
    sim.machine("engine", config).expect("an engine").0
}

#[test]
fn a_call_by_every_suite() {
    for suite in CryptoSuite::ALL {
        let sim = Sim::seeded(1);
        let engine = start(&sim, config(MediaSecurity::Mandatory));
        let greeting = Sound::speech(100, SECOND);
        let report = play_for_ever(&sim, &engine, &greeting);
        let alice = phone(&sim, "alice", required(suite));
        sim.block_on(async {
            let call = alice.call("sip:100@engine").await.expect("an answer");
            let heard = call.media().hear_for(SECOND * 10).await;
            let found = heard.find(&greeting).expect("the greeting");
            assert!(found.likeness > 0.98, "{suite:?}: {found:?}");
            let statistics = call.media().statistics();
            assert_eq!((statistics.undecryptable, statistics.lost), (0, 0));
            assert!(statistics.reports > 0, "no RTCP could be read");
            let report = report.borrow().expect("a report");
            let srtp = report.srtp.expect("a protected call");
            assert!(srtp.accepted > 300 && srtp.protected > 300, "{srtp:?}");
            assert_eq!((srtp.auth_failed, srtp.replayed, srtp.unsent), (0, 0, 0));
            assert!(
                report.control.received > 0 && report.malformed == 0,
                "{report:?}"
            );
            call.hang_up().await.expect("an answer");
        });
    }
}

/// Threat M6: over signalling that anybody can read, no key is told unless that is asked for.
#[test]
fn keys_are_not_told_in_the_clear_unasked() {
    for (policy, secrecy, expected) in [
        (
            MediaSecurity::Mandatory,
            required(CryptoSuite::AesCm128HmacSha1_80),
            488,
        ),
        (MediaSecurity::Mandatory, None, 488),
        (
            MediaSecurity::BestEffort,
            required(CryptoSuite::AesCm128HmacSha1_80),
            488,
        ),
        (
            MediaSecurity::Off,
            required(CryptoSuite::AesCm128HmacSha1_80),
            488,
        ),
        (
            MediaSecurity::BestEffort,
            Some(Secrecy::optional(CryptoSuite::AesCm128HmacSha1_80)),
            200,
        ),
        (MediaSecurity::BestEffort, None, 200),
    ] {
        let sim = Sim::seeded(2);
        let mut config = config(policy);
        config.sdes_in_clear = false;
        let engine = start(&sim, config);
        let report = play_for_ever(&sim, &engine, &Sound::speech(100, SECOND));
        let alice = phone(&sim, "alice", secrecy);
        sim.block_on(async {
            match alice.call("sip:100@engine").await {
                Err(PeerError::Refused(status)) => assert_eq!(status, expected),
                Err(error) => panic!("{error:?}"),
                Ok(call) => {
                    assert_eq!(expected, 200);
                    call.media().hear_for(SECOND * 3).await;
                    assert_eq!(report.borrow().expect("a report").srtp, None);
                    let answer = call.description().expect("an answer");
                    assert!(answer.crypto.is_empty(), "{answer:?}");
                    call.hang_up().await.expect("an answer");
                }
            }
        });
    }
}

/// RFC 8643: keys beside plain RTP protect the call where both can.
#[test]
fn best_effort_protects_where_both_can() {
    let sim = Sim::seeded(3);
    let engine = start(&sim, config(MediaSecurity::BestEffort));
    let greeting = Sound::speech(100, SECOND);
    let report = play_for_ever(&sim, &engine, &greeting);
    for (name, secrecy) in [
        ("alice", Some(Secrecy::optional(CryptoSuite::AeadAes128Gcm))),
        ("bob", None),
    ] {
        let peer = phone(&sim, name, secrecy.clone());
        sim.block_on(async {
            let call = peer.call("sip:100@engine").await.expect("an answer");
            let heard = call.media().hear_for(SECOND * 3).await;
            assert!(
                heard.find(&greeting).is_some_and(|f| f.likeness > 0.98),
                "{name}"
            );
            let srtp = report.borrow().expect("a report").srtp;
            assert_eq!(srtp.is_some(), secrecy.is_some(), "{name}");
            call.hang_up().await.expect("an answer");
        });
    }
}

/// Hold and its end keep the keys; a re-INVITE that brings a new one is followed without a gap.
#[test]
fn hold_keeps_keys_and_new_keys_are_followed() {
    for new_keys in [false, true] {
        let sim = Sim::seeded(4);
        let engine = start(&sim, config(MediaSecurity::Mandatory));
        let greeting = Sound::speech(100, SECOND);
        let report = play_for_ever(&sim, &engine, &greeting);
        let secrecy = Secrecy {
            new_keys,
            ..Secrecy::required(CryptoSuite::AesCm256HmacSha1_80)
        };
        let alice = phone(&sim, "alice", Some(secrecy));
        sim.block_on(async {
            let call = alice.call("sip:100@engine").await.expect("an answer");
            call.media().hear_for(SECOND * 2).await;
            for direction in [Direction::SendOnly, Direction::SendReceive] {
                let response = call.redirect_media(direction).await.expect("a response");
                assert_eq!(response.status().map(|s| s.code()), Some(200));
                sim.handle().sleep(SECOND * 2).await;
            }
            let heard = call.media().hear_for(SECOND * 4).await;
            assert!(heard.find(&greeting).is_some_and(|f| f.likeness > 0.98));
            assert_eq!(call.media().statistics().undecryptable, 0);
            let srtp = report.borrow().expect("a report").srtp.expect("protected");
            assert_eq!(srtp.rekeyed, if new_keys { 2 } else { 0 });
            assert_eq!((srtp.auth_failed, srtp.replayed), (0, 0), "{srtp:?}");
            call.hang_up().await.expect("an answer");
        });
    }
}

/// Two engines, one dialling the other.
#[test]
fn an_engine_calls_another() {
    let sim = Sim::seeded(5);
    let desk = start(&sim, config(MediaSecurity::BestEffort));
    let greeting = Sound::speech(100, SECOND);
    let report = play_for_ever(&sim, &desk, &greeting);
    let (caller, _) = sim
        .machine("caller", config(MediaSecurity::Off))
        .expect("an engine");
    sim.block_on(async {
        let dial = caller.dial("sip:desk@engine");
        let call = dial.media_security(MediaSecurity::Mandatory).start().await;
        let call = call.expect("dialled");
        call.answered().await.expect("an answer");
        sim.handle().sleep(SECOND * 5).await;
        let ours = call
            .report()
            .await
            .expect("a report")
            .srtp
            .expect("protected");
        let theirs = report.borrow().expect("a report").srtp.expect("protected");
        assert!(
            ours.accepted > 200 && theirs.accepted > 100,
            "{ours:?} {theirs:?}"
        );
        assert_eq!((ours.auth_failed, theirs.auth_failed), (0, 0));
        call.hang_up().await.expect("hung up");
    });
}

/// An attacker on the wire: everything that was captured comes again, and garbage with it.
struct Attacker {
    socket: Option<sidetone_sim::network::SocketId>,
    got: u64,
}

impl Node for Attacker {
    fn handle_delivery(&mut self, _: &mut Context<'_>, delivery: Delivery) {
        self.got += u64::from(matches!(delivery, Delivery::Datagram { .. }));
    }

    fn handle_timeout(&mut self, _: &mut Context<'_>) {}

    fn poll_timeout(&mut self) -> Option<Instant> {
        None
    }
}

/// Threats M1, M2 and M4: plain RTP, wrong tags and garbage from another host, a hundred thousand of
/// them; the call goes on, nothing of it is heard, nothing is sent there.
#[test]
fn forgeries_do_nothing_to_a_call() {
    let sim = Sim::seeded(6);
    let engine = start(&sim, config(MediaSecurity::Mandatory));
    let greeting = Sound::speech(100, SECOND);
    let report = play_for_ever(&sim, &engine, &greeting);
    let alice = phone(&sim, "alice", required(CryptoSuite::AesCm128HmacSha1_80));
    let mallory = sim.network().add_host("mallory", &[]).expect("a host");
    let node = Rc::new(RefCell::new(Attacker {
        socket: None,
        got: 0,
    }));
    let id = sim.add_node(node.clone());
    let socket = sim.act(id, |context| {
        let ip = context.network().addresses(mallory)[0];
        context.bind_pair(mallory, ip, None).expect("ports").0
    });
    node.borrow_mut().socket = Some(socket);
    sim.block_on(async {
        let call = alice.call("sip:100@engine").await.expect("an answer");
        let target: SocketAddr = call.description().expect("an answer").rtp;
        for round in 0..100_u32 {
            sim.act(id, |context| {
                for n in 0..1_000_u32 {
                    let mut packet = vec![0x80, 0, (n >> 8) as u8, n as u8];
                    packet.resize(12 + 160 + 10, (round * 31 + n) as u8);
                    if n % 4 == 0 {
                        packet[1] = 200;
                    }
                    context.send(socket, target, Bytes::from(packet));
                }
            });
            sim.handle().sleep(Duration::from_millis(50)).await;
        }
        let heard = call.media().hear_for(SECOND * 3).await;
        assert!(heard.find(&greeting).is_some_and(|f| f.likeness > 0.98));
        let srtp = report.borrow().expect("a report").srtp.expect("protected");
        assert!(srtp.auth_failed + srtp.malformed > 90_000, "{srtp:?}");
        assert_eq!(call.media().statistics().lost, 0);
        assert!(call.end().is_none(), "the call goes on");
        call.hang_up().await.expect("an answer");
    });
    assert_eq!(node.borrow().got, 0, "something was sent to the attacker");
}

/// Threat M6: no key stands in the log of the simulation, in what is shown of a call or of its end.
#[test]
fn no_key_is_written_anywhere() {
    let sim = Sim::seeded(7);
    let engine = start(&sim, config(MediaSecurity::Mandatory));
    let alice = phone(&sim, "alice", required(CryptoSuite::AesCm128HmacSha1_80));
    let shown = sim.block_on(async {
        let placed = alice.call("sip:100@engine");
        let desk = engine.clone();
        let served = async move {
            let call = desk.incoming().await.expect("a caller");
            let caller = format!("{:?} {call:?}", call.caller());
            call.answer().await.expect("answered");
            let report = format!("{:?}", call.report().await);
            let end = call.ended().await.expect("ended");
            format!("{caller} {report} {end:?}")
        };
        let served = sim.spawn(served);
        let call = placed.await.expect("an answer");
        call.media().hear_for(SECOND).await;
        let own = call.description().expect("an answer");
        let key = own.crypto.first().expect("a key").to_value();
        let key = key.split("inline:").nth(1).expect("a key").to_owned();
        call.hang_up().await.expect("an answer");
        (served.await, key, format!("{own:?}"))
    });
    let (engine_side, key, peer_side) = shown;
    let trace = sim.trace().text().to_owned();
    assert!(
        trace.contains("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"),
        "{trace}"
    );
    for text in [&trace, &engine_side, &peer_side] {
        assert!(!text.contains(&key), "{text}");
    }
}
