//! What a request is worth: emergencies, configured numbers and namespaces come first (RFC 5031,
//! RFC 4412, RFC 7339 §5.10.1).

use crate::sip::header::Name;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::overload::admission::{AdmissionConfig, Precedence};
use crate::sip::uri::Uri;

/// The service of emergencies, and what is below it (RFC 5031 §4.2).
const EMERGENCY: &str = "urn:service:sos";

/// What a request that has arrived is worth.
pub fn of_request(config: &AdmissionConfig, request: &Message, method: &Method) -> Precedence {
    let within = request.to().is_ok_and(|to| to.tag().is_some());
    if within
        || matches!(
            method,
            Method::Ack | Method::Cancel | Method::Bye | Method::Prack
        )
    {
        return Precedence::InProgress;
    }
    let uri = request.request_uri().ok();
    let claims = request.header_all(Name::Other("Resource-Priority"));
    let claimed = claims.map(|row| row.text().into_owned());
    precedence(config, uri.as_ref(), claimed)
}

/// What a new request of ours is worth.
pub fn of_draft(config: &AdmissionConfig, uri: &Uri, headers: &[(String, String)]) -> Precedence {
    let claims = headers.iter();
    let claims = claims.filter(|(name, _)| name.eq_ignore_ascii_case("Resource-Priority"));
    precedence(config, Some(uri), claims.map(|(_, value)| value.clone()))
}

/// Whether a URI names the service of emergencies.
pub fn is_emergency(uri: &str) -> bool {
    let service = uri.get(..EMERGENCY.len());
    let rest = uri.get(EMERGENCY.len()..).unwrap_or_default();
    service.is_some_and(|service| service.eq_ignore_ascii_case(EMERGENCY))
        && (rest.is_empty() || rest.starts_with('.'))
}

fn precedence(
    config: &AdmissionConfig,
    uri: Option<&Uri>,
    mut claims: impl Iterator<Item = String>,
) -> Precedence {
    let called = uri.is_some_and(|uri| {
        let user = uri.user_decoded().unwrap_or_default();
        let mut numbers = config.numbers.iter();
        is_emergency(uri.as_str())
            || numbers.any(|number| !number.is_empty() && user.starts_with(number.as_str()))
    });
    let wanted = |value: &str| {
        let mut namespaces = config.namespaces.iter();
        let namespace = value
            .split_once('.')
            .map_or(value, |(namespace, _)| namespace);
        namespaces.any(|own| own.eq_ignore_ascii_case(value) || own.eq_ignore_ascii_case(namespace))
    };
    let mut claimed = || claims.any(|row| row.split(',').map(str::trim).any(&wanted));
    match called || (!config.namespaces.is_empty() && claimed()) {
        true => Precedence::High,
        false => Precedence::Normal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn worth(line: &str, headers: &str) -> Precedence {
        let config = AdmissionConfig {
            numbers: vec!["112".into()],
            namespaces: vec!["wps".into(), "ets.0".into()],
            ..AdmissionConfig::default()
        };
        let (method, _) = line.split_once(' ').unwrap();
        let text = format!(
            "{line} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
             From: <sip:a@192.0.2.1>;tag=1\r\nCall-ID: r\r\nCSeq: 7 {method}\r\n\
             Max-Forwards: 70\r\n{headers}Content-Length: 0\r\n\r\n"
        );
        let request = Message::parse(Bytes::from(text)).unwrap();
        of_request(&config, &request, &Method::parse(method).unwrap())
    }

    #[test]
    fn what_comes_first_is_told_from_the_rest() {
        let to = "To: <sip:b@192.0.2.2>\r\n";
        for (line, headers, expected) in [
            ("INVITE sip:b@h", "", Precedence::Normal),
            ("REGISTER sip:h", "", Precedence::Normal),
            ("INVITE sip:112@h", "", Precedence::High),
            ("INVITE tel:112", "", Precedence::High),
            ("INVITE sip:0112@h", "", Precedence::Normal),
            ("INVITE urn:service:sos", "", Precedence::High),
            ("INVITE URN:service:SOS.fire", "", Precedence::High),
            ("INVITE urn:service:sosa", "", Precedence::Normal),
            (
                "INVITE sip:b@h",
                "Resource-Priority: dsn.flash, wps.3\r\n",
                Precedence::High,
            ),
            (
                "INVITE sip:b@h",
                "Resource-Priority: ETS.0\r\n",
                Precedence::High,
            ),
            (
                "INVITE sip:b@h",
                "Resource-Priority: ets.1\r\n",
                Precedence::Normal,
            ),
            ("CANCEL sip:b@h", "", Precedence::InProgress),
        ] {
            assert_eq!(
                worth(line, &format!("{to}{headers}")),
                expected,
                "{line} {headers}"
            );
        }
        let within = "To: <sip:b@192.0.2.2>;tag=2\r\n";
        assert_eq!(worth("INFO sip:b@h", within), Precedence::InProgress);
    }
}
