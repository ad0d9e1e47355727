//! The states of offer/answer and what each verb does in them.

/// Where an offer/answer exchange stands (RFC 3264 §4; RFC 3261 §13.2.1 for early answers).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// No exchange is open.
    Stable,
    /// We have offered and wait for the answer.
    LocalOffer,
    /// We have offered, and a provisional response brought an answer that the final one may change.
    EarlyAnswer,
    /// The peer has offered and waits for our answer.
    RemoteOffer,
}

/// What can be done with a [`Negotiator`](super::Negotiator).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Make an offer.
    Offer,
    /// Take the peer's offer.
    HandleOffer,
    /// Answer the peer's offer.
    Answer,
    /// Take an answer from a provisional response.
    HandleEarlyAnswer,
    /// Take the peer's answer.
    HandleAnswer,
    /// Let the early answer stand as the final one.
    Confirm,
    /// Give up the open exchange: the offer was refused, or is.
    Withdraw,
}

impl State {
    /// All states, in the table's order.
    pub const ALL: [Self; 4] = [
        Self::Stable,
        Self::LocalOffer,
        Self::EarlyAnswer,
        Self::RemoteOffer,
    ];

    /// The state after `verb`, or `None` where it is not allowed.
    pub const fn after(self, verb: Verb) -> Option<Self> {
        use State::{EarlyAnswer, LocalOffer, RemoteOffer, Stable};
        match (self, verb) {
            (Stable, Verb::Offer) => Some(LocalOffer),
            (Stable, Verb::HandleOffer) => Some(RemoteOffer),
            (LocalOffer | EarlyAnswer, Verb::HandleEarlyAnswer) => Some(EarlyAnswer),
            (LocalOffer | EarlyAnswer, Verb::HandleAnswer) => Some(Stable),
            (EarlyAnswer, Verb::Confirm) => Some(Stable),
            (RemoteOffer, Verb::Answer) => Some(Stable),
            (LocalOffer | EarlyAnswer | RemoteOffer, Verb::Withdraw) => Some(Stable),
            _ => None,
        }
    }
}

impl Verb {
    /// All verbs, in the table's order.
    pub const ALL: [Self; 7] = [
        Self::Offer,
        Self::HandleOffer,
        Self::Answer,
        Self::HandleEarlyAnswer,
        Self::HandleAnswer,
        Self::Confirm,
        Self::Withdraw,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_by_every_verb() {
        // Rows as `State::ALL`, columns as `Verb::ALL`; a dot where the verb is not allowed.
        let table: Vec<String> = State::ALL
            .iter()
            .map(|state| {
                Verb::ALL
                    .iter()
                    .map(|verb| match state.after(*verb) {
                        None => '.',
                        Some(State::Stable) => 'S',
                        Some(State::LocalOffer) => 'L',
                        Some(State::EarlyAnswer) => 'E',
                        Some(State::RemoteOffer) => 'R',
                    })
                    .collect()
            })
            .collect();
        assert_eq!(
            table,
            [
                "LR.....", // Stable
                "...ES.S", // LocalOffer
                "...ESSS", // EarlyAnswer
                "..S...S", // RemoteOffer
            ]
        );
    }
}
