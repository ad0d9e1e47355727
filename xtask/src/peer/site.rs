//! The network that peers run in: this machine's loopback, or a namespace at one end of a link.

use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::process::Command;

/// Where programs run, and what they reach each other by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Site {
    address: Ipv4Addr,
    /// The process whose network namespace it is; `None` is this program's own.
    holder: Option<u32>,
}

impl Site {
    /// The loopback of this program's own namespace.
    pub(crate) fn loopback() -> Self {
        Self {
            address: Ipv4Addr::LOCALHOST,
            holder: None,
        }
    }

    /// The namespace of the process `holder`, reached at `address`.
    pub(crate) fn namespace(address: Ipv4Addr, holder: u32) -> Self {
        Self {
            address,
            holder: Some(holder),
        }
    }

    /// The address that its programs use.
    pub(crate) fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// A command that runs `program` there.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let Some(holder) = self.holder else {
            return Command::new(program);
        };
        let mut command = Command::new("nsenter");
        command.args(["-t", &holder.to_string(), "-n", "--"]);
        command.arg(program);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_entered_before_the_program_runs() {
        let site = Site::namespace(Ipv4Addr::new(10, 91, 0, 1), 77);
        let command = site.command("baresip");
        let words: Vec<_> = command.get_args().collect();
        assert_eq!(command.get_program(), "nsenter");
        assert_eq!(words, ["-t", "77", "-n", "--", "baresip"]);
        assert_eq!(Site::loopback().command("baresip").get_program(), "baresip");
    }
}
