//! Where a caller goes.

use std::sync::Arc;
use std::time::Duration;

use sidetone::b2bua::plan::{Plan, Policy, Target};
use sidetone::engine::event::{CallError, PassageState};
use sidetone::face::call::Call;
use sidetone::face::engine::Engine;
use sidetone::id::TrunkId;

/// Told each thing that happens, one line each.
pub type Progress = Arc<dyn Fn(String) + Send + Sync>;

/// Connects callers; serves any number of them.
pub struct Router {
    /// SIP URIs. One without a user part gets the number that the caller has dialled.
    pub places: Vec<String>,
    /// A trunk to try where there are no places, or all of them fail.
    pub trunk: Option<TrunkId>,
    /// How long each place may ring before the next one is dialled; `None` rings them all at once.
    pub hunt: Option<Duration>,
    /// What is carried through.
    pub policy: Arc<Policy>,
    /// Told each thing that happens.
    pub progress: Progress,
}

impl Router {
    /// Serves callers until the engine stops.
    pub async fn serve(self: Arc<Self>, engine: &Engine) {
        engine
            .serve(|caller| {
                let router = Arc::clone(&self);
                async move { router.handle(caller).await }
            })
            .await;
    }

    async fn handle(&self, caller: Call) -> Result<(), CallError> {
        let id = caller.id();
        let (from, number) = match caller.caller() {
            Some(who) => (who.from(), number_of(&who.to())),
            None => return Ok(()),
        };
        (self.progress)(format!("call {id}: {from} calls {number}"));
        let passage = caller.connect(self.plan(&number)).await?;
        match passage.answered().await {
            Ok((place, callee)) => {
                (self.progress)(format!(
                    "call {id}: place {place} answered as call {callee}"
                ));
            }
            Err(error) => (self.progress)(format!("call {id}: {error}")),
        }
        passage.ended().await?;
        if let PassageState::Ended { refused: None } = passage.state() {
            (self.progress)(format!("call {id}: over"));
        }
        Ok(())
    }

    /// Whom to dial for a caller who wants `number`.
    pub fn plan(&self, number: &str) -> Plan {
        let places = self
            .places
            .iter()
            .map(|place| Target::new(&with_user(place, number)));
        let mut plan = match self.hunt {
            None => Plan::to_all(places),
            Some(limit) => places.fold(Plan::to_all([]), |plan, place| {
                plan.then(place).within(limit)
            }),
        };
        if let Some(trunk) = self.trunk {
            plan = plan.then(Target::trunk(trunk, number));
        }
        if self.hunt.is_some() {
            plan = plan.hunting();
        }
        plan.policy(Arc::clone(&self.policy))
    }
}

/// The user part of a URI.
fn number_of(uri: &str) -> String {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    let user = rest.split_once('@').map_or("", |(user, _)| user);
    user.to_owned()
}

/// `place`, for `number` where it names nobody.
fn with_user(place: &str, number: &str) -> String {
    match place.split_once(':') {
        Some((scheme, rest)) if !rest.contains('@') && !number.is_empty() => {
            format!("{scheme}:{number}@{rest}")
        }
        _ => place.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_without_a_user_gets_the_number() {
        assert_eq!(number_of("sip:4930@host"), "4930");
        assert_eq!(
            with_user("sip:192.0.2.1:5070", "4930"),
            "sip:4930@192.0.2.1:5070"
        );
        assert_eq!(with_user("sip:a@192.0.2.1", "4930"), "sip:a@192.0.2.1");
        assert_eq!(
            with_user("sip:192.0.2.1", &number_of("sip:host")),
            "sip:192.0.2.1"
        );
    }
}
