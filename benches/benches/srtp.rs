//! SRTP: protecting and opening packets by every suite, in place, replay window included.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use sidetone::rtp::packet::{HEADER_LEN, Header};
use sidetone::srtp::key::{Keying, MasterKey};
use sidetone::srtp::session::Session;
use sidetone::srtp::suite::Suite;
use sidetone::time::Instant;

/// Packets opened by one session before another takes over: sequence numbers must not repeat.
const BATCH: usize = 4_096;

fn key(suite: Suite, seed: u8) -> MasterKey {
    let (key, salt) = ([seed; 32], [seed; 14]);
    let key = MasterKey::new(suite, &key[..suite.key_len()], &salt[..suite.salt_len()]);
    key.expect("lengths")
}

fn session(suite: Suite, local: u8, remote: u8) -> Session {
    Session::new(Keying {
        local: key(suite, local),
        remote: key(suite, remote),
    })
}

fn suites(c: &mut Criterion) {
    let mut group = c.benchmark_group("srtp");
    group.throughput(Throughput::Elements(1));
    for suite in Suite::ALL {
        for payload in [160, 1_200] {
            let length = HEADER_LEN + payload;
            let mut here = session(suite, 1, 2);
            let mut packet = vec![0; length + 40];
            let mut sequence = 0_u16;
            group.bench_function(format!("protect {suite:?} {payload}"), |b| {
                b.iter(|| {
                    sequence = sequence.wrapping_add(1);
                    header(sequence).emit(&mut packet);
                    black_box(here.protect_rtp(&mut packet, length)).expect("room")
                });
            });
            let sealed = sealed(suite, length);
            let (mut there, mut at) = (session(suite, 2, 1), 0);
            group.bench_function(format!("unprotect {suite:?} {payload}"), |b| {
                b.iter(|| {
                    if at == BATCH {
                        (there, at) = (session(suite, 2, 1), 0);
                    }
                    packet[..sealed[at].len()].copy_from_slice(&sealed[at]);
                    let packet = &mut packet[..sealed[at].len()];
                    at += 1;
                    black_box(there.unprotect_rtp(Instant::ZERO, packet)).expect("authentic")
                });
            });
        }
    }
    group.finish();
}

fn header(sequence: u16) -> Header {
    Header {
        sequence,
        ssrc: 0xCAFE,
        ..Header::default()
    }
}

fn sealed(suite: Suite, length: usize) -> Vec<Vec<u8>> {
    let mut here = session(suite, 1, 2);
    let seal = |sequence| {
        let mut packet = vec![0; length + 40];
        header(sequence).emit(&mut packet);
        let length = here.protect_rtp(&mut packet, length).expect("room");
        packet.truncate(length);
        packet
    };
    (0..BATCH as u16).map(seal).collect()
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    suites(&mut criterion);
    criterion.final_summary();
}
