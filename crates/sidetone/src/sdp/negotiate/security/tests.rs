//! Every policy against every other, and what each side says and agrees on.

use zeroize::Zeroizing;

use super::*;
use crate::sdp::attribute::Format;
use crate::sdp::crypto::CryptoSuite;
use crate::sdp::negotiate::{Agreed, LocalMedia, Negotiator};
use MediaSecurity::{BestEffort, Mandatory, Off};

const SUITES: [CryptoSuite; 2] = [CryptoSuite::AeadAes256Gcm, CryptoSuite::AesCm128HmacSha1_80];

fn keys(suites: &[CryptoSuite], fill: u8) -> Vec<Crypto> {
    let key = |(at, suite): (usize, &CryptoSuite)| {
        let secret = vec![fill + at as u8; suite.key_len() + suite.salt_len()];
        Crypto::new(at as u32 + 1, *suite, Zeroizing::new(secret)).expect("length")
    };
    suites.iter().enumerate().map(key).collect()
}

fn media(policy: MediaSecurity, keys: Vec<Crypto>) -> LocalMedia {
    let address = "192.0.2.1".parse().expect("an address");
    LocalMedia {
        security: LocalSecurity { policy, keys },
        ..LocalMedia::new(address, 4000, vec![Format::pcmu()])
    }
}

fn usual(policy: MediaSecurity, fill: u8) -> LocalMedia {
    media(policy, keys(&SUITES, fill))
}

/// One exchange: offer, answer, and what both have agreed on.
fn exchange(
    offerer: &LocalMedia,
    answerer: &LocalMedia,
) -> Result<(String, String, Agreed, Agreed), NegotiationError> {
    let (mut here, mut there) = (Negotiator::new(1), Negotiator::new(2));
    let offer = here.offer(offerer)?;
    there.handle_offer(offer.as_bytes())?;
    let (answer, theirs) = there.answer(answerer)?;
    let ours = here.handle_answer(answer.as_bytes())?;
    Ok((offer, answer, ours, theirs))
}

#[test]
fn every_policy_meets_every_other() {
    // Plain, secured, refused.
    let table = [
        (Off, Off, "plain"),
        (Off, BestEffort, "plain"),
        (Off, Mandatory, "refused"),
        (BestEffort, Off, "plain"),
        (BestEffort, BestEffort, "secured"),
        (BestEffort, Mandatory, "secured"),
        (Mandatory, Off, "refused"),
        (Mandatory, BestEffort, "secured"),
        (Mandatory, Mandatory, "secured"),
    ];
    for (offerer, answerer, expected) in table {
        let outcome = match exchange(&usual(offerer, 1), &usual(answerer, 9)) {
            Ok((_, _, ours, theirs)) => match (ours.security, theirs.security) {
                (None, None) => "plain",
                (Some(ours), Some(theirs)) => {
                    assert_eq!(ours.local.key(), theirs.remote.key());
                    assert_eq!(ours.remote.key(), theirs.local.key());
                    assert_ne!(ours.local.key(), ours.remote.key());
                    "secured"
                }
                _ => "in two minds",
            },
            Err(NegotiationError::SecureMedia) => "refused",
            Err(_) => "wrong error",
        };
        assert_eq!(outcome, expected, "{offerer:?} offers to {answerer:?}");
    }
    assert_eq!(NegotiationError::SecureMedia.status(), Some(488));
}

#[test]
fn the_profile_says_how_serious_it_is() {
    let (offer, answer, ..) =
        exchange(&usual(Mandatory, 1), &usual(BestEffort, 9)).expect("agreed");
    assert!(
        offer.contains("RTP/SAVP ") && answer.contains("RTP/SAVP "),
        "{answer}"
    );
    let (offer, answer, ..) =
        exchange(&usual(BestEffort, 1), &usual(BestEffort, 9)).expect("agreed");
    assert!(
        offer.contains("RTP/AVP ") && answer.contains("RTP/AVP "),
        "{answer}"
    );
    assert_eq!(
        (
            offer.matches("a=crypto:").count(),
            answer.matches("a=crypto:").count()
        ),
        (2, 1)
    );
    let (_, answer, ..) = exchange(&usual(BestEffort, 1), &usual(Off, 9)).expect("agreed");
    assert!(!answer.contains("crypto"), "{answer}");
}

#[test]
fn the_answer_chooses_the_first_common_suite_under_its_tag() {
    let only = media(Mandatory, keys(&SUITES[1..], 9));
    let (_, answer, ours, theirs) = exchange(&usual(Mandatory, 1), &only).expect("agreed");
    assert!(
        answer.contains("a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:"),
        "{answer}"
    );
    let chosen = ours.security.expect("secured");
    assert_eq!((chosen.local.tag, chosen.local.suite), (2, SUITES[1]));
    assert_eq!(theirs.security.expect("secured").local.tag, 2);
    let other = media(Mandatory, keys(&[CryptoSuite::AeadAes128Gcm], 9));
    let refused = exchange(&usual(Mandatory, 1), &other);
    assert_eq!(refused.err(), Some(NegotiationError::SecureMedia));
}

#[test]
fn without_a_key_what_must_be_protected_is_refused() {
    let none = |policy| media(policy, Vec::new());
    let refused = Some(NegotiationError::SecureMedia);
    assert_eq!(
        exchange(&none(Mandatory), &usual(Mandatory, 9)).err(),
        refused
    );
    assert_eq!(
        exchange(&usual(Mandatory, 1), &none(BestEffort)).err(),
        refused
    );
    assert_eq!(exchange(&usual(Off, 1), &none(Mandatory)).err(), refused);
    let (_, _, ours, _) = exchange(&usual(BestEffort, 1), &none(BestEffort)).expect("agreed");
    assert_eq!(ours.security, None);
}

/// An answer must name a line of the offer; one that makes a suite up secures nothing.
#[test]
fn an_answer_with_another_tag_or_suite_is_not_taken() {
    let mut here = Negotiator::new(1);
    here.offer(&usual(Mandatory, 1)).expect("an offer");
    let (_, answer, ..) = exchange(&usual(Mandatory, 1), &usual(Mandatory, 9)).expect("agreed");
    for (from, to) in [
        ("a=crypto:1 ", "a=crypto:3 "),
        ("AEAD_AES_256", "AEAD_AES_128"),
    ] {
        let forged = answer.replace(from, to);
        let refused = here.handle_answer(forged.as_bytes());
        assert_eq!(refused, Err(NegotiationError::SecureMedia), "{forged}");
    }
    let stripped: String = answer
        .split_inclusive('\n')
        .filter(|line| !line.starts_with("a=crypto"))
        .collect();
    let refused = here.handle_answer(stripped.as_bytes());
    assert_eq!(refused, Err(NegotiationError::SecureMedia));
    assert!(here.handle_answer(answer.as_bytes()).is_ok());
}

#[test]
fn a_re_offer_keeps_profile_and_keys_and_may_bring_new_ones() {
    let (ours, theirs) = (usual(BestEffort, 1), usual(Mandatory, 9));
    let (mut here, mut there) = (Negotiator::new(1), Negotiator::new(2));
    let offer = there.offer(&theirs).expect("an offer");
    here.handle_offer(offer.as_bytes()).expect("an offer");
    let (answer, first) = here.answer(&ours).expect("an answer");
    there.handle_answer(answer.as_bytes()).expect("an answer");
    // Our re-offer stays under the profile that was agreed, though our policy alone would not ask it.
    let offer = here.offer(&ours).expect("an offer");
    assert!(offer.contains("RTP/SAVP "), "{offer}");
    there.handle_offer(offer.as_bytes()).expect("an offer");
    let renewed = usual(Mandatory, 50);
    let (answer, _) = there.answer(&renewed).expect("an answer");
    let again = here.handle_answer(answer.as_bytes()).expect("an answer");
    let (first, again) = (
        first.security.expect("secured"),
        again.security.expect("secured"),
    );
    assert_eq!(first.local.key(), again.local.key());
    assert_eq!(again.remote.key(), renewed.security.keys[0].key());
}

#[test]
fn other_key_exchanges_are_refused() {
    let offer = "v=0\r\nc=IN IP4 192.0.2.9\r\nm=audio 4000 UDP/TLS/RTP/SAVPF 0\r\n\
                 a=fingerprint:sha-256 00\r\n";
    let mut there = Negotiator::new(2);
    there.handle_offer(offer.as_bytes()).expect("readable");
    let refused = there.answer(&usual(BestEffort, 9));
    assert_eq!(refused.err(), Some(NegotiationError::SecureMedia));
}

/// Hostile: more lines than anybody needs, the same tag twice, nonsense between.
#[test]
fn lines_are_bounded_and_tags_count_once() {
    let own = keys(&SUITES, 3);
    let good = own[1].to_value();
    let mut lines = vec![
        Attribute::flag("crypto"),
        Attribute::new("crypto", "1 NULL inline:"),
    ];
    lines.extend((0..1_000).map(|_| Attribute::new("crypto", good.as_str())));
    let media = Media {
        kind: "audio".into(),
        port: 4000,
        protocol: "RTP/SAVP".into(),
        formats: vec!["0".into()],
        connection: None,
        attributes: lines,
    };
    assert_eq!(read(&media), own[1..]);
}

/// Threat M6: what is shown of a description or of a negotiation holds no key.
#[test]
fn nothing_shows_a_key() {
    let local = usual(Mandatory, 0xA7);
    let mut here = Negotiator::new(1);
    let offer = here.offer(&local).expect("an offer");
    let inline = offer.split("inline:").nth(1).expect("a key")[..16].to_owned();
    let read = crate::sdp::session::SessionDescription::parse(offer.as_bytes());
    let shown = format!("{here:?} {local:?} {read:?}");
    assert!(
        !shown.contains(&inline) && !shown.contains("167"),
        "{shown}"
    );
}

#[test]
fn a_line_with_our_own_key_is_not_taken() {
    for policy in [BestEffort, Mandatory] {
        let wanted = match policy {
            Mandatory => Err(NegotiationError::SecureMedia),
            _ => Ok(None),
        };
        // The answerer sends our own key back, and then the other way round.
        let reflected = exchange(&usual(policy, 1), &usual(policy, 1));
        assert_eq!(reflected.map(|(_, _, ours, _)| ours.security), wanted);
        let mut here = Negotiator::new(1);
        let offer = here.offer(&usual(policy, 1)).expect("an offer");
        let key = |line: &&str| line.starts_with("a=crypto:1 ");
        let line = offer.lines().find(key).expect("a key");
        let profile = if policy == Mandatory {
            "RTP/SAVP"
        } else {
            "RTP/AVP"
        };
        let answer = format!(
            "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 4000 {profile} 0\r\n{line}\r\n"
        );
        let taken = here.handle_answer(answer.as_bytes());
        assert_eq!(taken.map(|ours| ours.security), wanted);
    }
}
