//! baresip without a sound card: a softphone that says a file and keeps what it hears.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use super::certificates::Certificates;
use super::place::Place;
use super::process::Process;
use crate::audio::wav::Wav;

/// A running baresip with one account.
pub(crate) struct Baresip {
    process: Process,
    name: String,
    dir: PathBuf,
    address: Ipv4Addr,
    port: u16,
    media: u16,
    tls: bool,
}

/// What it is to do.
pub(crate) struct Options<'a> {
    /// What it says from the moment a call is up; it must not come to its end, for baresip hangs
    /// up then.
    pub(crate) say: &'a Wav,
    /// Takes every call at once.
    pub(crate) answer: bool,
    /// Codecs by their names, such as `opus/48000/2`, best first; none is every codec that it has
    /// loaded.
    pub(crate) codecs: &'a [&'a str],
    /// Modules beside those that every call needs.
    pub(crate) modules: &'a [&'a str],
    /// More lines of its configuration, such as `opus_stereo no`.
    pub(crate) settings: &'a [&'a str],
    /// Modules that need its account.
    pub(crate) apps: &'a [&'a str],
    /// Lines of its list of contacts.
    pub(crate) contacts: &'a [&'a str],
    /// More parameters of its account, such as `mediaenc=srtp`.
    pub(crate) account: &'a [&'a str],
    /// Speaks SIP over TLS alone, by these.
    pub(crate) tls: Option<&'a Certificates>,
    /// Registers there, `host:port`, under its name, and keeps that up.
    pub(crate) registrar: Option<&'a str>,
}

impl<'a> Options<'a> {
    /// Says `say` in every codec of G.711, and rings until told otherwise.
    pub(crate) fn saying(say: &'a Wav) -> Self {
        Self {
            say,
            answer: false,
            codecs: &[],
            modules: &[],
            settings: &[],
            apps: &[],
            contacts: &[],
            account: &[],
            tls: None,
            registrar: None,
        }
    }
}

const CONFIG: &str = "\
sip_listen @ADDRESS@:@PORT@
@TRUST@net_interface @ADDRESS@
audio_player aubridge,nobody
audio_source aufile,@DIR@/say.wav
audio_alert aubridge,nobody
ausrc_srate @RATE@
auplay_srate @RATE@
ausrc_channels @CHANNELS@
auplay_channels @CHANNELS@
audio_level no
@SETTINGS@rtp_ports @MEDIA@-@MEDIA_END@
rtp_stats yes
snd_path @DIR@
module_path @MODULES@
module stdio.so
module g711.so
module aufile.so
module aubridge.so
module sndfile.so
@MORE@module_tmp uuid.so
module_tmp account.so
module_app menu.so
@APPS@";

impl Baresip {
    /// Starts it under `name`; it says `say` in G.711. With `answer` it takes every call at once.
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
        fs::create_dir_all(&dir)?;
        // TLS takes the port above.
        let (port, media) = (place.take_signalling(), place.take(10));
        let address = place.address();
        let module = |name: &&str| format!("module {name}.so\n");
        let setting = |line: &&str| format!("{line}\n");
        let app = |name: &&str| format!("module_app {name}.so\n");
        let trust = |tls: &Certificates| {
            let (own, authority) = (tls.both.display(), tls.authority.display());
            format!("sip_certificate {own}\nsip_cafile {authority}\n")
        };
        let config = CONFIG
            .replace(
                "@MORE@",
                &options.modules.iter().map(module).collect::<String>(),
            )
            .replace(
                "@SETTINGS@",
                &options.settings.iter().map(setting).collect::<String>(),
            )
            .replace("@APPS@", &options.apps.iter().map(app).collect::<String>())
            .replace("@TRUST@", &options.tls.map(trust).unwrap_or_default())
            .replace("@ADDRESS@", &address.to_string())
            .replace("@RATE@", &options.say.rate.to_string())
            .replace("@CHANNELS@", &options.say.channels.len().to_string())
            .replace("@PORT@", &port.to_string())
            .replace("@MEDIA@", &media.to_string())
            .replace("@MEDIA_END@", &(media + 9).to_string())
            .replace("@DIR@", &dir.display().to_string())
            .replace("@MODULES@", &modules());
        options.say.write(&dir.join("say.wav"))?;
        fs::write(dir.join("config"), config)?;
        fs::write(
            dir.join("accounts"),
            account(
                &own_uri(name, &format!("{address}:{port}"), options),
                options,
            ),
        )?;
        fs::write(dir.join("contacts"), options.contacts.join("\n") + "\n")?;
        let mut command = place.command("baresip");
        let mut process = Process::spawn("baresip", &dir, command.arg("-f").arg(&dir))?;
        process.expect("baresip is ready", Duration::from_secs(10))?;
        Ok(Self {
            process,
            name: name.to_owned(),
            dir,
            address,
            port,
            media,
            tls: options.tls.is_some(),
        })
    }

    /// Its SIP address.
    pub(crate) fn uri(&self) -> String {
        // TLS has the port above.
        let port = self.port + u16::from(self.tls);
        let way = way(self.tls);
        format!("sip:{}@{}:{port}{way}", self.name, self.address)
    }

    /// Its RTP ports.
    pub(crate) fn media_ports(&self) -> std::ops::Range<u16> {
        self.media..self.media + 10
    }

    /// Calls.
    pub(crate) fn dial(&mut self, uri: &str) -> io::Result<()> {
        self.process.line(&format!("/dial {uri}"))
    }

    /// Takes the call that rings.
    pub(crate) fn accept(&mut self) -> io::Result<()> {
        self.process.line("/accept")
    }

    /// Presses a key.
    pub(crate) fn press(&mut self, digit: char) -> io::Result<()> {
        self.process.line(&format!("/sndcode {digit}"))
    }

    /// Hangs up.
    pub(crate) fn hang_up(&mut self) -> io::Result<()> {
        self.process.line("/hangup")
    }

    /// Ends, and takes its registration back.
    pub(crate) fn quit(&mut self) -> io::Result<()> {
        self.process.line("/quit")
    }

    /// Waits until it says that a call is up.
    pub(crate) fn expect_up(&mut self, limit: Duration) -> io::Result<()> {
        self.process.expect("Call established", limit)
    }

    /// Waits until it says that its call was refused for what it offered.
    pub(crate) fn expect_refused(&mut self, limit: Duration) -> io::Result<()> {
        self.process.expect("session closed: 488", limit)
    }

    /// Waits until it says this.
    pub(crate) fn expect(&mut self, text: &str, limit: Duration) -> io::Result<()> {
        self.process.expect(text, limit)
    }

    /// Waits until it says that its call is over.
    pub(crate) fn expect_over(&mut self, limit: Duration) -> io::Result<()> {
        self.process.expect("terminated (duration", limit)
    }

    /// Everything that it printed.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// What it heard in its (last) call, as it decoded it.
    pub(crate) fn heard(&self) -> io::Result<Wav> {
        Wav::read(&self.dump("-dec.wav")?)
    }

    fn dump(&self, ending: &str) -> io::Result<PathBuf> {
        let mut found: Vec<PathBuf> = fs::read_dir(&self.dir)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.to_string_lossy().ends_with(ending))
            .collect();
        found.sort();
        found
            .pop()
            .ok_or_else(|| self.process.complain("kept no sound"))
    }
}

/// The address of its account: at its registrar, or at its own address.
fn own_uri(name: &str, address: &str, options: &Options<'_>) -> String {
    let host = options.registrar.unwrap_or(address);
    format!("sip:{name}@{host}{}", way(options.tls.is_some()))
}

/// What a URI of TLS ends with.
fn way(tls: bool) -> &'static str {
    if tls { ";transport=tls" } else { "" }
}

/// One line of its accounts.
fn account(uri: &str, options: &Options<'_>) -> String {
    let mode = if options.answer { "auto" } else { "manual" };
    let interval = if options.registrar.is_some() { 3600 } else { 0 };
    let mut account = format!("<{uri}>;regint={interval};answermode={mode};ptime=20");
    if !options.codecs.is_empty() {
        account.push_str(&format!(";audio_codecs={}", options.codecs.join(",")));
    }
    for parameter in options.account {
        account.push_str(&format!(";{parameter}"));
    }
    account.push('\n');
    account
}

/// Where Debian keeps baresip's modules, on any architecture.
fn modules() -> String {
    let usual = "/usr/lib/baresip/modules";
    if fs::metadata(usual).is_ok() {
        return usual.to_owned();
    }
    let library = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let mut found = library
        .map(|entry| entry.path().join("baresip/modules"))
        .filter(|dir| dir.is_dir());
    found
        .next()
        .map_or(usual.to_owned(), |dir| dir.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_holds_codecs_and_parameters() {
        let say = Wav::mono(Vec::new());
        let options = Options {
            answer: true,
            codecs: &["opus/48000/2", "PCMA"],
            account: &["mediaenc=srtp"],
            ..Options::saying(&say)
        };
        assert_eq!(
            account("sip:a@127.0.0.1:5060", &options),
            "<sip:a@127.0.0.1:5060>;regint=0;answermode=auto;ptime=20\
             ;audio_codecs=opus/48000/2,PCMA;mediaenc=srtp\n"
        );
    }
}
