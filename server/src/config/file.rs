//! The configuration file of a router: TOML, in which every mistake is one line that names the setting.

mod component;
mod history;
mod limits;
mod login;
mod realm;
mod role;
#[cfg(test)]
mod tests;
mod values;

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf};

use component::ComponentPart;
use history::HistoryPart;
use limits::LimitsPart;
use login::{AuthenticationPart, LoginPart};
use realm::{NamedRealm, RealmParts, RealmSetting};
use role::RolePart;
use serde::Deserialize;
use values::Address;

use super::{Config, RawSocket, Tls};
use crate::{
    component::Component,
    error::{Error, Result},
    router::RealmSetup,
    server::{Server, ServerBuilder},
};

/// What the file of a router says. See `server/examples/router.toml` for a commented one.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RouterFile {
    realm: RealmSetting,
    server: ServerPart,
    limits: LimitsPart,
    role: Vec<RolePart>,
    authentication: AuthenticationPart,
    login: Vec<LoginPart>,
    rawsocket: Vec<RawSocketPart>,
    component: Vec<ComponentPart>,
    tls: Option<TlsPart>,
    history: Option<HistoryPart>,
    /// How errors call the file.
    #[serde(skip)]
    place: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ServerPart {
    address: Option<SocketAddr>,
    allowed_hosts: Vec<String>,
    allowed_origins: Vec<String>,
    behind_proxy: bool,
    public_metrics: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsPart {
    certificate: PathBuf,
    key: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSocketPart {
    address: Address,
    /// Whoever can reach the address has it; none = as those who come over WebSocket.
    role: Option<String>,
    /// The realm where that holds; none = the first.
    realm: Option<String>,
    /// That is meant, though other machines reach the address.
    #[serde(default)]
    everybody: bool,
}

impl RawSocketPart {
    fn build(self, realms: &[RealmSetup], place: &str) -> Result<RawSocket> {
        let Self {
            address,
            role,
            realm,
            everybody,
        } = self;
        let address = address.0;
        let wrong = |text: String| Err(Error::configuration(format!("{place}: rawsocket {address} {text}")));
        let named = |setup: &&RealmSetup| realm.as_ref().is_none_or(|name| *name == setup.name);
        let Some(setup) = realms.iter().find(named) else {
            return wrong(format!(
                "names the realm {:?}, which there is not",
                realm.unwrap_or_default()
            ));
        };
        if let Some(role) = &role
            && !setup.limits.contains_key(role)
        {
            return wrong(format!("gives the role {role:?}, which no [[role]] describes"));
        }
        Ok(RawSocket {
            address,
            role,
            realm,
            everybody,
        })
    }
}

fn twice<'a>(what: &str, names: impl Iterator<Item = &'a String>, place: &str) -> Result<()> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(Error::configuration(format!(
                "{place}: there are two {what}s named {name:?}"
            )));
        }
    }
    Ok(())
}

/// A text of an error about `line`, without the values where they may be secret.
fn without_secrets(line: &str, text: &str) -> String {
    let secret = ["ticket", "secret", "key", "password", "wampcra", "scram"];
    if !secret.iter().any(|word| line.contains(word)) {
        return text.to_owned();
    }
    let pieces = text.split('"').enumerate();
    let pieces = pieces.map(|(place, piece)| if place % 2 == 1 { "…" } else { piece });
    pieces.collect::<Vec<_>>().join("\"")
}

impl RouterFile {
    /// Reads the text of a file. `name` is how errors call it.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Configuration`]: one line with file, line, setting and what is wrong with it.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let mut file: Self = toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start.min(text.len()));
            let before = text.get(..start).unwrap_or_default();
            let number = before.matches('\n').count() + 1;
            let line = text.lines().nth(number - 1).unwrap_or_default().trim();
            let (line, message) = (without_secrets(line, line), without_secrets(line, error.message()));
            Error::configuration(format!("{name}, line {number} ({line}): {message}"))
        })?;
        name.clone_into(&mut file.place);
        Ok(file)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// As [`Self::parse`], and when the file cannot be read.
    pub fn read(path: &std::path::Path) -> Result<Self> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::configuration(format!("The configuration {name} cannot be read")).because(error))?;
        Self::parse(&name, &text)
    }

    /// The realms, the first one being that of everything that names none.
    fn realms(setting: RealmSetting, top: RealmParts, place: &str) -> Result<Vec<RealmSetup>> {
        let realms = match setting {
            RealmSetting::Unnamed => vec![("realm1".to_owned(), top)],
            RealmSetting::Named(name) => vec![(name, top)],
            RealmSetting::Several(realms) if top.is_empty() && !realms.is_empty() => {
                realms.into_iter().map(NamedRealm::take).collect()
            }
            RealmSetting::Several(_) => {
                return Err(Error::configuration(format!(
                    "{place}: beside [[realm]], roles, logins and history belong to one: \
                     write [[realm.role]], [realm.authentication], [[realm.login]] and [realm.history]"
                )));
            }
        };
        let many = realms.len() > 1;
        twice("realm", realms.iter().map(|(name, _)| name), place)?;
        let build = |(name, parts): (String, RealmParts)| {
            let place = if many {
                format!("{place}: realm {name:?}")
            } else {
                place.to_owned()
            };
            parts.build(&name, &place)
        };
        realms.into_iter().map(build).collect()
    }

    /// A server as the file says, with `config` for everything that it does not say.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Configuration`] for settings that contradict each other.
    pub fn builder(self, mut config: Config) -> Result<ServerBuilder> {
        let ServerPart {
            address,
            allowed_hosts,
            allowed_origins,
            behind_proxy,
            public_metrics,
        } = self.server;
        config.address = address.unwrap_or(config.address);
        config.allowed_hosts.extend(allowed_hosts);
        config.allowed_origins.extend(allowed_origins);
        config.behind_proxy |= behind_proxy;
        config.public_metrics |= public_metrics;
        if let Some(TlsPart { certificate, key }) = self.tls {
            config.tls = Some(Tls { certificate, key });
        }
        self.limits.apply(&mut config);
        let top = RealmParts {
            role: self.role,
            authentication: self.authentication,
            login: self.login,
            history: self.history,
        };
        let place = &self.place;
        let realms = Self::realms(self.realm, top, place)?;
        for part in self.rawsocket {
            config.raw_sockets.push(part.build(&realms, place)?);
        }
        config.validate()?;
        twice("component", self.component.iter().map(|one| &one.name), place)?;
        let mut builder = Server::builder().config(config).realms(realms);
        for part in self.component {
            let component = Component::from(part);
            component.validate()?;
            builder = builder.component(component);
        }
        Ok(builder)
    }
}
