//! `--register`: an address of ours at somebody's registrar, kept registered.

use clap::Args;
use sidetone::face::engine::Engine;
use sidetone::face::registration::Registration;
use sidetone::sip::agent::registration::RegistrationState;
use sidetone::sip::auth::client::Account;
use sidetone::sip::uri::Uri;

use crate::account::password;
use crate::line::{complain, say};

/// Where to register what, and as whom.
#[derive(Debug, Clone, Args)]
pub(crate) struct RegisterArguments {
    /// Registers this address, such as sip:6001@pbx.example, and keeps it registered. Where the
    /// environment variable SIDETONE_PASSWORD holds a password, the registrar may ask for it.
    #[arg(long, value_name = "URI")]
    register: Option<String>,
    /// The registrar's URI, where it is not the host of the address; those given later are asked
    /// where the earlier ones fail.
    #[arg(long, value_name = "URI", requires = "register")]
    register_at: Vec<String>,
    /// The user who signs in at the registrar; by default the one of the address.
    #[arg(long, value_name = "NAME", requires = "register")]
    register_user: Option<String>,
    /// The realm that the user belongs to; by default the host of the address.
    #[arg(long, value_name = "REALM", requires = "register")]
    register_realm: Option<String>,
    /// How long a registration shall last; it is refreshed in time.
    #[arg(
        long,
        value_name = "SECONDS",
        requires = "register",
        default_value_t = 3600
    )]
    register_expires: u32,
}

impl RegisterArguments {
    /// Whether there is something to register.
    pub(crate) fn is_wanted(&self) -> bool {
        self.register.is_some()
    }

    /// Sends the first REGISTER; `None` where nothing is to be registered.
    pub(crate) async fn start(&self, engine: &Engine) -> Result<Option<Registration>, String> {
        let Some(address) = &self.register else {
            return Ok(None);
        };
        let mut register = engine.register(address).expires(self.register_expires);
        for registrar in &self.register_at {
            register = register.registrar(registrar);
        }
        if let Some(account) = self.account(address)? {
            register = register.account(account);
        }
        let registration = register.await.map_err(|error| error.to_string())?;
        Ok(Some(registration))
    }

    /// What to sign in with; `None` without a password.
    fn account(&self, address: &str) -> Result<Option<Account>, String> {
        let Some(secret) = password() else {
            return Ok(None);
        };
        let uri = Uri::parse(address).map_err(|error| format!("{address}: {error}"))?;
        let user = self.register_user.clone();
        let user = user.or_else(|| uri.user_decoded().map(Into::into));
        let user = user.ok_or_else(|| format!("{address} names no user"))?;
        let realm = self.register_realm.clone();
        let realm = realm.unwrap_or_else(|| uri.host().to_owned());
        Ok(Some(Account::new(realm, user, secret)))
    }
}

/// Tells how a registration stands, one line whenever it was made, refreshed or refused.
pub(crate) async fn tell(registration: Option<&mut Registration>) {
    let Some(registration) = registration else {
        return std::future::pending().await;
    };
    let mut state = registration.state();
    loop {
        match state {
            RegistrationState::Registered { .. } => say("registered"),
            RegistrationState::Failed { status, .. } => complain(&match status {
                Some(status) => format!("the registrar refuses: {}", status.code()),
                None => "the registrar does not answer".into(),
            }),
            _ => {}
        }
        match registration.changed().await {
            Ok(changed) => state = changed,
            Err(_) => return,
        }
    }
}

/// Takes a registration back before the engine stops.
pub(crate) async fn take_back(registration: Option<Registration>) {
    if let Some(registration) = registration {
        registration.unregister().await;
        say("registration taken back");
    }
}
