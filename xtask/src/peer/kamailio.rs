//! Kamailio as a proxy that records the route and sends every new call to one target, or to whoever has
//! registered there.

use std::fs;
use std::io;
use std::process::Command;
use std::time::Duration;

use super::certificates::Certificates;
use super::place::Place;
use super::process::Process;

const PROGRAM: &str = "/usr/sbin/kamailio";
/// Where nobody listens.
const NOWHERE: &str = "127.0.0.1:9";

/// A running proxy.
pub(crate) struct Kamailio {
    process: Process,
    port: u16,
}

const CONFIG: &str = r#"#!KAMAILIO
debug=2
log_stderror=yes
children=2
auto_aliases=no
listen=udp:127.0.0.1:@PORT@
@TLS@loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "xlog.so"
loadmodule "auth.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "nathelper.so"
modparam("rr", "append_fromtag", 1)
modparam("registrar", "max_expires", 6)
modparam("nathelper|registrar", "received_avp", "$avp(received)")

request_route {
    if (!mf_process_maxfwd_header("10")) {
        sl_send_reply("483", "Too Many Hops");
        exit;
    }
    if (is_method("CANCEL")) {
        if (t_check_trans()) t_relay();
        exit;
    }
    if (has_totag()) {
        if (loose_route()) {
            xlog("L_NOTICE", "in dialog: $rm\n");
            t_relay();
        } else if (is_method("ACK")) {
            if (t_check_trans()) t_relay();
        } else {
            sl_send_reply("404", "Not here");
        }
        exit;
    }
    t_check_trans();
@CHECK@    remove_hf("Route");
    if (is_method("INVITE")) record_route();
    $du = "sip:@TARGET@";
    xlog("L_NOTICE", "first: $rm\n");
    t_relay();
}
"#;

/// Lets in only who knows the password.
const GUARD: &str = r#"
    if (!has_credentials("desk") || $au != "@USER@"
        || !pv_proxy_authenticate("desk", "@PASSWORD@", "0")) {
        proxy_challenge("desk", "1");
        exit;
    }
    xlog("L_NOTICE", "signed in: $au\n");
    consume_credentials();
"#;

/// Speaks TLS too, at the port above.
const TLS: &str = r#"enable_tls=yes
listen=tls:127.0.0.1:@TLS_PORT@
loadmodule "tls.so"
modparam("tls", "tls_method", "TLSv1.2+")
modparam("tls", "certificate", "@CERTIFICATE@")
modparam("tls", "private_key", "@KEY@")
modparam("tls", "ca_list", "@AUTHORITY@")
modparam("tls", "verify_certificate", 1)
"#;

/// Registers users, each under the own name, for 6 s at most; lets them call one another.
const REGISTRAR: &str = r#"
    if (is_method("REGISTER")) {
        if (!pv_www_authenticate("desk", "@PASSWORD@", "0")) {
            www_challenge("desk", "1");
            exit;
        }
        if ($au != $tU) {
            sl_send_reply("403", "Not yours");
            exit;
        }
        fix_nated_register();
        if (!save("location")) sl_reply_error();
        xlog("L_NOTICE", "registered: $tU\n");
        exit;
    }
    if (!pv_proxy_authenticate("desk", "@PASSWORD@", "0")) {
        proxy_challenge("desk", "1");
        exit;
    }
    xlog("L_NOTICE", "signed in: $au\n");
    consume_credentials();
    remove_hf("Route");
    if (is_method("INVITE")) record_route();
    if (!lookup("location")) {
        sl_send_reply("480", "Nobody there");
        exit;
    }
    t_relay();
    exit;
"#;

/// Tells everybody whom it knows.
const TELLING: &str = r#"
    if ($tU == "@USER@") www_challenge("desk", "1");
    else sl_send_reply("404", "Not Found");
    exit;
"#;

impl Kamailio {
    /// Starts one that asks `user` to sign in, and says of all others that they are not there.
    pub(crate) fn spawn_telling(place: &Place, user: &str) -> io::Result<Self> {
        Self::spawn_with(place, NOWHERE, &TELLING.replace("@USER@", user), None)
    }

    /// As [`Self::spawn`], for callers who sign in as `user` with `password` in the realm `desk`.
    pub(crate) fn spawn_guarded(
        place: &Place,
        target: &str,
        user: &str,
        password: &str,
    ) -> io::Result<Self> {
        let check = GUARD
            .replace("@USER@", user)
            .replace("@PASSWORD@", password);
        Self::spawn_with(place, target, &check, None)
    }

    /// Starts it; every new call goes to `target`, `host:port`.
    pub(crate) fn spawn(place: &Place, target: &str) -> io::Result<Self> {
        Self::spawn_with(place, target, "", None)
    }

    /// The same with few words, run by what `wrap` makes of the program.
    pub(crate) fn spawn_plain(
        place: &Place,
        target: &str,
        wrap: fn(&'static str) -> Command,
    ) -> io::Result<Self> {
        let config = config(target, "", "").replace("debug=2", "debug=-1");
        Self::start(place, wrap(PROGRAM), &config, place.take_signalling())
    }

    /// Starts one where users register who know `password` in the realm `desk`; over TLS too where there
    /// are certificates.
    pub(crate) fn spawn_registrar(
        place: &Place,
        password: &str,
        tls: Option<&Certificates>,
    ) -> io::Result<Self> {
        let route = REGISTRAR.replace("@PASSWORD@", password);
        Self::spawn_with(place, NOWHERE, &route, tls)
    }

    fn spawn_with(
        place: &Place,
        target: &str,
        check: &str,
        tls: Option<&Certificates>,
    ) -> io::Result<Self> {
        let port = place.take_signalling();
        let secure = tls.map(|tls| secure(tls, port + 1)).unwrap_or_default();
        let config = config(target, check, &secure);
        Self::start(place, Command::new(PROGRAM), &config, port)
    }

    fn start(place: &Place, mut command: Command, config: &str, port: u16) -> io::Result<Self> {
        let dir = place.path(&format!("kamailio-{port}"));
        fs::create_dir_all(&dir)?;
        let config = config.replace("@PORT@", &port.to_string());
        fs::write(dir.join("kamailio.cfg"), config)?;
        command.args(["-DD", "-E", "-f", "kamailio.cfg", "-m", "64", "-M", "8"]);
        command.arg("-Y").arg(&dir).arg("-P").arg(dir.join("pid"));
        let process = Process::spawn("kamailio", &dir, &mut command)?;
        let mut proxy = Self { process, port };
        proxy.wait_until_it_answers()?;
        Ok(proxy)
    }

    /// Its number among the system's processes.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Its address, `host:port`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where it speaks TLS, `host:port`.
    pub(crate) fn tls_address(&self) -> String {
        format!("127.0.0.1:{}", self.port + 1)
    }

    /// How often `user` has registered, refreshed or unregistered.
    pub(crate) fn registered(&self, user: &str) -> usize {
        let line = format!("registered: {user}\n");
        self.process.log().matches(&line).count()
    }

    /// How many requests were let in with credentials.
    pub(crate) fn signed_in(&self, user: &str) -> usize {
        let line = format!("signed in: {user}\n");
        self.process.log().matches(&line).count()
    }

    /// How many requests with this method came back through the recorded route.
    pub(crate) fn in_dialog(&self, method: &str) -> usize {
        self.process
            .log()
            .matches(&format!("in dialog: {method}\n"))
            .count()
    }

    /// Its sockets are open before its workers read them; a bound port is all that can be seen.
    fn wait_until_it_answers(&mut self) -> io::Result<()> {
        for _ in 0..400 {
            if std::net::UdpSocket::bind(("127.0.0.1", self.port)).is_err() {
                std::thread::sleep(Duration::from_millis(200));
                return Ok(());
            }
            if self.process.end(Duration::from_millis(25))?.is_some() {
                break;
            }
        }
        Err(self.process.complain("did not start"))
    }
}

fn config(target: &str, check: &str, tls: &str) -> String {
    CONFIG
        .replace("@TLS@", tls)
        .replace("@TARGET@", target)
        .replace("@CHECK@", check)
}

fn secure(tls: &Certificates, port: u16) -> String {
    TLS.replace("@TLS_PORT@", &port.to_string())
        .replace("@CERTIFICATE@", &tls.own.display().to_string())
        .replace("@KEY@", &tls.key.display().to_string())
        .replace("@AUTHORITY@", &tls.authority.display().to_string())
}
