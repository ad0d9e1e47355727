//! What a dialled party's side may be heard before it has answered.

/// Which sound of a dialled party's side is heard before the answer (RFC 3960, RFC 5009).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum EarlyMediaPolicy {
    /// All that comes, unless P-Early-Media forbids it. Of several branches the one that was told of
    /// last.
    #[default]
    AsItComes,
    /// Only what a peer of the trust domain permits by P-Early-Media: strangers cannot play anything
    /// to a caller who does not pay yet.
    Authorized,
    /// Nothing.
    Never,
}
