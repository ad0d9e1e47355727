//! The certificate authorities that the system trusts.

use rustls::pki_types::CertificateDer;

/// The authorities of the operating system, for
/// [`TlsSettings::authorities`](crate::sip::transport::tls::TlsSettings); none where it has none.
/// Reads files, so it is for the start of a program.
pub fn system_authorities() -> Vec<CertificateDer<'static>> {
    rustls_native_certs::load_native_certs().certs
}
