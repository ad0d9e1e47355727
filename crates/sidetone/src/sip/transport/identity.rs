//! Whose certificate it is: the SIP domains that one speaks for (RFC 5922 §7).

use rustls::pki_types::{CertificateDer, IpAddr as PkiIpAddr, ServerName};
use std::net::IpAddr;
use webpki::EndEntityCert;

use crate::sip::uri::{Scheme, Uri};

/// The SIP domains that a certificate speaks for, in lower case (RFC 5922 §7.1): the hosts of its
/// `sip:` URIs without a user part, or where it has none of them its DNS names. The common name does
/// not count, and names with a wildcard match nothing.
pub fn domains(certificate: &EndEntityCert<'_>) -> Vec<String> {
    let uris = certificate.valid_uri_names().filter_map(|text| {
        let uri = Uri::parse(text).ok()?;
        (uri.scheme() == Scheme::Sip && uri.user().is_none()).then(|| uri.host().to_owned())
    });
    let uris: Vec<String> = uris.collect();
    let names: Vec<String> = match uris.is_empty() {
        true => certificate.valid_dns_names().map(str::to_owned).collect(),
        false => uris,
    };
    let names = names.iter();
    names
        .map(|name| name.trim_end_matches('.').to_ascii_lowercase())
        .filter(|name| !name.contains('*'))
        .collect()
}

/// The same for a certificate as it is sent; none for what is none.
pub fn domains_of(certificate: &CertificateDer<'_>) -> Vec<String> {
    EndEntityCert::try_from(certificate).map_or_else(|_| Vec::new(), |found| domains(&found))
}

/// Whether a certificate speaks for a host as a URI names it (RFC 5922 §7.2): a domain that equals
/// one of its own, whatever the case, or an address that it names.
pub fn speaks_for(certificate: &EndEntityCert<'_>, host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        let name = ServerName::IpAddress(PkiIpAddr::from(ip));
        return certificate.verify_is_valid_for_subject_name(&name).is_ok();
    }
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    domains(certificate).contains(&host)
}

/// The same for a certificate as it is sent; false for what is none.
pub fn is_for(certificate: &CertificateDer<'_>, host: &str) -> bool {
    EndEntityCert::try_from(certificate).is_ok_and(|certificate| speaks_for(&certificate, host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    fn certificate(sans: Vec<SanType>) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = sans;
        params
            .distinguished_name
            .push(DnType::CommonName, "common.example.com");
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    fn dns(name: &str) -> SanType {
        SanType::DnsName(name.try_into().unwrap())
    }

    fn uri(name: &str) -> SanType {
        SanType::URI(name.try_into().unwrap())
    }

    #[test]
    fn names_are_compared_whole_and_in_any_case() {
        let found = certificate(vec![dns("SIP.example.com"), dns("example.com")]);
        for (host, fits) in [
            ("sip.example.com", true),
            ("Sip.Example.COM.", true),
            ("example.com", true),
            ("other.example.com", false),
            ("ample.com", false),
            ("sip.example.com.evil.example", false),
            ("common.example.com", false),
            ("", false),
        ] {
            assert_eq!(is_for(&found, host), fits, "{host:?}");
        }
    }

    #[test]
    fn dns_names_count_only_where_no_uri_says_more() {
        let found = certificate(vec![dns("host7.example.com"), uri("sip:Example.COM")]);
        assert!(is_for(&found, "example.com"));
        assert!(!is_for(&found, "host7.example.com"));
        // The URI of a user is none of a domain.
        let found = certificate(vec![dns("example.com"), uri("sip:alice@example.org")]);
        assert!(is_for(&found, "example.com") && !is_for(&found, "example.org"));
    }

    #[test]
    fn wildcards_users_and_other_schemes_speak_for_nobody() {
        let found = certificate(vec![
            dns("*.example.com"),
            uri("sip:alice@example.com"),
            uri("sips:example.net"),
            uri("https://example.org"),
        ]);
        for host in ["a.example.com", "example.com", "example.net", "example.org"] {
            assert!(!is_for(&found, host), "{host}");
        }
    }

    #[test]
    fn a_common_name_alone_speaks_for_nobody() {
        assert!(!is_for(&certificate(Vec::new()), "common.example.com"));
    }

    #[test]
    fn addresses_need_an_address_in_the_certificate() {
        let found = certificate(vec![
            SanType::IpAddress("192.0.2.1".parse().unwrap()),
            SanType::IpAddress("2001:db8::1".parse().unwrap()),
        ]);
        assert!(is_for(&found, "192.0.2.1"));
        assert!(is_for(&found, "[2001:db8::1]"));
        assert!(!is_for(&found, "192.0.2.2"));
        assert!(!is_for(&certificate(vec![dns("192.0.2.1")]), "192.0.2.1"));
        assert!(!is_for(&CertificateDer::from(&b"nonsense"[..]), "x"));
    }
}
