//! TLS, WebSocket and the DNS on real sockets: engines on loopback, and peers that misbehave.
#![cfg(feature = "net")]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, NAPTR, SRV};
use hickory_proto::rr::{Name, RData, Record};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use sidetone::b2bua::trunk::{Address, Trunk};
use sidetone::call::cause::EndReason;
use sidetone::engine::config::{Config, Listener};
use sidetone::engine::event::CallError;
use sidetone::face::call::Call;
use sidetone::face::engine::Engine;
use sidetone::sip::transport::Transport;
use sidetone::sip::transport::tls::{Clients, Identity, Tls, TlsSettings, certificates_from_pem};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// An authority of a test.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    /// TLS with a certificate for these names, which trusts this authority.
    fn tls(&self, names: &[&str], clients: Clients) -> Tls {
        Tls::new(self.settings(names, clients)).expect("usable settings")
    }

    fn settings(&self, names: &[&str], clients: Clients) -> TlsSettings {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(names).expect("names");
        let chain = params
            .signed_by(&key, &self.0)
            .expect("a certificate")
            .pem();
        let identity = Identity::from_pem(chain.as_bytes(), key.serialize_pem().as_bytes());
        TlsSettings {
            identities: vec![identity.expect("an identity")],
            authorities: certificates_from_pem(self.0.pem().as_bytes()).expect("an authority"),
            clients,
            ..TlsSettings::default()
        }
    }
}

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// An engine with one listener.
fn config(transport: Transport, tls: Option<Tls>) -> Config {
    let mut config = Config::on(Ipv4Addr::LOCALHOST.into());
    config.listeners = vec![Listener::new(transport, LOOPBACK)];
    config.tls = tls;
    config
}

async fn stay(call: Call) -> Result<(), CallError> {
    call.answer().await?;
    call.ended().await.map(drop)
}

/// A call from one engine to another that the called one ends, so that requests go both ways.
async fn call_that_the_called_ends(caller: Config, callee: Config, uri: &str) {
    let callee = Engine::start(callee).await.expect("an engine");
    let caller = Engine::start(caller).await.expect("an engine");
    let uri = uri.replace("PORT", &callee.listening()[0].port().to_string());
    let serving = callee.clone();
    let serve = tokio::spawn(async move {
        let hang_up = |call: Call| async move {
            call.answer().await?;
            call.hang_up().await
        };
        serving.serve(hang_up).await;
    });
    let call = caller.dial(&uri).await.expect("an answer");
    let end = call.ended().await.expect("an end");
    assert_eq!(end.reason, EndReason::RemoteHangup);
    caller.shutdown(Duration::ZERO).await;
    callee.shutdown(Duration::from_secs(1)).await;
    serve.await.expect("no panic");
}

#[tokio::test]
async fn calls_over_each_transport() {
    let authority = Authority::new();
    let tls = || Some(authority.tls(&["127.0.0.1"], Clients::Anonymous));
    for (transport, uri) in [
        (Transport::Tls, "sip:x@127.0.0.1:PORT;transport=tls"),
        (Transport::Tls, "sips:x@127.0.0.1:PORT"),
        (Transport::Ws, "sip:x@127.0.0.1:PORT;transport=ws"),
        (Transport::Wss, "sips:x@127.0.0.1:PORT;transport=ws"),
    ] {
        let callee = config(transport, tls());
        call_that_the_called_ends(config(transport, tls()), callee, uri).await;
    }
}

/// A server's TLS whose certificate was made as `alter` says, and signed by `signer`.
fn forged(signer: &Authority, alter: impl FnOnce(&mut CertificateParams)) -> Tls {
    let mut settings = signer.settings(&["127.0.0.1"], Clients::Anonymous);
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("names");
    alter(&mut params);
    let key = KeyPair::generate().expect("a key");
    let chain = params.signed_by(&key, &signer.0).expect("a certificate");
    let identity = Identity::from_pem(chain.pem().as_bytes(), key.serialize_pem().as_bytes());
    settings.identities = vec![identity.expect("an identity")];
    Tls::new(settings).expect("usable settings")
}

/// A server's TLS whose certificate vouches for itself.
fn self_signed(authority: &Authority) -> Tls {
    let mut settings = authority.settings(&["127.0.0.1"], Clients::Anonymous);
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("names");
    let own = params.self_signed(&key).expect("a certificate");
    let identity = Identity::from_pem(own.pem().as_bytes(), key.serialize_pem().as_bytes());
    settings.identities = vec![identity.expect("an identity")];
    Tls::new(settings).expect("usable settings")
}

#[tokio::test]
async fn only_the_certificate_of_the_name_that_was_called_lets_a_call_out() {
    let authority = Authority::new();
    let address: std::net::IpAddr = Ipv4Addr::LOCALHOST.into();
    let without_names = |params: &mut CertificateParams| params.subject_alt_names.clear();
    let cases = [
        ("right", forged(&authority, |_| {}), true),
        (
            "another name",
            authority.tls(&["sip.example.com"], Clients::Anonymous),
            false,
        ),
        (
            "another address",
            authority.tls(&["127.0.0.2"], Clients::Anonymous),
            false,
        ),
        (
            "a wildcard",
            authority.tls(&["*.0.0.1"], Clients::Anonymous),
            false,
        ),
        ("self-signed", self_signed(&authority), false),
        (
            "a strange authority",
            forged(&Authority::new(), |_| {}),
            false,
        ),
        (
            "expired",
            forged(&authority, |params| {
                params.not_after = date_time_ymd(2020, 1, 1)
            }),
            false,
        ),
        (
            "not yet valid",
            forged(&authority, |params| {
                params.not_before = date_time_ymd(2999, 1, 1)
            }),
            false,
        ),
        (
            "a common name only",
            forged(&authority, |params| {
                without_names(params);
                params
                    .distinguished_name
                    .push(DnType::CommonName, address.to_string());
            }),
            false,
        ),
    ];
    let caller = authority.tls(&["127.0.0.1"], Clients::Anonymous);
    let caller = Engine::start(config(Transport::Tls, Some(caller))).await;
    let caller = caller.expect("an engine");
    for (what, tls, is_right) in cases {
        let callee = Engine::start(config(Transport::Tls, Some(tls))).await;
        let callee = callee.expect("an engine");
        let serving = callee.clone();
        let serve = tokio::spawn(async move { serving.serve(stay).await });
        let uri = format!("sips:x@{}", callee.listening()[0]);
        let call = caller.dial(&uri).await;
        assert_eq!(call.is_ok(), is_right, "{what}");
        let heard = callee.report().await.expect("a report").sip.requests > 0;
        assert_eq!(
            heard, is_right,
            "{what}: nothing is said to whom is not trusted"
        );
        drop(call);
        callee.shutdown(Duration::ZERO).await;
        serve.await.expect("no panic");
    }
    caller.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn a_certificate_is_renewed_while_a_call_is_up() {
    let authority = Authority::new();
    let tls = authority.tls(&["127.0.0.1"], Clients::Anonymous);
    let callee = config(Transport::Tls, Some(tls.clone()));
    let callee = Engine::start(callee).await.expect("an engine");
    let serving = callee.clone();
    let serve = tokio::spawn(async move { serving.serve(stay).await });
    let caller = |authority: &Authority| {
        config(
            Transport::Tls,
            Some(authority.tls(&["127.0.0.1"], Clients::Anonymous)),
        )
    };
    let first = Engine::start(caller(&authority)).await.expect("an engine");
    let uri = format!("sips:x@{}", callee.listening()[0]);
    let call = first.dial(&uri).await.expect("an answer");
    let renewed = Authority::new();
    let settings = renewed.settings(&["127.0.0.1"], Clients::Anonymous);
    tls.reload(settings).expect("usable settings");
    // The new one is what others see; the call goes on over its connection.
    let other = Engine::start(caller(&authority)).await.expect("an engine");
    assert!(other.dial(&uri).await.is_err());
    let late = Engine::start(caller(&renewed)).await.expect("an engine");
    let second = late.dial(&uri).await.expect("an answer");
    call.hang_up().await.expect("a call");
    second.hang_up().await.expect("a call");
    for engine in [first, other, late, callee] {
        engine.shutdown(Duration::from_secs(1)).await;
    }
    serve.await.expect("no panic");
}

#[tokio::test]
async fn who_shows_no_certificate_is_turned_away_where_one_is_asked_for() {
    let authority = Authority::new();
    let known = || Some(authority.tls(&["127.0.0.1"], Clients::Known));
    let callee = config(Transport::Tls, known());
    let uri = "sips:x@127.0.0.1:PORT";
    call_that_the_called_ends(config(Transport::Tls, known()), callee, uri).await;
    let callee = config(Transport::Tls, known());
    let callee = Engine::start(callee).await.expect("an engine");
    let mut settings = authority.settings(&[], Clients::Anonymous);
    settings.identities.clear();
    let nobody = config(Transport::Tls, Some(Tls::new(settings).expect("settings")));
    let nobody = Engine::start(nobody).await.expect("an engine");
    let uri = format!("sips:x@{}", callee.listening()[0]);
    assert!(nobody.dial(&uri).await.is_err());
    nobody.shutdown(Duration::ZERO).await;
    callee.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn a_caller_is_known_by_its_certificate() {
    let authority = Authority::new();
    let server = authority.tls(&["pbx.test", "127.0.0.1"], Clients::Known);
    let client = authority.tls(&["trunk.test"], Clients::Anonymous);
    let desk = Engine::start(config(Transport::Tls, Some(server)))
        .await
        .expect("an engine");
    let phone = Engine::start(config(Transport::Tls, Some(client)))
        .await
        .expect("an engine");
    let trunk = Trunk::new("trunk", [Address::new("sips:203.0.113.5")]).pinging(None);
    let trunk = desk
        .add_trunk(trunk.domain("trunk.test"))
        .await
        .expect("a trunk");
    let uri = format!("sip:desk@{};transport=tls", desk.listening()[0]);
    let calling = tokio::spawn(async move { phone.dial(&uri).await });
    let caller = desk.incoming().await.expect("a caller");
    let who = caller.caller().expect("a caller");
    assert_eq!(who.domains(), ["trunk.test"]);
    assert_eq!(who.trunk(), Some(trunk));
    caller.reject(486).await.expect("a caller");
    assert!(calling.await.expect("a task").is_err());
}

/// Opens a WebSocket by hand; gives the status and what came with it.
async fn upgrade(address: SocketAddr, headers: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let request = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => answer.push(byte),
            Err(_) => break,
        }
    }
    (stream, String::from_utf8(answer).expect("text"))
}

#[tokio::test]
async fn a_websocket_is_for_sip_and_for_pages_that_are_allowed() {
    let mut server = config(Transport::Ws, None);
    server.listeners[0].origins = vec!["https://phone.example.com".into()];
    let engine = Engine::start(server).await.expect("an engine");
    let address = engine.listening()[0];
    const SIP: &str = "Sec-WebSocket-Protocol: chat, sip\r\n";
    for (headers, status) in [
        (SIP.to_owned(), "101"),
        (format!("{SIP}Origin: https://phone.example.com\r\n"), "101"),
        (format!("{SIP}Origin: https://evil.example\r\n"), "403"),
        (format!("{SIP}Origin: null\r\n"), "403"),
        (String::new(), "400"),
        ("Sec-WebSocket-Protocol: chat\r\n".to_owned(), "400"),
    ] {
        let (_, answer) = upgrade(address, &headers).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{headers}: {answer}"
        );
        let agreed = answer
            .to_ascii_lowercase()
            .contains("sec-websocket-protocol: sip\r\n");
        assert_eq!(agreed, status == "101", "{answer}");
    }
    engine.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn frames_that_no_sip_message_needs_end_the_connection() {
    let engine = Engine::start(config(Transport::Ws, None))
        .await
        .expect("an engine");
    let huge = [&[0x81, 0xff][..], &(1u64 << 30).to_be_bytes(), &[0; 4]].concat();
    let unmasked = [&[0x81, 5][..], b"hello"].concat();
    let mut many = Vec::new();
    for _ in 0..20_000 {
        many.extend_from_slice(&[0x01, 0x84, 0, 0, 0, 0]);
        many.extend_from_slice(b"aaaa");
    }
    for frame in [huge, unmasked, many] {
        let protocol = "Sec-WebSocket-Protocol: sip\r\n";
        let (mut stream, _) = upgrade(engine.listening()[0], protocol).await;
        // It may be closed before all is written.
        let _closed = stream.write_all(&frame).await;
        let mut rest = Vec::new();
        let ended = stream.read_to_end(&mut rest).await;
        assert!(ended.is_err() || rest.len() < 200, "{}", rest.len());
    }
    let report = engine.report().await.expect("a report");
    assert_eq!(report.driver.faults, 0);
    engine.shutdown(Duration::ZERO).await;
}

/// Answers what a zone has.
async fn name_server(zone: Vec<(&'static str, RData)>) -> SocketAddr {
    let socket = UdpSocket::bind(LOOPBACK).await.expect("a socket");
    let address = socket.local_addr().expect("an address");
    tokio::spawn(async move {
        let mut buffer = [0; 1500];
        while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
            let Ok(query) = Message::from_vec(&buffer[..len]) else {
                continue;
            };
            let mut answer = query.clone();
            answer.metadata.message_type = MessageType::Response;
            answer.metadata.response_code = ResponseCode::NoError;
            for question in &query.queries {
                let asked = question.name().to_ascii().to_ascii_lowercase();
                for (name, data) in &zone {
                    let fits = data.record_type() == question.query_type();
                    if fits && asked.trim_end_matches('.') == *name {
                        let name = question.name().clone();
                        answer.add_answer(Record::from_rdata(name, 60, data.clone()));
                    }
                }
            }
            let bytes = answer.to_vec().expect("an answer");
            socket.send_to(&bytes, from).await.expect("sent");
        }
    });
    address
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).expect("a name")
}

/// A domain whose first host refuses connections: NAPTR leads to TLS, SRV to two hosts, and the
/// certificate has to be for the domain.
#[tokio::test]
async fn a_call_finds_its_way_by_the_dns_and_past_a_dead_host() {
    let authority = Authority::new();
    let callee = config(
        Transport::Tls,
        Some(authority.tls(&["example.test"], Clients::Anonymous)),
    );
    let callee = Engine::start(callee).await.expect("an engine");
    let live = callee.listening()[0].port();
    let dead = {
        let taken = std::net::TcpListener::bind(LOOPBACK).expect("a port");
        taken.local_addr().expect("an address").port()
    };
    let flags = || Box::from(&b"s"[..]);
    let service = || Box::from(&b"SIPS+D2T"[..]);
    let next = name("_sips._tcp.example.test.");
    let host = || name("host.example.test.");
    let server = name_server(vec![
        (
            "example.test",
            RData::NAPTR(NAPTR::new(1, 1, flags(), service(), Box::default(), next)),
        ),
        (
            "_sips._tcp.example.test",
            RData::SRV(SRV::new(1, 0, dead, host())),
        ),
        (
            "_sips._tcp.example.test",
            RData::SRV(SRV::new(2, 0, live, host())),
        ),
        ("host.example.test", RData::A(A(Ipv4Addr::LOCALHOST))),
    ])
    .await;
    let serving = callee.clone();
    let serve = tokio::spawn(async move { serving.serve(stay).await });
    let tls = authority.tls(&["127.0.0.1"], Clients::Anonymous);
    let mut caller = config(Transport::Tls, Some(tls));
    caller.dns_servers = vec![server];
    let caller = Engine::start(caller).await.expect("an engine");
    let call = caller.dial("sip:x@example.test").await.expect("an answer");
    call.hang_up().await.expect("a call");
    let report = caller.report().await.expect("a report");
    assert_eq!(report.sip.failovers, 1);
    assert!(caller.dial("sip:x@nowhere.test").await.is_err());
    caller.shutdown(Duration::from_secs(1)).await;
    callee.shutdown(Duration::ZERO).await;
    serve.await.expect("no panic");
}
