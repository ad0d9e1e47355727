//! How TLS is done: our certificates, whom we trust, and renewing both while connections are up.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, TrustAnchor, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig,
    SignatureScheme,
};
use thiserror::Error;
use webpki::{
    BorrowedCertRevocationList, CertRevocationList, EndEntityCert, ExtendedKeyUsageValidator,
    KeyUsage, RevocationOptionsBuilder, UnknownStatusPolicy, anchor_from_trusted_cert,
};

use super::identity;

/// Settings that TLS cannot be done with.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The text holds no certificate in PEM form, or a broken one.
    #[error("no usable certificate: {0}")]
    Certificate(String),
    /// The text holds no private key in PEM form, or one that does not fit the certificate.
    #[error("no usable private key: {0}")]
    Key(String),
    /// The text holds no revocation list in PEM form, or a broken one.
    #[error("no usable revocation list: {0}")]
    RevocationList(String),
}

/// A certificate chain with its private key. Its `Debug` form shows neither.
#[derive(Clone)]
pub struct Identity(Arc<CertifiedKey>);

impl Identity {
    /// Reads a certificate chain, our own first, and the private key (PKCS #8, PKCS #1 or SEC 1),
    /// both as PEM.
    ///
    /// # Errors
    /// [`TlsError`] where something is missing or the two do not belong together.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain = certificates_from_pem(chain)?;
        let broken = |error: String| TlsError::Key(error);
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| broken(error.to_string()))?;
        let certified = CertifiedKey::from_der(chain, key, &provider())
            .map_err(|error| broken(error.to_string()))?;
        Ok(Self(Arc::new(certified)))
    }

    /// Whether the certificate speaks for a host.
    fn is_for(&self, host: &str) -> bool {
        let own = self.0.cert.first();
        own.is_some_and(|certificate| identity::is_for(certificate, host))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// Reads certificates in PEM form, such as a file of authorities.
///
/// # Errors
/// [`TlsError::Certificate`] where there is none, or a broken one.
pub fn certificates_from_pem(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match read {
        Ok(found) if found.is_empty() => Err(TlsError::Certificate("there is none".into())),
        Ok(found) => Ok(found),
        Err(error) => Err(TlsError::Certificate(error.to_string())),
    }
}

/// Reads revocation lists in PEM form.
///
/// # Errors
/// [`TlsError::RevocationList`] where there is none, or a broken one.
pub fn revocation_lists_from_pem(
    text: &[u8],
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let read: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(text).collect();
    match read {
        Ok(found) if found.is_empty() => Err(TlsError::RevocationList("there is none".into())),
        Ok(found) => Ok(found),
        Err(error) => Err(TlsError::RevocationList(error.to_string())),
    }
}

/// What is asked of those who connect to us.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Clients {
    /// No certificate.
    #[default]
    Anonymous,
    /// A certificate that leads to one of the authorities (mutual TLS).
    Known,
    /// The same, and it speaks for one of these domains (RFC 5922 §7).
    Domains(Vec<String>),
}

/// What TLS is done with.
#[derive(Debug, Clone, Default)]
pub struct TlsSettings {
    /// Our certificates. A server shows the one that speaks for the name that the client asks for,
    /// else the first; a client that is asked shows the first. Without any, nobody can connect to
    /// us.
    pub identities: Vec<Identity>,
    /// The authorities that the peers' certificates have to lead to. Without any, no peer is
    /// trusted.
    pub authorities: Vec<CertificateDer<'static>>,
    /// Lists of certificates that the authorities have taken back. Certificates of authorities
    /// without a list count as valid.
    pub revocations: Vec<CertificateRevocationListDer<'static>>,
    /// What is asked of those who connect to us. Default nothing.
    pub clients: Clients,
}

/// How TLS is done now; copies share it.
///
/// TLS 1.2 and 1.3. A server's certificate has to lead to an authority and to speak for the next hop
/// as the URI names it (RFC 5922 §7): by a DNS name or `sip:` URI equal to it, or its address where the
/// URI has an address. Neither the common name nor wildcards count.
///
/// ```no_run
/// use sidetone::sip::transport::tls::{Identity, Tls, TlsSettings, certificates_from_pem};
///
/// let read = std::fs::read;
/// let tls = Tls::new(TlsSettings {
///     identities: vec![Identity::from_pem(&read("chain.pem")?, &read("key.pem")?)?],
///     authorities: certificates_from_pem(&read("ca.pem")?)?,
///     ..TlsSettings::default()
/// })?;
/// // Later, when the certificate has been renewed: connections that are up stay up.
/// tls.reload(TlsSettings {
///     identities: vec![Identity::from_pem(&read("chain.pem")?, &read("key.pem")?)?],
///     authorities: certificates_from_pem(&read("ca.pem")?)?,
///     ..TlsSettings::default()
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Tls(Arc<RwLock<Roles>>);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// Copies of one another are equal.
impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Tls {}

/// What the two ends of a connection are done with.
struct Roles {
    server: Option<Arc<ServerConfig>>,
    client: Arc<ClientConfig>,
}

impl Tls {
    /// TLS with these settings.
    ///
    /// # Errors
    /// [`TlsError`] where they cannot be used.
    pub fn new(settings: TlsSettings) -> Result<Self, TlsError> {
        Ok(Self(Arc::new(RwLock::new(Roles::new(settings)?))))
    }

    /// Takes new settings for all connections from now on; those that are up stay up.
    ///
    /// # Errors
    /// [`TlsError`] where they cannot be used; the old ones stay then.
    pub fn reload(&self, settings: TlsSettings) -> Result<(), TlsError> {
        let roles = Roles::new(settings)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = roles;
        Ok(())
    }

    /// What to accept connections with; `None` without a certificate.
    pub fn server(&self) -> Option<Arc<ServerConfig>> {
        let roles = self.0.read().unwrap_or_else(PoisonError::into_inner);
        roles.server.clone()
    }

    /// What to open connections with.
    pub fn client(&self) -> Arc<ClientConfig> {
        let roles = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&roles.client)
    }
}

impl Roles {
    fn new(settings: TlsSettings) -> Result<Self, TlsError> {
        let trust = Arc::new(Trust::new(&settings)?);
        let identities = Arc::new(Identities(settings.identities));
        let unusable = |error: rustls::Error| TlsError::Certificate(error.to_string());
        let client = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(ServerVerifier(Arc::clone(&trust))))
            .with_client_cert_resolver(Arc::clone(&identities) as Arc<dyn ResolvesClientCert>);
        let server = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(unusable)?;
        let server = match settings.clients {
            Clients::Anonymous => server.with_no_client_auth(),
            Clients::Known => server.with_client_cert_verifier(Arc::new(ClientVerifier {
                trust,
                domains: None,
            })),
            Clients::Domains(domains) => {
                server.with_client_cert_verifier(Arc::new(ClientVerifier {
                    trust,
                    domains: Some(domains),
                }))
            }
        };
        let has_any = !identities.0.is_empty();
        let server = server.with_cert_resolver(identities);
        Ok(Self {
            server: has_any.then(|| Arc::new(server)),
            client: Arc::new(client),
        })
    }
}

/// The cryptography, the same as SRTP's.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Our certificates, to be chosen from.
#[derive(Debug)]
struct Identities(Vec<Identity>);

impl Identities {
    fn first(&self) -> Option<Arc<CertifiedKey>> {
        self.0.first().map(|identity| Arc::clone(&identity.0))
    }
}

impl ResolvesServerCert for Identities {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| {
            let mut identities = self.0.iter();
            identities.find(|identity| identity.is_for(name))
        });
        named.map_or_else(|| self.first(), |identity| Some(Arc::clone(&identity.0)))
    }
}

impl ResolvesClientCert for Identities {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.first()
    }

    fn has_certs(&self) -> bool {
        !self.0.is_empty()
    }
}

/// The authorities, and what they have taken back.
#[derive(Debug)]
struct Trust {
    anchors: Vec<TrustAnchor<'static>>,
    revocations: Vec<CertRevocationList<'static>>,
    provider: Arc<CryptoProvider>,
}

impl Trust {
    fn new(settings: &TlsSettings) -> Result<Self, TlsError> {
        let anchors = settings.authorities.iter().map(|certificate| {
            anchor_from_trusted_cert(certificate)
                .map(|anchor| anchor.to_owned())
                .map_err(|error| TlsError::Certificate(error.to_string()))
        });
        let revocations = settings.revocations.iter().map(|list| {
            BorrowedCertRevocationList::from_der(list)
                .and_then(|list| list.to_owned())
                .map(CertRevocationList::from)
                .map_err(|error| TlsError::RevocationList(error.to_string()))
        });
        Ok(Self {
            anchors: anchors.collect::<Result<_, _>>()?,
            revocations: revocations.collect::<Result<_, _>>()?,
            provider: provider(),
        })
    }

    /// Whether a certificate leads to one of the authorities, for this use, at this time.
    fn verify<'a>(
        &self,
        certificate: &'a CertificateDer<'a>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: impl ExtendedKeyUsageValidator,
    ) -> Result<EndEntityCert<'a>, rustls::Error> {
        let bad = |_| rustls::Error::from(CertificateError::BadEncoding);
        let certificate = EndEntityCert::try_from(certificate).map_err(bad)?;
        let lists: Vec<&CertRevocationList<'_>> = self.revocations.iter().collect();
        let revocation = match RevocationOptionsBuilder::new(&lists) {
            Ok(options) => Some(
                options
                    .with_status_policy(UnknownStatusPolicy::Allow)
                    .build(),
            ),
            // There are no lists.
            Err(_) => None,
        };
        let algorithms = self.provider.signature_verification_algorithms.all;
        let verified = certificate.verify_for_usage(
            algorithms,
            &self.anchors,
            intermediates,
            now,
            usage,
            revocation,
            None,
        );
        match verified {
            Ok(_) => {}
            Err(error) => return Err(refusal(&error).into()),
        }
        Ok(certificate)
    }
}

/// What the other side is told about its certificate.
fn refusal(error: &webpki::Error) -> CertificateError {
    match error {
        webpki::Error::CertExpired { .. } => CertificateError::Expired,
        webpki::Error::CertNotValidYet { .. } => CertificateError::NotValidYet,
        webpki::Error::CertRevoked => CertificateError::Revoked,
        webpki::Error::UnknownIssuer => CertificateError::UnknownIssuer,
        webpki::Error::BadDer => CertificateError::BadEncoding,
        _ => CertificateError::ApplicationVerificationFailure,
    }
}

/// Checks servers that we connect to.
#[derive(Debug)]
struct ServerVerifier(Arc<Trust>);

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let usage = KeyUsage::server_auth();
        let verified = self.0.verify(certificate, intermediates, now, usage)?;
        match identity::speaks_for(&verified, &name.to_str()) {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::NotValidForName.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.0.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

/// Checks those who connect to us.
#[derive(Debug)]
struct ClientVerifier {
    trust: Arc<Trust>,
    /// One of these, where it matters.
    domains: Option<Vec<String>>,
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let usage = KeyUsage::client_auth();
        let verified = self.trust.verify(certificate, intermediates, now, usage)?;
        let wanted = |domains: &Vec<String>| {
            let mut domains = domains.iter();
            domains.any(|domain| identity::speaks_for(&verified, domain))
        };
        match self.domains.as_ref().is_none_or(wanted) {
            true => Ok(ClientCertVerified::assertion()),
            false => Err(CertificateError::NotValidForName.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.trust.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.trust.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.trust.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
