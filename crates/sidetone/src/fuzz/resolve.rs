//! Look-ups of names with any answers in any order.

use crate::rng::Rng;
use crate::sip::transport::Transport;
use crate::sip::transport::resolve::{Kind, Question, Record, Resolution, Wanted};

const HOSTS: [&str; 4] = ["example.com", "a.example.com", ".", "_sip._udp.example.com"];
const SERVICES: [&str; 4] = ["SIP+D2U", "sips+d2t", "SIP+D2S", "\u{ff}"];

/// Whatever the DNS answers, a look-up asks a bounded number of questions, ends, and gives usable
/// addresses only.
///
/// # Panics
/// A promise is broken.
pub fn resolve(data: &[u8]) {
    let mut data = data.iter().copied();
    let mut byte = || data.next().unwrap_or(0);
    let wanted = Wanted {
        host: HOSTS[usize::from(byte() % 2)],
        port: Some(u16::from(byte())).filter(|port| *port > 127),
        transport: [
            None,
            Some(Transport::Udp),
            Some(Transport::Tls),
            Some(Transport::Ws),
        ][usize::from(byte() % 4)],
        secure: byte() % 4 == 0,
    };
    let able = [
        (Transport::Udp, true),
        (Transport::Tls, true),
        (Transport::Tls, false),
    ];
    let mut resolution = Resolution::new(&wanted, &able, Rng::new(u64::from(byte())));
    let mut asked = 0;
    while let Some(question) = resolution.poll_question() {
        asked += 1;
        assert!(asked < 64, "too many questions");
        let records: Vec<Record> = (0..byte()).map(|_| record(&mut byte)).collect();
        if byte() % 8 == 0 {
            let other = Question {
                name: HOSTS[usize::from(byte() % 4)].into(),
                kind: [Kind::Naptr, Kind::Srv, Kind::A, Kind::Aaaa][usize::from(byte() % 4)],
            };
            resolution.handle_answer(&other, &records);
        }
        resolution.handle_answer(&question, &records);
    }
    assert!(resolution.is_done(), "it hangs");
    let found = resolution.destinations();
    assert!(found.len() <= 32);
    for destination in found {
        let ip = destination.address.ip();
        assert!(!ip.is_unspecified() && !ip.is_multicast() && destination.address.port() != 0);
        assert!(!wanted.secure || destination.transport.is_secure() || wanted.transport.is_some());
    }
}

fn record(byte: &mut impl FnMut() -> u8) -> Record {
    match byte() % 4 {
        0 => Record::Naptr {
            order: u16::from(byte()),
            preference: u16::from(byte()),
            flags: ["s", "S", "a", ""][usize::from(byte() % 4)].into(),
            services: SERVICES[usize::from(byte() % 4)].into(),
            replacement: HOSTS[usize::from(byte() % 4)].into(),
        },
        1 => Record::Srv {
            priority: u16::from(byte() % 3),
            weight: u16::from_be_bytes([byte(), byte()]),
            port: u16::from_be_bytes([byte(), byte()]),
            target: HOSTS[usize::from(byte() % 4)].into(),
        },
        2 => Record::Address([byte(), byte(), byte(), byte()].into()),
        _ => Record::Address([u16::from(byte()), 0, 0, 0, 0, 0, 0, u16::from(byte())].into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_keep_every_promise() {
        crate::fuzz::run_seeds("resolve", resolve);
    }

    #[test]
    fn random_answers_keep_every_promise() {
        let mut rng = Rng::new(3263);
        for _ in 0..5_000 {
            let length = rng.below(400);
            let data: Vec<u8> = (0..length).map(|_| rng.below(256) as u8).collect();
            resolve(&data);
        }
    }
}
