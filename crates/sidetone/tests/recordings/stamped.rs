//! Records stamped with the time by OpenSSL's authority, which fails and comes back while the engine restarts.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use sidetone::media::recorder::scribe::seal_path;
use sidetone::media::recorder::stamp::answer::{Asked, check};
use sidetone::media::recorder::stamp::clerk::waiting;
use sidetone::media::recorder::stamp::{
    Authority, Stamp, StampConfig, StampError, Stamping, imprint, stamp_path,
};
use sidetone::media::recorder::storage::{News, StorageEvent};
use sidetone::media::recorder::upload::{Upload, UploadConfig};
use sidetone::net::disk::FileSystem;
use sidetone::net::storage::{StorageConfig, StorageThread};
use sidetone::net::store::DirectoryStore;
use sidetone::sip::transport::tls::certificates_from_pem;
use tokio::sync::Notify;

use crate::spool::{Spool, hear, key, open, speak};

/// OpenSSL as an authority, with a certificate for time stamps that is valid in these years.
struct Openssl {
    dir: PathBuf,
    is_down: AtomicBool,
    asked: AtomicU32,
}

const SETTINGS: &str = "[tsa]\ndefault_tsa = main\n[main]\nserial = serial\nsigner_digest = sha256\n\
    default_policy = 1.2.3.4.1\ndigests = sha256\ness_cert_id_alg = sha256\n";

impl Openssl {
    fn new(dir: PathBuf, years: (i32, i32)) -> Self {
        std::fs::create_dir_all(&dir).expect("a directory");
        let valid = (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
        let mut root = CertificateParams::default();
        (root.not_before, root.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(2100, 1, 1));
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        root.distinguished_name.push(DnType::CommonName, "Root");
        let root_key = KeyPair::generate().expect("a key");
        let root_made = root.self_signed(&root_key).expect("a certificate");
        let mut stamps = CertificateParams::default();
        (stamps.not_before, stamps.not_after) = valid;
        stamps.distinguished_name = rcgen::DistinguishedName::new();
        stamps.distinguished_name.push(DnType::CommonName, "Clock");
        stamps.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // Extended key usage: time stamps alone, to be heeded.
        let only = [0x30, 0x0A, 6, 8, 0x2B, 6, 1, 5, 5, 7, 3, 8].to_vec();
        let mut only = CustomExtension::from_oid_content(&[2, 5, 29, 37], only);
        only.set_criticality(true);
        stamps.custom_extensions = vec![only];
        let key = KeyPair::generate().expect("a key");
        let made = stamps.signed_by(&key, &Issuer::new(root, root_key));
        let made = made.expect("a certificate");
        for (name, text) in [
            ("settings", SETTINGS.to_owned()),
            ("serial", "01\n".to_owned()),
            ("root.pem", root_made.pem()),
            ("stamps.pem", made.pem()),
            ("stamps.key", key.serialize_pem()),
        ] {
            std::fs::write(dir.join(name), text).expect("a file");
        }
        Self {
            dir,
            is_down: AtomicBool::new(false),
            asked: AtomicU32::new(0),
        }
    }

    fn config(&self, queue: PathBuf) -> StampConfig {
        let root = std::fs::read(self.dir.join("root.pem")).expect("a file");
        StampConfig::new(queue, certificates_from_pem(&root).expect("a certificate"))
    }
}

impl Authority for Openssl {
    fn ask(&self, request: &[u8]) -> io::Result<Vec<u8>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.is_down.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        std::fs::write(self.dir.join("query"), request)?;
        let done = Command::new("openssl")
            .args(["ts", "-reply", "-config", "settings", "-section", "main"])
            .args(["-queryfile", "query", "-signer", "stamps.pem"])
            .args(["-inkey", "stamps.key", "-out", "answer"])
            .env("OPENSSL_CONF", "/dev/null")
            .current_dir(&self.dir)
            .output()?;
        match done.status.success() {
            true => std::fs::read(self.dir.join("answer")),
            false => Err(io::Error::other(
                String::from_utf8_lossy(&done.stderr).into_owned(),
            )),
        }
    }
}

fn stamped(authority: &Openssl, record: &[u8], answer: &[u8]) -> Result<Stamp, StampError> {
    let asked = Asked {
        digest: &imprint(record),
        nonce: None,
        policy: Some("1.2.3.4.1"),
    };
    check(answer, &asked, &authority.config(PathBuf::new()).roots)
}

fn start(spool: &Path, authority: &Arc<Openssl>, bell: &Arc<Notify>) -> StorageThread {
    let authority = Arc::clone(authority);
    let stamping = Stamping {
        config: authority.config(spool.join("stamps")),
        authority,
    };
    let config = StorageConfig {
        key: Some(key()),
        stamping: Some(stamping),
        upload: Some(Upload {
            config: UploadConfig::new(spool.join("queue"), spool.join("calls")),
            store: Arc::new(DirectoryStore::new(spool.join("archive"))),
        }),
        ..StorageConfig::default()
    };
    StorageThread::start(config, bell).expect("threads").0
}

#[tokio::test]
async fn a_record_is_stamped_although_authority_and_engine_fail_meanwhile() {
    let spool = Spool::new("stamped");
    let authority = Arc::new(Openssl::new(spool.path("authority"), (2020, 2090)));
    authority.is_down.store(true, Ordering::Relaxed);
    let bell = Arc::new(Notify::new());
    let mut thread = start(&spool.0, &authority, &bell);
    let audio = spool.path("calls/a.wav");
    let (mut tap, command) = open(1, &audio, Vec::new());
    assert!(thread.send(command).is_ok());
    speak(&mut tap, 0..40);
    drop(tap);
    hear(&mut thread, &bell, |event| {
        matches!(event, StorageEvent::Stamp(News::Fails { .. }))
    })
    .await;
    drop(thread.stop());
    assert!(!stamp_path(&audio).exists());
    let config = authority.config(spool.path("stamps"));
    let tickets = waiting(&FileSystem, &config).expect("a queue");
    assert_eq!(tickets.len(), 1);
    // Another engine, and the authority is back.
    authority.is_down.store(false, Ordering::Relaxed);
    let mut thread = start(&spool.0, &authority, &bell);
    let is_stamps = |event: &StorageEvent| matches!(event, StorageEvent::Upload(News::Done(it)) if it.key == "a.wav.seal.tsr");
    hear(&mut thread, &bell, is_stamps).await;
    drop(thread.stop());
    assert!(authority.asked.load(Ordering::Relaxed) >= 2);
    assert!(waiting(&FileSystem, &config).expect("a queue").is_empty());
    for audio in [audio, spool.path("archive/a.wav")] {
        let record = std::fs::read(seal_path(&audio)).expect("a record");
        let answer = std::fs::read(stamp_path(&audio)).expect("a stamp");
        let stamp = stamped(&authority, &record, &answer).expect("a stamp");
        assert_eq!(stamp.authority, "CN=Clock");
        let told = stamped(&authority, b"another record", &answer);
        assert_eq!(told, Err(StampError::Other));
        // As anybody can check it without us.
        let done = Command::new("openssl")
            .args(["ts", "-verify", "-data"])
            .arg(seal_path(&audio))
            .arg("-in")
            .arg(stamp_path(&audio))
            .arg("-CAfile")
            .arg(authority.dir.join("root.pem"))
            .output()
            .expect("openssl");
        let told = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{told}");
    }
}

#[test]
fn a_certificate_that_was_not_valid_then_is_not_believed() {
    let spool = Spool::new("stamped-late");
    let good = Openssl::new(spool.path("good"), (2020, 2090));
    let late = Openssl::new(spool.path("late"), (2010, 2012));
    let query = sidetone::media::recorder::stamp::request::request(
        &imprint(b"record"),
        None,
        Some("1.2.3.4.1"),
    );
    let query = query.expect("a request");
    let answer = late.ask(&query).expect("an answer");
    let told = stamped(&late, b"record", &answer);
    assert!(matches!(told, Err(StampError::Untrusted(_))), "{told:?}");
    // Nor an authority of others, which calls itself the same.
    let answer = good.ask(&query).expect("an answer");
    assert!(stamped(&good, b"record", &answer).is_ok());
    let told = stamped(&late, b"record", &answer);
    assert!(matches!(told, Err(StampError::Untrusted(_))), "{told:?}");
}
