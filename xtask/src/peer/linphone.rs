//! Linphone's command-line client, with files for microphone and loudspeaker.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::certificates::Certificates;
use super::place::Place;
use super::process::Process;
use crate::audio::wav::Wav;

/// A running linphonec.
pub(crate) struct Linphone {
    process: Process,
    dir: PathBuf,
    port: u16,
}

/// What it is to do.
pub(crate) struct Options<'a> {
    /// What it says once a call is up.
    pub(crate) say: &'a Wav,
    /// Takes every call.
    pub(crate) answer: bool,
    /// Codecs as `name/rate`, best first; none is whatever it has.
    pub(crate) codecs: &'a [&'a str],
    /// More lines of the `[sip]` section of its configuration, such as `media_encryption=srtp`.
    pub(crate) sip: &'a [&'a str],
    /// Name, password and realm to sign in by.
    pub(crate) account: Option<(&'a str, &'a str, &'a str)>,
    /// Calls by TLS too, and trusts the authority of these.
    pub(crate) tls: Option<&'a Certificates>,
    /// Registers the user of its account there, a URI.
    pub(crate) registrar: Option<&'a str>,
}

impl<'a> Options<'a> {
    /// Says `say` in whatever codec, and rings until told otherwise.
    pub(crate) fn saying(say: &'a Wav) -> Self {
        Self {
            say,
            answer: false,
            codecs: &[],
            sip: &[],
            account: None,
            tls: None,
            registrar: None,
        }
    }
}

/// Every codec that it would add by itself to those that a test asks for.
const CODECS: [&str; 10] = [
    "opus/48000",
    "speex/32000",
    "speex/16000",
    "speex/8000",
    "PCMU/8000",
    "PCMA/8000",
    "G722/8000",
    "GSM/8000",
    "L16/44100",
    "G729/8000",
];

const CONFIG: &str = "\
[sip]
sip_port=@PORT@
sip_tcp_port=0
sip_tls_port=@TLS@
guess_hostname=0
contact=\"Linphone\" <sip:linphone@127.0.0.1>
use_ipv6=0
ipv6_migration_done=1
auto_net_state_mon=@MONITOR@
bind_address=127.0.0.1
@SIP@[rtp]
bind_address=127.0.0.1
audio_rtp_port=@MEDIA@
@CODECS@@ACCOUNT@";

impl Linphone {
    /// Starts it under `name`; it says `say` once a call is up. With `answer` it takes every call.
    pub(crate) fn spawn(place: &Place, name: &str, say: &[i16], answer: bool) -> io::Result<Self> {
        let say = Wav::mono(say.to_vec());
        let options = Options {
            answer,
            ..Options::saying(&say)
        };
        Self::with(place, name, &options)
    }

    /// Starts it under `name` to do what `options` say.
    pub(crate) fn with(place: &Place, name: &str, options: &Options<'_>) -> io::Result<Self> {
        let dir = place.path(name);
        fs::create_dir_all(dir.join(".local/share/linphone"))?;
        let (port, media) = (place.take_signalling(), place.take(2));
        let trust = |tls: &Certificates| {
            let authority = tls.authority.display();
            format!("root_ca={authority}\nverify_server_certs=1\nverify_server_cn=1\n")
        };
        let trust = options.tls.map(trust).unwrap_or_default();
        let config = CONFIG
            .replace("@PORT@", &port.to_string())
            .replace("@MEDIA@", &media.to_string())
            .replace("@SIP@", &(lines(options.sip) + &trust))
            // It registers only when it has seen a network.
            .replace(
                "@MONITOR@",
                if options.registrar.is_some() {
                    "1"
                } else {
                    "0"
                },
            )
            .replace("@TLS@", if options.tls.is_some() { "-1" } else { "0" })
            .replace("@CODECS@", &codecs(options.codecs))
            .replace("@ACCOUNT@", &account(options.account))
            + &registrar(options);
        fs::write(dir.join("linphonerc"), config)?;
        options.say.write(&dir.join("say.wav"))?;
        let mut command = Command::new("linphonec");
        command.args(["-c", "linphonerc"]);
        if options.answer {
            command.arg("-a");
        }
        let mut process = Process::spawn("linphonec", &dir, &mut command)?;
        process.line("soundcard use files")?;
        // Short names: its line editor hides the beginning of long lines.
        process.line("record heard.wav")?;
        process.line("play say.wav")?;
        process.expect("play say.wav", Duration::from_secs(10))?;
        Ok(Self { process, dir, port })
    }

    /// Its SIP address.
    pub(crate) fn uri(&self) -> String {
        format!("sip:linphone@127.0.0.1:{}", self.port)
    }

    /// Calls.
    pub(crate) fn dial(&mut self, uri: &str) -> io::Result<()> {
        self.process.line(&format!("call {uri}"))
    }

    /// Presses a key.
    pub(crate) fn press(&mut self, digit: char) -> io::Result<()> {
        self.process.line(&digit.to_string())
    }

    /// Hangs up.
    pub(crate) fn hang_up(&mut self) -> io::Result<()> {
        self.process.line("terminate")
    }

    /// Waits until sound flows.
    pub(crate) fn expect_up(&mut self, limit: Duration) -> io::Result<()> {
        self.process.expect("Media streams established", limit)
    }

    /// Waits until its call is over.
    pub(crate) fn expect_over(&mut self, limit: Duration) -> io::Result<()> {
        self.process.expect(" ended (", limit)
    }

    /// Everything that it printed.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// What it heard. It writes the file's header when it quits.
    pub(crate) fn heard(mut self) -> io::Result<Wav> {
        self.process.line("quit")?;
        self.process.end(Duration::from_secs(10))?;
        Wav::read(&self.dir.join("heard.wav"))
    }
}

fn lines(words: &[&str]) -> String {
    words.iter().map(|word| format!("{word}\n")).collect()
}

fn account(account: Option<(&str, &str, &str)>) -> String {
    let section = |(user, password, realm)| {
        format!("[auth_info_0]\nusername={user}\nuserid={user}\npasswd={password}\nrealm={realm}\n")
    };
    account.map(section).unwrap_or_default()
}

/// The section that has it register.
fn registrar(options: &Options<'_>) -> String {
    let (Some(uri), Some((user, ..))) = (options.registrar, options.account) else {
        return String::new();
    };
    let host = uri.trim_start_matches("sip:");
    let host = host.split(';').next().unwrap_or_default();
    format!(
        "[proxy_0]\nreg_proxy=<{uri}>\nreg_identity=<sip:{user}@{host}>\nreg_expires=3600\n\
         reg_sendregister=1\npublish=0\n"
    )
}

/// The sections that enable `wanted` in their order, and nothing else.
fn codecs(wanted: &[&str]) -> String {
    if wanted.is_empty() {
        return String::new();
    }
    let others = CODECS.iter().filter(|codec| !wanted.contains(codec));
    let section = |(index, codec): (usize, &&str)| {
        let (name, rate) = codec.split_once('/').unwrap_or((codec, "8000"));
        let channels = if name == "opus" { 2 } else { 1 };
        let enabled = u8::from(wanted.contains(codec));
        format!(
            "[audio_codec_{index}]\nmime={name}\nrate={rate}\nchannels={channels}\nenabled={enabled}\n"
        )
    };
    wanted
        .iter()
        .chain(others)
        .enumerate()
        .map(section)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_codecs_asked_for_are_enabled() {
        let text = codecs(&["G722/8000"]);
        assert!(text.starts_with("[audio_codec_0]\nmime=G722\nrate=8000\nchannels=1\nenabled=1\n"));
        assert_eq!(text.matches("enabled=0").count(), CODECS.len() - 1);
        assert_eq!(codecs(&[]), "");
    }
}
