//! The configuration file of a router: TOML, in which every mistake is one line that names the setting.

mod component;
mod history;
mod limits;
mod role;
#[cfg(test)]
mod tests;
mod values;

use std::{net::SocketAddr, path::PathBuf};

use component::ComponentPart;
use history::HistoryPart;
use limits::LimitsPart;
use role::RolePart;
use serde::Deserialize;
use values::Address;

use super::{Config, RawSocket, Tls};
use crate::{
    component::Component,
    error::{Error, Result},
    router::{Limits, Roles},
    server::{Server, ServerBuilder},
};

/// What the file of a router says. See `server/examples/router.toml` for a commented one.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RouterFile {
    realm: Option<String>,
    server: ServerPart,
    limits: LimitsPart,
    role: Vec<RolePart>,
    rawsocket: Vec<RawSocketPart>,
    component: Vec<ComponentPart>,
    tls: Option<TlsPart>,
    history: HistoryPart,
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
    #[serde(default = "anonymous")]
    role: String,
}

fn anonymous() -> String {
    "anonymous".to_owned()
}

impl RouterFile {
    /// Reads the text of a file. `name` is how errors call it.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Configuration`]: one line with file, line, setting and what is wrong with it.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let file: Self = toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start.min(text.len()));
            let before = text.get(..start).unwrap_or_default();
            let number = before.matches('\n').count() + 1;
            let line = text.lines().nth(number - 1).unwrap_or_default().trim();
            Error::configuration(format!("{name}, line {number} ({line}): {}", error.message()))
        })?;
        file.check(name)?;
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

    fn check(&self, name: &str) -> Result<()> {
        let twice = |what: &str, names: Vec<&String>| {
            let mut seen = std::collections::BTreeSet::new();
            match names.into_iter().find(|one| !seen.insert(*one)) {
                Some(one) => Err(Error::configuration(format!(
                    "{name}: there are two {what}s named {one:?}"
                ))),
                None => Ok(()),
            }
        };
        twice("role", self.role.iter().map(|role| &role.name).collect())?;
        twice("component", self.component.iter().map(|one| &one.name).collect())?;
        for part in &self.rawsocket {
            if !self.role.iter().any(|role| role.name == part.role) {
                return Err(Error::configuration(format!(
                    "{name}: rawsocket {} gives the role {:?}, which no [[role]] describes",
                    part.address.0, part.role
                )));
            }
        }
        Ok(())
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
        config
            .raw_sockets
            .extend(self.rawsocket.into_iter().map(|part| RawSocket {
                address: part.address.0,
                role: part.role,
            }));
        config.validate()?;
        let mut builder = Server::builder().config(config);
        if let Some(realm) = self.realm {
            builder = builder.realm(realm);
        }
        let mut roles = Roles::default();
        for role in self.role {
            builder = builder.role_limits(role.name.clone(), role.limits.over(Limits::COMPONENT));
            if role.meta {
                builder = builder.meta_role(role.name.clone());
            }
            for permission in role.permission {
                roles.allow(role.name.clone(), permission.into());
            }
        }
        builder = builder.authorizer(Box::new(roles));
        builder = self.history.apply(builder)?;
        for part in self.component {
            let component = Component::from(part);
            component.validate()?;
            builder = builder.component(component);
        }
        Ok(builder)
    }
}
