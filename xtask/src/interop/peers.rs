//! The peers among themselves: a failure here is one of the machine or the harness, not of ours.

use std::io;
use std::time::Duration;

use super::{Case, Proof, SOON, must_hear, must_hear_wide};
use crate::audio::pcap::Press;
use crate::audio::speech::{Voice, say, say_wide};
use crate::peer::baresip::Baresip;
use crate::peer::kamailio::Kamailio;
use crate::peer::linphone::Linphone;
use crate::peer::place::Place;
use crate::peer::scenario;
use crate::peer::sipp::{Options, Sipp};
use crate::peer::softphone::{Codec, Encryption, Make, Manner, Softphone};

pub(super) const CASES: [Case; 6] = [
    Case {
        name: "harness: SIPp calls SIPp through Kamailio",
        needs: &["sipp", "kamailio"],
        run: sipp_through_kamailio,
    },
    Case {
        name: "harness: baresip calls baresip",
        needs: &["baresip"],
        run: baresip_to_baresip,
    },
    Case {
        name: "harness: Linphone calls baresip",
        needs: &["linphonec", "baresip"],
        run: linphone_to_baresip,
    },
    Case {
        name: "harness: Linphone calls baresip, encrypted Opus",
        needs: &["linphonec", "baresip"],
        run: |place| wide(place, Codec::Opus),
    },
    Case {
        name: "harness: Linphone calls baresip, encrypted G.722",
        needs: &["linphonec", "baresip"],
        run: |place| wide(place, Codec::G722),
    },
    Case {
        name: "harness: SIPp's scenarios fit each other",
        needs: &["sipp"],
        run: scenarios,
    },
];

fn sipp_through_kamailio(place: &Place) -> io::Result<Proof> {
    let said = say(Voice::Caller, 5.0);
    let answered = say(Voice::Agent, 5.0);
    let options = Options {
        say: &answered,
        ..Options::default()
    };
    let mut callee = Sipp::spawn(place, "callee", &scenario::callee(), &options)?;
    let target = callee
        .uri()
        .rsplit('@')
        .next()
        .unwrap_or_default()
        .to_owned();
    let proxy = Kamailio::spawn(place, &target)?;
    let presses = [Press {
        at: 1.0,
        digit: '2',
    }];
    let options = Options {
        target: Some(proxy.address()),
        say: &said,
        presses: &presses,
        ..Options::default()
    };
    let mut caller = Sipp::spawn(place, "caller", &scenario::caller(4000), &options)?;
    caller.finish(SOON)?;
    callee.finish(SOON)?;
    if proxy.in_dialog("BYE") == 0 {
        return Err(io::Error::other("the BYE went past the proxy"));
    }
    Ok(Proof::none()
        .hears("the caller", caller.media_port(), &answered, 2.0)
        .hears("the callee", callee.media_port(), &said, 2.0))
}

fn baresip_to_baresip(place: &Place) -> io::Result<Proof> {
    let said = say(Voice::Caller, 30.0);
    let answered = say(Voice::Agent, 30.0);
    let mut agent = Baresip::spawn(place, "agent", &answered, true)?;
    let mut caller = Baresip::spawn(place, "caller", &said, false)?;
    caller.dial(&agent.uri())?;
    caller.expect_up(SOON)?;
    caller.press('2')?;
    std::thread::sleep(Duration::from_secs(4));
    caller.hang_up()?;
    agent.expect_over(SOON)?;
    if !agent.log().contains("received event: '2' (end=1)") {
        return Err(io::Error::other("the digit did not arrive"));
    }
    must_hear("the caller", &answered, &caller.heard()?, 2.0)?;
    must_hear("the agent", &said, &agent.heard()?, 2.0)?;
    Ok(Proof::none())
}

fn linphone_to_baresip(place: &Place) -> io::Result<Proof> {
    let said = say(Voice::Caller, 30.0);
    let answered = say(Voice::Agent, 30.0);
    let mut agent = Baresip::spawn(place, "agent", &answered, true)?;
    let mut caller = Linphone::spawn(place, "caller", &said, false)?;
    caller.dial(&agent.uri())?;
    caller.expect_up(SOON)?;
    std::thread::sleep(Duration::from_secs(4));
    caller.hang_up()?;
    agent.expect_over(SOON)?;
    must_hear("the agent", &said, &agent.heard()?, 2.0)?;
    must_hear("the caller", &answered, &caller.heard()?, 2.0)?;
    Ok(Proof::none())
}

/// An encrypted wide-band call: the phones are set up right, and the measures tell the truth.
fn wide(place: &Place, codec: Codec) -> io::Result<Proof> {
    let [said, answered] = [Voice::Caller, Voice::Agent].map(|voice| say_wide(voice, 30.0));
    let manner = |say, answer| Manner {
        codec,
        encryption: Encryption::Mandatory,
        ..Manner::saying(say, answer)
    };
    let mut agent = Softphone::spawn(place, Make::Baresip, "agent", &manner(&answered, true))?;
    let mut caller = Softphone::spawn(place, Make::Linphone, "caller", &manner(&said, false))?;
    caller.dial(&agent.uri())?;
    caller.expect_up(SOON)?;
    std::thread::sleep(Duration::from_secs(1));
    caller.press('5')?;
    agent.press('6')?;
    std::thread::sleep(Duration::from_secs(4));
    caller.hang_up()?;
    agent.expect_over(SOON)?;
    must_hear_wide("the agent", &said, &agent.heard()?, 2.0)?;
    must_hear_wide("the caller", &answered, &caller.heard()?, 2.0)?;
    Ok(Proof::none())
}

fn scenarios(place: &Place) -> io::Result<Proof> {
    let pairs = [
        (scenario::slow_caller(), scenario::slow_callee()),
        (scenario::cancelling_caller(), scenario::ringing_callee()),
        (scenario::patient_caller(), scenario::leaving_callee(500)),
    ];
    for (index, (one, other)) in pairs.iter().enumerate() {
        let none = Options::default();
        let mut callee = Sipp::spawn(place, &format!("callee-{index}"), other, &none)?;
        let target = callee.uri().rsplit('@').next().map(str::to_owned);
        let options = Options {
            target,
            ..Options::default()
        };
        let mut caller = Sipp::spawn(place, &format!("caller-{index}"), one, &options)?;
        caller.finish(SOON)?;
        callee.finish(SOON)?;
    }
    Ok(Proof::none())
}
