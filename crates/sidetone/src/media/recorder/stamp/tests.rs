//! Answers of OpenSSL's authority, as they came and altered; tickets over crashes.

use std::io::ErrorKind;
use std::sync::Mutex;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair};

use super::answer::{Asked, check};
use super::clerk::{AttendError, Stamped, attend, enqueue, settle, waiting};
use super::request::{Nonce, request};
use super::*;
use crate::media::recorder::disk::{Disk, DiskFile, read_all};
use crate::media::recorder::lab::Forgetful;
use crate::media::recorder::seal::unhex_all;

const ROOT: &[u8] = include_bytes!("../../../../../../fuzz/seeds/time_stamp/root");
const RSA: &[u8] = include_bytes!("../../../../../../fuzz/seeds/time_stamp/rsa");
const ELLIPTIC: &[u8] = include_bytes!("../../../../../../fuzz/seeds/time_stamp/elliptic");
const REFUSED: &[u8] = include_bytes!("../../../../../../fuzz/seeds/time_stamp/refused");
/// What was stamped.
const RECORD: &[u8] = b"a record\n";

fn roots() -> Vec<CertificateDer<'static>> {
    vec![CertificateDer::from(ROOT)]
}

fn judge(answer: &[u8], record: &[u8]) -> Result<Stamp, StampError> {
    let asked = Asked {
        digest: &imprint(record),
        nonce: None,
        policy: None,
    };
    check(answer, &asked, &roots())
}

#[test]
fn a_stamp_says_when_and_who() {
    let stamp = judge(RSA, RECORD).expect("a stamp");
    assert_eq!(stamp.authority, "C=DE, O=Time Keepers, CN=Authority One");
    assert_eq!(stamp.policy, "1.2.3.4.1");
    // Nov 22 03:19:39.135 2026, as `openssl ts -reply -text` has it; 1 s, 500 ms, 100 us.
    assert_eq!(stamp.time.as_unix_nanos(), 1_795_317_579_135_000_000);
    assert_eq!(stamp.accuracy, Some(Duration::from_micros(1_500_100)));
    // ECDSA, SHA-512, its certificate named by SHA-1.
    let other = judge(ELLIPTIC, RECORD).expect("a stamp");
    assert_eq!(other.authority, "CN=Authority Two");
    assert_eq!(other.accuracy, None);
}

#[test]
fn a_stamp_of_something_else_is_none() {
    assert_eq!(judge(RSA, b"another\n"), Err(StampError::Other));
    let digest = imprint(RECORD);
    let mut asked = Asked {
        digest: &digest,
        nonce: Some(&Nonce::new([1; 8])),
        policy: None,
    };
    assert_eq!(check(RSA, &asked, &roots()), Err(StampError::Nonce));
    (asked.nonce, asked.policy) = (None, Some("1.2.3.4.5"));
    let policy = StampError::Policy("1.2.3.4.1".into());
    assert_eq!(check(RSA, &asked, &roots()), Err(policy));
    let told = judge(REFUSED, RECORD);
    assert!(
        matches!(&told, Err(StampError::Refused { status: 2, text }) if text.contains("policy")),
        "{told:?}"
    );
}

#[test]
fn an_authority_of_nobody_is_not_believed() {
    let asked = Asked {
        digest: &imprint(RECORD),
        nonce: None,
        policy: None,
    };
    let told = check(RSA, &asked, &[]);
    assert!(matches!(told, Err(StampError::Untrusted(_))), "{told:?}");
    let key = KeyPair::generate().expect("a key");
    let stranger = CertificateParams::default().self_signed(&key);
    let stranger = stranger.expect("a certificate").der().clone();
    let told = check(RSA, &asked, &[stranger]);
    assert!(matches!(told, Err(StampError::Untrusted(_))), "{told:?}");
}

#[test]
fn no_byte_that_counts_can_be_altered() {
    let whole = judge(RSA, RECORD).expect("a stamp");
    let mut refused = 0;
    for at in 0..RSA.len() {
        let mut altered = RSA.to_vec();
        altered[at] ^= 1 << (at % 8);
        match judge(&altered, RECORD) {
            // The version of a structure, or which issuer a signer claims to have: nothing that is told.
            Ok(stamp) => assert_eq!(stamp, whole, "at {at}"),
            Err(_) => refused += 1,
        }
        assert!(judge(&RSA[..at], RECORD).is_err(), "cut at {at}");
    }
    assert!(refused * 10 > RSA.len() * 8, "{refused} of {}", RSA.len());
}

#[test]
fn a_certificate_has_to_be_for_stamps_alone() {
    let key = KeyPair::generate().expect("a key");
    let read = |purposes: &[ExtendedKeyUsagePurpose]| {
        let mut params = CertificateParams::default();
        params.extended_key_usages = purposes.to_vec();
        let made = params.self_signed(&key).expect("a certificate");
        certificate::read(made.der()).expect("a certificate")
    };
    assert!(!read(&[]).is_for_stamps);
    assert!(!read(&[ExtendedKeyUsagePurpose::ServerAuth]).is_for_stamps);
    // Made as not critical.
    assert!(!read(&[ExtendedKeyUsagePurpose::TimeStamping]).is_for_stamps);
}

#[test]
fn a_request_is_what_openssl_would_ask() {
    // openssl ts -query -data data -sha256 -cert, but for the number.
    let query = request(&imprint(RECORD), Some(&Nonce::new([0x49; 8])), None).expect("a request");
    let expected = "3043020101303130\
        0d06096086480165030402010500042022d60c4836386d11fca52af46e9a7fe2e50f656c2d68450c59370b35ea26f730\
        020849494949494949490101ff";
    assert_eq!(Some(query), unhex_all(&expected.replace(' ', "")));
    let told = request(&[0; 32], None, Some("a policy"));
    assert_eq!(told, Err(StampError::Policy("a policy".into())));
}

/// Answers what it was given, the last first; then nothing.
struct Mailbox(Mutex<Vec<Vec<u8>>>);

impl Authority for Mailbox {
    fn ask(&self, _request: &[u8]) -> io::Result<Vec<u8>> {
        let answer = self.0.lock().expect("no other panicked").pop();
        answer.ok_or_else(|| ErrorKind::TimedOut.into())
    }
}

#[test]
fn a_ticket_stays_until_there_is_a_stamp() {
    let disk = Forgetful::default();
    let config = StampConfig::new("/queue", roots());
    let audio = Path::new("/calls/a.wav");
    let mut seal = disk.create(&seal_path(audio)).expect("a file");
    seal.write_at(0, RECORD).expect("a file");
    enqueue(&disk, &config, audio).expect("a ticket");
    enqueue(&disk, &config, audio).expect("the same ticket");
    let ticket = waiting(&disk, &config).expect("a queue").remove(0);
    // It answers another request; and is not there.
    let authority = Mailbox(Mutex::new(vec![RSA.to_vec()]));
    let asked = || attend(&disk, &config, &authority, &ticket);
    let told = asked();
    assert!(
        matches!(told, Err(AttendError::Stamp(StampError::Nonce))),
        "{told:?}"
    );
    assert!(matches!(asked(), Err(AttendError::Failed(_))));
    assert!(disk.open(&stamp_path(audio)).is_err());
    let waits = waiting(&disk, &config).expect("a queue");
    assert_eq!(waits, std::slice::from_ref(&ticket));
    settle(&disk, &config, &ticket).expect("a queue");
    assert!(waiting(&disk, &config).expect("a queue").is_empty());
    // A ticket that is none is set aside.
    let mut broken = disk.create(&ticket).expect("a file");
    broken
        .write_at(0, b"sidetone-stamp 1 audio=")
        .expect("a file");
    let told: Result<Stamped, _> = asked();
    assert!(matches!(told, Err(AttendError::Gone)));
    let aside = read_all(
        &mut disk.open(&ticket.with_extension("gone")).expect("a file"),
        99,
    );
    assert_eq!(aside.expect("a file"), b"sidetone-stamp 1 audio=");
}
