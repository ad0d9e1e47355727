//! Who may call `answer`, and who registers there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use sidetone::engine::config::{Authentication, Config};
use sidetone::sip::auth::digest::{Algorithm, Secret};
use sidetone::sip::auth::server::VerifierConfig;
use sidetone::sip::auth::store::UserTable;
use sidetone::sip::event::package::EventConfig;
use sidetone::sip::event::packages::{DialogPackage, MessageSummary, Presence};
use sidetone::sip::registrar::config::RegistrarConfig;
use sidetone::sip::transport::access::{AccessList, Admission};

use crate::account::password_of;

/// Who may call, and who registers.
#[derive(Debug, Clone, Args)]
pub(crate) struct UserArguments {
    /// Callers have to sign in as this user, whose password is taken from the environment variable
    /// SIDETONE_PASSWORD, or as one of --users. By default anybody may call.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Callers have to sign in as one of the users in this file, which has a line for each: the name, a
    /// colon, the password.
    #[arg(long, value_name = "FILE")]
    users: Option<PathBuf>,
    /// The realm that users and passwords belong to; by default the registrar's domain.
    #[arg(long, value_name = "REALM")]
    realm: Option<String>,
    /// The digest algorithms that users may sign in by, best first: sha-512-256, sha-256, md5. Some
    /// phones read only the first.
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "sha-256,md5",
        value_parser = algorithm
    )]
    digest: Vec<Algorithm>,
    /// Is the registrar of this domain: each user registers the address of the same name. Calls to
    /// somebody who is registered are put through, all others are answered; messages are printed, and
    /// users may publish their presence and watch each other's, and each other's calls.
    #[arg(long, value_name = "DOMAIN")]
    registrar: Option<String>,
    /// How long a registration lasts at most before it has to be refreshed.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 3600,
        value_parser = clap::value_parser!(u32).range(1..),
        requires = "registrar"
    )]
    registrar_expires: u32,
}

fn algorithm(token: &str) -> Result<Algorithm, String> {
    Algorithm::from_token(Some(token)).ok_or_else(|| format!("{token} is no digest algorithm"))
}

impl UserArguments {
    /// Whether users register here.
    pub(crate) fn has_registrar(&self) -> bool {
        self.registrar.is_some()
    }

    /// Lets in the users alone, where there are any; gives the names that can register.
    pub(crate) fn apply(&self, config: &mut Config) -> Result<BTreeSet<String>, String> {
        let users = self.load()?;
        let Some(realm) = self.realm.as_ref().or(self.registrar.as_ref()) else {
            return match users.is_empty() {
                true => Ok(BTreeSet::new()),
                false => Err("users need a --realm or a --registrar".into()),
            };
        };
        if users.is_empty() {
            return Err("nobody could sign in: there is neither --user nor --users".into());
        }
        let names = users.iter().map(|(name, _)| name.clone());
        let names = names.filter(|_| self.has_registrar()).collect();
        let add = |table: UserTable, (name, secret)| table.user(name, secret);
        let table = users.into_iter().fold(UserTable::new(realm), add);
        config.authentication = Some(Authentication {
            challenge: VerifierConfig {
                algorithms: self.digest.clone(),
                ..VerifierConfig::new(realm)
            },
            users: Arc::new(table),
        });
        for listener in &mut config.listeners {
            listener.access = AccessList::all(Admission::Authenticate);
        }
        let longest = self.registrar_expires;
        config.registrar = self.registrar.as_ref().map(|domain| RegistrarConfig {
            default_expires: longest,
            max_expires: longest,
            min_expires: longest.min(60),
            ..RegistrarConfig::new(domain)
        });
        config.events = self.registrar.as_ref().map(|domain| {
            EventConfig::new(domain)
                .package(Presence)
                .package(DialogPackage)
                .package(MessageSummary)
        });
        Ok(names)
    }

    fn load(&self) -> Result<Vec<(String, Secret)>, String> {
        let mut users = match &self.users {
            Some(file) => read(file)?,
            None => Vec::new(),
        };
        if let Some(user) = &self.user {
            users.push((user.clone(), password_of(user)?));
        }
        Ok(users)
    }
}

/// The users of a file. What is wrong with it is told without telling passwords.
fn read(file: &Path) -> Result<Vec<(String, Secret)>, String> {
    let told = |why: &dyn std::fmt::Display| format!("{}: {why}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| told(&error))?;
    let user = |(index, line): (usize, &str)| {
        let (name, password) = line
            .split_once(':')
            .ok_or_else(|| told(&format!("line {} has no colon", index + 1)))?;
        Ok((name.to_owned(), Secret::password(password)))
    };
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, line)| !line.is_empty())
        .map(user)
        .collect()
}
