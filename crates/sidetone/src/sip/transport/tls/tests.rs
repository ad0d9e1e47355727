//! Handshakes in memory: which certificates are taken, and which are shown.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
    date_time_ymd,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ServerConnection};

use super::*;

/// An authority, and what it signs.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    fn sign(&self, params: CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let chain = certificate.pem();
        Identity::from_pem(chain.as_bytes(), key.serialize_pem().as_bytes()).unwrap()
    }

    fn trusted(&self) -> Vec<CertificateDer<'static>> {
        certificates_from_pem(self.0.pem().as_bytes()).unwrap()
    }
}

/// A certificate for these names.
fn named(names: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.subject_alt_names = names
        .iter()
        .map(|name| match name.parse() {
            Ok(ip) => SanType::IpAddress(ip),
            Err(_) if name.starts_with("sip:") => SanType::URI((*name).try_into().unwrap()),
            Err(_) => SanType::DnsName((*name).try_into().unwrap()),
        })
        .collect();
    params
        .distinguished_name
        .push(DnType::CommonName, "common.example");
    params
}

fn server(identities: Vec<Identity>) -> Tls {
    Tls::new(TlsSettings {
        identities,
        ..TlsSettings::default()
    })
    .unwrap()
}

fn client(authority: &Authority) -> Tls {
    Tls::new(TlsSettings {
        authorities: authority.trusted(),
        ..TlsSettings::default()
    })
    .unwrap()
}

/// A handshake in memory; both ends are up, or the first error.
fn shake(
    client: &Tls,
    server: &Tls,
    name: &str,
) -> Result<(ClientConnection, ServerConnection), rustls::Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(client.client(), name)?;
    let mut server = ServerConnection::new(server.server().unwrap())?;
    for _ in 0..4 {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        let mut wire = Vec::new();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok((client, server))
}

fn why(result: Result<(ClientConnection, ServerConnection), rustls::Error>) -> String {
    result.map_or_else(|error| error.to_string(), |_| "connected".into())
}

/// Eight certificates, of which only the first may be talked to: right name, wrong name, common name
/// only, wildcard, expired, self-signed, revoked, and another name at the same address.
#[test]
fn only_the_right_certificate_is_talked_to() {
    let authority = Authority::new("ca");
    let mut expired = named(&["sip.example.com"]);
    expired.not_before = date_time_ymd(2020, 1, 1);
    expired.not_after = date_time_ymd(2021, 1, 1);
    let mut revoked = named(&["sip.example.com"]);
    revoked.serial_number = Some(SerialNumber::from(66));
    let stranger = Authority::new("stranger");
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2026, 1, 1),
        next_update: date_time_ymd(2099, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: vec![RevokedCertParams {
            serial_number: SerialNumber::from(66),
            revocation_time: date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        }],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = list.signed_by(&authority.0).unwrap().pem().unwrap();
    let client = Tls::new(TlsSettings {
        authorities: authority.trusted(),
        revocations: revocation_lists_from_pem(list.as_bytes()).unwrap(),
        ..TlsSettings::default()
    })
    .unwrap();
    let cases = [
        ("right", authority.sign(named(&["sip.example.com"])), true),
        ("uri", authority.sign(named(&["sip:sip.example.com"])), true),
        (
            "wrong",
            authority.sign(named(&["other.example.com"])),
            false,
        ),
        ("common", authority.sign(named(&[])), false),
        ("wildcard", authority.sign(named(&["*.example.com"])), false),
        ("expired", authority.sign(expired), false),
        (
            "stranger",
            stranger.sign(named(&["sip.example.com"])),
            false,
        ),
        ("revoked", authority.sign(revoked), false),
    ];
    for (case, identity, fine) in cases {
        let told = why(shake(&client, &server(vec![identity]), "sip.example.com"));
        assert_eq!(told == "connected", fine, "{case}: {told}");
    }
}

#[test]
fn an_address_needs_a_certificate_with_it() {
    let authority = Authority::new("ca");
    let by_address = server(vec![authority.sign(named(&["192.0.2.1"]))]);
    let by_name = server(vec![authority.sign(named(&["sip.example.com"]))]);
    let client = client(&authority);
    assert_eq!(why(shake(&client, &by_address, "192.0.2.1")), "connected");
    assert_ne!(why(shake(&client, &by_address, "192.0.2.2")), "connected");
    assert_ne!(why(shake(&client, &by_name, "192.0.2.1")), "connected");
}

#[test]
fn a_server_shows_the_certificate_that_is_asked_for() {
    let authority = Authority::new("ca");
    let server = server(vec![
        authority.sign(named(&["first.example"])),
        authority.sign(named(&["second.example"])),
    ]);
    let client = client(&authority);
    for name in ["first.example", "second.example"] {
        assert_eq!(why(shake(&client, &server, name)), "connected", "{name}");
    }
    assert_ne!(why(shake(&client, &server, "third.example")), "connected");
}

#[test]
fn clients_show_who_they_are_where_that_is_asked() {
    let authority = Authority::new("ca");
    let stranger = Authority::new("stranger");
    let server = |clients| {
        Tls::new(TlsSettings {
            identities: vec![authority.sign(named(&["sip.example.com"]))],
            authorities: authority.trusted(),
            clients,
            ..TlsSettings::default()
        })
        .unwrap()
    };
    let showing = |identities| {
        Tls::new(TlsSettings {
            identities,
            authorities: authority.trusted(),
            ..TlsSettings::default()
        })
        .unwrap()
    };
    let carrier = showing(vec![authority.sign(named(&["carrier.example"]))]);
    let other = showing(vec![authority.sign(named(&["other.example"]))]);
    let forged = showing(vec![stranger.sign(named(&["carrier.example"]))]);
    let nobody = showing(Vec::new());
    let domains = Clients::Domains(vec!["carrier.example".into()]);
    for (clients, fine) in [
        (Clients::Anonymous, [true, true, true, true]),
        (Clients::Known, [true, true, false, false]),
        (domains, [true, false, false, false]),
    ] {
        let server = server(clients.clone());
        for (index, client) in [&carrier, &other, &forged, &nobody].into_iter().enumerate() {
            let told = why(shake(client, &server, "sip.example.com"));
            assert_eq!(
                told == "connected",
                fine[index],
                "{clients:?} {index}: {told}"
            );
        }
    }
}

#[test]
fn a_reload_changes_new_connections_only() {
    let authority = Authority::new("ca");
    let tls = server(vec![authority.sign(named(&["old.example"]))]);
    let trusting = client(&authority);
    let (mut old, mut up) = shake(&trusting, &tls, "old.example").unwrap();
    tls.reload(TlsSettings {
        identities: vec![authority.sign(named(&["new.example"]))],
        ..TlsSettings::default()
    })
    .unwrap();
    assert_ne!(why(shake(&trusting, &tls, "old.example")), "connected");
    assert_eq!(why(shake(&trusting, &tls, "new.example")), "connected");
    let mut wire = Vec::new();
    std::io::Write::write_all(&mut old.writer(), b"still here").unwrap();
    old.write_tls(&mut wire).unwrap();
    up.read_tls(&mut wire.as_slice()).unwrap();
    up.process_new_packets().unwrap();
    let mut heard = [0; 10];
    std::io::Read::read_exact(&mut up.reader(), &mut heard).unwrap();
    assert_eq!(&heard, b"still here");
}

#[test]
fn what_cannot_be_used_is_refused() {
    let authority = Authority::new("ca");
    assert!(matches!(
        certificates_from_pem(b"nonsense"),
        Err(TlsError::Certificate(_))
    ));
    let pem = authority.0.pem();
    let other = KeyPair::generate().unwrap().serialize_pem();
    assert!(matches!(
        Identity::from_pem(pem.as_bytes(), other.as_bytes()),
        Err(TlsError::Key(_))
    ));
    let tls = Tls::new(TlsSettings::default()).unwrap();
    assert!(
        tls.server().is_none(),
        "nobody connects without a certificate"
    );
    let before = tls.client();
    let broken = TlsSettings {
        authorities: vec![CertificateDer::from(&b"nonsense"[..])],
        ..TlsSettings::default()
    };
    assert!(tls.reload(broken).is_err());
    assert!(Arc::ptr_eq(&before, &tls.client()), "the old settings stay");
}

#[test]
fn keys_are_not_shown() {
    let authority = Authority::new("ca");
    let identity = authority.sign(named(&["sip.example.com"]));
    assert_eq!(format!("{identity:?}"), "Identity { .. }");
}
