//! SRTP: garbage never panics and never authenticates, what was sealed always opens, once.

use crate::rtp::packet::HEADER_LEN;
use crate::srtp::key::{Keying, MasterKey};
use crate::srtp::session::Session;
use crate::srtp::suite::Suite;
use crate::time::Instant;

/// The first byte says the suite and whether two keys overlap; the rest is a datagram.
pub fn datagram(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else {
        return;
    };
    let suite = Suite::ALL[usize::from(choice & 7) % Suite::ALL.len()];
    let mut session = Session::new(keying(suite, 1, 2));
    if choice & 0x80 != 0 {
        session.renew(Instant::ZERO, Session::new(keying(suite, 3, 4)));
    }
    garbage(&mut session, rest);
    if rest.len() > HEADER_LEN {
        round_trip(suite, rest);
    }
    let stats = session.stats();
    assert_eq!(stats.accepted, 0, "garbage authenticated");
}

/// Nobody has the key by chance.
fn garbage(session: &mut Session, data: &[u8]) {
    let rtp = session.unprotect_rtp(Instant::ZERO, &mut data.to_vec());
    let rtcp = session.unprotect_rtcp(Instant::ZERO, &mut data.to_vec());
    assert!(rtp.is_err() && rtcp.is_err(), "garbage authenticated");
}

/// Whatever can be sealed opens again as it was, and not twice.
fn round_trip(suite: Suite, data: &[u8]) {
    let mut here = Session::new(keying(suite, 1, 2));
    let mut there = Session::new(keying(suite, 2, 1));
    let mut packet = data.to_vec();
    packet.resize(data.len() + 40, 0);
    if let Ok(length) = here.protect_rtp(&mut packet, data.len()) {
        let sealed = packet[..length].to_vec();
        let opened = there.unprotect_rtp(Instant::ZERO, &mut packet[..length]);
        assert_eq!(opened.map(|length| &packet[..length]), Ok(data));
        let again = there.unprotect_rtp(Instant::ZERO, &mut sealed.clone());
        assert!(again.is_err(), "taken twice");
    }
    let mut packet = data.to_vec();
    packet.resize(data.len() + 40, 0);
    if let Ok(length) = here.protect_rtcp(&mut packet, data.len()) {
        let opened = there.unprotect_rtcp(Instant::ZERO, &mut packet[..length]);
        assert_eq!(opened.map(|length| &packet[..length]), Ok(data));
    }
}

fn keying(suite: Suite, local: u8, remote: u8) -> Keying {
    let key = |seed| {
        let (key, salt) = ([seed; 32], [seed; 14]);
        MasterKey::new(suite, &key[..suite.key_len()], &salt[..suite.salt_len()])
    };
    Keying {
        local: key(local).expect("lengths"),
        remote: key(remote).expect("lengths"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn seeds() {
        crate::fuzz::run_seeds("srtp", super::datagram);
    }
}
