//! SIPp scenarios, written as the sequence of what is sent and expected.

/// A scenario under construction.
#[derive(Clone)]
pub(crate) struct Scenario {
    name: &'static str,
    body: String,
    cseq: u32,
    /// Steps so far, and the number of the step that sent the last INVITE: SIPp names branches by
    /// their distance.
    steps: u32,
    invited: u32,
    /// The number of the last INVITE, which its ACK has too.
    invite: u32,
    /// Header fields of the next message.
    fields: String,
    /// The address in the next description, where it is not the own one.
    connection: Option<&'static str>,
}

/// What SIPp's user agent says that it can do.
const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, PRACK, UPDATE, REFER, NOTIFY, INFO";

const OFFER: &str = "\
v=0
o=sipp 1 @VERSION@ IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] @CONNECTION@
t=0 0
m=audio [media_port] RTP/AVP 0 101
a=rtpmap:0 PCMU/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
a=ptime:20
a=@DIRECTION@
";

impl Scenario {
    /// An empty scenario.
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            body: String::new(),
            cseq: 0,
            steps: 0,
            invited: 0,
            invite: 0,
            fields: String::new(),
            connection: None,
        }
    }

    /// Adds a header field to the next message that is sent.
    pub(crate) fn with(mut self, field: &str) -> Self {
        self.fields.push_str(field);
        self.fields.push('\n');
        self
    }

    /// Names another address in the next description.
    pub(crate) fn at(mut self, address: &'static str) -> Self {
        self.connection = Some(address);
        self
    }

    /// Sends the first INVITE, with an offer.
    pub(crate) fn invite(self) -> Self {
        self.first("INVITE", Some("sendrecv"))
    }

    /// Sends the INVITE again with credentials, after a challenge that `challenged` took.
    pub(crate) fn invite_signed(mut self, user: &str, password: &str) -> Self {
        self.cseq += 1;
        self.invite = self.cseq;
        self.invited = self.steps;
        let head = format!(
            "INVITE sip:[service]@[remote_ip]:[remote_port] SIP/2.0\n{}\
             To: <sip:[service]@[remote_ip]:[remote_port]>\n{}\
             [authentication username={user} password={password}]\n",
            self.via_and_from(),
            self.common("INVITE")
        );
        self.send("retrans=\"500\"", &head, Some("sendrecv"))
    }

    /// Expects a challenge and remembers it.
    pub(crate) fn challenged(self) -> Self {
        self.raw("<recv response=\"401\" auth=\"true\" timeout=\"20000\"/>")
    }

    /// Sends the first INVITE without an offer: the peer is to make it.
    pub(crate) fn invite_without_offer(self) -> Self {
        self.first("INVITE", None)
    }

    /// Sends a request outside any dialog.
    pub(crate) fn first(mut self, method: &str, direction: Option<&str>) -> Self {
        self.cseq += 1;
        self.invite = self.cseq;
        self.invited = self.steps;
        let head = format!(
            "{method} sip:[service]@[remote_ip]:[remote_port] SIP/2.0\n{}\
             To: <sip:[service]@[remote_ip]:[remote_port]>\n{}",
            self.via_and_from(),
            self.common(method)
        );
        self.send("retrans=\"500\"", &head, direction)
    }

    /// Sends a new INVITE within the dialog.
    pub(crate) fn reinvite(self, direction: &str) -> Self {
        self.change(Some(direction))
    }

    /// Sends a new INVITE within the dialog, with an offer where there is a direction.
    pub(crate) fn change(mut self, direction: Option<&str>) -> Self {
        self.cseq += 1;
        self.invite = self.cseq;
        self.invited = self.steps;
        let head = self.within("INVITE");
        self.send("retrans=\"500\"", &head, direction)
    }

    /// Offers a change with an UPDATE.
    pub(crate) fn update(mut self, direction: &str) -> Self {
        self.cseq += 1;
        let head = self.within("UPDATE");
        self.send("retrans=\"500\"", &head, Some(direction))
    }

    /// Sends another request within the dialog.
    pub(crate) fn request(mut self, method: &str) -> Self {
        self.cseq += 1;
        let head = self.within(method);
        self.send("retrans=\"500\"", &head, None)
    }

    /// Acknowledges the answer to the last INVITE; with an answer where the peer made the offer.
    pub(crate) fn ack(self, direction: Option<&str>) -> Self {
        let head = self.within_as("ACK", self.invite);
        self.send("", &head, direction)
    }

    /// Acknowledges a refusal of the last INVITE within the dialog, with its branch.
    pub(crate) fn ack_refused_change(self) -> Self {
        let branch = format!("[branch-{}]", self.steps - self.invited);
        let head = self.within_as("ACK", self.invite);
        let head = head.replace("[branch]", &branch);
        self.send("", &head, None)
    }

    /// Cancels the INVITE, which has the same branch.
    pub(crate) fn cancel(self) -> Self {
        let head = self.on_invite("CANCEL", "");
        self.send("retrans=\"500\"", &head, None)
    }

    /// Acknowledges a refusal of the INVITE.
    pub(crate) fn ack_refusal(self) -> Self {
        let head = self.on_invite("ACK", "[peer_tag_param]");
        self.send("", &head, None)
    }

    /// Expects a response; its record route and contact lead the dialog from then on.
    pub(crate) fn answered(self, status: u16) -> Self {
        self.raw(&format!(
            "<recv response=\"{status}\" rrs=\"true\" timeout=\"20000\"/>"
        ))
    }

    /// Expects a 200 whose description has this direction.
    pub(crate) fn answered_with(self, direction: &str) -> Self {
        self.raw(&format!(
            "<recv response=\"200\" timeout=\"20000\"><action><ereg regexp=\"a={direction}\" \
             search_in=\"body\" check_it=\"true\" assign_to=\"direction\"/></action></recv>\n\
             <Reference variables=\"direction\"/>"
        ))
    }

    /// Takes a response if it comes before the next one expected.
    pub(crate) fn maybe(self, status: u16) -> Self {
        self.raw(&format!("<recv response=\"{status}\" optional=\"true\"/>"))
    }

    /// Takes 100, 180 and 183 if they come.
    pub(crate) fn progress(self) -> Self {
        self.maybe(100).maybe(180).maybe(183)
    }

    /// Expects a request; the first one's record route leads the dialog.
    pub(crate) fn expect(self, method: &str) -> Self {
        // Without a Contact SIPp takes no route, and says so at every request.
        let routes = if method == "INVITE" {
            "rrs=\"true\""
        } else {
            ""
        };
        self.raw(&format!(
            "<recv request=\"{method}\" {routes} timeout=\"40000\"/>"
        ))
    }

    /// Expects an INVITE, and remembers who it is from, for `bye_back`.
    pub(crate) fn expect_from(self) -> Self {
        self.raw(
            "<recv request=\"INVITE\" rrs=\"true\" timeout=\"40000\"><action><ereg regexp=\".*\" \
             search_in=\"hdr\" header=\"From:\" assign_to=\"peer\"/></action></recv>",
        )
    }

    /// Answers the last request; with a description where there is a direction.
    pub(crate) fn respond(self, status: &str, direction: Option<&str>) -> Self {
        let head = format!(
            "SIP/2.0 {status}\n[last_Via:]\n[last_From:]\n[last_To:];tag=[pid]a[call_number]\n\
             [last_Call-ID:]\n[last_CSeq:]\n[last_Record-Route:]\n\
             Contact: <sip:sipp@[local_ip]:[local_port];transport=[transport]>\n\
             Allow: INVITE, ACK, BYE, CANCEL, OPTIONS\n"
        );
        let again = if direction.is_some() || status.as_bytes()[0] > b'2' {
            "retrans=\"500\""
        } else {
            ""
        };
        self.send(again, &head, direction)
    }

    /// Expects a CANCEL, confirms it, and refuses the INVITE that `expect` took before.
    pub(crate) fn cancelled(self) -> Self {
        let refusal = "SIP/2.0 487 Request Terminated\n[last_Via:]\n[last_From:]\n\
                       [last_To:];tag=[pid]a[call_number]\n[last_Call-ID:]\nCSeq: [cseq] INVITE\n";
        let confirmed = self.expect("CANCEL").respond("200 OK", None);
        confirmed
            .send("retrans=\"500\"", refusal, None)
            .expect("ACK")
    }

    /// Answers the last request inside the dialog, whose To has its tag already.
    pub(crate) fn confirm(self, direction: Option<&str>) -> Self {
        let head = "SIP/2.0 200 OK\n[last_Via:]\n[last_From:]\n[last_To:]\n[last_Call-ID:]\n\
                    [last_CSeq:]\nContact: <sip:sipp@[local_ip]:[local_port];transport=[transport]>\n";
        self.send("", head, direction)
    }

    /// Hangs up a call that the other side began.
    pub(crate) fn bye_back(self) -> Self {
        let head = "BYE [next_url] SIP/2.0\n\
                    Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport\n[routes]\n\
                    From: <sip:sipp@[local_ip]:[local_port]>;tag=[pid]a[call_number]\n\
                    To: [$peer]\nCall-ID: [call_id]\nCSeq: 1 BYE\nMax-Forwards: 70\n";
        self.send("retrans=\"500\"", head, None)
    }

    /// Expects a response with a header field like this; its record route and contact lead the dialog
    /// from then on.
    pub(crate) fn answered_having(self, status: u16, header: &str, like: &str) -> Self {
        self.raw(&format!(
            "<recv response=\"{status}\" rrs=\"true\" timeout=\"20000\"><action>{}</action></recv>",
            having(header, like)
        ))
        .reference("found")
    }

    /// Expects a request with a header field like this.
    pub(crate) fn expect_having(self, method: &str, header: &str, like: &str) -> Self {
        self.raw(&format!(
            "<recv request=\"{method}\" timeout=\"60000\"><action>{}</action></recv>",
            having(header, like)
        ))
        .reference("found")
    }

    /// Expects the first INVITE and keeps what `reply` and `back` need of it.
    pub(crate) fn expect_invite(self) -> Self {
        self.keep("INVITE", "rrs=\"true\"", &["via", "from", "to", "cseq"], "")
    }

    /// The same of an INVITE with a header field like this.
    pub(crate) fn expect_invite_having(self, header: &str, like: &str) -> Self {
        let keep = ["via", "from", "to", "cseq"];
        self.keep("INVITE", "rrs=\"true\"", &keep, &having(header, like))
            .reference("found")
    }

    /// Expects a request within the dialog and keeps what `reply_change` needs of it.
    pub(crate) fn expect_change(self, method: &str) -> Self {
        self.keep(method, "", &["via2", "from2", "to2", "cseq2"], "")
    }

    fn keep(self, method: &str, attributes: &str, names: &[&str; 4], more: &str) -> Self {
        let headers = ["Via:", "From:", "To:", "CSeq:"];
        let kept: String = headers
            .iter()
            .zip(names)
            .map(|(header, name)| {
                format!(
                    "<ereg regexp=\".*\" search_in=\"hdr\" header=\"{header}\" assign_to=\"{name}\"/>"
                )
            })
            .collect();
        let step = format!(
            "<recv request=\"{method}\" {attributes} timeout=\"60000\"><action>{kept}{more}</action></recv>"
        );
        self.raw(&step).reference(&names.join(","))
    }

    /// Answers what `expect_invite` kept, as the branch of this letter; with a description where there
    /// is a direction.
    pub(crate) fn reply(self, status: &str, branch: char, direction: Option<&str>) -> Self {
        let head = format!(
            "SIP/2.0 {status}\nVia: [$via]\nFrom: [$from]\nTo: [$to];tag=[pid]{branch}[call_number]\n\
             Call-ID: [call_id]\nCSeq: [$cseq]\n\
             Contact: <sip:sipp@[local_ip]:[local_port];transport=[transport]>\nAllow: {ALLOW}\n"
        );
        self.send("", &head, direction)
    }

    /// Answers what `expect_change` kept.
    pub(crate) fn reply_change(self, status: &str, direction: Option<&str>) -> Self {
        let head = format!(
            "SIP/2.0 {status}\nVia: [$via2]\nFrom: [$from2]\nTo: [$to2]\nCall-ID: [call_id]\n\
             CSeq: [$cseq2]\n\
             Contact: <sip:sipp@[local_ip]:[local_port];transport=[transport]>\nAllow: {ALLOW}\n"
        );
        self.send("", &head, direction)
    }

    /// Sends a request within a dialog that the other side began, as the branch `a`.
    pub(crate) fn back(mut self, method: &str, direction: Option<&str>) -> Self {
        self.cseq += 1;
        if method == "INVITE" {
            (self.invite, self.invited) = (self.cseq, self.steps);
        }
        let head = self.backwards(method, self.cseq);
        let again = if method == "ACK" {
            ""
        } else {
            "retrans=\"500\""
        };
        self.send(again, &head, direction)
    }

    /// Acknowledges the answer to an INVITE of `back`.
    pub(crate) fn back_ack(self, direction: Option<&str>) -> Self {
        let head = self.backwards("ACK", self.invite);
        self.send("", &head, direction)
    }

    /// Acknowledges a refusal of an INVITE of `back`, with its branch.
    pub(crate) fn back_ack_refused(self) -> Self {
        let branch = format!("[branch-{}]", self.steps - self.invited);
        let head = self.backwards("ACK", self.invite);
        let head = head.replace("[branch]", &branch);
        self.send("", &head, None)
    }

    fn backwards(&self, method: &str, number: u32) -> String {
        format!(
            "{method} [next_url] SIP/2.0\n\
             Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport\n[routes]\n\
             From: [$to];tag=[pid]a[call_number]\nTo: [$from]\nCall-ID: [call_id]\n\
             CSeq: {number} {method}\n\
             Contact: <sip:sipp@[local_ip]:[local_port];transport=[transport]>\n\
             Max-Forwards: 70\nAllow: {ALLOW}\n"
        )
    }

    /// Sends a request with a body of its own within the dialog, whose first words are `head`.
    fn send_body(mut self, head: &str, kind: &str, body: &str) -> Self {
        let fields = std::mem::take(&mut self.fields);
        self.raw(&format!(
            "<send retrans=\"500\">\n<![CDATA[\n{head}{fields}Content-Type: {kind}\n\
             Content-Length: [len]\n\n{body}]]>\n</send>"
        ))
    }

    /// Sends a request with a body within the dialog.
    pub(crate) fn request_body(mut self, method: &str, kind: &str, body: &str) -> Self {
        self.cseq += 1;
        let head = self.within(method);
        self.send_body(&head, kind, body)
    }

    /// The same within a dialog that the other side began.
    pub(crate) fn back_body(mut self, method: &str, kind: &str, body: &str) -> Self {
        self.cseq += 1;
        let head = self.backwards(method, self.cseq);
        self.send_body(&head, kind, body)
    }

    /// Sends a REGISTER for `user`, who is reached at SIPp's own port.
    pub(crate) fn register_request(mut self, user: &str) -> Self {
        self.cseq += 1;
        let head = format!(
            "REGISTER sip:[remote_ip]:[remote_port] SIP/2.0\n\
             Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport\n\
             From: <sip:{user}@[remote_ip]:[remote_port]>;tag=[pid]r[call_number]\n\
             To: <sip:{user}@[remote_ip]:[remote_port]>\nCall-ID: [call_id]\n\
             CSeq: {} REGISTER\nContact: <sip:{user}@[local_ip]:[local_port]>\nMax-Forwards: 70\n",
            self.cseq
        );
        self.send("retrans=\"500\"", &head, None)
    }

    /// Sends a request whose text is given whole, but for what follows the last header field.
    pub(crate) fn text(self, head: &str, direction: Option<&str>) -> Self {
        self.send("retrans=\"500\"", head, direction)
    }

    /// Keeps SIPp from complaining of variables that are set and never read.
    fn reference(mut self, names: &str) -> Self {
        let line = format!("<Reference variables=\"{names}\"/>\n");
        if !self.body.contains(&line) {
            self.body.push_str(&line);
        }
        self
    }

    /// Takes a step of SIPp's own language.
    pub(crate) fn step(self, xml: &str) -> Self {
        self.raw(xml)
    }

    /// Begins to speak what `Sipp::say` prepared.
    pub(crate) fn speak(self) -> Self {
        self.raw("<nop><action><exec play_pcap_audio=\"say.pcap\"/></action></nop>")
    }

    /// Waits.
    pub(crate) fn pause(self, milliseconds: u32) -> Self {
        self.raw(&format!("<pause milliseconds=\"{milliseconds}\"/>"))
    }

    /// The scenario as SIPp reads it.
    pub(crate) fn xml(&self) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<scenario name=\"{}\">\n{}</scenario>\n",
            self.name, self.body
        )
    }

    fn raw(mut self, line: &str) -> Self {
        // A label is no step.
        self.steps += line.matches("<send").count() as u32
            + line.matches("<recv").count() as u32
            + line.matches("<pause").count() as u32
            + line.matches("<nop").count() as u32;
        self.body.push_str(line);
        self.body.push('\n');
        self
    }

    /// A request with the INVITE's own branch and number.
    fn on_invite(&self, method: &str, tag: &str) -> String {
        format!(
            "{method} sip:[service]@[remote_ip]:[remote_port] SIP/2.0\n\
             Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch-{}];rport\n\
             From: \"SIPp\" <sip:sipp@[local_ip]:[local_port]>;tag=[pid]t[call_number]\n\
             To: <sip:[service]@[remote_ip]:[remote_port]>{tag}\n\
             Call-ID: [call_id]\nCSeq: {} {method}\nMax-Forwards: 70\n",
            self.steps - self.invited,
            self.cseq
        )
    }

    fn within(&self, method: &str) -> String {
        self.within_as(method, self.cseq)
    }

    fn within_as(&self, method: &str, number: u32) -> String {
        format!(
            "{method} [next_url] SIP/2.0\n{}[routes]\n\
             To: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]\n{}",
            self.via_and_from(),
            Self::numbered(method, number)
        )
    }

    fn via_and_from(&self) -> String {
        "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport\n\
         From: \"SIPp\" <sip:sipp@[local_ip]:[local_port]>;tag=[pid]t[call_number]\n"
            .to_owned()
    }

    fn common(&self, method: &str) -> String {
        Self::numbered(method, self.cseq)
    }

    fn numbered(method: &str, number: u32) -> String {
        format!(
            "Call-ID: [call_id]\nCSeq: {number} {method}\n\
             Contact: <sip:sipp@[local_ip]:[local_port];transport=[transport]>\n\
             Max-Forwards: 70\nAllow: INVITE, ACK, BYE, CANCEL, OPTIONS\n"
        )
    }

    fn send(mut self, attributes: &str, head: &str, direction: Option<&str>) -> Self {
        let fields = std::mem::take(&mut self.fields);
        let connection = self.connection.take().unwrap_or("[media_ip]");
        let body = match direction {
            Some(direction) => format!(
                "Content-Type: application/sdp\nContent-Length: [len]\n\n{}",
                OFFER
                    .replace("@DIRECTION@", direction)
                    .replace("@CONNECTION@", connection)
                    .replace("@VERSION@", &self.cseq.max(1).to_string())
            ),
            None => "Content-Length: 0\n\n".to_owned(),
        };
        self.raw(&format!(
            "<send {attributes}>\n<![CDATA[\n{head}{fields}{body}]]>\n</send>"
        ))
    }
}

/// What looks whether a header field is like this.
fn having(header: &str, like: &str) -> String {
    format!(
        "<ereg regexp=\"{like}\" search_in=\"hdr\" header=\"{header}:\" check_it=\"true\" \
         assign_to=\"found\"/>"
    )
}

/// Calls, speaks for `talk` milliseconds, hangs up.
pub(crate) fn caller(talk: u32) -> Scenario {
    let call = Scenario::new("caller")
        .invite()
        .progress()
        .answered(200)
        .ack(None);
    call.speak().pause(talk).request("BYE").answered(200)
}

/// Calls, speaks, waits until the other side hangs up.
pub(crate) fn patient_caller() -> Scenario {
    let call = Scenario::new("patient caller")
        .invite()
        .progress()
        .answered(200)
        .ack(None);
    call.speak().expect("BYE").confirm(None)
}

/// Calls and acknowledges the answer so late that it is sent again.
pub(crate) fn slow_caller() -> Scenario {
    let call = Scenario::new("slow caller")
        .invite()
        .progress()
        .answered(200)
        .pause(1800)
        .ack(None);
    call.speak().pause(1500).request("BYE").answered(200)
}

/// Calls without an offer and answers the one it gets.
pub(crate) fn offerless_caller() -> Scenario {
    let call = Scenario::new("offerless caller")
        .invite_without_offer()
        .progress()
        .answered(200);
    call.ack(Some("sendrecv"))
        .speak()
        .pause(2500)
        .request("BYE")
        .answered(200)
}

/// Calls, puts the call on hold, takes it back, hangs up.
pub(crate) fn holding_caller() -> Scenario {
    let call = Scenario::new("holding caller")
        .invite()
        .progress()
        .answered(200)
        .ack(None);
    let held = call
        .speak()
        .pause(1500)
        .reinvite("sendonly")
        .maybe(100)
        .answered_with("recvonly")
        .ack(None);
    let back = held
        .pause(1500)
        .reinvite("sendrecv")
        .maybe(100)
        .answered_with("sendrecv")
        .ack(None);
    back.pause(2000).request("BYE").answered(200)
}

/// Calls, puts the call on hold with UPDATE, takes it back, shows that it is alive, hangs up.
pub(crate) fn updating_caller() -> Scenario {
    let call = Scenario::new("updating caller")
        .invite()
        .progress()
        .answered(200)
        .ack(None);
    let held = call
        .speak()
        .pause(1500)
        .update("sendonly")
        .answered_with("recvonly");
    let back = held
        .pause(1000)
        .update("sendrecv")
        .answered_with("sendrecv");
    back.request("UPDATE")
        .answered(200)
        .pause(2000)
        .request("BYE")
        .answered(200)
}

/// Calls, changes its mind while the other side rings.
pub(crate) fn cancelling_caller() -> Scenario {
    let call = Scenario::new("cancelling caller")
        .invite()
        .maybe(100)
        .answered(180)
        .pause(700);
    call.cancel().answered(200).answered(487).ack_refusal()
}

/// Calls, is challenged, signs in, and says that it hangs up after `talk` milliseconds.
pub(crate) fn signing_caller(user: &str, password: &str, talk: u32) -> Scenario {
    let call = Scenario::new("signing caller")
        .invite()
        .maybe(100)
        .challenged()
        .ack_refusal()
        .invite_signed(user, password)
        .progress()
        .answered(200)
        .ack(None);
    call.speak().pause(talk).request("BYE").answered(200)
}

/// Calls, is challenged, and is challenged again for a wrong password.
pub(crate) fn refused_guesser(user: &str, password: &str) -> Scenario {
    Scenario::new("guesser")
        .invite()
        .maybe(100)
        .challenged()
        .ack_refusal()
        .invite_signed(user, password)
        .maybe(100)
        .answered(401)
        .ack_refusal()
}

/// Asks for a session interval that is too short, and is told so.
pub(crate) fn hasty_caller() -> Scenario {
    let mut call = Scenario::new("hasty caller");
    call.cseq = 1;
    let head = format!(
        "INVITE sip:[service]@[remote_ip]:[remote_port] SIP/2.0\n{}\
         To: <sip:[service]@[remote_ip]:[remote_port]>\n{}\
         Supported: timer\nSession-Expires: 30\n",
        call.via_and_from(),
        call.common("INVITE")
    );
    call.send("retrans=\"500\"", &head, Some("sendrecv"))
        .maybe(100)
        .answered(422)
        .ack_refusal()
}

/// Calls and is refused.
pub(crate) fn refused_caller(status: u16) -> Scenario {
    Scenario::new("refused caller")
        .invite()
        .progress()
        .answered(status)
        .ack_refusal()
}

/// Asks something outside any call and expects a status.
pub(crate) fn asker(method: &str, status: u16) -> Scenario {
    Scenario::new("asker").first(method, None).answered(status)
}

/// Rings, answers, speaks until the caller hangs up.
pub(crate) fn callee() -> Scenario {
    let ring = Scenario::new("callee")
        .expect("INVITE")
        .respond("180 Ringing", None)
        .pause(300);
    ring.respond("200 OK", Some("sendrecv"))
        .expect("ACK")
        .speak()
        .expect("BYE")
        .confirm(None)
}

/// Lets the INVITE be sent again before it rings; then as `callee`.
pub(crate) fn slow_callee() -> Scenario {
    let ring = Scenario::new("slow callee")
        .expect("INVITE")
        .pause(1800)
        .respond("180 Ringing", None);
    ring.respond("200 OK", Some("sendrecv"))
        .expect("ACK")
        .speak()
        .expect("BYE")
        .confirm(None)
}

/// Is busy.
pub(crate) fn busy_callee() -> Scenario {
    Scenario::new("busy callee")
        .expect("INVITE")
        .respond("486 Busy Here", None)
        .expect("ACK")
}

/// Rings until the caller changes its mind.
pub(crate) fn ringing_callee() -> Scenario {
    Scenario::new("ringing callee")
        .expect("INVITE")
        .respond("180 Ringing", None)
        .cancelled()
}

/// Answers, and hangs up itself after `talk` milliseconds.
pub(crate) fn leaving_callee(talk: u32) -> Scenario {
    let up = Scenario::new("leaving callee")
        .expect_from()
        .respond("180 Ringing", None);
    let talking = up
        .respond("200 OK", Some("sendrecv"))
        .expect("ACK")
        .speak()
        .pause(talk);
    talking.bye_back().answered(200)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancel_names_the_branch_of_its_invite() {
        // INVITE is step 0; 100, 180, the pause and the CANCEL follow.
        let xml = cancelling_caller().xml();
        let cancel = xml.split("CANCEL sip:").nth(1).unwrap();
        assert!(cancel.contains("branch=[branch-4]"), "{cancel}");
        assert!(
            xml.split("ACK sip:")
                .nth(1)
                .unwrap()
                .contains("branch=[branch-7]"),
            "{xml}"
        );
    }

    #[test]
    fn every_description_ends_its_headers_with_an_empty_line() {
        for scenario in [
            caller(1),
            callee(),
            holding_caller(),
            offerless_caller(),
            ringing_callee(),
        ] {
            for message in scenario.xml().split("<![CDATA[\n").skip(1) {
                let message = message.split("]]>").next().unwrap();
                assert!(message.contains("\n\n"), "{message}");
            }
        }
    }
}
