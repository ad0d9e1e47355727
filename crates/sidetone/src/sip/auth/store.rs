//! Where an engine finds what its users sign in with.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

use super::digest::Secret;

/// The answer of a store, to be waited for.
pub type Found<'a> = Pin<Box<dyn Future<Output = Option<Secret>> + Send + 'a>>;

/// Finds users' secrets: a table in memory, a directory, a database.
///
/// It is asked for names that strangers make up, as often as they like: it must bound its own work,
/// escape what it puts into queries, and take the same time whether there is such a user or not.
pub trait CredentialStore: Send + Sync + fmt::Debug {
    /// What `username` and the realm share; `None` where there is no such user.
    fn find<'a>(&'a self, realm: &'a str, username: &'a str) -> Found<'a>;
}

/// Users in memory, all of one realm.
///
/// ```
/// use sidetone::sip::auth::digest::Secret;
/// use sidetone::sip::auth::store::UserTable;
/// let users = UserTable::new("pbx.example").user("6001", Secret::password("opensesame"));
/// # let _ = users;
/// ```
#[derive(Debug, Clone)]
pub struct UserTable {
    realm: String,
    users: BTreeMap<String, Secret>,
}

impl UserTable {
    /// A table without users.
    pub fn new(realm: impl Into<String>) -> Self {
        Self {
            realm: realm.into(),
            users: BTreeMap::new(),
        }
    }

    /// Adds a user, or changes one's secret.
    #[must_use]
    pub fn user(mut self, username: impl Into<String>, secret: Secret) -> Self {
        self.users.insert(username.into(), secret);
        self
    }
}

impl CredentialStore for UserTable {
    fn find<'a>(&'a self, realm: &'a str, username: &'a str) -> Found<'a> {
        let secret = self.users.get(username).filter(|_| realm == self.realm);
        Box::pin(std::future::ready(secret.cloned()))
    }
}
