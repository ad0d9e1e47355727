//! Packets of another implementation, forgeries, replays, wraps, and changes of keys.

use super::*;
use crate::rng::Rng;
use crate::srtp::key::MasterKey;
use crate::srtp::suite::Suite;

const NOW: Instant = Instant::ZERO;

fn bytes(hex: &str) -> Vec<u8> {
    let hex: Vec<char> = hex.chars().filter(|c| !c.is_whitespace()).collect();
    let pair = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).expect("hex");
    hex.chunks(2).map(pair).collect()
}

fn key(suite: Suite, seed: u64) -> MasterKey {
    let mut rng = Rng::new(seed);
    let mut random = |n| (0..n).map(|_| rng.next_u64() as u8).collect::<Vec<_>>();
    let (key, salt) = (random(suite.key_len()), random(suite.salt_len()));
    MasterKey::new(suite, &key, &salt).expect("lengths")
}

/// A session, and that of its peer.
fn pair(suite: Suite) -> (Session, Session) {
    sessions(key(suite, 1), key(suite, 2))
}

fn sessions(ours: MasterKey, theirs: MasterKey) -> (Session, Session) {
    let here = Keying {
        local: ours.clone(),
        remote: theirs.clone(),
    };
    let there = Keying {
        local: theirs,
        remote: ours,
    };
    (Session::new(here), Session::new(there))
}

fn rtp(ssrc: u32, sequence: u16, payload: usize) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(sequence.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend(ssrc.to_be_bytes());
    packet.extend((0..payload).map(|n| n as u8));
    packet
}

fn rtcp(ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 1];
    packet.extend(ssrc.to_be_bytes());
    packet.extend([0x81, 202, 0, 2, 1, 2, 3, 4, 1, 0, 0, 0]);
    packet
}

fn seal(session: &mut Session, plain: &[u8]) -> Vec<u8> {
    let mut packet = plain.to_vec();
    packet.resize(plain.len() + 64, 0);
    let length = session.protect_rtp(&mut packet, plain.len());
    packet.truncate(length.expect("protected"));
    packet
}

fn open(session: &mut Session, packet: &[u8]) -> Result<Vec<u8>, UnprotectError> {
    let mut packet = packet.to_vec();
    let length = session.unprotect_rtp(NOW, &mut packet)?;
    packet.truncate(length);
    Ok(packet)
}

/// Packets that libsrtp 3 made and checks itself by.
#[test]
fn packets_of_another_implementation() {
    let short = (
        "e1f97a0d3e018be0d64fa32c06de4139",
        "0ec675ad498afeebb6960b3aabe6",
    );
    let gcm = (
        "000102030405060708090a0b0c0d0e0f",
        "a0a1a2a3a4a5a6a7a8a9aaab",
    );
    let long = (
        "f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6",
        "3b04803de51ee7c96423ab5b78d2",
    );
    let clear = "800f1234decafbadcafebabe";
    let control = "81c8000bcafebabe";
    for (suite, (key, salt), mki, packet, rtcp_packet) in [
        (
            Suite::AesCm128HmacSha1_80,
            short,
            "",
            "4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb",
            "7128035be487b9bdbef89041f977a5a880000001993e08cd54d6c1230798",
        ),
        (
            Suite::AesCm128HmacSha1_80,
            short,
            "e1f97a0d",
            "4e55dc4ce79978d88ca4d215949d2402e1f97a0db78d6acc99ea179b8dbb",
            "7128035be487b9bdbef89041f977a5a880000001e1f97a0d993e08cd54d6c1230798",
        ),
        (
            Suite::AeadAes128Gcm,
            gcm,
            "",
            "c5002ede04cfdd2eb91159e0880aa06ed2976826f796b201df3131a127e8a392",
            "c98b8b5df0392a55852b6c21ac8e7025c52c6fbea2b3b446ea31123ba88ce61e80000001",
        ),
        (
            Suite::AesCm256HmacSha1_80,
            long,
            "",
            "f1d9de17ff251ff1aa007774b0b4b40da08d9d9a5b3a55d8873b",
            "",
        ),
    ] {
        let mut master = MasterKey::new(suite, &bytes(key), &bytes(salt)).expect("lengths");
        if !mki.is_empty() {
            master = master.with_mki(&bytes(mki)).expect("short");
        }
        let (mut here, mut there) = sessions(master.clone(), master);
        let plain = [bytes(clear), vec![0xAB; 16]].concat();
        let sealed = [bytes(clear), bytes(packet)].concat();
        assert_eq!(seal(&mut here, &plain), sealed, "{suite:?}");
        assert_eq!(open(&mut there, &sealed), Ok(plain), "{suite:?}");
        if rtcp_packet.is_empty() {
            continue;
        }
        let plain = [bytes(control), vec![0xAB; 16]].concat();
        let sealed = [bytes(control), bytes(rtcp_packet)].concat();
        let mut buffer = [0; 100];
        buffer[..plain.len()].copy_from_slice(&plain);
        let length = here.protect_rtcp(&mut buffer, plain.len()).expect("room");
        assert_eq!(buffer[..length], sealed, "{suite:?}");
        let length = there.unprotect_rtcp(NOW, &mut buffer[..length]);
        assert_eq!(buffer[..length.expect("authentic")], plain, "{suite:?}");
    }
}

/// RFC 7714 §17.3 has an RTCP packet that is only authenticated: we never agree on that.
#[test]
fn control_that_is_not_encrypted_is_refused() {
    let (mut here, mut there) = pair(Suite::AesCm128HmacSha1_80);
    let mut packet = rtcp(7);
    let length = packet.len();
    packet.resize(length + 20, 0);
    let sealed = here.protect_rtcp(&mut packet, length).expect("room");
    packet.truncate(sealed);
    packet[length] &= 0x7F;
    let refused = there.unprotect_rtcp(NOW, &mut packet);
    assert_eq!(refused, Err(UnprotectError::Malformed));
}

#[test]
fn every_suite_both_ways_with_header_extensions_and_sources() {
    for suite in Suite::ALL {
        let (mut here, mut there) = pair(suite);
        for payload in [0, 1, 15, 16, 17, 160, 1_200] {
            let mut plain = rtp(9, payload as u16, payload);
            plain[0] |= 0x12;
            plain.splice(
                12..12,
                [9, 9, 9, 9, 8, 8, 8, 8, 0xBE, 0xDE, 0, 1, 0x10, 0x7F, 0, 0],
            );
            let sealed = seal(&mut here, &plain);
            assert_eq!(sealed.len(), plain.len() + suite.rtp_overhead());
            assert_eq!(sealed[..28], plain[..28], "the header stays readable");
            assert!(payload < 15 || sealed[28..28 + payload] != plain[28..]);
            assert_eq!(open(&mut there, &sealed), Ok(plain), "{suite:?}");
        }
        let plain = rtcp(9);
        let mut packet = plain.clone();
        packet.resize(plain.len() + suite.rtcp_overhead(), 0);
        let length = here.protect_rtcp(&mut packet, plain.len());
        assert_eq!(length, Ok(packet.len()));
        let length = there.unprotect_rtcp(NOW, &mut packet).expect("authentic");
        assert_eq!(packet[..length], plain, "{suite:?}");
    }
}

/// Threat M2: a packet of which any bit is changed is refused, and changes nothing.
#[test]
fn every_changed_bit_is_found() {
    for suite in Suite::ALL {
        let (mut here, mut there) = pair(suite);
        let sealed = seal(&mut here, &rtp(9, 5, 20));
        for bit in 0..sealed.len() * 8 {
            let mut forged = sealed.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&mut there, &forged).is_err(), "{suite:?}, bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(open(&mut there, &sealed[..length]).is_err());
        }
        assert!(open(&mut there, &sealed).is_ok(), "{suite:?}");
        assert_eq!(there.stats().accepted, 1);
    }
}

/// Forged sources take no place: a flood of them leaves the peer its own.
#[test]
fn forged_sources_take_no_place() {
    let (mut here, mut there) = pair(Suite::AeadAes128Gcm);
    for ssrc in 0..10_000 {
        let forged = rtp(ssrc, 1, 60);
        assert_eq!(
            open(&mut there, &forged),
            Err(UnprotectError::Authentication)
        );
    }
    for ssrc in 0..32 {
        let sealed = seal(&mut here, &rtp(ssrc, 1, 20));
        assert!(open(&mut there, &sealed).is_ok());
    }
    let (mut third, _) = pair(Suite::AeadAes128Gcm);
    let sealed = seal(&mut third, &rtp(99, 1, 20));
    assert_eq!(
        open(&mut there, &sealed),
        Err(UnprotectError::TooManySources)
    );
    assert_eq!(there.stats().auth_failed, 10_000);
    assert_eq!(there.stats().too_many_sources, 1);
}

/// Threat M4 and M5: replayed packets of both kinds are refused, all of them.
#[test]
fn replays_are_refused() {
    for suite in [Suite::AesCm128HmacSha1_32, Suite::AeadAes256Gcm] {
        let (mut here, mut there) = pair(suite);
        let sealed: Vec<_> = (0..400).map(|n| seal(&mut here, &rtp(9, n, 20))).collect();
        for packet in &sealed {
            assert!(open(&mut there, packet).is_ok());
        }
        for packet in &sealed {
            assert_eq!(open(&mut there, packet), Err(UnprotectError::Replayed));
        }
        let mut packet = rtcp(9);
        let length = packet.len();
        packet.resize(length + 20, 0);
        let length = here.protect_rtcp(&mut packet, length).expect("room");
        packet.truncate(length);
        assert!(there.unprotect_rtcp(NOW, &mut packet.clone()).is_ok());
        let again = there.unprotect_rtcp(NOW, &mut packet.clone());
        assert_eq!(again, Err(UnprotectError::Replayed));
        assert_eq!(there.stats().replayed, 401);
    }
}

/// Threat M5: a stream that starts just before the wrap, its first packets lost or overtaken.
#[test]
fn first_packets_near_the_wrap() {
    for suite in [Suite::AesCm128HmacSha1_80, Suite::AeadAes128Gcm] {
        for first in 0..40 {
            let (mut here, mut there) = pair(suite);
            let numbers = (0..40).map(|n| 65_520_u16.wrapping_add(n));
            let sealed: Vec<_> = numbers.map(|n| seal(&mut here, &rtp(9, n, 20))).collect();
            assert!(open(&mut there, &sealed[first]).is_ok(), "first {first}");
            for (n, packet) in sealed.iter().enumerate() {
                let expected = if n == first {
                    Err(UnprotectError::Replayed)
                } else {
                    Ok(())
                };
                assert_eq!(
                    open(&mut there, packet).map(|_| ()),
                    expected,
                    "{first} {n}"
                );
            }
        }
    }
}

/// Threat M5: loss, reordering and duplication over two wraps.
#[test]
fn random_networks() {
    for seed in 0..20 {
        let mut rng = Rng::new(seed);
        let suite = Suite::ALL[seed as usize % Suite::ALL.len()];
        let (mut here, mut there) = pair(suite);
        let start = rng.next_u32() as u16;
        let mut waiting: Vec<(u32, Vec<u8>)> = Vec::new();
        let mut taken = std::collections::BTreeSet::new();
        for n in 0..3_000_u32 {
            let step = if rng.below(50) == 0 {
                rng.below(3_000) as u16
            } else {
                0
            };
            let sequence = start.wrapping_add((n * 40) as u16).wrapping_add(step % 40);
            let Ok(()) = protect_into(&mut here, sequence, n, &mut waiting) else {
                continue;
            };
            if rng.below(10) == 0 {
                waiting.pop();
            }
            while waiting.len() > rng.below(4) as usize {
                let at = rng.below(waiting.len() as u64) as usize;
                let (number, packet) = waiting[at].clone();
                if rng.below(5) != 0 {
                    waiting.remove(at);
                }
                let opened = open(&mut there, &packet).is_ok();
                assert!(
                    !opened || taken.insert(number),
                    "seed {seed}: {number} twice"
                );
            }
        }
        assert!(taken.len() > 2_000, "seed {seed}: only {}", taken.len());
        assert_eq!(there.stats().auth_failed, 0, "seed {seed}");
    }
}

fn protect_into(
    session: &mut Session,
    sequence: u16,
    number: u32,
    waiting: &mut Vec<(u32, Vec<u8>)>,
) -> Result<(), ProtectError> {
    let mut packet = rtp(9, sequence, 20);
    let length = packet.len();
    packet.resize(length + 20, 0);
    let length = session.protect_rtp(&mut packet, length)?;
    packet.truncate(length);
    waiting.push((number, packet));
    Ok(())
}

#[test]
fn a_key_stream_is_never_used_twice() {
    let (mut here, _) = pair(Suite::AesCm128HmacSha1_80);
    let mut packet = rtp(9, 5, 20);
    packet.resize(60, 0);
    assert!(here.protect_rtp(&mut packet.clone(), 32).is_ok());
    assert_eq!(here.protect_rtp(&mut packet, 32), Err(ProtectError::Reused));
    // One that was overtaken has a key stream of its own, once, as long as that is known.
    let mut older = rtp(9, 4, 20);
    older.resize(60, 0);
    assert!(here.protect_rtp(&mut older.clone(), 32).is_ok());
    assert_eq!(here.protect_rtp(&mut older, 32), Err(ProtectError::Reused));
    let mut newer = rtp(9, 400, 20);
    newer.resize(60, 0);
    assert!(here.protect_rtp(&mut newer, 32).is_ok());
    let mut forgotten = rtp(9, 100, 20);
    forgotten.resize(60, 0);
    assert_eq!(
        here.protect_rtp(&mut forgotten, 32),
        Err(ProtectError::Reused)
    );
    assert_eq!(here.stats().unsent, 3);
}

#[test]
fn a_lifetime_ends() {
    let suite = Suite::AesCm128HmacSha1_80;
    let short = |seed| key(suite, seed).with_lifetime(3).expect("positive");
    let (mut here, mut there) = sessions(short(1), short(2));
    let (mut unbounded, _) = pair(suite);
    for n in 0..3 {
        let sealed = seal(&mut here, &rtp(9, n, 20));
        assert!(open(&mut there, &sealed).is_ok());
    }
    let mut packet = rtp(9, 3, 20);
    packet.resize(60, 0);
    assert_eq!(
        here.protect_rtp(&mut packet, 32),
        Err(ProtectError::Expired)
    );
    let sealed = seal(&mut unbounded, &rtp(9, 3, 20));
    assert_eq!(open(&mut there, &sealed), Err(UnprotectError::Expired));
    assert_eq!(there.stats().expired, 1);
}

#[test]
fn no_room_for_the_trailer_is_an_error() {
    for suite in Suite::ALL {
        let (mut here, _) = pair(suite);
        let mut packet = rtp(9, 5, 20);
        let length = packet.len();
        packet.resize(length + suite.rtp_overhead() - 1, 0);
        assert_eq!(
            here.protect_rtp(&mut packet, length),
            Err(ProtectError::Room)
        );
        packet.push(0);
        assert!(here.protect_rtp(&mut packet, length).is_ok());
    }
}

/// Both directions change keys; what is on its way under the old ones is still taken for a while,
/// the streams' rollover counters notwithstanding.
#[test]
fn re_keying() {
    for suite in Suite::ALL {
        let (mut here, mut there) = pair(suite);
        let mut late = Vec::new();
        for n in 0..70_000_u32 {
            let sealed = seal(&mut here, &rtp(9, n as u16, 2));
            late.push(sealed.clone());
            if late.len() > 3 {
                let packet = late.remove(0);
                assert!(open(&mut there, &packet).is_ok());
            }
        }
        let (next_here, next_there) = sessions(key(suite, 3), key(suite, 4));
        here.renew(NOW, next_here);
        there.renew(NOW, next_there);
        assert_eq!(there.stats().rekeyed, 2);
        let fresh = seal(&mut here, &rtp(9, 70_000_u32 as u16, 20));
        assert!(open(&mut there, &fresh).is_ok(), "{suite:?}");
        for packet in &late {
            assert!(open(&mut there, packet).is_ok(), "{suite:?}");
            assert_eq!(
                open(&mut there, packet),
                Err(UnprotectError::Authentication)
            );
        }
        assert_eq!(there.stats().accepted_previous, 3);
    }
}

/// A key that comes back, as where an offer is taken back, protects nothing under a used index.
#[test]
fn a_key_that_comes_back_uses_no_index_twice() {
    for suite in Suite::ALL {
        let (mut here, _) = pair(suite);
        let mut indices = Vec::new();
        for seed in [1, 3, 1] {
            let (next, _) = sessions(key(suite, seed), key(suite, 2));
            here.renew(NOW, next);
            let plain = rtcp(9);
            let mut packet = plain.clone();
            packet.resize(plain.len() + 64, 0);
            let length = here.protect_rtcp(&mut packet, plain.len()).expect("room");
            let tag = if suite.is_aead() { 0 } else { 10 };
            let word = packet[length - tag - 4..length - tag]
                .try_into()
                .expect("4");
            indices.push(u32::from_be_bytes(word) & 0x7FFF_FFFF);
        }
        assert_eq!(indices, [1, 2, 3], "{suite:?}");
    }
}

#[test]
fn the_old_key_is_not_taken_for_ever() {
    for suite in [Suite::AesCm256HmacSha1_32, Suite::AeadAes256Gcm] {
        let (mut here, mut there) = pair(suite);
        let mut old = seal(&mut here, &rtp(9, 1, 20));
        let (_, next) = sessions(key(suite, 3), key(suite, 4));
        there.renew(NOW, next);
        let refused = there.unprotect_rtp(NOW + OVERLAP, &mut old.clone());
        assert_eq!(refused, Err(UnprotectError::Authentication));
        let before = NOW + OVERLAP - Duration::from_nanos(1);
        assert!(there.unprotect_rtp(before, &mut old).is_ok());
    }
}

/// A peer that keeps its rollover counter over a change of keys is understood too.
#[test]
fn a_rollover_counter_may_go_on_under_a_new_key() {
    let suite = Suite::AeadAes128Gcm;
    let (mut here, mut there) = pair(suite);
    for n in 0..(3 << 16) + 5_u32 {
        let sealed = seal(&mut here, &rtp(9, n as u16, 0));
        assert!(open(&mut there, &sealed).is_ok());
    }
    let (mut next_here, next_there) = sessions(key(suite, 3), key(suite, 4));
    for n in 0..(3 << 16) + 5_u32 {
        seal(&mut next_here, &rtp(9, n as u16, 0));
    }
    there.renew(NOW, next_there);
    let sealed = seal(&mut next_here, &rtp(9, 5, 20));
    assert!(open(&mut there, &sealed).is_ok());
}

#[test]
fn the_same_keys_again_change_nothing() {
    let suite = Suite::AesCm128HmacSha1_80;
    let (mut here, mut there) = pair(suite);
    let sealed = seal(&mut here, &rtp(9, 1, 20));
    assert!(open(&mut there, &sealed).is_ok());
    let (again_here, again_there) = pair(suite);
    here.renew(NOW, again_here);
    there.renew(NOW, again_there);
    assert_eq!(open(&mut there, &sealed), Err(UnprotectError::Replayed));
    let mut packet = rtp(9, 1, 20);
    packet.resize(60, 0);
    assert_eq!(here.protect_rtp(&mut packet, 32), Err(ProtectError::Reused));
    assert_eq!(here.stats().rekeyed, 0);
}

/// Threat M6: no key is ever printed.
#[test]
fn nothing_prints_a_key() {
    let suite = Suite::AesCm128HmacSha1_80;
    let master = MasterKey::new(suite, &[0xA7; 16], &[0xB3; 14]).expect("lengths");
    let keying = Keying {
        local: master.clone(),
        remote: master,
    };
    let shown = format!("{keying:?} {:?}", Session::new(keying.clone()));
    for byte in ["A7", "a7", "167", "B3", "b3", "179"] {
        assert!(!shown.contains(byte), "{shown}");
    }
}
