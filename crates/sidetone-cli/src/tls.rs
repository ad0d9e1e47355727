//! TLS and WebSocket, which `call` and `answer` have in common.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use sidetone::engine::config::{Config, Listener};
use sidetone::net::trust::system_authorities;
use sidetone::sip::transport::Transport;
use sidetone::sip::transport::tls::{Clients, Identity, Tls, TlsSettings, certificates_from_pem};

/// What TLS is done with.
#[derive(Debug, Clone, Args)]
pub(crate) struct TlsArguments {
    /// The own certificate and those that lead to its authority, as PEM.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The private key of the certificate, as PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// The authorities that the other side's certificate has to lead to, as PEM; by default those of
    /// the system.
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
}

/// Where callers may connect besides UDP and TCP.
#[derive(Debug, Clone, Args)]
pub(crate) struct ListenArguments {
    /// Takes SIP over TLS at this port; 0 lets the system choose.
    #[arg(long, value_name = "PORT", requires = "tls_cert")]
    tls_port: Option<u16>,
    /// Takes SIP over WebSocket at this port.
    #[arg(long, value_name = "PORT")]
    ws_port: Option<u16>,
    /// Takes SIP over secure WebSocket at this port.
    #[arg(long, value_name = "PORT", requires = "tls_cert")]
    wss_port: Option<u16>,
    /// Lets scripts of this web page connect by WebSocket (https://phone.example.com); may stand
    /// several times.
    #[arg(long, value_name = "ORIGIN")]
    ws_origin: Vec<String>,
    /// Those who connect by TLS have to show a certificate of one of the authorities.
    #[arg(long)]
    tls_verify_client: bool,
}

impl TlsArguments {
    /// Reads the files. Called again when they have changed.
    pub(crate) fn load(&self, clients: Clients) -> Result<TlsSettings, String> {
        let mut settings = TlsSettings {
            clients,
            ..TlsSettings::default()
        };
        settings.authorities = match &self.tls_ca {
            Some(file) => certificates_from_pem(&read(file)?).map_err(|e| told(file, &e))?,
            None => system_authorities(),
        };
        if let (Some(chain), Some(key)) = (&self.tls_cert, &self.tls_key) {
            let identity = Identity::from_pem(&read(chain)?, &read(key)?);
            settings.identities = vec![identity.map_err(|error| told(chain, &error))?];
        }
        Ok(settings)
    }

    /// Lets `call` reach everybody: its listeners only name what it can do.
    pub(crate) fn apply(&self, config: &mut Config) -> Result<(), String> {
        let settings = self.load(Clients::Anonymous)?;
        config.tls = Some(Tls::new(settings).map_err(|error| error.to_string())?);
        reach(config);
        Ok(())
    }
}

impl ListenArguments {
    /// What is asked of those who connect.
    pub(crate) fn clients(&self) -> Clients {
        match self.tls_verify_client {
            true => Clients::Known,
            false => Clients::Anonymous,
        }
    }

    /// Adds the listeners. Gives what TLS is done with, to be renewed.
    pub(crate) fn apply(&self, tls: &TlsArguments, config: &mut Config) -> Result<Tls, String> {
        let settings = tls.load(self.clients())?;
        let tls = Tls::new(settings).map_err(|error| error.to_string())?;
        config.tls = Some(tls.clone());
        for (transport, port) in [
            (Transport::Tls, self.tls_port),
            (Transport::Ws, self.ws_port),
            (Transport::Wss, self.wss_port),
        ] {
            let Some(port) = port else { continue };
            let bind = SocketAddr::new(config.media_bind, port);
            let mut listener = Listener::new(transport, bind);
            listener.origins.clone_from(&self.ws_origin);
            config.listeners.push(listener);
        }
        Ok(tls)
    }
}

/// Adds listeners at ports that the system chooses where there is none yet: what has no listener cannot
/// be connected to.
pub(crate) fn reach(config: &mut Config) {
    for transport in [Transport::Tls, Transport::Ws, Transport::Wss] {
        if config.listeners.iter().all(|it| it.transport != transport) {
            let bind = SocketAddr::new(config.media_bind, 0);
            config.listeners.push(Listener::new(transport, bind));
        }
    }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))
}

fn told(file: &Path, error: &dyn std::error::Error) -> String {
    format!("{}: {error}", file.display())
}
