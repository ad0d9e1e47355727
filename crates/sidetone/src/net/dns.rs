//! Questions to the DNS.

use std::net::SocketAddr;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, RecordType};

use crate::sip::transport::resolve::{Kind, Question, Record};
use crate::time::Duration;

/// How long one server may take to answer, and how often it is asked: all of it has to fit into the
/// time of a look-up.
const TIMEOUT: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 2;

/// Records of one answer that are looked at.
const MAX_RECORDS: usize = 64;

/// Whom to ask; it remembers what it was told for as long as it holds.
#[derive(Clone)]
pub(super) struct Dns(Option<TokioResolver>);

impl Dns {
    /// Asks these servers, or those of the system where there are none. Where the system knows of none
    /// either, no name is found.
    pub(super) fn new(servers: &[SocketAddr]) -> Self {
        let builder = match servers {
            [] => TokioResolver::builder_tokio().ok(),
            servers => {
                let servers = servers.iter().map(|server| name_server(*server));
                let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
                let provider = TokioRuntimeProvider::default();
                Some(TokioResolver::builder_with_config(config, provider))
            }
        };
        let resolver = builder.and_then(|mut builder| {
            let options = builder.options_mut();
            options.timeout = TIMEOUT;
            options.attempts = ATTEMPTS;
            builder.build().ok()
        });
        Self(resolver)
    }

    /// The records that answer a question; none where there are none or nobody answers.
    pub(super) async fn ask(&self, question: &Question) -> Vec<Record> {
        let Some(resolver) = &self.0 else {
            return Vec::new();
        };
        let Ok(mut name) = Name::from_ascii(&question.name) else {
            return Vec::new();
        };
        // A name with dots is a whole one; another may be completed as the system says.
        name.set_fqdn(question.name.contains('.'));
        let kind = match question.kind {
            Kind::Naptr => RecordType::NAPTR,
            Kind::Srv => RecordType::SRV,
            Kind::A => RecordType::A,
            Kind::Aaaa => RecordType::AAAA,
        };
        match resolver.lookup(name, kind).await {
            Ok(found) => {
                let answers = found.answers().iter().take(MAX_RECORDS);
                answers.filter_map(|answer| record(&answer.data)).collect()
            }
            Err(_) => Vec::new(),
        }
    }
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
    let connections = connections.map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.to_vec())
}

fn record(data: &RData) -> Option<Record> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let plain = |name: &Name| name.to_ascii().trim_end_matches('.').to_owned();
    match data {
        RData::A(ip) => Some(Record::Address(ip.0.into())),
        RData::AAAA(ip) => Some(Record::Address(ip.0.into())),
        RData::SRV(srv) => Some(Record::Srv {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            target: plain(&srv.target),
        }),
        RData::NAPTR(naptr) => Some(Record::Naptr {
            order: naptr.order,
            preference: naptr.preference,
            flags: text(&naptr.flags),
            services: text(&naptr.services),
            replacement: plain(&naptr.replacement),
        }),
        _ => None,
    }
}
