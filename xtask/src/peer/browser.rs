//! Chromium without a window, on a page of ours that tells what happens there.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::place::Place;
use super::process::Process;
use crate::shell;

/// How often the page's words are looked at.
const GLANCE: Duration = Duration::from_millis(25);

/// A running browser.
pub(crate) struct Browser {
    /// Ends with it.
    _process: Process,
}

impl Browser {
    /// Opens `url`; TLS is believed where the server's key is that of `certificate`.
    pub(crate) fn open(place: &Place, url: &str, certificate: &Path) -> io::Result<Self> {
        let dir = place.path("browser");
        fs::create_dir_all(&dir)?;
        let mut command = Command::new("chromium-headless-shell");
        command.args(["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]);
        command.args(["--no-first-run", "--disable-background-networking"]);
        command.args([
            "--use-fake-device-for-media-stream",
            "--use-fake-ui-for-media-stream",
        ]);
        // Without it the browser ends once the page is loaded.
        command.arg("--remote-debugging-port=0");
        command.arg(format!("--user-data-dir={}", dir.join("profile").display()));
        command.arg(format!(
            "--ignore-certificate-errors-spki-list={}",
            fingerprint(certificate)?
        ));
        let process = Process::spawn("browser", &dir, command.arg(url))?;
        Ok(Self { _process: process })
    }
}

/// The SHA-256 of a certificate's public key, in base64.
fn fingerprint(certificate: &Path) -> io::Result<String> {
    let steps = format!(
        "openssl x509 -in '{}' -pubkey -noout | openssl pkey -pubin -outform der \
         | openssl dgst -sha256 -binary | openssl base64",
        certificate.display()
    );
    let output = Command::new("sh").args(["-c", &steps]).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The server of the page; it keeps what the page tells.
pub(crate) struct Page {
    port: u16,
    told: Arc<Mutex<Vec<String>>>,
    serving: Option<JoinHandle<()>>,
}

impl Page {
    /// Serves the folder `files`, and `jssip.js`.
    pub(crate) fn serve(place: &Place, files: PathBuf, jssip: PathBuf) -> io::Result<Self> {
        let port = place.take(2);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&told);
        let serving = thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Some((path, body)) = request(&stream) else {
                    continue;
                };
                match path.as_str() {
                    "/end" => return,
                    "/told" => {
                        let mut heard = heard.lock().unwrap_or_else(|lock| lock.into_inner());
                        heard.push(body);
                        respond(&stream, b"");
                    }
                    "/jssip.js" => respond(&stream, &fs::read(&jssip).unwrap_or_default()),
                    // Only plain names: nothing above the folder.
                    name => match name.strip_prefix('/').filter(|name| !name.contains('/')) {
                        Some(name) => {
                            respond(&stream, &fs::read(files.join(name)).unwrap_or_default());
                        }
                        None => respond(&stream, b""),
                    },
                }
            }
        });
        Ok(Self {
            port,
            told,
            serving: Some(serving),
        })
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Everything that the page has told, a line each.
    pub(crate) fn told(&self) -> String {
        let told = self.told.lock().unwrap_or_else(|lock| lock.into_inner());
        told.join("\n")
    }

    /// Waits until the page tells something that begins with `text`.
    pub(crate) fn expect(&self, text: &str, limit: Duration) -> io::Result<()> {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            if self.told().lines().any(|line| line.starts_with(text)) {
                return Ok(());
            }
            thread::sleep(GLANCE);
        }
        Err(io::Error::other(format!(
            "the page did not tell `{text}`, but: {}",
            self.told()
        )))
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let ended = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))
            .and_then(|mut stream| stream.write_all(b"GET /end HTTP/1.1\r\n\r\n"));
        if let (Ok(()), Some(serving)) = (ended, self.serving.take()) {
            let _ = serving.join();
        }
    }
}

/// The path and the body of a request.
fn request(mut stream: &TcpStream) -> Option<(String, String)> {
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        text.extend_from_slice(&buffer[..count]);
        let whole = String::from_utf8_lossy(&text).into_owned();
        let Some((head, body)) = whole.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let is_length = name.eq_ignore_ascii_case("content-length");
            is_length.then(|| value.trim().parse::<usize>().ok())?
        });
        if body.len() >= length.unwrap_or(0) {
            let target = head.split_whitespace().nth(1)?;
            let path = target.split('?').next()?;
            return Some((path.to_owned(), body.to_owned()));
        }
    }
}

fn respond(mut stream: &TcpStream, body: &[u8]) {
    let kind = if body.starts_with(b"<!doctype") {
        "text/html"
    } else {
        "text/javascript"
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    // Whoever went away needs no answer.
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body));
}

/// Where the page's own files are.
pub(crate) fn files() -> PathBuf {
    shell::root().join("xtask/web")
}
