//! Peers that register with us and are called through us, and ourselves at Kamailio.

use std::fs;
use std::io;
use std::thread;
use std::time::Duration;

use super::{Case, Proof, SOON, must_hear};
use crate::audio::speech::{Voice, say};
use crate::audio::wav::Wav;
use crate::peer::baresip::{self, Baresip};
use crate::peer::certificates::Certificates;
use crate::peer::dns::Dns;
use crate::peer::flow;
use crate::peer::kamailio::Kamailio;
use crate::peer::linphone::{self, Linphone};
use crate::peer::own::{Own, PASSWORD};
use crate::peer::place::Place;
use crate::peer::scenario::{self, Scenario};
use crate::peer::sipp::{Options, Sipp};

pub(super) const CASES: [Case; 6] = [
    Case {
        name: "registrar: Linphone calls baresip, both registered",
        needs: &["baresip", "linphonec"],
        run: |place| meet(place, true, false),
    },
    Case {
        name: "registrar: baresip calls Linphone, both registered",
        needs: &["baresip", "linphonec"],
        run: |place| meet(place, false, false),
    },
    Case {
        name: "registrar: Linphone calls baresip, both by TLS",
        needs: &["baresip", "linphonec", "openssl"],
        run: |place| meet(place, true, true),
    },
    Case {
        name: "registrar: baresip calls Linphone, both by TLS",
        needs: &["baresip", "linphonec", "openssl"],
        run: |place| meet(place, false, true),
    },
    Case {
        name: "registrar: sidetone at Kamailio",
        needs: &["baresip", "kamailio"],
        run: |place| at_kamailio(place, false),
    },
    Case {
        name: "registrar: sidetone at Kamailio, by TLS",
        needs: &["baresip", "kamailio", "openssl"],
        run: |place| at_kamailio(place, true),
    },
];

pub(super) const QUIET: [Case; 4] = [
    Case {
        name: "registrar: SIPp registers, refreshes, is called, leaves",
        needs: &["sipp"],
        run: sipp_registers,
    },
    Case {
        name: "registrar: SIPp guesses, and reaches for another's address",
        needs: &["sipp"],
        run: sipp_guesses,
    },
    Case {
        name: "registrar: sidetone with a wrong password at Kamailio",
        needs: &["kamailio"],
        run: wrong_password,
    },
    Case {
        name: "registrar: names with SRV, the first host dead, the second full",
        needs: &["sipp", "dnsmasq"],
        run: failover,
    },
];

/// Phones are registered for no longer than this, so that they refresh.
const SHORT: &str = "4";

fn said() -> Vec<i16> {
    say(Voice::Caller, 40.0)
}

fn answered() -> Vec<i16> {
    say(Voice::Agent, 40.0)
}

/// Our registrar of the domain `desk`, which knows `users`. Neither SIPp nor baresip 1.0 knows more than
/// MD5.
fn registrar(place: &Place, users: &[&str], expires: &str, more: &[String]) -> io::Result<Own> {
    let file = place.path("users.txt");
    let lines = users.iter().map(|user| format!("{user}:{PASSWORD}\n"));
    fs::write(&file, lines.collect::<String>())?;
    let file = file.display().to_string();
    let who = ["--registrar", "desk", "--users", &file, "--digest", "md5"];
    let mut options = [&who[..], &["--registrar-expires", expires]].concat();
    options.extend(more.iter().map(String::as_str));
    Own::answer(place, &Vec::new(), &options)
}

/// Both phones register, and keep registered; one calls the other by its name here. By TLS they are
/// reached through the connections that they have made.
fn meet(place: &Place, linphone_calls: bool, tls: bool) -> io::Result<Proof> {
    let certificates = match tls {
        true => Some(Certificates::make(place, "certificates")?),
        false => None,
    };
    let secure = place.take(2);
    let mut listen = Vec::new();
    if let Some(files) = &certificates {
        listen = files.options();
        listen.extend(["--tls-port".to_owned(), secure.to_string()]);
    }
    let mut desk = registrar(place, &["alice", "bob"], SHORT, &listen)?;
    let (said, answered) = (said(), answered());
    let [say_bob, say_alice] = [&said, &answered].map(|sound| Wav::mono(sound.clone()));
    let (at, way) = match tls {
        true => (format!("127.0.0.1:{secure}"), ";transport=tls"),
        false => (desk.address(), ""),
    };
    let password = format!("auth_pass={PASSWORD}");
    let mut bob = Baresip::with(
        place,
        "bob",
        &baresip::Options {
            answer: true,
            account: &["auth_user=bob", &password],
            registrar: Some(&at),
            tls: certificates.as_ref(),
            ..baresip::Options::saying(&say_bob)
        },
    )?;
    let uri = format!("sip:{at}{way}");
    let mut alice = Linphone::with(
        place,
        "alice",
        &linphone::Options {
            answer: true,
            account: Some(("alice", PASSWORD, "desk")),
            registrar: Some(&uri),
            tls: certificates.as_ref(),
            ..linphone::Options::saying(&say_alice)
        },
    )?;
    for word in [
        "registered alice@desk",
        "registered bob@desk",
        "refreshed alice@desk",
    ] {
        desk.expect(word)?;
    }
    desk.expect("refreshed bob@desk")?;
    if linphone_calls {
        alice.dial(&format!("sip:bob@{at}{way}"))?;
    } else {
        bob.dial(&format!("sip:alice@{at}{way}"))?;
    }
    desk.expect("put through")?;
    alice.expect_up(SOON)?;
    bob.expect_up(SOON)?;
    thread::sleep(Duration::from_secs(4));
    bob.hang_up()?;
    alice.expect_over(SOON)?;
    must_hear("baresip", &answered, &bob.heard()?, 2.0)?;
    bob.quit()?;
    desk.expect("removed bob@desk")?;
    must_hear("Linphone", &said, &alice.heard()?, 2.0)?;
    desk.expect("removed alice@desk")?;
    desk.stop()?;
    if tls {
        return Ok(Proof {
            veiled: true,
            ..Proof::none()
        });
    }
    Ok(Proof::none().shows(
        "registrations that were signed",
        "sip.Method == \"REGISTER\" && sip.Authorization",
        4,
    ))
}

/// A SIPp at `port` that registers by `scenario`.
fn register(
    place: &Place,
    name: &str,
    desk: &Own,
    scenario: &Scenario,
    port: Option<u16>,
) -> io::Result<Sipp> {
    let options = Options {
        target: Some(desk.address()),
        registers: true,
        port,
        ..Options::default()
    };
    let mut sipp = Sipp::spawn(place, name, scenario, &options)?;
    sipp.finish(SOON)?;
    Ok(sipp)
}

/// A SIPp that calls alice.
fn call(place: &Place, name: &str, desk: &Own, scenario: &Scenario) -> io::Result<Sipp> {
    let options = Options {
        target: Some(desk.address()),
        service: Some("alice"),
        ..Options::default()
    };
    let mut sipp = Sipp::spawn(place, name, scenario, &options)?;
    sipp.finish(SOON)?;
    Ok(sipp)
}

fn sipp_registers(place: &Place) -> io::Result<Proof> {
    let mut desk = registrar(place, &["alice", "bob"], "600", &[])?;
    let signs = flow::registering("alice", PASSWORD);
    let port = register(place, "registering", &desk, &signs, None)?.port();
    desk.expect("registered alice@desk")?;
    desk.expect("refreshed alice@desk")?;
    let at = Options {
        port: Some(port),
        ..Options::default()
    };
    let mut callee = Sipp::spawn(place, "alice", &scenario::callee(), &at)?;
    let caller = scenario::signing_caller("bob", PASSWORD, 500);
    call(place, "bob", &desk, &caller)?;
    callee.finish(SOON)?;
    let leave = flow::unregistering("alice", PASSWORD);
    register(place, "unregistering", &desk, &leave, Some(port))?;
    desk.expect("removed alice@desk")?;
    // Who is not there is not answered for.
    let refused = flow::refused_signing_caller("bob", PASSWORD, 480);
    call(place, "again", &desk, &refused)?;
    desk.stop()?;
    Ok(Proof::none())
}

fn sipp_guesses(place: &Place) -> io::Result<Proof> {
    let desk = registrar(place, &["alice", "bob"], "600", &[])?;
    for (name, scenario) in [
        (
            "wrong",
            flow::refused_register("alice", "alice", "guess", 401),
        ),
        (
            "stranger",
            flow::refused_register("zoe", "zoe", "guess", 401),
        ),
        (
            "thief",
            flow::refused_register("alice", "bob", PASSWORD, 403),
        ),
    ] {
        register(place, name, &desk, &scenario, None)?;
    }
    let log = desk.log();
    desk.stop()?;
    if log.contains("registered") {
        return Err(io::Error::other(format!("somebody came in: {log}")));
    }
    Ok(Proof::none())
}

/// We register there as alice, are called as such, and call bob.
fn at_kamailio(place: &Place, tls: bool) -> io::Result<Proof> {
    let certificates = match tls {
        true => Some(Certificates::make(place, "certificates")?),
        false => None,
    };
    let proxy = Kamailio::spawn_registrar(place, PASSWORD, certificates.as_ref())?;
    let (said, answered) = (said(), answered());
    let say_bob = Wav::mono(said.clone());
    let at = proxy.address();
    let password = format!("auth_pass={PASSWORD}");
    let bob = baresip::Options {
        answer: true,
        account: &["auth_user=bob", &password],
        registrar: Some(&at),
        ..baresip::Options::saying(&say_bob)
    };
    let mut bob = Baresip::with(place, "bob", &bob)?;
    let mut words = ["--register", "sip:alice@desk", "--register-at"]
        .map(str::to_owned)
        .to_vec();
    let mut listen = ["--count", "1"].map(str::to_owned).to_vec();
    match &certificates {
        Some(files) => {
            words.push(format!("sip:{};transport=tls", proxy.tls_address()));
            words.extend(files.options());
            listen.extend(["--tls-port".to_owned(), place.take(2).to_string()]);
        }
        None => words.push(format!("sip:{at}")),
    }
    let [words, listen] =
        [&words, &listen].map(|words| words.iter().map(String::as_str).collect::<Vec<_>>());

    let mut client = Own::answer(place, &answered, &[&words[..], &listen].concat())?;
    client.expect("registered")?;
    bob.dial(&format!("sip:alice@{at}"))?;
    bob.expect_up(SOON)?;
    // In the midst of the call both refresh.
    thread::sleep(Duration::from_secs(7));
    bob.hang_up()?;
    client.exit(0, SOON)?;
    if client.log().matches("registered\n").count() < 2 || !client.log().contains("taken back") {
        return Err(io::Error::other(
            "it did not refresh, or did not unregister",
        ));
    }
    must_hear("baresip, called", &answered, &bob.heard()?, 2.0)?;
    must_hear("sidetone, called", &said, &client.heard()?, 2.0)?;

    let options = [&words[..], &["--duration", "4"]].concat();
    let mut client = Own::call(place, &format!("sip:bob@{at}"), &answered, &options)?;
    client.exit(0, SOON)?;
    bob.expect_over(SOON)?;
    must_hear("sidetone, calling", &said, &client.heard()?, 2.0)?;
    // Registered, refreshed, taken back; and once more.
    if proxy.registered("alice") < 5 || proxy.signed_in("alice") == 0 {
        return Err(io::Error::other(
            "Kamailio did not see us register and call",
        ));
    }
    Ok(Proof::none())
}

fn wrong_password(place: &Place) -> io::Result<Proof> {
    let proxy = Kamailio::spawn_registrar(place, "another", None)?;
    let at = format!("sip:{}", proxy.address());
    let options = ["--register", "sip:alice@desk", "--register-at", &at];
    let mut client = Own::call(place, "sip:bob@127.0.0.1:9", &Vec::new(), &options)?;
    client.exit(2, SOON)?;
    client.expect("not registered")?;
    if proxy.registered("alice") > 0 {
        return Err(io::Error::other("a wrong password was let in"));
    }
    Ok(Proof::none()
        .shows("one guess", "sip.Authorization", 1)
        .shows("both refusals", "sip.Status-Code == 401", 2))
}

/// The call goes to the third of three places.
fn failover(place: &Place) -> io::Result<Proof> {
    let dead = place.take_signalling();
    let none = Options::default();
    let mut full = Sipp::spawn(place, "full", &flow::overloaded_callee(), &none)?;
    let mut alive = Sipp::spawn(place, "alive", &scenario::leaving_callee(500), &none)?;
    let dns = Dns::spawn(place, dead, &[full.port(), alive.port()])?;
    let options = ["--dns", &dns.address(), "--from", "sip:me@127.0.0.1"];
    let mut client = Own::call(place, "sip:bob@pbx.test", &Vec::new(), &options)?;
    alive.finish(SOON)?;
    full.finish(SOON)?;
    client.exit(1, SOON)?;
    Ok(Proof::none())
}
