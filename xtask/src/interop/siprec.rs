//! Recording sessions (RFC 7866): SIPp as a session border controller brings two parties to `sidetone srs`, and
//! ffmpeg speaks for them.

use std::fs;
use std::io;
use std::time::Duration;

use super::{Case, Proof, SOON, must_hear};
use crate::audio::speech::{Voice, say};
use crate::audio::wav::Wav;
use crate::peer::own::{self, Own};
use crate::peer::place::Place;
use crate::peer::scenario::{self, Scenario};
use crate::peer::sipp::{Options, Sipp};

pub(super) const CASES: [Case; 2] = [
    Case {
        name: "siprec: SIPp's two parties are recorded by sidetone",
        needs: &["sipp", "ffmpeg"],
        run: served,
    },
    Case {
        name: "siprec: sidetone's two parties are recorded by SIPp",
        needs: &["sipp"],
        run: recorded,
    },
];

pub(super) const QUIET: [Case; 1] = [Case {
    name: "siprec: a recording session is refused where none is taken",
    needs: &["sipp"],
    run: refused,
}];

/// The metadata of a call between Bob and Paul, after the example of RFC 7865.
const WHOLE: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<recording xmlns="urn:ietf:params:xml:ns:recording:1">
 <datamode>complete</datamode>
 <session session_id="hVpd7YQgRW2nD22h7q60JQ=="/>
 <participant participant_id="srfBElmCRp2QB23b7Mpk0w=="><nameID aor="sip:bob@biloxi.example"><name>Bob</name></nameID></participant>
 <participant participant_id="zSfPoSvdSDCmU3A3TRDxAw=="><nameID aor="sip:paul@biloxi.example"><name>Paul</name></nameID></participant>
 <stream stream_id="UAAMm5GRQKSCMVvLyl4rFw==" session_id="hVpd7YQgRW2nD22h7q60JQ=="><label>96</label></stream>
 <stream stream_id="i1Pz3to5hGk8fuXl+PbwCw==" session_id="hVpd7YQgRW2nD22h7q60JQ=="><label>97</label></stream>
 <participantstreamassoc participant_id="srfBElmCRp2QB23b7Mpk0w=="><send>UAAMm5GRQKSCMVvLyl4rFw==</send></participantstreamassoc>
 <participantstreamassoc participant_id="zSfPoSvdSDCmU3A3TRDxAw=="><send>i1Pz3to5hGk8fuXl+PbwCw==</send></participantstreamassoc>
</recording>
"#;

/// Carol has taken Paul's place.
const CHANGED: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<recording xmlns="urn:ietf:params:xml:ns:recording:1">
 <datamode>partial</datamode>
 <participant participant_id="c2FyYWhzYXJhaHNhcmFocw=="><nameID aor="sip:carol@biloxi.example"><name>Carol</name></nameID></participant>
 <participantstreamassoc participant_id="zSfPoSvdSDCmU3A3TRDxAw=="><disassociate-time>2026-11-22T00:00:00Z</disassociate-time></participantstreamassoc>
 <participantstreamassoc participant_id="c2FyYWhzYXJhaHNhcmFocw=="><send>i1Pz3to5hGk8fuXl+PbwCw==</send></participantstreamassoc>
</recording>
"#;

/// What a request of the session begins with.
fn head(method: &str, number: u32) -> String {
    let (target, tag) = match number {
        1 if method == "INVITE" => ("sip:srs@[remote_ip]:[remote_port]", ""),
        _ => ("[next_url]", "[peer_tag_param]"),
    };
    format!(
        "{method} {target} SIP/2.0\n\
         Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]\n\
         From: \"SBC\" <sip:sbc@[local_ip]:[local_port]>;tag=[pid]s[call_number]\n\
         To: <sip:srs@[remote_ip]:[remote_port]>{tag}\n\
         Call-ID: [call_id]\nCSeq: {number} {method}\nMax-Forwards: 70\n\
         Contact: <sip:sbc@[local_ip]:[local_port]>;+sip.src\n"
    )
}

/// What requires the extension.
const REQUIRES: &str = "Require: siprec\nAllow: INVITE, ACK, BYE, CANCEL, UPDATE\n\
    Accept: application/sdp, application/rs-metadata-request\nMIME-Version: 1.0\n";

/// Two streams, the second one as `direction` says.
fn streams(version: u32, direction: &str, port: u16) -> String {
    let next = port + 2;
    format!(
        "v=0\no=SBC 1 {version} IN IP4 [local_ip]\ns=-\nc=IN IP4 [local_ip]\nt=0 0\n\
         m=audio {port} RTP/AVP 8\na=rtpmap:8 PCMA/8000\na=label:96\na=sendonly\n\
         m=audio {next} RTP/AVP 0\na=rtpmap:0 PCMU/8000\na=label:97\na={direction}\n"
    )
}

fn sent(text: &str) -> String {
    format!("<send retrans=\"500\">\n<![CDATA[\n{text}]]>\n</send>")
}

fn acknowledged(number: u32) -> String {
    let head = head("ACK", number);
    format!("<send>\n<![CDATA[\n{head}Content-Length: 0\n\n]]>\n</send>")
}

/// The session: an INVITE with metadata, a pause of the second party, another in its place, and the end.
fn client(port: u16) -> Scenario {
    let invite = format!(
        "{}{REQUIRES}Content-Type: multipart/mixed;boundary=part\nContent-Length: [len]\n\n\
         --part\nContent-Type: application/sdp\n\n{}--part\n\
         Content-Type: application/rs-metadata+xml\nContent-Disposition: recording-session\n\n\
         {WHOLE}--part--\n",
        head("INVITE", 1),
        streams(1, "sendonly", port),
    );
    let pause = format!(
        "{}{REQUIRES}Content-Type: application/sdp\nContent-Length: [len]\n\n{}",
        head("INVITE", 2),
        streams(2, "inactive", port),
    );
    let change = format!(
        "{}{REQUIRES}Content-Type: application/rs-metadata+xml\n\
         Content-Disposition: recording-session\nContent-Length: [len]\n\n{CHANGED}",
        head("UPDATE", 3),
    );
    let bye = format!("{}Content-Length: 0\n\n", head("BYE", 4));
    Scenario::new("session border controller")
        .step(&sent(&invite))
        .step("<recv response=\"100\" optional=\"true\"/>")
        .step(
            "<recv response=\"200\" rrs=\"true\"><action>\
             <ereg regexp=\"m=audio ([0-9]+) .*recvonly.*label:96.*m=audio ([0-9]+) .*recvonly.*label:97\" \
             search_in=\"body\" check_it=\"true\" assign_to=\"whole,first,second\"/>\
             <ereg regexp=\";.sip.srs\" search_in=\"hdr\" header=\"Contact:\" check_it=\"true\" \
             assign_to=\"server\"/></action></recv>",
        )
        .step(&acknowledged(1))
        .step("<nop><action><exec command=\"sh say.sh [$first] [$second]\"/></action></nop>")
        // Two seconds more than is said: ffmpeg takes its time to begin.
        .pause(8_000)
        .step(&sent(&pause))
        .step("<recv response=\"100\" optional=\"true\"/>")
        .step(
            "<recv response=\"200\"><action><ereg regexp=\"recvonly.*inactive\" search_in=\"body\" \
             check_it=\"true\" assign_to=\"paused\"/></action></recv>",
        )
        .step(&acknowledged(2))
        .pause(1_000)
        .step(&sent(&change))
        .step("<recv response=\"200\"/>")
        .pause(500)
        .step(&sent(&bye))
        .step("<recv response=\"200\"/>")
        .step("<Reference variables=\"whole,server,paused\"/>")
}

fn served(place: &Place) -> io::Result<Proof> {
    let parties = [say(Voice::Caller, 6.0), say(Voice::Agent, 6.0)];
    let dir = place.path("sbc");
    fs::create_dir_all(&dir)?;
    for (name, sound) in ["1.wav", "2.wav"].iter().zip(&parties) {
        Wav::mono(sound.clone()).write(&dir.join(name))?;
    }
    // Each party is a sender of RTP of its own, a packet each 20 ms.
    let port = place.take(4);
    let line = |file: &str, codec: &str, to: &str, from: u16| {
        format!(
            "ffmpeg -nostdin -loglevel error -re -f lavfi -i amovie={file},asetnsamples=160 \
             -acodec {codec} -f rtp \"rtp://127.0.0.1:{to}?localport={from}&pkt_size=172\" \
             > {file}.sdp 2>&1 &\n"
        )
    };
    let script =
        line("1.wav", "pcm_alaw", "$1", port) + &line("2.wav", "pcm_mulaw", "$2", port + 2);
    fs::write(dir.join("say.sh"), script)?;
    let mut server = Own::record_sessions(place, &["--count", "1"])?;
    let options = Options {
        target: Some(server.address()),
        service: Some("srs"),
        ..Options::default()
    };
    let mut client = Sipp::spawn(place, "sbc", &client(port), &options)?;
    client.finish(Duration::from_secs(30))?;
    server.exit(0, SOON)?;
    let (file, recorded) = server.session()?;
    for (channel, said) in parties.iter().enumerate() {
        must_hear("the recorder", said, recorded.channel(channel), 4.0)?;
        if crate::audio::measure::carried(
            &parties[1 - channel],
            &recorded.channel(channel).channels[0],
        )
        .is_some_and(|found| found.carried > 0.5)
        {
            return Err(io::Error::other(format!(
                "channel {channel} has the other party"
            )));
        }
    }
    let verdict = own::verify(&file)?;
    for told in [
        "joined caller sip:bob@biloxi.example",
        "joined agent sip:paul@biloxi.example",
        "mark client paused agent",
        "joined agent sip:carol@biloxi.example",
    ] {
        if !verdict.contains(told) {
            return Err(io::Error::other(format!(
                "not in the timeline: {told}\n{verdict}"
            )));
        }
    }
    let proof = Proof {
        open: true,
        ..Proof::none()
    };
    let both = "sip.Method == \"INVITE\" && sip.Require contains \"siprec\"";
    Ok(proof.shows("recording session", both, 2))
}

/// A recorder that checks what it is sent: two streams, each with a label, and who speaks on them.
fn server() -> Scenario {
    let expect = |pattern: &str, place: &str, name: &str| {
        format!(
            "<ereg regexp=\"{pattern}\" search_in=\"{place}\" check_it=\"true\" assign_to=\"{name}\"/>"
        )
    };
    let header = |name: &str, pattern: &str, to: &str| {
        let like = expect(pattern, "hdr", to);
        like.replace("search_in", &format!("header=\"{name}:\" search_in"))
    };
    let checks = [
        header("Require", "siprec", "required"),
        header("Contact", ";.sip.src", "client"),
        header("Content-Type", "multipart/mixed", "parts"),
        expect(
            "m=audio .*a=sendonly.*a=label:1.*m=audio .*a=sendonly.*a=label:2",
            "body",
            "streams",
        ),
        expect("Content-Disposition: recording-session", "body", "marked"),
        expect(
            "complete.*nameID aor=.sip:sipp@.*nameID aor=.sip:sipp@",
            "body",
            "named",
        ),
        expect("label.1.*label.2.*participantstreamassoc", "body", "whose"),
    ];
    let answer = "SIP/2.0 200 OK\n[last_Via:]\n[last_From:]\n[last_To:];tag=[pid]r[call_number]\n\
        [last_Call-ID:]\n[last_CSeq:]\nContact: <sip:srs@[local_ip]:[local_port]>;+sip.srs\n\
        Content-Type: application/sdp\nContent-Length: [len]\n\n\
        v=0\no=SRS 1 1 IN IP4 [local_ip]\ns=-\nc=IN IP4 [local_ip]\nt=0 0\n\
        m=audio [media_port] RTP/AVP 0\na=rtpmap:0 PCMU/8000\na=label:1\na=recvonly\n\
        m=audio [media_port+2] RTP/AVP 0\na=rtpmap:0 PCMU/8000\na=label:2\na=recvonly\n";
    let over = "SIP/2.0 200 OK\n[last_Via:]\n[last_From:]\n[last_To:]\n[last_Call-ID:]\n[last_CSeq:]\n\
        Content-Length: 0\n\n";
    // What changes while the call ends is taken or not, as it comes.
    Scenario::new("session recording server")
        .step(&format!(
            "<recv request=\"INVITE\"><action>{}</action></recv>",
            checks.concat()
        ))
        .step(&format!("<send>\n<![CDATA[\n{answer}]]>\n</send>"))
        .step("<recv request=\"ACK\"/>")
        .step("<recv request=\"BYE\"/>")
        .step(&format!("<send>\n<![CDATA[\n{over}]]>\n</send>"))
        .step("<Reference variables=\"required,client,parts,streams,marked,named,whose\"/>")
}

fn recorded(place: &Place) -> io::Result<Proof> {
    let (said, answered) = (say(Voice::Caller, 12.0), say(Voice::Agent, 12.0));
    let mut recorder = Sipp::spawn(place, "srs", &server(), &Options::default())?;
    let options = Options {
        say: &answered,
        ..Options::default()
    };
    let mut callee = Sipp::spawn(place, "callee", &scenario::callee(), &options)?;
    let (connect, at) = (callee.uri(), recorder.uri());
    let options = ["--count", "1", "--connect", &connect, "--record-at", &at];
    let mut desk = Own::answer(place, Wav::mono(vec![0; 8_000]), &options)?;
    let options = Options {
        target: Some(desk.address()),
        service: Some("desk"),
        say: &said,
        ..Options::default()
    };
    let mut caller = Sipp::spawn(place, "caller", &scenario::caller(8_000), &options)?;
    caller.finish(Duration::from_secs(30))?;
    callee.finish(SOON)?;
    recorder.finish(SOON)?;
    desk.exit(0, SOON)?;
    let port = recorder.media_port();
    let proof = Proof {
        open: true,
        ..Proof::none()
    };
    Ok(proof.hears("the recorder", port, &said, 4.0).hears(
        "the recorder",
        port + 2,
        &answered,
        4.0,
    ))
}

fn refused(place: &Place) -> io::Result<Proof> {
    let mut desk = Own::answer(place, Wav::mono(vec![0; 8_000]), &["--count", "1"])?;
    let invite = format!(
        "{}{REQUIRES}Content-Type: application/sdp\nContent-Length: [len]\n\n{}",
        head("INVITE", 1),
        streams(1, "sendonly", 9),
    );
    let stranger = Scenario::new("refused session border controller")
        .step(&sent(&invite))
        .step("<recv response=\"100\" optional=\"true\"/>")
        .step(
            "<recv response=\"420\"><action><ereg regexp=\"siprec\" search_in=\"hdr\" \
             header=\"Unsupported:\" check_it=\"true\" assign_to=\"named\"/></action></recv>",
        )
        .step(&acknowledged(1).replace("[branch]", "[branch-2]"))
        .step("<Reference variables=\"named\"/>");
    let options = Options {
        target: Some(desk.address()),
        service: Some("srs"),
        ..Options::default()
    };
    Sipp::spawn(place, "sbc", &stranger, &options)?.finish(SOON)?;
    desk.expect("listening")?;
    desk.stop()?;
    Ok(Proof::none())
}
