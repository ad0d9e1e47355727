//! Session descriptions and their negotiation: nothing panics, printing keeps the meaning.

use std::net::IpAddr;

use crate::sdp::attribute::Format;
use crate::sdp::crypto::{Crypto, CryptoSuite};
use crate::sdp::negotiate::security::{LocalSecurity, MediaSecurity};
use crate::sdp::negotiate::state::State;
use crate::sdp::negotiate::{LocalMedia, Negotiator};
use crate::sdp::session::SessionDescription;

/// A description, as such and as an offer and an answer.
pub fn offer_and_answer(data: &[u8]) {
    description(data);
    negotiation(data);
}

/// A description: read, printed, read again.
fn description(data: &[u8]) {
    let Ok(description) = SessionDescription::parse(data) else {
        return;
    };
    for media in &description.media {
        media.rtp_formats();
        description.connection_of(media);
        description.direction_of(media);
    }
    let printed = description.to_string();
    let again = SessionDescription::parse(printed.as_bytes()).map(|read| read.to_string());
    assert_eq!(again, Ok(printed), "printing is no fixed point");
}

/// A description as an offer and as an answer: we answer only what can be answered, and our own
/// answer is one that we would take.
fn negotiation(data: &[u8]) {
    let opus = Format {
        channels: 2,
        ..Format::new(111, "opus", 48_000)
    };
    let formats = vec![Format::pcmu(), Format::pcma(), opus];
    let local = LocalMedia::new(IpAddr::from([192, 0, 2, 9]), 9000, formats);
    let mut negotiator = Negotiator::new(1);
    if negotiator.handle_offer(data).is_ok() {
        match negotiator.answer(&local) {
            Ok((answer, agreed)) => {
                assert_eq!(negotiator.state(), State::Stable);
                let answer = SessionDescription::parse(answer.as_bytes()).expect("we wrote it");
                let offer = SessionDescription::parse(data).expect("it was taken");
                assert_eq!(answer.media.len(), offer.media.len());
                assert!(!agreed.send.is_telephone_event());
                assert!(!agreed.direction.sends() || agreed.remote_rtp.is_some());
                let open = answer.media.iter().filter(|media| media.port != 0);
                assert_eq!(open.count(), 1);
            }
            Err(error) => assert!(error.status().is_some(), "{error}"),
        }
    }
    let mut negotiator = Negotiator::new(1);
    let offer = negotiator.offer(&local).expect("a first offer");
    let state = match negotiator.handle_answer(data) {
        Ok(_) => State::Stable,
        Err(_) => State::LocalOffer,
    };
    assert_eq!(negotiator.state(), state);
    let mut peer = Negotiator::new(2);
    peer.handle_offer(offer.as_bytes()).expect("our own offer");
}

/// An `a=crypto` value: what is read is written back with the same meaning, and an offer that holds
/// it is answered under protection or refused.
pub fn crypto(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let read = Crypto::parse(&text);
    if let Ok(crypto) = &read {
        assert_eq!(Crypto::parse(&crypto.to_value()).as_ref(), Ok(crypto));
    }
    let keys = CryptoSuite::ALL
        .into_iter()
        .zip(1..)
        .filter_map(|(suite, tag)| {
            let secret = vec![7; suite.key_len() + suite.salt_len()];
            Crypto::new(tag, suite, secret.into())
        });
    let mut local = LocalMedia::new(IpAddr::from([192, 0, 2, 9]), 9000, vec![Format::pcmu()]);
    local.security = LocalSecurity {
        policy: MediaSecurity::Mandatory,
        keys: keys.collect(),
    };
    let line = text.replace(['\r', '\n'], " ");
    let offer =
        format!("v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/SAVP 0\r\na=crypto:{line}\r\n");
    let mut negotiator = Negotiator::new(1);
    if negotiator.handle_offer(offer.as_bytes()).is_ok()
        && let Ok((_, agreed)) = negotiator.answer(&local)
    {
        let security = agreed.security.expect("nothing unprotected is agreed on");
        assert_eq!(security.local.suite, security.remote.suite);
        assert_eq!(security.local.tag, security.remote.tag);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    const LINES: [&str; 24] = [
        "v=0",
        "o=- 1 1 IN IP4 192.0.2.1",
        "o=x",
        "s=-",
        "c=IN IP4 192.0.2.1",
        "c=IN IP4 0.0.0.0",
        "c=IN IP6 ::1",
        "c=x",
        "t=0 0",
        "m=audio 4000 RTP/AVP 0 8 101",
        "m=audio 0 RTP/AVP 0",
        "m=audio 9 RTP/AVPF 111 13",
        "m=video 4002 RTP/AVP 96",
        "m=",
        "a=rtpmap:101 telephone-event/8000",
        "a=rtpmap:111 opus/48000/2",
        "a=rtpmap:0 PCMA/8000",
        "a=fmtp:101 0-16",
        "a=fmtp:101",
        "a=sendonly",
        "a=inactive",
        "a=rtcp-mux",
        "a=rtcp:1 IN IP4 192.0.2.1",
        "a=maxptime:1",
    ];

    #[test]
    fn seeds_keep_every_promise() {
        crate::fuzz::run_seeds("sdp", offer_and_answer);
    }

    #[test]
    fn crypto_seeds_keep_every_promise() {
        crate::fuzz::run_seeds("sdp_crypto", crypto);
    }

    #[test]
    fn shuffled_and_damaged_lines_keep_every_promise() {
        for seed in 0..3000 {
            let mut rng = Rng::new(seed);
            let mut data = b"v=0\r\n".to_vec();
            for _ in 0..rng.below(20) {
                let line = LINES[rng.below(LINES.len() as u64) as usize];
                data.extend_from_slice(line.as_bytes());
                data.extend_from_slice(if rng.below(4) == 0 { b"\n" } else { b"\r\n" });
            }
            if rng.below(2) == 0 {
                let at = rng.below(data.len() as u64) as usize;
                data[at] = rng.next_u32() as u8;
            }
            let result = std::panic::catch_unwind(|| offer_and_answer(&data));
            assert!(result.is_ok(), "seed {seed}");
        }
    }
}
