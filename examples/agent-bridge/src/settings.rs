//! What the desk can be told: on the command line or in a TOML file.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use serde::Deserialize;
use sidetone::sip::uri::Uri;

/// What the TOML file may hold, shown below the options.
const FILE_HELP: &str = r#"A settings file, with the defaults (each may be left out):

  address = "127.0.0.1"
  port = 5060
  agents = ["sip:agent@127.0.0.1:5070"]
  strategy = "ring-all"        # or "round-robin"
  ring_seconds = 20            # how long an agent's phone rings
  recordings = "recordings"
  # WAV files that take the place of the embedded prompts:
  # greeting = "greeting.wav"
  # music = "music.wav"
  # sorry = "sorry.wav"
  # goodbye = "goodbye.wav""#;

/// How agents are rung.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// All at once; the first to answer gets the caller.
    #[default]
    RingAll,
    /// One after the other, beginning with the one after the last caller's first.
    RoundRobin,
}

/// The command line.
#[derive(Debug, Parser)]
#[command(
    about = "An IVR that connects callers with agents and records both sides",
    version,
    after_help = FILE_HELP
)]
pub struct Arguments {
    /// A TOML file with the settings; the options below override it.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The address for SIP and media (default 127.0.0.1).
    #[arg(long)]
    pub address: Option<IpAddr>,
    /// The SIP port; 0 lets the system choose (default 5060).
    #[arg(long)]
    pub port: Option<u16>,
    /// An agent's SIP URI; give it once for each agent (default sip:agent@127.0.0.1:5070).
    #[arg(long = "agent", value_name = "URI")]
    pub agents: Vec<String>,
    /// How agents are rung (default ring-all).
    #[arg(long, value_enum)]
    pub strategy: Option<Strategy>,
    /// Where recordings go (default recordings).
    #[arg(long, value_name = "DIR")]
    pub recordings: Option<PathBuf>,
}

/// The settings, with their defaults.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The address for SIP and media. Default 127.0.0.1.
    pub address: IpAddr,
    /// The SIP port. Default 5060.
    pub port: u16,
    /// The agents' SIP URIs. Default one on port 5070 of loopback.
    pub agents: Vec<String>,
    /// How agents are rung. Default ring-all.
    pub strategy: Strategy,
    /// How long an agent's phone rings, in seconds. Default 20.
    pub ring_seconds: u64,
    /// Where recordings go. Default `recordings`.
    pub recordings: PathBuf,
    /// A WAV file in place of the embedded greeting.
    pub greeting: Option<PathBuf>,
    /// A WAV file in place of the embedded music on hold.
    pub music: Option<PathBuf>,
    /// A WAV file in place of the embedded "no agent is free".
    pub sorry: Option<PathBuf>,
    /// A WAV file in place of the embedded farewell.
    pub goodbye: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            address: IpAddr::from([127, 0, 0, 1]),
            port: 5060,
            agents: vec!["sip:agent@127.0.0.1:5070".into()],
            strategy: Strategy::RingAll,
            ring_seconds: 20,
            recordings: "recordings".into(),
            greeting: None,
            music: None,
            sorry: None,
            goodbye: None,
        }
    }
}

impl Settings {
    /// The settings that the command line asks for, over those of `file`, the text of the TOML file
    /// that it names.
    ///
    /// # Errors
    /// The file holds something that is no setting.
    pub fn new(arguments: Arguments, file: Option<&str>) -> Result<Self, toml::de::Error> {
        let mut settings: Self = file.map(toml::from_str).transpose()?.unwrap_or_default();
        settings.address = arguments.address.unwrap_or(settings.address);
        settings.port = arguments.port.unwrap_or(settings.port);
        settings.strategy = arguments.strategy.unwrap_or(settings.strategy);
        if let Some(recordings) = arguments.recordings {
            settings.recordings = recordings;
        }
        if !arguments.agents.is_empty() {
            settings.agents = arguments.agents;
        }
        Ok(settings)
    }

    /// Checks that there is an agent, and that each can be called.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn check(&self) -> Result<(), String> {
        if self.agents.is_empty() {
            return Err("no agent: name at least one".into());
        }
        for agent in &self.agents {
            Uri::parse(agent).map_err(|error| format!("agent \"{agent}\": {error}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_overrides_the_defaults() {
        let line = [
            "desk", "--port", "0", "--agent", "sip:a@h", "--agent", "sip:b@h",
        ];
        let arguments = Arguments::try_parse_from(line).expect("a valid command line");
        let settings = Settings::new(arguments, None).expect("no file");
        assert_eq!((settings.port, settings.agents.len()), (0, 2));
        assert_eq!(settings.strategy, Strategy::RingAll);
    }

    #[test]
    fn the_help_shows_the_defaults() {
        let shown: Settings = toml::from_str(FILE_HELP.split_once("\n\n").expect("a file").1)
            .expect("valid settings");
        assert_eq!(format!("{shown:?}"), format!("{:?}", Settings::default()));
    }

    #[test]
    fn agents_that_cannot_be_called_are_refused() {
        let with = |agents: &[&str]| Settings {
            agents: agents.iter().map(|uri| (*uri).to_owned()).collect(),
            ..Settings::default()
        };
        assert!(with(&["sip:a@h", "sip:b@h:5070"]).check().is_ok());
        assert!(with(&[]).check().is_err());
        assert!(with(&["sip:a@h", "nobody"]).check().is_err());
    }

    #[test]
    fn an_unknown_setting_is_refused() {
        assert!(toml::from_str::<Settings>("prot = 5060").is_err());
        let settings: Settings = toml::from_str("strategy = 'round-robin'").expect("valid");
        assert_eq!(settings.strategy, Strategy::RoundRobin);
    }
}
