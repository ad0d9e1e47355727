//! What SIPp's messages say of a call beside who calls whom, and what of it comes out at a SIPp on the other
//! side of the `b2bua` example, within a trust domain and outside of one.

use std::io;

use super::{Case, Proof, SOON};
use crate::peer::engine::Engine;
use crate::peer::place::Place;
use crate::peer::scenario::Scenario;
use crate::peer::sipp::{Options, Sipp};

pub(super) const QUIET: [Case; 3] = [
    case(
        "identity: all that is said goes both ways within a trust domain",
        |place| {
            let told = [
                ("P-Asserted-Identity:", "4930123"),
                ("Privacy:", "id"),
                ("Diversion:", "4930999.*unconditional"),
                ("History-Info:", "4930999.*index=1"),
                ("", "56a390f3d2b7310023a2.*purpose=foo"),
                ("", CALL_DATA),
                ("Session-ID:", "ab30317f1a784dc48ff824d0d3715d86.*remote=0+"),
            ];
            let back = [
                ("P-Asserted-Identity:", "4989777"),
                ("User-to-User:", "0102.*purpose=foo"),
                ("Session-ID:", SESSION),
            ];
            let trusted = ["--trusted".to_owned(), "127.0.0.0/8".to_owned()];
            talk(place, &trusted, (&told, &[]), (&back, &[]))
        },
    ),
    case(
        "identity: outside of it claims and identities stop",
        |place| {
            let told = [
                ("From:", "Anonymous.*anonymous@anonymous.invalid"),
                ("Privacy:", "id"),
                ("", "56a390f3d2b7310023a2.*purpose=foo"),
                ("Session-ID:", "ab30317f1a784dc48ff824d0d3715d86.*remote=0+"),
            ];
            let lacking = ["P-Asserted", "Diversion", "History-Info", "4930123"];
            let back = [("User-to-User:", "0102"), ("Session-ID:", SESSION)];
            talk(place, &[], (&told, &lacking), (&back, &["P-Asserted"]))
        },
    ),
    case(
        "identity: a caller who would rather not call than be seen is refused",
        |place| {
            let caller = Scenario::new("critical caller")
                .with("Privacy: x-invisible;critical")
                .invite()
                .progress()
                .answered(500)
                .ack_refusal();
            let engine = Engine::b2bua(place, &["sip:nobody@127.0.0.1:9".to_owned()], &[])?;
            calling(place, &engine, &caller)?.finish(SOON)?;
            engine.stop()?;
            Ok(Proof::none())
        },
    ),
];

/// `case` is `4711`, as the engine carries data of calls.
const CALL_DATA: &str = "01046361736573000434373131.*purpose=x-sidetone-call-data";

/// The callee's half of the session's identifier, and the caller's.
const SESSION: &str = "47755a9de7794ba387653f2099600ef2.*remote=ab30317f1a784dc48ff824d0d3715d86";

/// Header fields, or the whole message where there is no name, and what must stand in them; and what may
/// stand nowhere.
type Check<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);

const fn case(name: &'static str, run: fn(&Place) -> io::Result<Proof>) -> Case {
    Case {
        name,
        needs: &["sipp"],
        run,
    }
}

/// One call with everything that can be said; `told` is what the callee must find, `back` the caller.
fn talk(place: &Place, options: &[String], told: Check<'_>, back: Check<'_>) -> io::Result<Proof> {
    let callee = Scenario::new("told callee")
        .step(&expect("request=\"INVITE\"", told))
        .respond("180 Ringing", None)
        .with("P-Asserted-Identity: <sip:+4989777@carrier.example>")
        .with("User-to-User: 0102;encoding=hex;purpose=foo")
        .with(
            "Session-ID: 47755a9de7794ba387653f2099600ef2;\
             remote=ab30317f1a784dc48ff824d0d3715d86",
        )
        .respond("200 OK", Some("sendrecv"))
        .expect("ACK")
        .expect("BYE")
        .confirm(None);
    let mut callee = Sipp::spawn(place, "callee", &callee, &Options::default())?;
    let engine = Engine::b2bua(place, &[callee.uri()], options)?;
    let caller = Scenario::new("telling caller")
        .with("P-Asserted-Identity: <sip:+4930123@carrier.example>")
        .with("Privacy: id")
        .with("Diversion: <sip:+4930999@carrier.example>;reason=unconditional")
        .with("History-Info: <sip:+4930999@carrier.example>;index=1")
        .with("User-to-User: 56a390f3d2b7310023a2;encoding=hex;purpose=foo")
        .with(
            "User-to-User: 01046361736573000434373131;encoding=hex;\
             purpose=x-sidetone-call-data",
        )
        .with(
            "Session-ID: ab30317f1a784dc48ff824d0d3715d86;\
             remote=00000000000000000000000000000000",
        )
        .invite()
        .progress()
        .step(&expect("response=\"200\"", back))
        .ack(None)
        .pause(300)
        .request("BYE")
        .answered(200);
    calling(place, &engine, &caller)?.finish(SOON)?;
    callee.finish(SOON)?;
    engine.stop()?;
    Ok(Proof::none())
}

/// A step that expects a message and checks it.
fn expect(what: &str, (has, lacks): Check<'_>) -> String {
    let has = has.iter().map(|(header, like)| match *header {
        "" => format!(
            "<ereg regexp=\"{like}\" search_in=\"msg\" check_it=\"true\" assign_to=\"seen\"/>"
        ),
        header => format!(
            "<ereg regexp=\"{like}\" search_in=\"hdr\" header=\"{header}\" check_it=\"true\" \
             assign_to=\"seen\"/>"
        ),
    });
    let lacks = lacks.iter().map(|like| {
        format!(
            "<ereg regexp=\"{like}\" search_in=\"msg\" check_it_inverse=\"true\" \
             assign_to=\"seen\"/>"
        )
    });
    let checks: String = has.chain(lacks).collect();
    format!(
        "<recv {what} rrs=\"true\" timeout=\"20000\"><action>{checks}</action></recv>\n\
         <Reference variables=\"seen\"/>"
    )
}

fn calling(place: &Place, engine: &Engine, scenario: &Scenario) -> io::Result<Sipp> {
    let options = Options {
        target: Some(engine.address()),
        ..Options::default()
    };
    Sipp::spawn(place, "caller", scenario, &options)
}
