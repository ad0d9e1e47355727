//! dnsmasq as the server of one made-up domain.

use std::io;
use std::process::Command;
use std::time::Duration;

use super::place::Place;
use super::process::Process;

/// A running server of names below `pbx.test`.
pub(crate) struct Dns {
    /// Ends with it.
    _process: Process,
    port: u16,
}

impl Dns {
    /// Starts it: calls to `pbx.test` go over TCP to the port `tcp` of the loopback, else over UDP to these
    /// ports, in this order.
    pub(crate) fn spawn(place: &Place, tcp: u16, ports: &[u16]) -> io::Result<Self> {
        let port = place.take(2);
        place.declare(port, "dns");
        let mut command = Command::new("dnsmasq");
        command.args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
        ]);
        command.args([
            "--no-hosts",
            "--bind-interfaces",
            "--listen-address=127.0.0.1",
        ]);
        command.args([
            "--log-facility=-",
            "--log-queries",
            "--user=root",
            "--pid-file=",
        ]);
        command.arg(format!("--port={port}"));
        command.arg("--naptr-record=pbx.test,10,10,s,SIP+D2T,,_sip._tcp.pbx.test");
        command.arg("--naptr-record=pbx.test,20,10,s,SIP+D2U,,_sip._udp.pbx.test");
        command.arg(format!(
            "--srv-host=_sip._tcp.pbx.test,host.pbx.test,{tcp},1,10"
        ));
        command.arg("--address=/host.pbx.test/127.0.0.1");
        for (priority, target) in ports.iter().enumerate() {
            let record = format!("_sip._udp.pbx.test,host.pbx.test,{target},{priority},10");
            command.arg(format!("--srv-host={record}"));
        }
        let mut process = Process::spawn("dnsmasq", place.dir(), &mut command)?;
        process.expect("started", Duration::from_secs(10))?;
        Ok(Self {
            _process: process,
            port,
        })
    }

    /// Its address.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}
