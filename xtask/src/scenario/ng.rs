//! rtpengine, and as much of its control protocol (bencoded dictionaries over UDP) as a relay needs.

use std::cell::Cell;
use std::io;
use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

use super::MEASURED;
use super::row::on;
use crate::peer::place::Place;
use crate::peer::process::Process;

/// How long an answer may take.
const SOON: Duration = Duration::from_secs(5);

/// A running rtpengine.
pub(super) struct Server {
    pub(super) process: Process,
    socket: UdpSocket,
    asked: Cell<u32>,
}

impl Server {
    /// Starts it without its kernel module, and with one worker, as it has one core.
    pub(super) fn start(place: &Place, dir: &Path) -> io::Result<Self> {
        let port = place.take_signalling();
        let mut command = on(MEASURED, "rtpengine");
        command.args([
            "--config-file=none",
            "--table=-1",
            "--foreground",
            "--log-stderr",
        ]);
        command.args(["--log-level=4", "--interface=127.0.0.1", "--num-threads=1"]);
        command.args(["--port-min=40000", "--port-max=60000"]);
        command.arg(format!("--listen-ng=127.0.0.1:{port}"));
        let process = Process::spawn("rtpengine", dir, &mut command)?;
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(("127.0.0.1", port))?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        let asked = Cell::new(0);
        let server = Self {
            process,
            socket,
            asked,
        };
        let end = std::time::Instant::now() + SOON;
        while !server
            .ask("ping", &[])
            .is_ok_and(|answer| answer.contains("pong"))
        {
            if std::time::Instant::now() > end {
                return Err(server.process.complain("does not answer"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }

    /// Sets up so many calls between parties at even ports from `first` on; gives where they send to, a
    /// line a call.
    pub(super) fn relay(&self, calls: usize, first: u16) -> io::Result<String> {
        let mut lines = String::new();
        for call in 0..calls {
            let id = format!("call-{call}");
            let description = |party: usize| {
                let port = usize::from(first) + (call * 2 + party) * 2;
                format!(
                    "v=0\r\no=load 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
                     m=audio {port} RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n"
                )
            };
            let (caller, called) = (description(0), description(1));
            let common = [("call-id", id.as_str()), ("from-tag", "a")];
            let offer = [&common[..], &[("sdp", &caller)]].concat();
            let answer = [&common[..], &[("to-tag", "b"), ("sdp", &called)]].concat();
            let for_called = media_port(&self.ask("offer", &offer)?)?;
            let for_caller = media_port(&self.ask("answer", &answer)?)?;
            lines.push_str(&format!("127.0.0.1:{for_caller} 127.0.0.1:{for_called}\n"));
        }
        Ok(lines)
    }

    /// Sends a command and gives its answer, still bencoded.
    fn ask(&self, command: &str, fields: &[(&str, &str)]) -> io::Result<String> {
        // It answers a cookie that it knows as it did before.
        self.asked.set(self.asked.get() + 1);
        let cookie = self.asked.get();
        let mut message = format!("{cookie} d7:command{}:{command}", command.len());
        for (name, value) in fields {
            message.push_str(&format!("{}:{name}{}:{value}", name.len(), value.len()));
        }
        message.push('e');
        self.socket.send(message.as_bytes())?;
        let mut buffer = [0; 8_192];
        let length = self.socket.recv(&mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }
}

/// The port in the description of an answer.
fn media_port(answer: &str) -> io::Result<u16> {
    let line = answer.split_once("m=audio ").map(|(_, rest)| rest);
    let port = line.and_then(|rest| rest.split(' ').next()?.parse().ok());
    port.ok_or_else(|| io::Error::other(format!("rtpengine: {answer}")))
}
