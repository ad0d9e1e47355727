//! Signing in: as whom `call` calls, and who may call `answer`.

use clap::Args;
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

/// What was given.
pub(crate) struct Given {
    pub(crate) user: String,
    pub(crate) realm: String,
    pub(crate) secret: Secret,
}

impl AccountArguments {
    /// The account; `None` where none was given.
    pub(crate) fn load(&self) -> Result<Option<Given>, String> {
        let (Some(user), Some(realm)) = (self.user.clone(), self.realm.clone()) else {
            return Ok(None);
        };
        let password = std::env::var(PASSWORD)
            .map_err(|_| format!("{PASSWORD} does not hold the password of {user}"))?;
        let secret = Secret::password(password);
        Ok(Some(Given {
            user,
            realm,
            secret,
        }))
    }
}
