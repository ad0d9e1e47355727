//! The Debian packages that the interop tests and the demonstration call.

use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::shell;

/// A package, and the file or program that shows that it is here.
struct Package {
    name: &'static str,
    shown_by: &'static str,
}

const PACKAGES: [Package; 18] = [
    // libopus is compiled with it.
    Package {
        name: "cmake",
        shown_by: "cmake",
    },
    Package {
        name: "sip-tester",
        shown_by: "sipp",
    },
    Package {
        name: "baresip-core",
        shown_by: "baresip",
    },
    Package {
        name: "linphone-cli",
        shown_by: "linphonec",
    },
    Package {
        name: "kamailio",
        shown_by: "kamailio",
    },
    // Its one module of interest has no program.
    Package {
        name: "kamailio-tls-modules",
        shown_by: "/usr/share/doc/kamailio-tls-modules",
    },
    Package {
        name: "dnsmasq-base",
        shown_by: "dnsmasq",
    },
    // The browser without its windows.
    Package {
        name: "chromium-headless-shell",
        shown_by: "chromium-headless-shell",
    },
    // A relay to be measured beside ours.
    Package {
        name: "rtpengine-daemon",
        shown_by: "rtpengine",
    },
    Package {
        name: "openssl",
        shown_by: "openssl",
    },
    Package {
        name: "sipvicious",
        shown_by: "svwar",
    },
    Package {
        name: "iproute2",
        shown_by: "ip",
    },
    Package {
        name: "tshark",
        shown_by: "tshark",
    },
    // It reads what recordings are encrypted for.
    Package {
        name: "age",
        shown_by: "age",
    },
    // They play what killed processes have recorded.
    Package {
        name: "sox",
        shown_by: "sox",
    },
    Package {
        name: "ffmpeg",
        shown_by: "ffmpeg",
    },
    Package {
        name: "asterisk-core-sounds-en-wav",
        shown_by: "/usr/share/asterisk/sounds",
    },
    // The same voice in wide band.
    Package {
        name: "asterisk-core-sounds-en-g722",
        shown_by: "/usr/share/asterisk/sounds/en_US_f_Allison/vm-intro.g722",
    },
];

/// Installs what is missing where that is possible; returns the packages that are still missing,
/// with the reason.
pub(crate) fn packages() -> io::Result<Vec<String>> {
    let wanted = missing();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let why = install(&wanted)?;
    Ok(missing()
        .iter()
        .map(|name| format!("{name} ({why})"))
        .collect())
}

/// Installs Debian packages; returns why it could not, or nothing.
pub(crate) fn install(names: &[&str]) -> io::Result<String> {
    let Some(prefix) = privilege() else {
        return Ok("not root, and sudo asks".to_owned());
    };
    if shell::find("apt-get").is_none() {
        return Ok("no apt-get here".to_owned());
    }
    apt(prefix, "apt-update", &["update"])?;
    let mut args = vec!["install", "--yes", "--no-install-recommends"];
    args.extend(names);
    apt(prefix, "apt-install", &args)
}

/// Whether this process may capture packets and install packages.
pub(crate) fn is_root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}

fn missing() -> Vec<&'static str> {
    PACKAGES
        .iter()
        .filter(|package| !present(package))
        .map(|package| package.name)
        .collect()
}

fn present(package: &Package) -> bool {
    if package.shown_by.starts_with('/') {
        Path::new(package.shown_by).exists()
    } else {
        shell::find(package.shown_by).is_some()
    }
}

fn privilege() -> Option<&'static [&'static str]> {
    if is_root() {
        return Some(&[]);
    }
    let sudo = Command::new("sudo").args(["-n", "true"]).output().ok()?;
    sudo.status.success().then_some(&["sudo", "-n"])
}

/// Runs apt-get; returns the end of what it said if it failed, else nothing.
fn apt(prefix: &[&str], log: &str, args: &[&str]) -> io::Result<String> {
    let mut words: Vec<&str> = prefix.to_vec();
    words.extend(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q"]);
    words.extend(args);
    let mut command = Command::new(words[0]);
    let done = shell::run(log, command.args(&words[1..]), Duration::from_secs(600))?;
    if done.success {
        return Ok(String::new());
    }
    Ok(shell::tail(&done.output, 2).replace('\n', "; "))
}
