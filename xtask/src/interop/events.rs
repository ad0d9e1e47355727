//! SIPp as a user's device that watches, publishes, and writes messages (RFC 6665, RFC 3903, RFC 3428).

use std::fs;
use std::io;
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::{Case, Proof, SOON};
use crate::audio::wav::Wav;
use crate::peer::baresip::{self, Baresip};
use crate::peer::own::{Own, PASSWORD};
use crate::peer::place::Place;
use crate::peer::process::Process;

pub(super) const QUIET: [Case; 2] = [
    Case {
        name: "events: SIPp watches, publishes, writes, and is refused what it may not",
        needs: &["sipp"],
        run: presence,
    },
    Case {
        name: "events: baresip watches what SIPp publishes",
        needs: &["baresip", "sipp"],
        run: baresip_watches,
    },
];

const PIDF: &str = "\
<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"sip:alice@desk\">
<tuple id=\"desk\"><status><basic>open</basic></status><note>here</note></tuple>
</presence>
";

/// What SIPp sends and expects, step by step.
#[derive(Default)]
struct Script {
    body: String,
    sequence: u32,
}

impl Script {
    /// A request with the next CSeq number; `to` are the parameters of To.
    fn send(mut self, method: &str, to: &str, fields: &str, content: &str) -> Self {
        self.sequence += 1;
        self.body.push_str(&format!(
            "<send retrans=\"500\"><![CDATA[\n\
             {method} sip:[service]@[remote_ip]:[remote_port] SIP/2.0\n\
             Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]\n\
             Max-Forwards: 70\nFrom: <sip:[service]@desk>;tag=[call_number]\n\
             To: <sip:[service]@desk>{to}\nCall-ID: [call_id]\nCSeq: {} {method}\n\
             Contact: <sip:[service]@[local_ip]:[local_port]>\n{fields}\
             Content-Length: [len]\n\n{content}]]></send>\n",
            self.sequence
        ));
        self
    }

    /// The same, challenged first and then signed.
    fn signed(self, method: &str, fields: &str, content: &str) -> Self {
        let first = self.send(method, "", fields, content);
        let first = first.line("<recv response=\"401\" auth=\"true\"/>");
        let signed = format!("{fields}[authentication username=alice password={PASSWORD}]\n");
        first.send(method, "", &signed, content)
    }

    fn line(mut self, line: &str) -> Self {
        self.body.push_str(line);
        self.body.push('\n');
        self
    }

    /// A NOTIFY in which each of `texts` stands, and 200 to it.
    fn notified(mut self, texts: &[&str]) -> Self {
        let checks = texts.iter().map(|text| {
            format!("<ereg regexp=\"{text}\" search_in=\"msg\" check_it=\"true\" assign_to=\"1\"/>")
        });
        let checks: String = checks.collect();
        self.body.push_str(&format!(
            "<recv request=\"NOTIFY\"><action>{checks}</action></recv>\n\
             <send><![CDATA[\nSIP/2.0 200 OK\n[last_Via:]\n[last_From:]\n[last_To:]\n\
             [last_Call-ID:]\n[last_CSeq:]\nContent-Length: 0\n\n]]></send>\n"
        ));
        self
    }

    fn xml(&self) -> String {
        // SIPp minds a variable that is named once only, and one that is named and never set.
        let set = |name: &&str| self.body.contains(&format!("assign_to=\"{name}\""));
        let names: Vec<&str> = ["1", "2"].into_iter().filter(|name| set(name)).collect();
        let reference = match names.is_empty() {
            true => String::new(),
            false => format!("<Reference variables=\"{}\"/>\n", names.join(",")),
        };
        format!(
            "<?xml version=\"1.0\" encoding=\"us-ascii\"?>\n<scenario name=\"events\">\n{}\
             {reference}</scenario>\n",
            self.body
        )
    }
}

fn script() -> Script {
    let tag = "<recv response=\"200\"><action><ereg regexp=\";tag=[0-9a-f]+\" search_in=\"hdr\" \
               header=\"To:\" check_it=\"true\" assign_to=\"2\"/></action></recv>";
    let ok = "<recv response=\"200\"/>";
    let watch = "Event: presence\nAccept: application/pidf+xml\nExpires: 600\n";
    let publish = "Event: presence\nExpires: 600\nContent-Type: application/pidf+xml\n";
    Script::default()
        .signed("SUBSCRIBE", watch, "")
        .line(tag)
        .notified(&["Subscription-State: active;expires=", "closed"])
        .signed("PUBLISH", publish, PIDF)
        .line(ok)
        // The package's pause passes first.
        .notified(&["<basic>open</basic>", "<note>here</note>"])
        .signed("MESSAGE", "Content-Type: text/plain\n", "hello from SIPp\n")
        .line(ok)
        .signed("SUBSCRIBE", "Event: conference\nExpires: 600\n", "")
        .line("<recv response=\"489\"/>")
        .signed(
            "PUBLISH",
            "Event: presence\nSIP-If-Match: 0123456789abcdef\n",
            "",
        )
        .line("<recv response=\"412\"/>")
        .send("SUBSCRIBE", "[$2]", "Event: presence\nExpires: 0\n", "")
        .line(ok)
        .notified(&["Subscription-State: terminated;reason=timeout", "open"])
}

fn presence(place: &Place) -> io::Result<Proof> {
    let users = place.path("users.txt");
    fs::write(&users, format!("alice:{PASSWORD}\n"))?;
    let users = users.display().to_string();
    let options = ["--registrar", "desk", "--users", &users, "--digest", "md5"];
    let mut desk = Own::answer(place, &Vec::new(), &options)?;
    play(place, &script(), &desk.address())?;
    desk.expect("message from sip:alice@desk: \"hello from SIPp")?;
    desk.stop()?;
    Ok(Proof::default())
}

/// Alice's presence, told to Bob's telephone.
fn baresip_watches(place: &Place) -> io::Result<Proof> {
    let users = place.path("users.txt");
    fs::write(&users, format!("alice:{PASSWORD}\nbob:{PASSWORD}\n"))?;
    let users = users.display().to_string();
    let options = ["--registrar", "desk", "--users", &users, "--digest", "md5"];
    let desk = Own::answer(place, &Vec::new(), &options)?;
    let target = desk.address();
    let (contact, password) = (
        format!("\"Alice\" <sip:alice@{target}>;presence=p2p"),
        format!("auth_pass={PASSWORD}"),
    );
    let silence = Wav::mono(Vec::new());
    let options = baresip::Options {
        // Its module for mailboxes subscribes without end once it has registered.
        apps: &["contact", "presence"],
        contacts: &[&contact],
        account: &["auth_user=bob", &password],
        registrar: Some(&target),
        ..baresip::Options::saying(&silence)
    };
    let mut bob = Baresip::with(place, "bob", &options)?;
    bob.expect("useragent registered successfully", SOON)?;
    // Its telephone tells of changes only, so what there was is to come first.
    thread::sleep(Duration::from_secs(3));
    let publish = "Event: presence\nExpires: 600\nContent-Type: application/pidf+xml\n";
    let publishes = Script::default()
        .signed("PUBLISH", publish, PIDF)
        .line("<recv response=\"200\"/>");
    play(place, &publishes, &target)?;
    bob.expect("Online", SOON)?;
    bob.quit()?;
    desk.stop()?;
    let told = "sip.Method == \"NOTIFY\" && sip.Event contains \"presence\"";
    Ok(Proof::default().shows("NOTIFYs of presence", told, 2))
}

/// Lets SIPp play a script as Alice.
fn play(place: &Place, script: &Script, target: &str) -> io::Result<()> {
    let dir = place.path("sipp");
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("scenario.xml"), script.xml())?;
    let port = place.take_signalling().to_string();
    let signed = format!("alice@{target}");
    let mut command = Command::new("sipp");
    command
        .args(["-sf", "scenario.xml", "-m", "1", "-nostdin"])
        .args(["-i", "127.0.0.1", "-p", &port, "-s", "alice"])
        .args(["-trace_err", "-error_file", "errors.txt"])
        .args(["-trace_msg", "-message_file", "messages.txt"])
        .args(["-timeout", "40", "-timeout_error", "-auth_uri", &signed])
        .arg(target);
    let mut sipp = Process::spawn("sipp", &dir, &mut command)?;
    sipp.succeed(Duration::from_secs(45))
}
