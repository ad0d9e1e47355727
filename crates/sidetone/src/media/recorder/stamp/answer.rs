//! What a time-stamping authority answers (RFC 3161 §2.4.2), held against what was asked and whom one believes.

use std::iter;

use ::der::asn1::{AnyRef, ObjectIdentifier};
use ::der::{DateTime, Tag};
use aws_lc_rs::digest::{self, Algorithm};
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage};

use crate::media::recorder::seal::hex;
use crate::media::recorder::stamp::certificate::{self, Told};
use crate::media::recorder::stamp::der::{Fields, context, context_value, number};
use crate::media::recorder::stamp::request::{Nonce, SHA256, value};
use crate::media::recorder::stamp::{MOST_ANSWER, Stamp, StampError};
use crate::time::{Duration, WallTime};

const fn oid(text: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(text)
}

// RFC 5652 §5.1, §11; RFC 3161 §2.4.2; RFC 2634 §5.4 and RFC 5035 §3.
const SIGNED_DATA: ObjectIdentifier = oid("1.2.840.113549.1.7.2");
const STAMP_INFO: ObjectIdentifier = oid("1.2.840.113549.1.9.16.1.4");
const CONTENT_TYPE: ObjectIdentifier = oid("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = oid("1.2.840.113549.1.9.4");
const CERTIFICATE_1: ObjectIdentifier = oid("1.2.840.113549.1.9.16.2.12");
const CERTIFICATE_2: ObjectIdentifier = oid("1.2.840.113549.1.9.16.2.47");
// RFC 5754 §2.
const SHA384: ObjectIdentifier = oid("2.16.840.1.101.3.4.2.2");
const SHA512: ObjectIdentifier = oid("2.16.840.1.101.3.4.2.3");
/// The purpose of time stamps, as DER has it without its header.
const STAMPING: &[u8] = &[0x2B, 6, 1, 5, 5, 7, 3, 8];
/// Certificates in one answer at most.
const MOST_CERTIFICATES: usize = 16;
/// Bytes of an authority's words that are told.
const MOST_TEXT: usize = 200;

/// What an answer is held against.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The SHA-256 of what was to be stamped.
    pub digest: &'a [u8; 32],
    /// The request's number; `None` long after, when nobody knows it any more.
    pub nonce: Option<&'a Nonce>,
    /// The policy that was asked for; `None` for any.
    pub policy: Option<&'a str>,
}

/// Reads an answer, and says what was stamped when and by whom. All of it is checked: that it is a stamp of this digest,
/// the answer to this request, signed by a certificate for time stamps and nothing else, which comes from one of
/// `roots` and was valid at the stamp's time. Lists of revoked certificates are not looked at.
///
/// Costs a few signatures: [`webpki`] bounds how many paths are tried, whatever the answer holds.
///
/// # Errors
/// [`StampError`]: it is no such stamp.
pub fn check(
    answer: &[u8],
    asked: &Asked<'_>,
    roots: &[CertificateDer<'_>],
) -> Result<Stamp, StampError> {
    if answer.len() > MOST_ANSWER {
        return Err(StampError::Form("too long"));
    }
    let token = Token::parse(token(answer)?)?;
    let info = Info::parse(token.content)?;
    if info.digest != asked.digest {
        return Err(StampError::Other);
    }
    if asked.nonce.is_some_and(|it| Some(it.bytes()) != info.nonce) {
        return Err(StampError::Nonce);
    }
    let policy = info.policy.to_string();
    if asked.policy.is_some_and(|it| it != policy) {
        return Err(StampError::Policy(policy));
    }
    let told = token.judge(info.time, roots)?;
    Ok(Stamp {
        time: info.time,
        accuracy: info.accuracy,
        serial: hex(info.serial),
        policy,
        authority: told.subject,
    })
}

/// The token of an answer that grants one.
fn token(answer: &[u8]) -> Result<AnyRef<'_>, StampError> {
    let mut answer = Fields::of_sequence(Fields::whole(answer)?)?;
    let mut status = answer.sequence()?;
    let granted = status.number()?;
    if granted > 1 {
        return Err(StampError::Refused {
            status: granted,
            text: words(&mut status)?,
        });
    }
    let token = answer.any()?;
    answer.end()?;
    Ok(token)
}

/// What an authority says to people.
fn words(status: &mut Fields<'_>) -> Result<String, StampError> {
    let mut said = String::new();
    if let Some(texts) = status.optional(Tag::Sequence)? {
        let mut texts = Fields::of_sequence(texts)?;
        while !texts.is_empty() && said.len() < MOST_TEXT {
            let text = texts.take(Tag::Utf8String)?.value();
            let text = text.get(..MOST_TEXT - said.len()).unwrap_or(text);
            said.push_str(&String::from_utf8_lossy(text));
        }
    }
    Ok(said)
}

/// A token: what is stamped, and who has signed that (RFC 5652 §5.1).
struct Token<'a> {
    content: &'a [u8],
    certificates: Vec<&'a [u8]>,
    signer: Signer<'a>,
}

impl<'a> Token<'a> {
    fn parse(token: AnyRef<'a>) -> Result<Self, StampError> {
        let mut outer = Fields::of_sequence(token)?;
        if outer.oid()? != SIGNED_DATA {
            return Err(StampError::Form("not signed"));
        }
        let inner = outer.take(context(0))?;
        outer.end()?;
        let mut signed = Fields::of_sequence(Fields::whole(inner.value())?)?;
        signed.number()?;
        signed.take(Tag::Set)?;
        let mut content = signed.sequence()?;
        if content.oid()? != STAMP_INFO {
            return Err(StampError::Form("not a stamp's content"));
        }
        let wrapped = content.take(context(0))?;
        content.end()?;
        let wrapped = Fields::whole(wrapped.value())?;
        if wrapped.header().tag() != Tag::OctetString {
            return Err(StampError::Form("not a stamp's content"));
        }
        let mut certificates = Vec::new();
        if let Some(all) = signed.optional(context(0))? {
            let mut all = Fields::inside(all.value())?;
            while !all.is_empty() {
                certificates.push(all.raw()?);
            }
        }
        if certificates.len() > MOST_CERTIFICATES {
            return Err(StampError::Form("too many certificates"));
        }
        signed.optional(context(1))?;
        let mut signers = Fields::of(signed.take(Tag::Set)?, Tag::Set)?;
        signed.end()?;
        let signer = Signer::parse(signers.sequence()?)?;
        // RFC 3161 §2.4.2: nobody but the authority signs.
        signers.end()?;
        Ok(Self {
            content: wrapped.value(),
            certificates,
            signer,
        })
    }

    /// Who has signed it, and whether that counts.
    fn judge(&self, at: WallTime, roots: &[CertificateDer<'_>]) -> Result<Told, StampError> {
        let signer = &self.signer;
        if digest::digest(signer.hash, self.content).as_ref() != signer.digest {
            return Err(StampError::Altered);
        }
        let (hash, of_signer) = signer.certificate;
        let is_signers = |it: &&&[u8]| digest::digest(hash, it).as_ref() == of_signer;
        let found = self.certificates.iter().find(is_signers);
        let found = *found.ok_or(StampError::Form("without its certificate"))?;
        let told = certificate::read(found)?;
        let found = CertificateDer::from(found);
        let untrusted = |error: webpki::Error| StampError::Untrusted(error.to_string());
        let leaf = EndEntityCert::try_from(&found).map_err(untrusted)?;
        // Which algorithm it is follows from the certificate's key, and all of them are good.
        let is_signed = ALL_VERIFICATION_ALGS.iter().any(|algorithm| {
            let checked = leaf.verify_signature(*algorithm, &signer.signed, signer.signature);
            checked.is_ok()
        });
        if !is_signed {
            return Err(StampError::Altered);
        }
        if !told.is_for_stamps {
            return Err(StampError::Purpose);
        }
        let anchors = roots.iter().map(webpki::anchor_from_trusted_cert);
        let anchors: Vec<_> = anchors.collect::<Result<_, _>>().map_err(untrusted)?;
        let others = self.certificates.iter().map(|it| CertificateDer::from(*it));
        let others: Vec<_> = others.filter(|it| *it != found).collect();
        let seconds = Duration::from_secs(at.as_unix_nanos() / 1_000_000_000);
        leaf.verify_for_usage(
            ALL_VERIFICATION_ALGS,
            &anchors,
            &others,
            UnixTime::since_unix_epoch(seconds),
            KeyUsage::required_if_present(STAMPING),
            None,
            None,
        )
        .map_err(untrusted)?;
        Ok(told)
    }
}

/// Who has signed a token, and what (RFC 5652 §5.3).
struct Signer<'a> {
    hash: &'static Algorithm,
    /// Of the content.
    digest: &'a [u8],
    /// Of the certificate, and by which algorithm (RFC 5816 §2.2.1).
    certificate: (&'static Algorithm, &'a [u8]),
    /// The bytes that are signed (RFC 5652 §5.4).
    signed: Vec<u8>,
    signature: &'a [u8],
}

impl<'a> Signer<'a> {
    fn parse(mut signer: Fields<'a>) -> Result<Self, StampError> {
        signer.number()?;
        // Its issuer and number, or its key: the signed attribute names the certificate better.
        signer.any()?;
        let hash = hash(signer.sequence()?.oid()?)?;
        let attributes = signer.take(context(0))?;
        signer.take(Tag::Sequence)?;
        let signature = signer.take(Tag::OctetString)?.value();
        let mut all = Fields::inside(attributes.value())?;
        let (mut kind, mut digest, mut certificate) = (None, None, None);
        while !all.is_empty() {
            let mut attribute = all.sequence()?;
            let name = attribute.oid()?;
            let mut values = Fields::of(attribute.any()?, Tag::Set)?;
            match name {
                CONTENT_TYPE => kind = Some(values.oid()?),
                MESSAGE_DIGEST => digest = Some(values.take(Tag::OctetString)?.value()),
                CERTIFICATE_1 if certificate.is_none() => {
                    certificate = Some(named_certificate(values.sequence()?, false)?);
                }
                CERTIFICATE_2 => certificate = Some(named_certificate(values.sequence()?, true)?),
                _ => continue,
            }
            values.end()?;
        }
        if kind != Some(STAMP_INFO) {
            return Err(StampError::Form("signed as something else"));
        }
        let missing = StampError::Form("not all that has to be is signed");
        Ok(Self {
            hash,
            digest: digest.ok_or(missing.clone())?,
            certificate: certificate.ok_or(missing)?,
            signed: value(Tag::Set, attributes.value())?,
            signature,
        })
    }
}

/// The hash of the certificate that a signer names first: of a SigningCertificate (RFC 2634 §5.4), or of a
/// SigningCertificateV2 (RFC 5035 §3).
fn named_certificate(
    mut named: Fields<'_>,
    is_second: bool,
) -> Result<(&'static Algorithm, &[u8]), StampError> {
    let mut first = named.sequence()?.sequence()?;
    let algorithm = match is_second {
        true => match first.optional(Tag::Sequence)? {
            Some(named) => hash(Fields::of_sequence(named)?.oid()?)?,
            None => &digest::SHA256,
        },
        false => &digest::SHA1_FOR_LEGACY_USE_ONLY,
    };
    Ok((algorithm, first.take(Tag::OctetString)?.value()))
}

fn hash(name: ObjectIdentifier) -> Result<&'static Algorithm, StampError> {
    match name {
        SHA256 => Ok(&digest::SHA256),
        SHA384 => Ok(&digest::SHA384),
        SHA512 => Ok(&digest::SHA512),
        _ => Err(StampError::Form("a hash that is not believed")),
    }
}

/// What is stamped (TSTInfo, RFC 3161 §2.4.2).
struct Info<'a> {
    policy: ObjectIdentifier,
    digest: &'a [u8],
    serial: &'a [u8],
    time: WallTime,
    accuracy: Option<Duration>,
    nonce: Option<&'a [u8]>,
}

impl<'a> Info<'a> {
    fn parse(content: &'a [u8]) -> Result<Self, StampError> {
        let mut info = Fields::of_sequence(Fields::whole(content)?)?;
        if info.number()? != 1 {
            return Err(StampError::Form("another version"));
        }
        let policy = info.oid()?;
        let mut imprint = info.sequence()?;
        let by = imprint.sequence()?.oid()?;
        let digest = imprint.take(Tag::OctetString)?.value();
        if by != SHA256 {
            return Err(StampError::Other);
        }
        let serial = info.take(Tag::Integer)?.value();
        let time = moment(info.take(Tag::GeneralizedTime)?.value());
        let time = time.ok_or(StampError::Form("no such time"))?;
        let accuracy = info.optional(Tag::Sequence)?.map(accuracy).transpose()?;
        info.optional(Tag::Boolean)?;
        let nonce = info.optional(Tag::Integer)?.map(AnyRef::value);
        info.optional(context(0))?;
        info.optional(context(1))?;
        info.end()?;
        Ok(Self {
            policy,
            digest,
            serial: serial.get(..20).unwrap_or(serial),
            time,
            accuracy,
            nonce,
        })
    }
}

/// Seconds, `[0]` milliseconds, `[1]` microseconds.
fn accuracy(told: AnyRef<'_>) -> Result<Duration, StampError> {
    let mut told = Fields::of_sequence(told)?;
    let seconds = told.optional(Tag::Integer)?.map(number).transpose()?;
    let mut below = |n: u32| -> Result<u64, StampError> {
        let told = told.optional(context_value(n))?;
        let bytes = told.map_or(&[][..], AnyRef::value);
        let tail = bytes.iter().rev().take(2).rev();
        Ok(tail.fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    let (millis, micros) = (below(0)?, below(1)?);
    let seconds = seconds.unwrap_or(0).min(u64::from(u32::MAX));
    Ok(Duration::from_secs(seconds) + Duration::from_micros(millis * 1_000 + micros))
}

/// A GeneralizedTime in UTC, with or without parts of a second (RFC 3161 §2.4.2).
fn moment(text: &[u8]) -> Option<WallTime> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit());
    if whole.len() != 14 || !is_number(whole) || !is_number(part) {
        return None;
    }
    let field = |from: usize| whole.get(from..from + 2)?.parse::<u8>().ok();
    let year = whole.get(..4)?.parse().ok()?;
    let date = (field(4)?, field(6)?);
    let time = DateTime::new(year, date.0, date.1, field(8)?, field(10)?, field(12)?).ok()?;
    let digits = part.bytes().chain(iter::repeat(b'0')).take(9);
    let nanos = digits.fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    let seconds = time.unix_duration().as_secs().checked_mul(1_000_000_000)?;
    Some(WallTime::from_unix_nanos(seconds.checked_add(nanos)?))
}
