//! SIPp scenarios of everything beyond a plain call: reliable ringing, changes, timers, forks, crossings,
//! transfers, registration.

use super::scenario::Scenario;

/// What SIPp offers where nobody is to miss the sound.
const SILENT: Option<&str> = Some("inactive");
const TALK: Option<&str> = Some("sendrecv");

// SIPp calls.

/// Wants reliable ringing, acknowledges it, and changes the offer before the answer.
pub(crate) fn reliable_caller() -> Scenario {
    let rung = Scenario::new("reliable caller")
        .with("Require: 100rel")
        .with("Allow: PRACK, UPDATE")
        .invite()
        .maybe(100)
        .rung_reliably();
    let changed = rung.prack().answered(200).update("sendonly");
    changed
        .answered_with("recvonly")
        .answered(200)
        .ack(None)
        .request("BYE")
        .answered(200)
}

/// Lets a reliable response come again, which SIPp takes in itself, before it acknowledges it.
pub(crate) fn slow_reliable_caller() -> Scenario {
    Scenario::new("slow reliable caller")
        .with("Supported: 100rel")
        .with("Allow: PRACK")
        .invite()
        .maybe(100)
        .rung_reliably()
        .pause(1_200)
        .prack()
        .answered(200)
        .answered(200)
        .ack(None)
        .request("BYE")
        .answered(200)
}

/// Refreshes the session itself, by UPDATE and by INVITE.
pub(crate) fn refreshing_caller() -> Scenario {
    let timer = |call: Scenario| {
        call.with("Supported: timer")
            .with("Session-Expires: 90;refresher=uac")
    };
    let like = " *90 *; *refresher=uac";
    let up = timer(Scenario::new("refreshing caller"))
        .first("INVITE", SILENT)
        .progress()
        .answered_having(200, "Session-Expires", like)
        .ack(None);
    let updated =
        timer(up.pause(300))
            .request("UPDATE")
            .answered_having(200, "Session-Expires", like);
    let invited = timer(updated.pause(300))
        .change(SILENT)
        .maybe(100)
        .answered_having(200, "Session-Expires", like)
        .ack(None);
    invited.request("BYE").answered(200)
}

/// Has the other side refresh the session, which does so by `method` after half of it.
pub(crate) fn refreshed_caller(method: &str) -> Scenario {
    let up = Scenario::new("refreshed caller")
        .with("Supported: timer")
        .with("Session-Expires: 90;refresher=uas")
        .with(&format!("Allow: {method}"))
        .first("INVITE", SILENT)
        .progress()
        .answered_having(200, "Session-Expires", " *90 *; *refresher=uas")
        .ack(None);
    let asked = up.expect_change(method);
    let refreshed = asked
        .with("Session-Expires: 90;refresher=uac")
        .with("Require: timer");
    let refreshed = match method {
        "INVITE" => refreshed.reply_change("200 OK", SILENT).expect("ACK"),
        _ => refreshed.reply_change("200 OK", None),
    };
    refreshed.request("BYE").answered(200)
}

/// Puts the call on hold in every way there is, and takes it back.
pub(crate) fn holding_caller() -> Scenario {
    let mut call = Scenario::new("holding caller")
        .invite()
        .progress()
        .answered(200)
        .ack(None);
    for (direction, address, answer) in [
        ("sendonly", None, "recvonly"),
        ("sendrecv", None, "sendrecv"),
        ("inactive", None, "inactive"),
        ("sendrecv", None, "sendrecv"),
        ("sendrecv", Some("0.0.0.0"), "(sendrecv|recvonly|inactive)"),
        ("sendrecv", None, "sendrecv"),
        ("inactive", Some("0.0.0.0"), "inactive"),
        ("sendrecv", None, "sendrecv"),
    ] {
        call = call.pause(300);
        if let Some(address) = address {
            call = call.at(address);
        }
        call = call
            .reinvite(direction)
            .maybe(100)
            .answered_with(answer)
            .ack(None);
    }
    // Without an offer the other side makes one.
    let asked = call.pause(300).change(None).maybe(100);
    asked
        .answered_with("sendrecv")
        .ack(TALK)
        .request("BYE")
        .answered(200)
}

/// Changes the call while the other side changes it: both refuse with 491, the other side tries again.
pub(crate) fn colliding_caller() -> Scenario {
    let up = Scenario::new("colliding caller")
        .invite()
        .progress()
        .answered(200)
        .ack(None);
    let collided = up
        .expect_change("INVITE")
        .reinvite("sendrecv")
        .maybe(100)
        .answered(491)
        .ack_refused_change()
        .reply_change("491 Request Pending", None)
        .expect("ACK");
    let held = collided
        .expect_change("INVITE")
        .reply_change("200 OK", Some("recvonly"))
        .expect("ACK");
    let back = held
        .expect_change("INVITE")
        .reply_change("200 OK", TALK)
        .expect("ACK");
    back.request("BYE").answered(200)
}

/// Cancels when the answer is there already, and then hangs up.
pub(crate) fn late_canceller() -> Scenario {
    Scenario::new("late canceller")
        .invite()
        .progress()
        .answered(200)
        .cancel()
        .answered(200)
        .ack(None)
        .request("BYE")
        .answered(200)
}

/// Cancels at the first sign of life, before it rings.
pub(crate) fn early_canceller() -> Scenario {
    Scenario::new("early canceller")
        .invite()
        .answered(100)
        .cancel()
        .maybe(180)
        .answered(200)
        .answered(487)
        .ack_refusal()
}

/// Presses keys by INFO, in both formats that are in use; a body that nobody knows is refused.
pub(crate) fn pressing_caller() -> Scenario {
    let up = Scenario::new("pressing caller")
        .invite()
        .progress()
        .answered(200)
        .ack(None);
    up.request_body("INFO", "application/dtmf-relay", "Signal=5\nDuration=160\n")
        .answered(200)
        .request_body("INFO", "application/dtmf", "#\n")
        .answered(200)
        .pause(400)
        .request("BYE")
        .answered(200)
}

/// Asks the other side to call `target` instead, hears how that goes, status by status, and hangs up.
pub(crate) fn transferring_caller(target: &str, news: &[&str]) -> Scenario {
    let up = Scenario::new("transferring caller")
        .invite()
        .progress()
        .answered(200)
        .ack(None)
        .pause(500);
    up.with(&format!("Refer-To: <{target}>"))
        .with("Referred-By: <sip:sipp@[local_ip]:[local_port]>")
        .request("REFER")
        .answered(202)
        .news(news)
        .request("BYE")
        .answered(200)
}

/// Asks for it and is declined.
pub(crate) fn declined_transferrer(target: &str) -> Scenario {
    let up = Scenario::new("declined transferrer")
        .invite()
        .progress()
        .answered(200)
        .ack(None);
    up.with(&format!("Refer-To: <{target}>"))
        .request("REFER")
        .answered(603)
        .pause(300)
        .request("BYE")
        .answered(200)
}

/// Is asked to call somebody else, says that it does, that it rings and that it is connected.
pub(crate) fn transferred_caller(like: &str) -> Scenario {
    let up = Scenario::new("transferred caller")
        .invite()
        .progress()
        .answered(200)
        .ack(None);
    let mut call = up
        .expect_having("REFER", "Refer-To", like)
        .confirm_as("202 Accepted");
    for (state, news) in NEWS {
        call = call
            .with("Event: refer")
            .with(&format!("Subscription-State: {state}"))
            .request_body("NOTIFY", SIPFRAG, &format!("{news}\n"))
            .answered(200);
    }
    call.expect("BYE").confirm(None)
}

/// Takes the place of its own first call with a second one, which goes on.
pub(crate) fn replacing_caller() -> Scenario {
    let tag = "<ereg regexp=\"tag=([^;]*)\" search_in=\"hdr\" header=\"To:\" check_it=\"true\" \
               assign_to=\"whole,tag\"/>";
    let first = Scenario::new("replacing caller")
        .invite()
        .progress()
        .step(&format!(
            "<recv response=\"200\" rrs=\"true\" timeout=\"20000\"><action>{tag}</action></recv>\n\
             <Reference variables=\"whole\"/>"
        ))
        .ack(None)
        .pause(500);
    // What stands before the slashes is for SIPp alone.
    let second = |line: &str, to: &str, more: &str| {
        format!(
            "{line} SIP/2.0\nVia: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]\n\
             From: <sip:other@[local_ip]:[local_port]>;tag=[pid]s[call_number]\n\
             To: <sip:[service]@[remote_ip]:[remote_port]>{to}\nCall-ID: second///[call_id]\n{more}\
             Contact: <sip:sipp@[local_ip]:[local_port];transport=[transport]>\nMax-Forwards: 70\n"
        )
    };
    let invite = second(
        "INVITE sip:[service]@[remote_ip]:[remote_port]",
        "",
        "CSeq: 1 INVITE\nRequire: replaces\n\
         Replaces: [call_id];to-tag=[$tag];from-tag=[pid]t[call_number]\n",
    );
    let taken = first
        .text(&invite, TALK)
        .progress()
        .answered(200)
        .step(&format!(
            "<send><![CDATA[\n{}Content-Length: 0\n\n]]></send>",
            second("ACK [next_url]", "[peer_tag_param]", "CSeq: 1 ACK\n")
        ));
    let bye = second("BYE [next_url]", "[peer_tag_param]", "CSeq: 2 BYE\n");
    taken
        .expect("BYE")
        .confirm(None)
        .pause(500)
        .text(&bye, None)
        .answered(200)
}

// SIPp is called.

/// Rings reliably with a description, and changes it before the answer.
pub(crate) fn reliable_callee() -> Scenario {
    let rung = Scenario::new("reliable callee")
        .expect_invite_having("Supported", ".*100rel")
        .with("Require: 100rel")
        .with("RSeq: 41")
        .reply("183 Session Progress", 'a', TALK);
    let first = rung
        .expect_having("PRACK", "RAck", " *41 [0-9]+ INVITE")
        .confirm(None);
    let second = first
        .with("Require: 100rel")
        .with("RSeq: 42")
        .reply("180 Ringing", 'a', None)
        .expect_having("PRACK", "RAck", " *42 [0-9]+ INVITE")
        .confirm(None);
    let changed = second.back("UPDATE", TALK).answered_with("sendrecv");
    changed
        .pause(300)
        .reply("200 OK", 'a', None)
        .expect("ACK")
        .back("BYE", None)
        .answered(200)
}

/// Wants a longer session than it is asked for, then refreshes it itself.
pub(crate) fn refreshing_callee() -> Scenario {
    let asked = Scenario::new("refreshing callee")
        .expect_invite()
        .with("Min-SE: 600")
        .reply("422 Session Interval Too Small", 'b', None)
        .expect("ACK")
        .expect_invite_having("Min-SE", " *600");
    let up = asked
        .with("Require: timer")
        .with("Session-Expires: 600;refresher=uas")
        .reply("200 OK", 'a', SILENT)
        .expect("ACK")
        .pause(300);
    up.with("Supported: timer")
        .with("Session-Expires: 600;refresher=uac")
        .back("UPDATE", None)
        .answered_having(200, "Session-Expires", " *600 *; *refresher=uac")
        .back("BYE", None)
        .answered(200)
}

/// Has the caller refresh the session, which does so after half of it.
pub(crate) fn refreshed_callee() -> Scenario {
    let up = Scenario::new("refreshed callee")
        .expect_invite_having("Session-Expires", " *90")
        .with("Require: timer")
        .with("Session-Expires: 90;refresher=uac")
        .reply("200 OK", 'a', SILENT)
        .expect("ACK");
    up.expect_change("UPDATE")
        .with("Require: timer")
        .with("Session-Expires: 90;refresher=uac")
        .reply_change("200 OK", None)
        .back("BYE", None)
        .answered(200)
}

/// Puts the caller on hold in every way there is, by INVITE and UPDATE, and takes it back.
pub(crate) fn holding_callee() -> Scenario {
    let mut call = Scenario::new("holding callee")
        .expect_invite()
        .reply("180 Ringing", 'a', None)
        .reply("200 OK", 'a', TALK)
        .expect("ACK");
    for (method, direction, address, answer) in [
        ("INVITE", "sendonly", None, "recvonly"),
        ("INVITE", "sendrecv", None, "sendrecv"),
        ("UPDATE", "inactive", None, "inactive"),
        ("UPDATE", "sendrecv", None, "sendrecv"),
        (
            "INVITE",
            "sendrecv",
            Some("0.0.0.0"),
            "(sendrecv|recvonly|inactive)",
        ),
        ("INVITE", "sendrecv", None, "sendrecv"),
    ] {
        call = call.pause(300);
        if let Some(address) = address {
            call = call.at(address);
        }
        call = call.back(method, Some(direction)).maybe(100);
        call = call.answered_with(answer);
        if method == "INVITE" {
            call = call.back_ack(None);
        }
    }
    call.back("BYE", None).answered(200)
}

/// As `colliding_caller`, called.
pub(crate) fn colliding_callee() -> Scenario {
    let up = Scenario::new("colliding callee")
        .expect_invite()
        .reply("200 OK", 'a', TALK)
        .expect("ACK");
    let collided = up
        .expect_change("INVITE")
        .back("INVITE", TALK)
        .maybe(100)
        .answered(491)
        .back_ack_refused()
        .reply_change("491 Request Pending", None)
        .expect("ACK");
    let held = collided
        .expect_change("INVITE")
        .reply_change("200 OK", Some("recvonly"))
        .expect("ACK");
    let back = held
        .expect_change("INVITE")
        .reply_change("200 OK", TALK)
        .expect("ACK");
    back.back("BYE", None).answered(200)
}

/// Stands for a proxy that forks: three branches ring, one of them is heard, another answers, and then
/// the first does too, which is hung up at once.
pub(crate) fn forking_callee() -> Scenario {
    let rung = Scenario::new("forking callee")
        .expect_invite()
        .reply("180 Ringing", 'b', None)
        .reply("183 Session Progress", 'c', TALK)
        .reply("180 Ringing", 'a', None)
        .pause(300);
    let answered = rung
        .reply("200 OK", 'a', TALK)
        .expect_having("ACK", "To", ".*tag=[0-9]+a")
        .pause(300)
        .reply("200 OK", 'c', TALK)
        .expect_having("ACK", "To", ".*tag=[0-9]+c");
    let over = answered
        .expect_having("BYE", "To", ".*tag=[0-9]+c")
        .confirm(None);
    over.expect_having("BYE", "To", ".*tag=[0-9]+a")
        .confirm(None)
}

/// Answers in the moment in which it is cancelled, and is hung up.
pub(crate) fn crossing_callee() -> Scenario {
    Scenario::new("crossing callee")
        .expect_invite()
        .reply("180 Ringing", 'a', None)
        .expect_change("CANCEL")
        .reply_change("200 OK", None)
        .reply("200 OK", 'a', TALK)
        .expect("ACK")
        .expect("BYE")
        .confirm(None)
}

/// Signs in, calls somebody who is not there, and is told so.
pub(crate) fn refused_signing_caller(user: &str, password: &str, status: u16) -> Scenario {
    Scenario::new("refused signing caller")
        .invite()
        .maybe(100)
        .challenged()
        .ack_refusal()
        .invite_signed(user, password)
        .maybe(100)
        .answered(status)
        .ack_refusal()
}

/// Asks to sign in, and checks the password; SIPp itself cannot check what a proxy gets.
pub(crate) fn asking_callee(user: &str, password: &str) -> Scenario {
    let asked = Scenario::new("asking callee")
        .expect_invite()
        .with("WWW-Authenticate: Digest realm=\"desk\", nonce=\"5f0e1d2c\", algorithm=MD5, qop=\"auth\"")
        .reply("401 Unauthorized", 'b', None)
        .expect("ACK");
    let check = format!(
        "<recv request=\"INVITE\" rrs=\"true\" timeout=\"20000\"><action>\
         <ereg regexp=\".*\" search_in=\"hdr\" header=\"Via:\" assign_to=\"via\"/>\
         <ereg regexp=\".*\" search_in=\"hdr\" header=\"CSeq:\" assign_to=\"cseq\"/>\
         <verifyauth assign_to=\"right\" username=\"{user}\" password=\"{password}\"/></action></recv>"
    );
    let checked = asked
        .step(&check)
        .step("<nop test=\"right\" next=\"1\"/>")
        .step("<recv request=\"NOBODY\" timeout=\"50\"/>\n<label id=\"1\"/>");
    checked
        .reply("200 OK", 'a', TALK)
        .expect("ACK")
        .back("BYE", None)
        .answered(200)
}

/// Presses a key by INFO.
pub(crate) fn pressing_callee() -> Scenario {
    Scenario::new("pressing callee")
        .expect_invite()
        .reply("200 OK", 'a', TALK)
        .expect("ACK")
        .back_body("INFO", "application/dtmf-relay", "Signal=5\nDuration=160\n")
        .answered(200)
        .pause(400)
        .back("BYE", None)
        .answered(200)
}

/// As `transferring_caller`, called.
pub(crate) fn transferring_callee(target: &str, news: &[&str]) -> Scenario {
    let up = Scenario::new("transferring callee")
        .expect_invite()
        .reply("200 OK", 'a', TALK)
        .expect("ACK")
        .pause(500);
    up.with(&format!("Refer-To: <{target}>"))
        .back("REFER", None)
        .answered(202)
        .news(news)
        .back("BYE", None)
        .answered(200)
}

/// As `transferred_caller`, called.
pub(crate) fn transferred_callee(like: &str) -> Scenario {
    let up = Scenario::new("transferred callee")
        .expect_invite()
        .reply("200 OK", 'a', TALK)
        .expect("ACK");
    let mut call = up
        .expect_having("REFER", "Refer-To", like)
        .confirm_as("202 Accepted");
    for (state, news) in NEWS {
        call = call
            .with("Event: refer")
            .with(&format!("Subscription-State: {state}"))
            .back_body("NOTIFY", SIPFRAG, &format!("{news}\n"))
            .answered(200);
    }
    call.expect("BYE").confirm(None)
}

/// Is called in the place of somebody else, answers, and hangs up.
pub(crate) fn replaced_callee() -> Scenario {
    Scenario::new("replaced callee")
        .expect_invite_having("Replaces", " *abc@sipp;to-tag=1;from-tag=2")
        .reply("200 OK", 'a', TALK)
        .expect("ACK")
        .pause(1_000)
        .back("BYE", None)
        .answered(200)
}

/// Says where the one called is found.
pub(crate) fn redirecting_callee(target: &str) -> Scenario {
    let reply = format!(
        "<send><![CDATA[\nSIP/2.0 302 Moved Temporarily\nVia: [$via]\nFrom: [$from]\n\
         To: [$to];tag=[pid]r[call_number]\nCall-ID: [call_id]\nCSeq: [$cseq]\n\
         Contact: <{target}>\nContent-Length: 0\n\n]]></send>"
    );
    Scenario::new("redirecting callee")
        .expect_invite()
        .step(&reply)
        .expect("ACK")
}

/// Is called by a caller that was redirected, and hangs up.
pub(crate) fn redirected_callee() -> Scenario {
    Scenario::new("redirected callee")
        .expect_invite_having("History-Info", ".*index=1")
        .reply("200 OK", 'a', TALK)
        .expect("ACK")
        .pause(500)
        .back("BYE", None)
        .answered(200)
}

/// Is too busy to take any call.
pub(crate) fn overloaded_callee() -> Scenario {
    Scenario::new("overloaded callee")
        .expect_invite()
        .with("Retry-After: 60")
        .reply("503 Service Unavailable", 'a', None)
        .expect("ACK")
}

// SIPp registers.

/// Registers `user` at its own port and refreshes that, signed anew each time.
pub(crate) fn registering(user: &str, password: &str) -> Scenario {
    let first = Scenario::new("registering")
        .register(user, 3600, None)
        .challenged()
        .register(user, 3600, Some((user, password)))
        .answered_having(200, "Contact", ".*expires=[0-9]+");
    first
        .register(user, 3600, None)
        .challenged()
        .register(user, 3600, Some((user, password)))
        .answered_having(200, "Contact", ".*expires=[0-9]+")
}

/// Takes its registration back.
pub(crate) fn unregistering(user: &str, password: &str) -> Scenario {
    Scenario::new("unregistering")
        .register(user, 0, None)
        .challenged()
        .register(user, 0, Some((user, password)))
        .answered(200)
}

/// Signs in as `signs` with `password` to register `user`, and is refused with `status`.
pub(crate) fn refused_register(user: &str, signs: &str, password: &str, status: u16) -> Scenario {
    Scenario::new("refused register")
        .register(user, 3600, None)
        .challenged()
        .register(user, 3600, Some((signs, password)))
        .answered(status)
}

const SIPFRAG: &str = "message/sipfrag;version=2.0";

/// What a party tells of the call that it was asked to make.
const NEWS: [(&str, &str); 3] = [
    ("active;expires=60", "SIP/2.0 100 Trying"),
    ("active;expires=50", "SIP/2.0 180 Ringing"),
    ("terminated;reason=noresource", "SIP/2.0 200 OK"),
];

impl Scenario {
    /// Expects a reliable 183 and keeps its number.
    fn rung_reliably(self) -> Self {
        self.step(
            "<recv response=\"183\" rrs=\"true\" timeout=\"20000\"><action><ereg regexp=\"[0-9]+\" \
             search_in=\"hdr\" header=\"RSeq:\" check_it=\"true\" assign_to=\"rseq\"/></action></recv>",
        )
    }

    /// Acknowledges it.
    fn prack(self) -> Self {
        self.with("RAck: [$rseq] 1 INVITE").request("PRACK")
    }

    /// Answers the last request.
    fn confirm_as(self, status: &str) -> Self {
        self.text_once(&format!(
            "SIP/2.0 {status}\n[last_Via:]\n[last_From:]\n[last_To:]\n[last_Call-ID:]\n[last_CSeq:]\n\
             Contact: <sip:sipp@[local_ip]:[local_port];transport=[transport]>\nContent-Length: 0\n\n"
        ))
    }

    fn text_once(self, text: &str) -> Self {
        self.step(&format!("<send><![CDATA[\n{text}]]></send>"))
    }

    /// Takes the news of a transfer, one status after the other.
    fn news(self, statuses: &[&str]) -> Self {
        statuses.iter().fold(self, |call, status| {
            let taken = call.step(&format!(
                "<recv request=\"NOTIFY\" timeout=\"20000\"><action><ereg regexp=\"SIP/2.0 {status}\" \
                 search_in=\"body\" check_it=\"true\" assign_to=\"news\"/></action></recv>\n\
                 <Reference variables=\"news\"/>"
            ));
            taken.confirm(None)
        })
    }

    fn register(mut self, user: &str, expires: u32, signed: Option<(&str, &str)>) -> Self {
        self = self.with(&format!("Expires: {expires}"));
        if let Some((name, password)) = signed {
            self = self.with(&format!(
                "[authentication username={name} password={password}]"
            ));
        }
        self.register_request(user)
    }
}
