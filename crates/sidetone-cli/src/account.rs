//! Signing in: as whom `call` calls, and with which password.

use clap::Args;
use sidetone::sip::auth::client::Account;
use sidetone::sip::auth::digest::Secret;

/// The environment variable that holds the password; a command line is for everybody to read.
const PASSWORD: &str = "SIDETONE_PASSWORD";

/// A user and the realm that its password is for.
#[derive(Debug, Clone, Args)]
pub(crate) struct AccountArguments {
    /// The user that signs in by digest authentication; the password is taken from the environment
    /// variable SIDETONE_PASSWORD.
    #[arg(long, value_name = "NAME", requires = "realm")]
    user: Option<String>,
    /// The realm that the user and the password belong to.
    #[arg(long, value_name = "REALM", requires = "user")]
    realm: Option<String>,
}

impl AccountArguments {
    /// The account; `None` where none was given.
    pub(crate) fn load(&self) -> Result<Option<Account>, String> {
        let (Some(user), Some(realm)) = (&self.user, &self.realm) else {
            return Ok(None);
        };
        Ok(Some(Account::new(realm, user, password_of(user)?)))
    }
}

/// The password in the environment, where there is one.
pub(crate) fn password() -> Option<Secret> {
    std::env::var(PASSWORD).ok().map(Secret::password)
}

/// The same, of somebody who needs one.
pub(crate) fn password_of(user: &str) -> Result<Secret, String> {
    password().ok_or_else(|| format!("{PASSWORD} does not hold the password of {user}"))
}
