//! JsSIP in Chromium, over secure WebSocket. It is signalling alone: what WebRTC itself offers wants DTLS
//! and is refused; the calls that come about have plain descriptions.

use std::fs;
use std::io;

use super::{Case, Proof, SOON, WEB};
use crate::peer::browser::{Browser, Page, files};
use crate::peer::certificates::Certificates;
use crate::peer::own::{Own, PASSWORD};
use crate::peer::place::Place;
use crate::peer::scenario;
use crate::peer::sipp::{Options, Sipp};
use crate::tools;

pub(super) const CASES: [Case; 1] = [Case {
    name: "web: JsSIP in Chromium registers, calls and is called",
    needs: &["sipp", "openssl", "chromium-headless-shell", "npm", WEB],
    run: browser,
}];

fn browser(place: &Place) -> io::Result<Proof> {
    let certificates = Certificates::make(place, "certificates")?;
    let page = Page::serve(place, files(), tools::jssip()?)?;
    let socket = place.take(2);
    let mut desk = desk(place, &certificates, socket, page.port())?;
    let wss = format!("wss://127.0.0.1:{socket}");
    let settings = [
        ("socket", wss.as_str()),
        ("uri", "sip:js@desk"),
        ("password", PASSWORD),
        ("target", "sip:sidetone@desk"),
        (
            "stranger",
            &format!(
                "http://localhost:{}/stranger.html?socket={wss}",
                page.port()
            ),
        ),
    ];
    let query: Vec<String> = settings
        .iter()
        .map(|(name, value)| format!("{name}={}", escape(value)))
        .collect();
    let url = format!(
        "http://127.0.0.1:{}/phone.html?{}",
        page.port(),
        query.join("&")
    );
    let _browser = Browser::open(place, &url, &certificates.own)?;
    page.expect("registered", SOON)?;
    desk.expect("registered js@desk")?;
    page.expect("stranger refused", SOON)?;
    page.expect("WebRTC refused: 488", SOON)?;
    page.expect("answered", SOON)?;
    page.expect("ended by local", SOON)?;
    page.expect("message taken", SOON)?;
    desk.expect("message from sip:js@desk: \"hello\"")?;
    // Now somebody without a browser calls it.
    let options = Options {
        target: Some(desk.address()),
        service: Some("js"),
        ..Options::default()
    };
    let caller = scenario::signing_caller("bob", PASSWORD, 500);
    Sipp::spawn(place, "caller", &caller, &options)?.finish(SOON)?;
    page.expect("was called", SOON)?;
    page.expect("was hung up", SOON)?;
    page.expect("unregistered", SOON)?;
    desk.expect("removed js@desk")?;
    desk.stop()?;
    if page.told().contains("stranger connected") {
        return Err(io::Error::other("a page of another origin connected"));
    }
    Ok(Proof::none())
}

fn desk(place: &Place, tls: &Certificates, socket: u16, page: u16) -> io::Result<Own> {
    let users = place.path("users.txt");
    fs::write(&users, format!("js:{PASSWORD}\nbob:{PASSWORD}\n"))?;
    let [users, own, key] = [&users, &tls.own, &tls.key].map(|file| file.display().to_string());
    let origin = format!("http://127.0.0.1:{page}");
    let who = ["--registrar", "desk", "--users", &users, "--digest", "md5"];
    let certificate = ["--tls-cert", &own, "--tls-key", &key];
    let port = socket.to_string();
    let listen = ["--wss-port", &port, "--ws-origin", &origin];
    Own::answer(
        place,
        &Vec::new(),
        &[&who[..], &certificate, &listen].concat(),
    )
}

/// As a query holds it.
fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric();
    text.bytes()
        .map(|byte| match plain(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}
