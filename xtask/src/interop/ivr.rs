//! Peers that call the `ivr` example.

use std::io;
use std::thread;
use std::time::Duration;

use super::{Case, Proof, SOON, must_hear};
use crate::audio::pcap::Press;
use crate::audio::speech::{Voice, say};
use crate::audio::wav::Wav;
use crate::peer::baresip::Baresip;
use crate::peer::engine::Engine;
use crate::peer::kamailio::Kamailio;
use crate::peer::linphone::Linphone;
use crate::peer::place::Place;
use crate::peer::scenario::{self, Scenario};
use crate::peer::sipp::{Options, Sipp};
use crate::shell;

pub(super) const CASES: [Case; 13] = [
    sipp("IVR: SIPp calls, presses keys, is hung up on", menu),
    sipp("IVR: SIPp calls and hangs up", |place| {
        call(place, &scenario::caller(3000), 0, false)
    }),
    sipp("IVR: SIPp calls over TCP", |place| {
        call(place, &scenario::caller(3000), 0, true)
    }),
    sipp("IVR: SIPp calls and loses every fifth packet", |place| {
        call(place, &scenario::caller(3000), 20, false)
    }),
    sipp("IVR: SIPp acknowledges late", late_ack),
    sipp("IVR: SIPp calls without an offer", |place| {
        call(place, &scenario::offerless_caller(), 0, false)
    }),
    sipp("IVR: SIPp holds and resumes", |place| {
        call(place, &scenario::holding_caller(), 0, false)
    }),
    sipp("IVR: SIPp holds and resumes by UPDATE", |place| {
        call(place, &scenario::updating_caller(), 0, false)
    }),
    sipp(
        "IVR: SIPp asks for a session interval that is too short",
        |place| {
            let engine = Engine::ivr(place)?;
            let options = Options {
                target: Some(engine.address()),
                ..Options::default()
            };
            Sipp::spawn(place, "hasty", &scenario::hasty_caller(), &options)?.finish(SOON)?;
            engine.stop()?;
            Ok(Proof::none())
        },
    ),
    sipp("IVR: SIPp asks OPTIONS, and something unknown", questions),
    Case {
        name: "IVR: SIPp calls through Kamailio",
        needs: &["sipp", "kamailio"],
        run: through_proxy,
    },
    Case {
        name: "IVR: baresip calls and presses keys",
        needs: &["baresip"],
        run: baresip,
    },
    Case {
        name: "IVR: Linphone calls and presses keys",
        needs: &["linphonec"],
        run: linphone,
    },
];

const fn sipp(name: &'static str, run: fn(&Place) -> io::Result<Proof>) -> Case {
    Case {
        name,
        needs: &["sipp"],
        run,
    }
}

/// An embedded prompt, as the caller must hear it.
fn prompt(name: &str) -> io::Result<Vec<i16>> {
    let wav = Wav::read(&shell::root().join("examples/ivr/prompts").join(name))?;
    Ok(wav.channels.into_iter().next().unwrap_or_default())
}

fn menu(place: &Place) -> io::Result<Proof> {
    let mut engine = Engine::ivr(place)?;
    let say = say(Voice::Caller, 12.0);
    let presses = [
        Press {
            at: 2.0,
            digit: '1',
        },
        Press {
            at: 6.0,
            digit: '9',
        },
    ];
    let mut caller = Sipp::spawn(
        place,
        "caller",
        &scenario::patient_caller(),
        &Options {
            target: Some(engine.address()),
            say: &say,
            presses: &presses,
            ..Options::default()
        },
    )?;
    caller.finish(SOON)?;
    engine.expect("chose \"1\"")?;
    engine.expect("chose \"9\"")?;
    let port = caller.media_port();
    engine.stop()?;
    Ok(Proof::none()
        .hears("the caller (menu)", port, &prompt("menu.wav")?, 1.0)
        .hears(
            "the caller (opening hours)",
            port,
            &prompt("hours.wav")?,
            1.0,
        )
        .hears("the caller (farewell)", port, &prompt("goodbye.wav")?, 0.5))
}

/// One call of SIPp's in which the menu must be heard.
fn call(place: &Place, scenario: &Scenario, lose: u32, tcp: bool) -> io::Result<Proof> {
    let engine = Engine::ivr(place)?;
    let say = say(Voice::Caller, 6.0);
    let options = Options {
        target: Some(engine.address()),
        say: &say,
        lose,
        tcp,
        ..Options::default()
    };
    let mut caller = Sipp::spawn(place, "caller", scenario, &options)?;
    caller.finish(SOON * 2)?;
    engine.stop()?;
    Ok(Proof::none().hears("the caller", caller.media_port(), &prompt("menu.wav")?, 0.5))
}

fn late_ack(place: &Place) -> io::Result<Proof> {
    let proof = call(place, &scenario::slow_caller(), 0, false)?;
    let filter = "sip.Status-Code == 200 && sip.CSeq.method == \"INVITE\"";
    Ok(proof.shows("the answer, sent again until acknowledged", filter, 3))
}

fn questions(place: &Place) -> io::Result<Proof> {
    let engine = Engine::ivr(place)?;
    for (method, status) in [("OPTIONS", 200), ("CONJURE", 501)] {
        let options = Options {
            target: Some(engine.address()),
            ..Options::default()
        };
        let scenario = scenario::asker(method, status);
        Sipp::spawn(place, &method.to_lowercase(), &scenario, &options)?.finish(SOON)?;
    }
    engine.stop()?;
    Ok(Proof::none())
}

fn through_proxy(place: &Place) -> io::Result<Proof> {
    let engine = Engine::ivr(place)?;
    let proxy = Kamailio::spawn(place, &engine.address())?;
    let say = say(Voice::Caller, 6.0);
    let options = Options {
        target: Some(proxy.address()),
        say: &say,
        ..Options::default()
    };
    let mut leaving = Sipp::spawn(place, "leaving", &scenario::caller(3000), &options)?;
    leaving.finish(SOON)?;
    let presses = [Press {
        at: 1.0,
        digit: '9',
    }];
    let options = Options {
        target: Some(proxy.address()),
        say: &say,
        presses: &presses,
        ..Options::default()
    };
    let mut left = Sipp::spawn(place, "left", &scenario::patient_caller(), &options)?;
    left.finish(SOON)?;
    // One BYE from each side, both along the recorded route.
    if proxy.in_dialog("BYE") != 2 {
        return Err(io::Error::other("a BYE went past the proxy"));
    }
    engine.stop()?;
    Ok(Proof::none().hears(
        "the caller",
        leaving.media_port(),
        &prompt("menu.wav")?,
        0.5,
    ))
}

fn baresip(place: &Place) -> io::Result<Proof> {
    let mut engine = Engine::ivr(place)?;
    let mut caller = Baresip::spawn(place, "caller", &say(Voice::Caller, 40.0), false)?;
    caller.dial(&engine.uri())?;
    caller.expect_up(SOON)?;
    thread::sleep(Duration::from_secs(2));
    caller.press('1')?;
    engine.expect("chose \"1\"")?;
    thread::sleep(Duration::from_secs(4));
    caller.press('9')?;
    engine.expect("chose \"9\"")?;
    caller.expect_over(SOON)?;
    engine.stop()?;
    let heard = caller.heard()?.channels.swap_remove(0);
    must_hear("baresip (menu)", &prompt("menu.wav")?, &heard, 1.0)?;
    must_hear(
        "baresip (opening hours)",
        &prompt("hours.wav")?,
        &heard,
        1.0,
    )?;
    Ok(Proof::none())
}

fn linphone(place: &Place) -> io::Result<Proof> {
    let mut engine = Engine::ivr(place)?;
    let mut caller = Linphone::spawn(place, "caller", &say(Voice::Caller, 40.0), false)?;
    caller.dial(&engine.uri())?;
    caller.expect_up(SOON)?;
    thread::sleep(Duration::from_secs(2));
    caller.press('1')?;
    engine.expect("chose \"1\"")?;
    thread::sleep(Duration::from_secs(4));
    caller.hang_up()?;
    caller.expect_over(SOON)?;
    engine.stop()?;
    let heard = caller.heard()?.channels.swap_remove(0);
    must_hear(
        "Linphone (opening hours)",
        &prompt("hours.wav")?,
        &heard,
        1.0,
    )?;
    Ok(Proof::none())
}
