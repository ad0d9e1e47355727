//! Starting an engine on real sockets.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use sidetone_udp::socket::Options;
use sidetone_udp::unreachable;
use thiserror::Error;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{Notify, oneshot};

use crate::engine::config::{Config, ConfigError, Listener};
use crate::engine::core::Core;
use crate::face::engine::Engine;
use crate::face::spawn::{Flow, Spawn};
use crate::media::worker::WorkerConfig;
use crate::net::channel::Terms;
use crate::net::clock::Clock;
use crate::net::dns::Dns;
use crate::net::media::ports::PortPool;
use crate::net::media::{MediaConfig, MediaThreads};
use crate::net::signalling::{BoundListener, Driver};
use crate::net::storage::{StorageConfig, StorageThread};
use crate::rng::Rng;
use crate::sip::transport::Transport;

/// An engine that could not be started; nothing is left running.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A SIP listener could not be bound: its port is taken, or the address is not this machine's.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// A thread could not be started, or the system gave no randomness.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

impl Engine {
    /// Starts an engine on real sockets, with a thread for signalling, one a media worker and one
    /// for storage. Call flows run on the tokio runtime that this is called on.
    ///
    /// # Errors
    /// The configuration cannot work, the system refuses a socket or a thread, or this is not called
    /// on a tokio runtime.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        config.validate()?;
        let flows = tokio::runtime::Handle::try_current().map_err(io::Error::other)?;
        let flows = TokioSpawner(flows);
        let (started, outcome) = oneshot::channel();
        std::thread::Builder::new()
            .name("sidetone-signalling".into())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                match runtime {
                    Ok(runtime) => {
                        runtime.block_on(run(config, flows, started));
                        // A name look-up that hangs must not keep the thread.
                        runtime.shutdown_background();
                    }
                    // Where the starter has gone, nobody waits for the news.
                    Err(error) => drop(started.send(Err(error.into()))),
                }
            })?;
        outcome
            .await
            .map_err(|_| io::Error::other("the signalling thread ended"))?
    }
}

/// Starts call flows on the integrator's runtime.
struct TokioSpawner(tokio::runtime::Handle);

impl Spawn for TokioSpawner {
    fn spawn(&self, flow: Flow) {
        // A flow that panics is the integrator's; tokio keeps it from the others.
        drop(self.0.spawn(flow));
    }
}

/// The life of the signalling thread.
async fn run(
    config: Config,
    flows: TokioSpawner,
    started: oneshot::Sender<Result<Engine, StartError>>,
) {
    match prepare(config, flows).await {
        Ok((engine, driver)) => {
            // Where the starter has gone, its handle is dropped here and the engine stops.
            drop(started.send(Ok(engine)));
            driver.run().await;
        }
        Err(error) => drop(started.send(Err(error))),
    }
}

async fn prepare(config: Config, flows: TokioSpawner) -> Result<(Engine, Driver), StartError> {
    let clock = Clock::start();
    let (listeners, bound) = listen(&config).await?;
    let dns = Dns::new(&config.dns_servers);
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(io::Error::from)?;
    let rng = Rng::from_entropy(seed);
    let bell = Arc::new(Notify::new());
    let threads = MediaConfig {
        threads: config.media_workers,
        worker: WorkerConfig {
            max_legs: config.max_calls,
            max_rooms: config.max_calls,
            max_plays: config.max_calls.saturating_mul(2),
            ..WorkerConfig::default()
        },
        gather: config.media_gather,
        first_core: config.media_first_core,
        priority: config.media_priority,
        ..MediaConfig::default()
    };
    let options = Options {
        dscp: config.media_dscp,
        receive_buffer: config.media_receive_buffer,
        send_buffer: None,
    };
    let ports = PortPool::new(config.media_ports.clone()).with_options(options);
    let media = MediaThreads::start(&threads, clock, ports, &bell)?;
    let storage = StorageConfig {
        max_open: config.max_calls,
        least_free: config.recording.least_free,
        journal: config.recording.journal.clone(),
        key: config.recording.key.clone(),
        upload: config.recording.upload.clone(),
        stamping: config.recording.stamping.clone(),
        expiry: config.recording.expiry.clone(),
        ..StorageConfig::default()
    };
    let (storage, recovery) = StorageThread::start(storage, &bell)?;
    let media_ip = config.media_bind;
    let core = Core::new(config, &bound, clock.anchor(), rng)?;
    let (engine, hub) = Engine::attach(core, bound, Box::new(flows));
    let engine = engine.with_recovered(recovery.recordings);
    Ok((
        engine,
        Driver {
            hub,
            clock,
            media,
            media_ip,
            storage,
            bell,
            listeners,
            dns,
        },
    ))
}

/// Binds the SIP listeners. Where the system chooses ports, listeners of one address share one, as
/// the fixed default does.
async fn listen(config: &Config) -> Result<(Vec<BoundListener>, Vec<SocketAddr>), StartError> {
    let mut listeners = Vec::new();
    let mut bound: Vec<SocketAddr> = Vec::new();
    for listener in &config.listeners {
        let pairs = [Transport::Udp, Transport::Tcp].contains(&listener.transport);
        let shared = bound
            .iter()
            .find(|other| pairs && other.ip() == listener.bind.ip())
            .copied();
        let preferred = shared.filter(|_| listener.bind.port() == 0);
        let opened = match preferred {
            Some(address) => match open(config, listener, address).await {
                Ok(opened) => Ok(opened),
                Err(_) => open(config, listener, listener.bind).await,
            },
            None => open(config, listener, listener.bind).await,
        };
        let (socket, address) = opened.map_err(|error| StartError::Listen {
            address: listener.bind,
            error,
        })?;
        listeners.push(socket);
        bound.push(address);
    }
    Ok((listeners, bound))
}

async fn open(
    config: &Config,
    listener: &Listener,
    address: SocketAddr,
) -> io::Result<(BoundListener, SocketAddr)> {
    if listener.transport == Transport::Udp {
        let socket = UdpSocket::bind(address).await?;
        let address = socket.local_addr()?;
        // Where the system cannot tell, requests that are not delivered fail by their timers.
        let _untold = unreachable::listen(&socket);
        // Until this is known once, the first messages would be taken for too many.
        socket.writable().await?;
        return Ok((BoundListener::Datagrams(socket), address));
    }
    let terms = Terms {
        transport: listener.transport,
        tls: config.tls_of(listener),
        origins: listener.origins.clone(),
    };
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    Ok((BoundListener::Streams(listener, terms), address))
}
