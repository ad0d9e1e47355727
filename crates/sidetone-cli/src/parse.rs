//! `sidetone parse`: what the engine makes of SIP messages in files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;
use sidetone::sip::header::address::NameAddr;
use sidetone::sip::header::via::Via;
use sidetone::sip::lex::Param;
use sidetone::sip::message::{Kind, MAX_MESSAGE_BYTES, Message, ParseError};

/// Parse files that hold one raw SIP message each, as a datagram.
///
/// Prints one JSON object a line and a file: `file`, `valid`, `kind` ("request" or "response"),
/// `method`, `request_uri`, `status`, `headers` (name and value, in order; compact names are
/// expanded, line folds undone), `typed` (From, To, Via, CSeq, Call-ID, Contact, Route and
/// Max-Forwards as they are understood, null where missing or broken) and `body_length`.
///
/// For a message that is not valid there are also `reason` and `answer`: the status code that the
/// engine would answer, or null for silence (to responses, to ACK, and to what is not SIP).
///
/// Valid means that the message itself keeps the protocol's rules. What a receiver makes of a valid
/// message is not told: an unknown method (405 or 501), an extension in Require (420), a body
/// type (415) or Max-Forwards of 0 leave it valid. The one exception is a Request-URI whose scheme
/// no user agent serves: such a message is valid, and has `reason` and `answer` 416 all the same.
///
/// Exit status: 0 if all messages are valid, 1 if any is not, 2 if a file cannot be read (the
/// other files are printed even so) or the output cannot be written.
#[derive(Debug, clap::Args)]
pub(crate) struct Parse {
    /// Files with one message each; /dev/stdin reads what is piped in.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// What is printed for one file.
#[derive(Debug, Default, Serialize)]
struct Report {
    file: String,
    valid: bool,
    kind: Option<&'static str>,
    method: Option<String>,
    request_uri: Option<String>,
    status: Option<u16>,
    headers: Vec<Row>,
    typed: Typed,
    body_length: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The outer level is whether there is an answer to tell of, the inner one silence.
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Option<u16>>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    value: String,
}

#[derive(Debug, Default, Serialize)]
struct Typed {
    #[serde(rename = "From")]
    from: Option<Address>,
    #[serde(rename = "To")]
    to: Option<Address>,
    #[serde(rename = "Via")]
    via: Option<Vec<Hop>>,
    #[serde(rename = "CSeq")]
    cseq: Option<Sequence>,
    #[serde(rename = "Call-ID")]
    call_id: Option<String>,
    #[serde(rename = "Contact")]
    contact: Option<Vec<Address>>,
    #[serde(rename = "Route")]
    route: Option<Vec<Address>>,
    #[serde(rename = "Max-Forwards")]
    max_forwards: Option<u8>,
}

#[derive(Debug, Default, Serialize)]
struct Address {
    display_name: Option<String>,
    uri: String,
    user: Option<String>,
    host: Option<String>,
    port: Option<u16>,
    uri_params: BTreeMap<String, Option<String>>,
    tag: Option<String>,
    params: BTreeMap<String, Option<String>>,
}

#[derive(Debug, Serialize)]
struct Hop {
    transport: String,
    host: String,
    port: Option<u16>,
    branch: Option<String>,
    received: Option<String>,
    rport: Option<u16>,
    params: BTreeMap<String, Option<String>>,
}

#[derive(Debug, Serialize)]
struct Sequence {
    number: u32,
    method: String,
}

impl Parse {
    /// Prints all files.
    pub(crate) fn run(&self) -> ExitCode {
        let mut out = BufWriter::new(io::stdout().lock());
        let (mut invalid, mut unreadable) = (false, false);
        for path in &self.files {
            let bytes = match read(path) {
                Ok(bytes) => bytes,
                Err(error) => {
                    unreadable = true;
                    complain(path, &error);
                    continue;
                }
            };
            let report = Report::new(path, bytes);
            invalid |= !report.valid;
            if print(&mut out, &report).is_err() {
                // Nobody reads on; there is nobody to tell, either.
                return ExitCode::from(2);
            }
        }
        match (out.flush(), unreadable, invalid) {
            (Err(_), ..) | (_, true, _) => ExitCode::from(2),
            (Ok(()), false, false) => ExitCode::SUCCESS,
            (Ok(()), false, true) => ExitCode::FAILURE,
        }
    }
}

/// Reads a file, but not more of it than tells that it is too large.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = MAX_MESSAGE_BYTES as u64 * 2;
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn complain(path: &Path, error: &io::Error) {
    // Where standard error is closed too, the exit status still tells.
    let _ = writeln!(io::stderr().lock(), "sidetone: {}: {error}", path.display());
}

fn print(out: &mut impl Write, report: &Report) -> io::Result<()> {
    serde_json::to_writer(&mut *out, report)?;
    out.write_all(b"\n")
}

impl Report {
    fn new(path: &Path, bytes: Vec<u8>) -> Self {
        let file = path.display().to_string();
        match Message::parse(bytes.into()) {
            Ok(message) => Self::of_message(file, &message),
            Err(error) => Self::of_error(file, error),
        }
    }

    fn of_error(file: String, error: ParseError) -> Self {
        Self {
            file,
            reason: Some(error.to_string()),
            answer: Some(None),
            ..Self::default()
        }
    }

    fn of_message(file: String, message: &Message) -> Self {
        let reject = message.validate().err();
        let (kind, request_uri) = match message.kind() {
            Kind::Request { uri, .. } => ("request", Some(String::from_utf8_lossy(uri).into())),
            Kind::Response { .. } => ("response", None),
        };
        let row = |name: &str, value: &str| Row {
            name: name.into(),
            value: value.into(),
        };
        Self {
            file,
            valid: reject.is_none_or(|reject| !reject.is_malformed()),
            kind: Some(kind),
            method: message.method().map(ToString::to_string),
            request_uri,
            status: message.status().map(|status| status.code()),
            headers: message
                .headers()
                .map(|h| row(h.name.as_str(), &h.text()))
                .collect(),
            typed: Typed::new(message),
            body_length: message.body().len(),
            reason: reject.map(|reject| reject.to_string()),
            answer: reject.map(|reject| reject.status.map(|status| status.code())),
        }
    }
}

impl Typed {
    fn new(message: &Message) -> Self {
        let list = |values: Result<Vec<NameAddr>, _>| {
            let values = values.ok().filter(|values| !values.is_empty());
            values.map(|values| values.iter().map(Address::new).collect())
        };
        let star = || {
            vec![Address {
                uri: "*".into(),
                ..Address::default()
            }]
        };
        let vias: Result<Vec<Via>, _> = message.vias().collect();
        Self {
            from: message.from().ok().as_ref().map(Address::new),
            to: message.to().ok().as_ref().map(Address::new),
            via: vias.ok().map(|vias| vias.iter().map(Hop::new).collect()),
            cseq: message.cseq().ok().map(|cseq| Sequence {
                number: cseq.number(),
                method: cseq.method().to_string(),
            }),
            call_id: message.call_id().ok().map(Into::into),
            contact: match message.has_star_contact() {
                true => Some(star()),
                false => list(message.contacts().collect::<Result<_, _>>().map_err(drop)),
            },
            route: list(message.routes().collect::<Result<_, _>>().map_err(drop)),
            max_forwards: message.max_forwards().ok().flatten(),
        }
    }
}

impl Address {
    fn new(address: &NameAddr) -> Self {
        let uri = address.uri();
        Self {
            display_name: address.display_name().map(Into::into),
            uri: uri.to_string(),
            user: uri.user().map(Into::into),
            host: Some(uri.host())
                .filter(|host| !host.is_empty())
                .map(Into::into),
            port: uri.port(),
            uri_params: params(uri.params()),
            tag: address.tag().map(Into::into),
            params: params(address.params()),
        }
    }
}

impl Hop {
    fn new(via: &Via) -> Self {
        Self {
            transport: via.transport().into(),
            host: via.host().into(),
            port: via.port(),
            branch: via.branch().map(Into::into),
            received: via.received().map(|address| address.to_string()),
            rport: via.rport(),
            params: params(via.params()),
        }
    }
}

/// Parameters by their names in lower case; null for one without a value.
fn params<'a>(params: impl Iterator<Item = Param<'a>>) -> BTreeMap<String, Option<String>> {
    let name = |param: &Param<'_>| String::from_utf8_lossy(param.name).to_ascii_lowercase();
    params
        .map(|param| (name(&param), param.value.map(|_| param.text().into())))
        .collect()
}
