//! From a host name to addresses in the order to be tried (RFC 3263 §4, RFC 2782), without a socket.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use super::{Destination, Transport};
use crate::rng::Rng;

/// The most services, hosts of services and addresses of a host that are looked at.
const MAX_SERVICES: usize = 8;
const MAX_HOSTS: usize = 16;
const MAX_ADDRESSES: usize = 8;

/// The most destinations of one name.
const MAX_DESTINATIONS: usize = 32;

/// A type of DNS record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Which transports a domain has, and under which names (RFC 3403).
    Naptr,
    /// The hosts of a service (RFC 2782).
    Srv,
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
}

/// What the DNS is asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Question {
    /// The whole name, without a dot at its end, in lower case.
    pub name: String,
    /// The records that are wanted.
    pub kind: Kind,
}

/// What the DNS answers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Record {
    /// A service that a domain has (RFC 3263 §4.1).
    Naptr {
        /// Lower ones come first, strictly.
        order: u16,
        /// Lower ones come first among those of one order.
        preference: u16,
        /// `s`: the replacement is the name of SRV records.
        flags: String,
        /// The service: `SIP+D2U` and the like.
        services: String,
        /// The name to go on with.
        replacement: String,
    },
    /// A host of a service.
    Srv {
        /// Lower ones come first, strictly.
        priority: u16,
        /// How often it is taken among those of one priority, in proportion.
        weight: u16,
        /// The port.
        port: u16,
        /// The host name; empty where the domain has no such service.
        target: String,
    },
    /// An address.
    Address(IpAddr),
}

/// What is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// The host name.
    pub host: &'a str,
    /// The port, where the URI gives one.
    pub port: Option<u16>,
    /// The transport, where the URI gives one.
    pub transport: Option<Transport>,
    /// Whether only TLS will do (`sips:`).
    pub secure: bool,
}

/// A service of a domain, and what is known of it.
#[derive(Debug, Clone)]
struct Service {
    transport: Transport,
    question: Question,
    /// Hosts and ports in the order to be tried; `None` until the answer has come.
    hosts: Option<Vec<(String, u16)>>,
}

/// What is known of a host.
#[derive(Debug, Clone, Default)]
struct Addresses {
    /// By the types that were asked for; `None` until the answer has come.
    found: BTreeMap<Kind, Option<Vec<IpAddr>>>,
}

/// Where a look-up stands.
#[derive(Debug, Clone)]
enum Stage {
    /// Which transports has the domain?
    Transports,
    /// Which hosts have its services?
    Services(Vec<Service>),
    /// Which addresses have these hosts?
    Hosts(Vec<(Transport, String, u16)>),
}

/// One look-up: questions come out, answers go in, and in the end there are destinations.
///
/// Poll [`poll_question`](Self::poll_question) until it says `None`, after it was made and after each
/// answer. [`destinations`](Self::destinations) gives what has been found so far;
/// [`is_done`](Self::is_done) tells when nothing more will come.
///
/// Bounded: 8 services, 16 hosts, 8 addresses a host and type, 32 destinations; further ones are left
/// aside.
///
/// ```
/// use sidetone::rng::Rng;
/// use sidetone::sip::transport::Transport;
/// use sidetone::sip::transport::resolve::{Kind, Record, Resolution, Wanted};
///
/// let wanted = Wanted { host: "example.com", port: None, transport: Some(Transport::Tcp), secure: false };
/// let mut resolution = Resolution::new(&wanted, &[(Transport::Tcp, true)], Rng::new(1));
/// let services = resolution.poll_question().unwrap();
/// assert_eq!((services.name.as_str(), services.kind), ("_sip._tcp.example.com", Kind::Srv));
/// resolution.handle_answer(&services, &[Record::Srv {
///     priority: 1, weight: 0, port: 5070, target: "a.example.com".into(),
/// }]);
/// let address = resolution.poll_question().unwrap();
/// resolution.handle_answer(&address, &[Record::Address("192.0.2.1".parse().unwrap())]);
/// assert!(resolution.is_done());
/// assert_eq!(resolution.destinations()[0].address, "192.0.2.1:5070".parse().unwrap());
/// ```
#[derive(Debug, Clone)]
pub struct Resolution {
    host: String,
    transport: Option<Transport>,
    secure: bool,
    /// Transports and address families (IPv4 or not) that there are listeners for.
    able: Vec<(Transport, bool)>,
    rng: Rng,
    stage: Stage,
    addresses: BTreeMap<String, Addresses>,
    questions: VecDeque<Question>,
}

impl Resolution {
    /// A look-up by a side that is `able` to send over these transports and address families
    /// (`true` for IPv4). `rng` decides between services of the same priority.
    pub fn new(wanted: &Wanted<'_>, able: &[(Transport, bool)], rng: Rng) -> Self {
        let mut resolution = Self {
            host: wanted.host.trim_end_matches('.').to_ascii_lowercase(),
            transport: wanted.transport,
            secure: wanted.secure,
            able: able.to_vec(),
            rng,
            stage: Stage::Transports,
            addresses: BTreeMap::new(),
            questions: VecDeque::new(),
        };
        let host = resolution.host.clone();
        let transport = wanted.transport.unwrap_or(match wanted.secure {
            true => Transport::Tls,
            false => Transport::Udp,
        });
        match (wanted.port, wanted.transport.map(service_name)) {
            (Some(port), _) => resolution.ask_hosts(vec![(transport, host, port)]),
            // WebSocket has no services in the DNS.
            (None, Some(None)) => {
                resolution.ask_hosts(vec![(transport, host, transport.default_port())]);
            }
            (None, Some(Some(service))) => {
                resolution.ask_services(vec![(transport, format!("{service}.{host}"))]);
            }
            (None, None) => resolution.questions.push_back(Question {
                name: host,
                kind: Kind::Naptr,
            }),
        }
        resolution
    }

    /// The next question for the DNS.
    pub fn poll_question(&mut self) -> Option<Question> {
        self.questions.pop_front()
    }

    /// Takes in the answer to a question, with no records where there are none or nobody answers.
    pub fn handle_answer(&mut self, question: &Question, records: &[Record]) {
        match question.kind {
            Kind::Naptr => self.take_transports(question, records),
            Kind::Srv => self.take_services(question, records),
            Kind::A | Kind::Aaaa => self.take_addresses(question, records),
        }
    }

    /// Whether all questions have been answered.
    pub fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Hosts(_))
            && self
                .addresses
                .values()
                .all(|known| known.found.values().all(Option::is_some))
    }

    /// Where to send to, in the order to be tried, as far as it is known.
    pub fn destinations(&self) -> Vec<Destination> {
        let Stage::Hosts(hosts) = &self.stage else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for (transport, host, port) in hosts {
            let Some(known) = self.addresses.get(host) else {
                continue;
            };
            for ip in known.found.values().flatten().flatten() {
                let destination = Destination {
                    transport: *transport,
                    address: SocketAddr::new(*ip, *port),
                };
                if found.len() < MAX_DESTINATIONS && !found.contains(&destination) {
                    found.push(destination);
                }
            }
        }
        found
    }

    fn can(&self, transport: Transport) -> bool {
        let fits = transport.is_secure() || !self.secure;
        fits && self.able.iter().any(|(able, _)| *able == transport)
    }

    /// The domain's transports, in its order (RFC 3263 §4.1); where it says nothing, all that we have
    /// are tried.
    fn take_transports(&mut self, question: &Question, records: &[Record]) {
        if !matches!(self.stage, Stage::Transports) || question.name != self.host {
            return;
        }
        let mut named = Vec::new();
        for record in records {
            if let Record::Naptr {
                order,
                preference,
                flags,
                services,
                replacement,
            } = record
                && flags.eq_ignore_ascii_case("s")
                && let Some(transport) = naptr_transport(services)
                && self.can(transport)
            {
                named.push((*order, *preference, transport, replacement));
            }
        }
        named.sort_by_key(|(order, preference, ..)| (*order, *preference));
        let mut services: Vec<_> = named
            .into_iter()
            .map(|(_, _, transport, name)| (transport, name.clone()))
            .collect();
        if services.is_empty() {
            let all = [Transport::Udp, Transport::Tcp, Transport::Tls];
            let able = all.into_iter().filter(|transport| self.can(*transport));
            let able = able.filter_map(|transport| Some((transport, service_name(transport)?)));
            services = able
                .map(|(transport, service)| (transport, format!("{service}.{}", self.host)))
                .collect();
        }
        self.ask_services(services);
    }

    fn ask_services(&mut self, mut services: Vec<(Transport, String)>) {
        services.truncate(MAX_SERVICES);
        let services: Vec<Service> = services
            .into_iter()
            .map(|(transport, name)| Service {
                transport,
                question: Question {
                    name: name.trim_end_matches('.').to_ascii_lowercase(),
                    kind: Kind::Srv,
                },
                hosts: None,
            })
            .collect();
        for service in &services {
            if !self.questions.contains(&service.question) {
                self.questions.push_back(service.question.clone());
            }
        }
        self.stage = Stage::Services(services);
        self.leave_services();
    }

    fn take_services(&mut self, question: &Question, records: &[Record]) {
        let Stage::Services(services) = &mut self.stage else {
            return;
        };
        for service in services.iter_mut().filter(|s| s.question == *question) {
            service.hosts = Some(by_weight(records, &mut self.rng));
        }
        self.leave_services();
    }

    /// Once all services have been heard of, their hosts are looked up; where there is no service, the
    /// name itself is (RFC 3263 §4.2).
    fn leave_services(&mut self) {
        let Stage::Services(services) = &self.stage else {
            return;
        };
        if services.iter().any(|service| service.hosts.is_none()) {
            return;
        }
        let mut hosts: Vec<_> = services
            .iter()
            .flat_map(|service| {
                let hosts = service.hosts.iter().flatten();
                hosts.map(|(host, port)| (service.transport, host.clone(), *port))
            })
            .collect();
        if hosts.is_empty() {
            let transport = self.transport.unwrap_or(match self.secure {
                true => Transport::Tls,
                false => Transport::Udp,
            });
            hosts.push((transport, self.host.clone(), transport.default_port()));
        }
        self.ask_hosts(hosts);
    }

    fn ask_hosts(&mut self, mut hosts: Vec<(Transport, String, u16)>) {
        hosts.truncate(MAX_HOSTS);
        for (transport, host, _) in &hosts {
            let known = self.addresses.entry(host.clone()).or_default();
            for (kind, v4) in [(Kind::A, true), (Kind::Aaaa, false)] {
                if self.able.contains(&(*transport, v4)) && !known.found.contains_key(&kind) {
                    known.found.insert(kind, None);
                    self.questions.push_back(Question {
                        name: host.clone(),
                        kind,
                    });
                }
            }
        }
        self.stage = Stage::Hosts(hosts);
    }

    fn take_addresses(&mut self, question: &Question, records: &[Record]) {
        let Some(known) = self.addresses.get_mut(&question.name) else {
            return;
        };
        let Some(found @ None) = known.found.get_mut(&question.kind) else {
            return;
        };
        let fits = |ip: &IpAddr| ip.is_ipv4() == (question.kind == Kind::A);
        let usable = |ip: &IpAddr| !ip.is_unspecified() && !ip.is_multicast();
        let addresses = records.iter().filter_map(|record| match record {
            Record::Address(ip) => Some(*ip),
            _ => None,
        });
        let addresses = addresses.filter(|ip| fits(ip) && usable(ip));
        *found = Some(addresses.take(MAX_ADDRESSES).collect());
    }
}

/// The name of a transport's service (RFC 3263 §4.1).
fn service_name(transport: Transport) -> Option<&'static str> {
    match transport {
        Transport::Udp => Some("_sip._udp"),
        Transport::Tcp => Some("_sip._tcp"),
        Transport::Tls => Some("_sips._tcp"),
        Transport::Ws | Transport::Wss => None,
    }
}

/// The transport of a NAPTR service (RFC 3263 §4.1, RFC 7118 §8).
fn naptr_transport(services: &str) -> Option<Transport> {
    match services.to_ascii_uppercase().as_str() {
        "SIP+D2U" => Some(Transport::Udp),
        "SIP+D2T" => Some(Transport::Tcp),
        "SIPS+D2T" => Some(Transport::Tls),
        "SIP+D2W" => Some(Transport::Ws),
        "SIPS+D2W" => Some(Transport::Wss),
        _ => None,
    }
}

/// Hosts and ports of SRV records in the order to be tried (RFC 2782): by priority, and among those of
/// one priority drawn in proportion to their weights.
fn by_weight(records: &[Record], rng: &mut Rng) -> Vec<(String, u16)> {
    let mut waiting: Vec<(u16, u16, &str, u16)> = Vec::new();
    for record in records.iter().take(4 * MAX_HOSTS) {
        if let Record::Srv {
            priority,
            weight,
            port,
            target,
        } = record
        {
            let target = target.trim_end_matches('.');
            if !target.is_empty() && *port != 0 {
                waiting.push((*priority, *weight, target, *port));
            }
        }
    }
    // The first of equals is drawn first; those without weight stand in front, so that they are drawn
    // only when the lot falls on nothing.
    waiting.sort_by_key(|(priority, weight, ..)| (*priority, Reverse(*weight == 0)));
    let mut ordered = Vec::new();
    while let Some((priority, ..)) = waiting.first().copied() {
        let group = waiting.iter().take_while(|(p, ..)| *p == priority);
        let total: u64 = group.map(|(_, weight, ..)| u64::from(*weight)).sum();
        let lot = rng.below(total + 1);
        let mut sum = 0;
        let drawn = waiting.iter().position(|(_, weight, ..)| {
            sum += u64::from(*weight);
            sum >= lot
        });
        let (_, _, target, port) = waiting.remove(drawn.unwrap_or(0));
        ordered.push((target.to_ascii_lowercase(), port));
    }
    ordered
}

#[cfg(test)]
mod tests;
