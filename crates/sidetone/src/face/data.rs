//! The data of a call, and calls that are made on behalf of others.

use crate::call::data::reference::Stored;
use crate::call::data::{CallData, Value};
use crate::engine::core::data::Storing;
use crate::engine::event::CallError;
use crate::face::call::Call;
use crate::face::engine::Dial;

impl Call {
    /// The data of the call. All calls about one matter share it: those that were
    /// [dialled on behalf of](Dial::on_behalf_of) each other, that follow each other's transfers, or
    /// that took each other's place.
    ///
    /// Data that a caller of another node brought by reference is fetched from the store first; what is
    /// not there any more, or broken, is left out and counted.
    ///
    /// ```no_run
    /// # use sidetone::face::call::Call;
    /// # async fn flow(caller: Call) -> Result<(), Box<dyn std::error::Error>> {
    /// caller.set_value("customer", "4711").await?;
    /// let agent = caller.engine().dial("sip:agent@192.0.2.7").on_behalf_of(&caller).await?;
    /// agent.set_value("solved", true).await?;
    /// assert_eq!(caller.data().await?.boolean("solved"), Some(true));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`CallError::Ended`] where the call is over.
    pub async fn data(&self) -> Result<CallData, CallError> {
        let id = self.id();
        let asked = self.link().ask(move |hub, _| hub.core().stored_data(id));
        if let Some((references, stored)) = asked.await? {
            let found = references.store.get(&stored).await;
            let handed = self.link().ask(move |hub, _| {
                hub.core().handle_stored_data(id, found.as_deref());
            });
            handed.await?;
        }
        let data = self.link().ask(move |hub, _| hub.core().data(id)).await?;
        self.told(data)
    }

    /// Replaces the data of the call, and so of all calls about the same matter.
    ///
    /// # Errors
    /// [`CallError::Ended`] where the call is over.
    pub async fn set_data(&self, data: CallData) -> Result<(), CallError> {
        self.command(move |core, now, id| core.set_data(now, id, data))
            .await
    }

    /// Sets one value of the call's data.
    ///
    /// # Errors
    /// [`CallError::Invalid`] where the name is none, or the data becomes more than
    /// [allowed](crate::call::data::MAX_BYTES).
    pub async fn set_value(&self, key: &str, value: impl Into<Value>) -> Result<(), CallError> {
        let (key, value) = (key.to_owned(), value.into());
        self.command(move |core, now, id| core.set_value(now, id, &key, Some(value)))
            .await
    }

    /// Takes one value out of the call's data.
    ///
    /// # Errors
    /// [`CallError::Ended`] where the call is over.
    pub async fn remove_value(&self, key: &str) -> Result<(), CallError> {
        let key = key.to_owned();
        self.command(move |core, now, id| core.set_value(now, id, &key, None))
            .await
    }

    /// Stores the data that a REFER to this party has to refer to; gives the reference.
    pub(crate) async fn stored_for_refer(&self) -> Result<Option<String>, CallError> {
        let id = self.id();
        let asked = self.link().ask(move |hub, now| {
            let core = hub.core();
            let data = core.data(id).ok().filter(|_| core.tells_data(id))?;
            core.storing(now, &data, true)
        });
        match asked.await? {
            Some(storing) => storing.store().await.map(Some),
            None => Ok(None),
        }
    }

    /// As [`Self::stored_for_refer`], for a call that follows this one.
    pub(crate) async fn stored_for_follower(&self) -> Result<Option<String>, CallError> {
        let id = self.id();
        let asked = self.link().ask(move |hub, now| {
            let core = hub.core();
            let data = core.data(id).ok()?;
            core.storing(now, &data, false)
        });
        match asked.await? {
            Some(storing) => storing.store().await.map(Some),
            None => Ok(None),
        }
    }
}

impl Dial {
    /// Gives the call data of its own, which the INVITE carries as the configuration's `call_data` says.
    /// Where it carries none of that size, dialling fails with [`CallError::Invalid`].
    pub fn data(mut self, data: CallData) -> Self {
        self.request.data = Some(data);
        self
    }

    /// Makes the call on behalf of another: it shares that call's data, and the INVITE carries it; and
    /// it shows that party's part of the session's identifier (RFC 7989) to this one.
    pub fn on_behalf_of(mut self, other: &Call) -> Self {
        self.request.on_behalf_of = Some(other.id());
        self
    }

    /// Stores what the INVITE has to refer to.
    pub(crate) async fn settled(mut self) -> Result<Self, CallError> {
        if self.request.data.is_none() && self.request.on_behalf_of.is_none() {
            return Ok(self);
        }
        let mut request = self.request;
        let settled = self.link.ask(move |hub, now| {
            let core = hub.core();
            core.settle_request(&mut request)?;
            let data = request.data.as_ref();
            let storing = data.and_then(|data| core.storing(now, data, false));
            Ok::<_, CallError>((request, storing))
        });
        let (mut request, storing) = settled.await??;
        if let Some(storing) = storing {
            request.data_reference = Some(storing.store().await?);
        }
        self.request = request;
        Ok(self)
    }
}

impl Storing {
    /// Stores the data; gives the reference.
    async fn store(self) -> Result<String, CallError> {
        let Self {
            data,
            expires,
            references,
        } = self;
        let stored: Stored<'_> = references.store.put(data, expires);
        let full = CallError::Busy("the store of call data takes nothing");
        let id = stored.await.ok_or(full)?;
        let signed = references.key.sign(&id, expires);
        signed.map_err(|error| CallError::Invalid(error.to_string()))
    }
}
