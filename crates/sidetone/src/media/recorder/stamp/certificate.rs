//! What the certificate of a time-stamping authority says of it (RFC 5280 §4.1).

use std::fmt::Write as _;

use ::der::Tag;
use ::der::asn1::{AnyRef, ObjectIdentifier};

use crate::media::recorder::stamp::StampError;
use crate::media::recorder::stamp::der::{Fields, context};

/// The extension that names purposes (RFC 5280 §4.2.1.12), and the purpose of stamping.
const PURPOSES: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
const STAMPING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.8");
/// Bytes of a name that are shown.
const MOST_NAME: usize = 300;

/// What is read of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    /// Its subject, for people.
    pub(super) subject: String,
    /// Whether it is for time stamps, and nothing else, and everybody has to heed that (RFC 3161 §2.3).
    pub(super) is_for_stamps: bool,
}

/// Reads a certificate. Nothing of it is believed by that.
pub(super) fn read(certificate: &[u8]) -> Result<Told, StampError> {
    let mut certificate = Fields::of_sequence(Fields::whole(certificate)?)?;
    let mut body = certificate.sequence()?;
    body.optional(context(0))?;
    body.take(Tag::Integer)?;
    // The signature's algorithm, the issuer, the time of validity.
    for _ in 0..3 {
        body.take(Tag::Sequence)?;
    }
    let subject = name(body.any()?)?;
    body.take(Tag::Sequence)?;
    let mut is_for_stamps = false;
    while !body.is_empty() {
        let field = body.any()?;
        if field.header().tag() == context(3) {
            is_for_stamps = is_only_for_stamps(Fields::whole(field.value())?)?;
        }
    }
    Ok(Told {
        subject,
        is_for_stamps,
    })
}

fn is_only_for_stamps(extensions: AnyRef<'_>) -> Result<bool, StampError> {
    let mut extensions = Fields::of_sequence(extensions)?;
    while !extensions.is_empty() {
        let mut extension = extensions.sequence()?;
        let kind = extension.oid()?;
        let critical = extension.optional(Tag::Boolean)?;
        let value = extension.take(Tag::OctetString)?;
        if kind == PURPOSES {
            let is_critical = critical.is_some_and(|it| it.value() == [0xFF]);
            let mut purposes = Fields::of_sequence(Fields::whole(value.value())?)?;
            let is_for_stamps = purposes.oid()? == STAMPING;
            return Ok(is_critical && is_for_stamps && purposes.is_empty());
        }
    }
    Ok(false)
}

/// A distinguished name as people write it: `CN=…, O=…`.
fn name(name: AnyRef<'_>) -> Result<String, StampError> {
    let mut parts = Fields::of_sequence(name)?;
    let mut told = String::new();
    while !parts.is_empty() {
        let mut part = Fields::of(parts.any()?, Tag::Set)?;
        while !part.is_empty() {
            let mut pair = part.sequence()?;
            let kind = pair.oid()?;
            let text = String::from_utf8_lossy(pair.any()?.value()).into_owned();
            let between = if told.is_empty() { "" } else { ", " };
            if told.len() + text.len() < MOST_NAME {
                // A string takes whatever is written to it.
                let _ = write!(told, "{between}{}={}", short(kind), text.escape_debug());
            }
        }
    }
    Ok(told)
}

/// What a kind of name is called (RFC 4514 §3).
fn short(kind: ObjectIdentifier) -> String {
    match kind.as_bytes() {
        [0x55, 4, 3] => "CN".into(),
        [0x55, 4, 6] => "C".into(),
        [0x55, 4, 7] => "L".into(),
        [0x55, 4, 8] => "ST".into(),
        [0x55, 4, 10] => "O".into(),
        [0x55, 4, 11] => "OU".into(),
        _ => kind.to_string(),
    }
}
