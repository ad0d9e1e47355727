//! The pieces of DER that time stamps are made of (ITU-T X.690), read one after the other.

use ::der::asn1::{AnyRef, ObjectIdentifier};
use ::der::{Reader, SliceReader, Tag, TagNumber};

use crate::media::recorder::stamp::StampError;

/// The fields of a sequence or set, in their order.
#[derive(Debug, Clone)]
pub(super) struct Fields<'a>(SliceReader<'a>);

impl<'a> Fields<'a> {
    /// The fields of what has this tag.
    pub(super) fn of(value: AnyRef<'a>, tag: Tag) -> Result<Self, StampError> {
        match value.header().tag() == tag {
            true => Self::inside(value.value()),
            false => Err(StampError::Form("something else in its place")),
        }
    }

    /// The fields of a sequence.
    pub(super) fn of_sequence(value: AnyRef<'a>) -> Result<Self, StampError> {
        Self::of(value, Tag::Sequence)
    }

    /// The fields that `bytes` are.
    pub(super) fn inside(bytes: &'a [u8]) -> Result<Self, StampError> {
        Ok(Self(SliceReader::new(bytes)?))
    }

    /// The one value that `bytes` are.
    pub(super) fn whole(bytes: &'a [u8]) -> Result<AnyRef<'a>, StampError> {
        let mut fields = Self::inside(bytes)?;
        let value = fields.any()?;
        fields.end()?;
        Ok(value)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_finished()
    }

    /// The next field, whatever it is.
    pub(super) fn any(&mut self) -> Result<AnyRef<'a>, StampError> {
        Ok(self.0.decode()?)
    }

    /// The next field with its header.
    pub(super) fn raw(&mut self) -> Result<&'a [u8], StampError> {
        Ok(self.0.tlv_bytes()?)
    }

    /// The next field, which has this tag.
    pub(super) fn take(&mut self, tag: Tag) -> Result<AnyRef<'a>, StampError> {
        let absent = StampError::Form("something is missing");
        self.optional(tag)?.ok_or(absent)
    }

    /// The next field, if it has this tag.
    pub(super) fn optional(&mut self, tag: Tag) -> Result<Option<AnyRef<'a>>, StampError> {
        match !self.is_empty() && Tag::peek(&self.0)? == tag {
            true => Ok(Some(self.any()?)),
            false => Ok(None),
        }
    }

    /// The next field, a sequence, and what it holds.
    pub(super) fn sequence(&mut self) -> Result<Self, StampError> {
        Self::of_sequence(self.any()?)
    }

    /// The next field, an object identifier.
    pub(super) fn oid(&mut self) -> Result<ObjectIdentifier, StampError> {
        Ok(self.take(Tag::ObjectIdentifier)?.decode_as()?)
    }

    /// The next field, a small number.
    pub(super) fn number(&mut self) -> Result<u64, StampError> {
        number(self.take(Tag::Integer)?)
    }

    /// Nothing follows.
    pub(super) fn end(&self) -> Result<(), StampError> {
        match self.is_empty() {
            true => Ok(()),
            false => Err(StampError::Form("something follows")),
        }
    }
}

/// A small number.
pub(super) fn number(value: AnyRef<'_>) -> Result<u64, StampError> {
    Ok(value.decode_as()?)
}

/// The tag `[n]` of what holds other values.
pub(super) const fn context(n: u32) -> Tag {
    Tag::ContextSpecific {
        constructed: true,
        number: TagNumber(n),
    }
}

/// The tag `[n]` of what is a value itself.
pub(super) const fn context_value(n: u32) -> Tag {
    Tag::ContextSpecific {
        constructed: false,
        number: TagNumber(n),
    }
}
