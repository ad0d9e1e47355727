//! Peers that call the `agent-bridge` example, and peers that are its agents.

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

pub(super) const CASES: [Case; 10] = [
    Case {
        name: "bridge: baresip calls, baresip is the agent, recorded",
        needs: &["baresip"],
        run: baresips,
    },
    sipp("bridge: SIPp calls, SIPp is the agent", |place| {
        sipps(place, &scenario::callee(), 0)
    }),
    sipp("bridge: SIPp agent answers late", late_agent),
    sipp("bridge: SIPp agent loses every fifth packet", |place| {
        sipps(place, &scenario::callee(), 20)
    }),
    sipp("bridge: SIPp agent hangs up first", agent_leaves),
    sipp("bridge: SIPp agent is busy", busy),
    sipp("bridge: caller leaves while SIPp agent rings", abandoned),
    sipp("bridge: two SIPp agents ring, one answers", two_agents),
    Case {
        name: "bridge: agent behind Kamailio",
        needs: &["sipp", "kamailio"],
        run: behind_proxy,
    },
    Case {
        name: "bridge: Linphone is the agent",
        needs: &["sipp", "linphonec"],
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

fn agent(place: &Place, name: &str, scenario: &Scenario, lose: u32) -> io::Result<Sipp> {
    let say = say(Voice::Agent, 30.0);
    Sipp::spawn(
        place,
        name,
        scenario,
        &Options {
            say: &say,
            lose,
            ..Options::default()
        },
    )
}

/// A SIPp that calls the desk and presses 2 after a second.
fn caller(place: &Place, engine: &Engine, scenario: &Scenario) -> io::Result<Sipp> {
    let say = say(Voice::Caller, 30.0);
    let presses = [Press {
        at: 1.0,
        digit: '2',
    }];
    let options = Options {
        target: Some(engine.address()),
        say: &say,
        presses: &presses,
        ..Options::default()
    };
    Sipp::spawn(place, "caller", scenario, &options)
}

/// Both sides spoke and both must have heard the other.
fn talked(caller: &Sipp, agent_port: u16) -> Proof {
    let (said, answered) = (say(Voice::Caller, 30.0), say(Voice::Agent, 30.0));
    Proof::none()
        .hears("the agent", agent_port, &said, 2.0)
        .hears("the caller", caller.media_port(), &answered, 2.0)
}

fn baresips(place: &Place) -> io::Result<Proof> {
    let said = say(Voice::Caller, 60.0);
    let answered = say(Voice::Agent, 60.0);
    let mut agent = Baresip::spawn(place, "agent", &answered, true)?;
    let mut engine = Engine::agent_bridge(place, &[agent.uri()])?;
    let mut caller = Baresip::spawn(place, "caller", &said, false)?;
    caller.dial(&engine.uri())?;
    caller.expect_up(SOON)?;
    thread::sleep(Duration::from_secs(1));
    caller.press('2')?;
    engine.expect("bridged")?;
    thread::sleep(Duration::from_secs(5));
    caller.hang_up()?;
    agent.expect_over(SOON)?;
    engine.expect("recorded")?;
    must_hear("the agent", &said, &agent.heard()?, 3.0)?;
    must_hear("the caller", &answered, &caller.heard()?, 3.0)?;
    let recording = Wav::read(&engine.recording()?)?;
    if recording.channels.len() != 2 {
        return Err(io::Error::other("the recording is not stereo"));
    }
    must_hear(
        "the recording's left side",
        &said,
        recording.channel(0),
        3.0,
    )?;
    must_hear(
        "the recording's right side",
        &answered,
        recording.channel(1),
        3.0,
    )?;
    engine.stop()?;
    Ok(Proof::none())
}

fn sipps(place: &Place, behaviour: &Scenario, lose: u32) -> io::Result<Proof> {
    let mut agent = agent(place, "agent", behaviour, lose)?;
    let mut engine = Engine::agent_bridge(place, &[agent.uri()])?;
    // What is lost is sent again, which takes its time.
    let talk = if lose > 0 { 16_000 } else { 10_000 };
    let mut caller = caller(place, &engine, &scenario::caller(talk))?;
    caller.finish(SOON * 2)?;
    agent.finish(SOON * 2)?;
    engine.expect("bridged")?;
    engine.stop()?;
    Ok(talked(&caller, agent.media_port()))
}

fn late_agent(place: &Place) -> io::Result<Proof> {
    let proof = sipps(place, &scenario::slow_callee(), 0)?;
    // One from the caller, and the one to the agent, sent again until the agent says something.
    Ok(proof.shows(
        "the INVITE, sent again until answered",
        "sip.Method == \"INVITE\"",
        4,
    ))
}

fn agent_leaves(place: &Place) -> io::Result<Proof> {
    let mut agent = agent(place, "agent", &scenario::leaving_callee(4000), 0)?;
    let mut engine = Engine::agent_bridge(place, &[agent.uri()])?;
    let mut caller = caller(place, &engine, &scenario::patient_caller())?;
    agent.finish(SOON)?;
    caller.finish(SOON)?;
    engine.expect("the agent left")?;
    engine.stop()?;
    Ok(talked(&caller, agent.media_port()))
}

fn busy(place: &Place) -> io::Result<Proof> {
    let mut agent = agent(place, "agent", &scenario::busy_callee(), 0)?;
    let mut engine = Engine::agent_bridge(place, &[agent.uri()])?;
    let mut caller = caller(place, &engine, &scenario::patient_caller())?;
    agent.finish(SOON)?;
    engine.expect("no agent answered")?;
    caller.finish(SOON)?;
    engine.stop()?;
    Ok(Proof::none())
}

fn abandoned(place: &Place) -> io::Result<Proof> {
    let mut agent = agent(place, "agent", &scenario::ringing_callee(), 0)?;
    let engine = Engine::agent_bridge(place, &[agent.uri()])?;
    let mut caller = caller(place, &engine, &scenario::caller(4000))?;
    caller.finish(SOON)?;
    agent.finish(SOON)?;
    engine.stop()?;
    Ok(Proof::none())
}

fn two_agents(place: &Place) -> io::Result<Proof> {
    let mut loser = agent(place, "loser", &scenario::ringing_callee(), 0)?;
    let mut winner = agent(place, "winner", &scenario::callee(), 0)?;
    let engine = Engine::agent_bridge(place, &[loser.uri(), winner.uri()])?;
    let mut caller = caller(place, &engine, &scenario::caller(8000))?;
    caller.finish(SOON)?;
    winner.finish(SOON)?;
    loser.finish(SOON)?;
    engine.stop()?;
    Ok(talked(&caller, winner.media_port()))
}

fn behind_proxy(place: &Place) -> io::Result<Proof> {
    let mut agent = agent(place, "agent", &scenario::callee(), 0)?;
    let target = agent
        .uri()
        .rsplit('@')
        .next()
        .unwrap_or_default()
        .to_owned();
    let proxy = Kamailio::spawn(place, &target)?;
    let engine = Engine::agent_bridge(place, &[format!("sip:agent@{}", proxy.address())])?;
    let mut caller = caller(place, &engine, &scenario::caller(8000))?;
    caller.finish(SOON)?;
    agent.finish(SOON)?;
    if proxy.in_dialog("BYE") == 0 || proxy.in_dialog("ACK") == 0 {
        return Err(io::Error::other("ACK or BYE went past the proxy"));
    }
    engine.stop()?;
    Ok(talked(&caller, agent.media_port()))
}

fn linphone(place: &Place) -> io::Result<Proof> {
    let answered = say(Voice::Agent, 30.0);
    let mut agent = Linphone::spawn(place, "agent", &answered, true)?;
    let mut engine = Engine::agent_bridge(place, &[agent.uri()])?;
    let mut caller = caller(place, &engine, &scenario::caller(9000))?;
    engine.expect("bridged")?;
    caller.finish(SOON)?;
    agent.expect_over(SOON)?;
    engine.stop()?;
    let (said, port) = (say(Voice::Caller, 30.0), caller.media_port());
    must_hear("Linphone", &said, &agent.heard()?, 2.0)?;
    Ok(Proof::none().hears("the caller", port, &answered, 2.0))
}
