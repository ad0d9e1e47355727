//! The telephones: just enough of SIP to place calls, to answer them and to hang up, and none of the
//! engine's own, so that one does not excuse the other.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::sdp::{Local, Remote};

/// How long a call may take to be set up, refusals for want of room included.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a refused caller waits.
const PAUSE: Duration = Duration::from_millis(20);
/// How often a telephone looks for messages.
const GLANCE: Duration = Duration::from_micros(100);

/// All telephones, on two sockets.
#[derive(Debug)]
pub(super) struct Phones {
    server: SocketAddr,
    callers: UdpSocket,
    called: Option<UdpSocket>,
    dialogs: Vec<Dialog>,
    minted: u32,
}

/// A call that we have placed.
#[derive(Debug)]
struct Dialog {
    number: u32,
    to: String,
    target: String,
}

/// A message, as far as telephones read it.
struct Message(String);

impl Message {
    fn header(&self, name: &str) -> Option<&str> {
        self.0
            .lines()
            .take_while(|line| !line.is_empty())
            .find_map(|line| {
                let (own, value) = line.split_once(':')?;
                own.trim().eq_ignore_ascii_case(name).then(|| value.trim())
            })
    }

    /// Every Via, in order, as an answer repeats them.
    fn vias(&self) -> String {
        let lines = self.0.lines().take_while(|line| !line.is_empty());
        let vias = lines.filter(|line| line.to_ascii_lowercase().starts_with("via:"));
        vias.map(|line| format!("{line}\r\n")).collect()
    }

    fn status(&self) -> Option<u16> {
        self.0
            .strip_prefix("SIP/2.0 ")?
            .split(' ')
            .next()?
            .parse()
            .ok()
    }

    fn method(&self) -> &str {
        self.0.split(' ').next().unwrap_or_default()
    }

    fn body(&self) -> &str {
        self.0.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    fn is_of(&self, call: u32) -> bool {
        self.header("Call-ID") == Some(format!("load-{call}").as_str())
    }
}

impl Phones {
    pub(super) fn new(server: SocketAddr, called: Option<SocketAddr>) -> io::Result<Self> {
        let open = |address: SocketAddr| {
            let socket = UdpSocket::bind(address)?;
            socket.set_nonblocking(true)?;
            Ok::<_, io::Error>(socket)
        };
        Ok(Self {
            server,
            callers: open(SocketAddr::new(server.ip(), 0))?,
            called: called.map(open).transpose()?,
            dialogs: Vec::new(),
            minted: 0,
        })
    }

    /// Places a call, and answers the one that the server then places where it is to; gives what the
    /// server said of its media on both sides.
    pub(super) fn call(
        &mut self,
        caller: &Local,
        called: Option<&Local>,
    ) -> io::Result<(Remote, Option<Remote>)> {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.attempt(caller, called, end)? {
                Ok(done) => return Ok(done),
                Err(503) if Instant::now() < end => std::thread::sleep(PAUSE),
                Err(status) => {
                    let why = format!("call {} was refused with {status}", self.dialogs.len() + 1);
                    return Err(io::Error::other(why));
                }
            }
        }
    }

    /// One attempt; the status where it was refused.
    fn attempt(
        &mut self,
        caller: &Local,
        called: Option<&Local>,
        end: Instant,
    ) -> io::Result<Result<(Remote, Option<Remote>), u16>> {
        self.minted += 1;
        let number = self.minted;
        let target = format!("sip:load@{}", self.server);
        let to = format!("<{target}>");
        let body = caller.describe(caller.format.static_type(), "1");
        self.request("INVITE", "invite", number, (&to, &target), &body)?;
        let mut offered = None;
        while Instant::now() < end {
            if let Some(called) = called
                && let Some(remote) = self.answer(called)?
            {
                offered = Some(remote);
            }
            let Some(message) = receive(&self.callers)? else {
                std::thread::sleep(GLANCE);
                continue;
            };
            let status = message.status().filter(|_| message.is_of(number));
            let Some(status @ 200..) = status else {
                continue;
            };
            let to = message.header("To").unwrap_or(&to).to_owned();
            let contact = message.header("Contact").unwrap_or_default();
            let contact = contact.trim_start_matches('<').split('>').next();
            let contact = contact.unwrap_or_default().to_owned();
            if status >= 300 {
                self.request("ACK", "invite", number, (&to, &target), "")?;
                return Ok(Err(status));
            }
            self.request("ACK", "ack", number, (&to, &contact), "")?;
            let remote = Remote::read(message.body(), caller);
            let Some((remote, _)) = remote else {
                return Err(io::Error::other(format!("no answer to us: {}", message.0)));
            };
            self.dialogs.push(Dialog {
                number,
                to,
                target: contact,
            });
            return Ok(Ok((remote, offered)));
        }
        Err(io::Error::other("a call was not answered in time"))
    }

    /// Answers what has come to those who are called; gives the media of a new call.
    fn answer(&mut self, local: &Local) -> io::Result<Option<Remote>> {
        let Some(socket) = &self.called else {
            return Ok(None);
        };
        let Some(message) = receive(socket)? else {
            return Ok(None);
        };
        match message.method() {
            "INVITE" => {
                let Some((remote, tag)) = Remote::read(message.body(), local) else {
                    return Err(io::Error::other(format!("no offer for us: {}", message.0)));
                };
                let body = local.describe(remote.payload_type, &tag);
                respond(socket, self.server, &message, &body)?;
                Ok(Some(remote))
            }
            "ACK" | "SIP/2.0" => Ok(None),
            _ => respond(socket, self.server, &message, "").map(|()| None),
        }
    }

    /// Hangs up all calls, and waits a moment for the server to tell those who were called.
    pub(super) fn hang_up(&mut self) -> io::Result<()> {
        for dialog in std::mem::take(&mut self.dialogs) {
            self.request(
                "BYE",
                "bye",
                dialog.number,
                (&dialog.to, &dialog.target),
                "",
            )?;
            let end = Instant::now() + Duration::from_millis(50);
            while Instant::now() < end {
                self.confirm()?;
                let answered = receive(&self.callers)?;
                if answered.is_some_and(|message| message.is_of(dialog.number)) {
                    break;
                }
                std::thread::sleep(GLANCE);
            }
        }
        let end = Instant::now() + Duration::from_secs(1);
        while Instant::now() < end {
            self.confirm()?;
            std::thread::sleep(GLANCE);
        }
        Ok(())
    }

    /// Answers a BYE of the server.
    fn confirm(&self) -> io::Result<()> {
        if let Some(socket) = &self.called
            && let Some(message) = receive(socket)?
            && message.method() == "BYE"
        {
            respond(socket, self.server, &message, "")?;
        }
        Ok(())
    }

    fn request(
        &self,
        method: &str,
        // Of its transaction: the ACK to a refusal has the INVITE's.
        branch: &str,
        call: u32,
        (to, target): (&str, &str),
        body: &str,
    ) -> io::Result<()> {
        let own = self.callers.local_addr()?;
        let sequence = if method == "BYE" { 2 } else { 1 };
        let kind = if body.is_empty() {
            ""
        } else {
            "Content-Type: application/sdp\r\n"
        };
        let text = format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{branch}{call};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:caller{call}@{own}>;tag=load{call}\r\nTo: {to}\r\n\
             Call-ID: load-{call}\r\nCSeq: {sequence} {method}\r\nContact: <sip:caller{call}@{own}>\r\n\
             {kind}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.callers.send_to(text.as_bytes(), self.server).map(drop)
    }
}

fn respond(
    socket: &UdpSocket,
    server: SocketAddr,
    request: &Message,
    body: &str,
) -> io::Result<()> {
    let own = socket.local_addr()?;
    let field = |name| request.header(name).unwrap_or_default();
    let mut to = field("To").to_owned();
    if !to.contains("tag=") {
        to.push_str(";tag=called");
    }
    let kind = if body.is_empty() {
        ""
    } else {
        "Content-Type: application/sdp\r\n"
    };
    let text = format!(
        "SIP/2.0 200 OK\r\n{}From: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {}\r\n\
         Contact: <sip:called@{own}>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
        request.vias(),
        field("From"),
        field("Call-ID"),
        field("CSeq"),
        body.len()
    );
    socket.send_to(text.as_bytes(), server).map(drop)
}

fn receive(socket: &UdpSocket) -> io::Result<Option<Message>> {
    let mut buffer = [0; 65_536];
    match socket.recv(&mut buffer) {
        Ok(length) => Ok(Some(Message(
            String::from_utf8_lossy(&buffer[..length]).into_owned(),
        ))),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}
