//! What a time-stamping authority is asked (RFC 3161 §2.4.1).

use ::der::Encode;
use ::der::Tag;
use ::der::asn1::{AnyRef, Null, ObjectIdentifier};

use crate::media::recorder::stamp::StampError;

/// SHA-256 (RFC 5754 §2.2).
pub(super) const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");

/// A number that no other request has: 8 bytes that were drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nonce([u8; 8]);

impl Nonce {
    /// Made of random bytes.
    pub fn new(mut drawn: [u8; 8]) -> Self {
        // Positive, and with no byte that DER leaves out: 62 bits are left to chance.
        drawn[0] = drawn[0] & 0x7F | 0x40;
        Self(drawn)
    }

    /// As an INTEGER holds it.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The request for a stamp of what has this SHA-256, under a policy where one is named; its certificates are
/// wanted as well. Without a number an old answer cannot be told from a new one.
///
/// ```
/// use sidetone::media::recorder::stamp::request::{Nonce, request};
///
/// let nonce = Nonce::new([7; 8]);
/// let query = request(&[0x11; 32], Some(&nonce), Some("1.2.3.4.1"))?;
/// assert_eq!(query[0], 0x30);
/// # Ok::<(), sidetone::media::recorder::stamp::StampError>(())
/// ```
///
/// # Errors
/// [`StampError::Policy`]: it is no object identifier.
pub fn request(
    digest: &[u8; 32],
    nonce: Option<&Nonce>,
    policy: Option<&str>,
) -> Result<Vec<u8>, StampError> {
    let algorithm = sequence(&[SHA256.to_der()?, Null.to_der()?])?;
    let imprint = sequence(&[algorithm, value(Tag::OctetString, digest)?])?;
    let mut fields = vec![value(Tag::Integer, &[1])?, imprint];
    if let Some(policy) = policy {
        let named = ObjectIdentifier::new(policy);
        let named = named.map_err(|_| StampError::Policy(policy.to_owned()))?;
        fields.push(named.to_der()?);
    }
    if let Some(nonce) = nonce {
        fields.push(value(Tag::Integer, nonce.bytes())?);
    }
    fields.push(value(Tag::Boolean, &[0xFF])?);
    sequence(&fields)
}

fn sequence(fields: &[Vec<u8>]) -> Result<Vec<u8>, StampError> {
    value(Tag::Sequence, &fields.concat())
}

/// A value with its header.
pub(super) fn value(tag: Tag, bytes: &[u8]) -> Result<Vec<u8>, StampError> {
    Ok(AnyRef::new(tag, bytes)?.to_der()?)
}
