//! Kamailio as a proxy that records the route and sends every new call to one target.

use std::fs;
use std::io;
use std::process::Command;
use std::time::Duration;

use super::place::Place;
use super::process::Process;

/// A running proxy.
pub(crate) struct Kamailio {
    process: Process,
    port: u16,
}

const CONFIG: &str = r#"#!KAMAILIO
debug=2
log_stderror=yes
children=2
disable_tcp=yes
auto_aliases=no
listen=udp:127.0.0.1:@PORT@
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "xlog.so"
loadmodule "auth.so"
modparam("rr", "append_fromtag", 1)

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

/// Tells everybody whom it knows.
const TELLING: &str = r#"
    if ($tU == "@USER@") www_challenge("desk", "1");
    else sl_send_reply("404", "Not Found");
    exit;
"#;

impl Kamailio {
    /// Starts one that asks `user` to sign in, and says of all others that they are not there.
    pub(crate) fn spawn_telling(place: &Place, user: &str) -> io::Result<Self> {
        Self::spawn_with(place, "127.0.0.1:9", &TELLING.replace("@USER@", user))
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
        Self::spawn_with(place, target, &check)
    }

    /// Starts it; every new call goes to `target`, `host:port`.
    pub(crate) fn spawn(place: &Place, target: &str) -> io::Result<Self> {
        Self::spawn_with(place, target, "")
    }

    fn spawn_with(place: &Place, target: &str, check: &str) -> io::Result<Self> {
        let dir = place.path("kamailio");
        fs::create_dir_all(&dir)?;
        let port = place.take_signalling();
        let config = CONFIG
            .replace("@PORT@", &port.to_string())
            .replace("@TARGET@", target)
            .replace("@CHECK@", check);
        fs::write(dir.join("kamailio.cfg"), config)?;
        let mut command = Command::new("/usr/sbin/kamailio");
        command.args(["-DD", "-E", "-f", "kamailio.cfg", "-m", "32", "-M", "8"]);
        command.arg("-Y").arg(&dir).arg("-P").arg(dir.join("pid"));
        let process = Process::spawn("kamailio", &dir, &mut command)?;
        let mut proxy = Self { process, port };
        proxy.wait_until_it_answers()?;
        Ok(proxy)
    }

    /// Its address, `host:port`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
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
