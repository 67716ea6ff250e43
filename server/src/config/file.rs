//! The configuration file of a router: TOML, in which every mistake is one line that names the setting.

use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Deserializer, de};
use shared::wamp::{MatchPolicy, router::Action};

use super::{Config, RawAddress, RawSocket};
use crate::{
    component::Component,
    error::{Error, Result},
    router::{Limits, Permission, Roles},
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

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LimitsPart {
    connections: Option<usize>,
    per_address: Option<usize>,
    message: Option<usize>,
    queue_bytes: Option<usize>,
    queue_messages: Option<usize>,
    handshake_seconds: Option<Seconds>,
    ping_seconds: Option<Seconds>,
    pong_seconds: Option<Seconds>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RolePart {
    name: String,
    /// Whether it may use the meta API.
    #[serde(default)]
    meta: bool,
    #[serde(default)]
    limits: RoleLimits,
    #[serde(default)]
    permission: Vec<PermissionPart>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RoleLimits {
    subscriptions: Option<usize>,
    registrations: Option<usize>,
    patterns: Option<usize>,
    calls: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PermissionPart {
    uri: String,
    #[serde(default, rename = "match")]
    policy: Policy,
    allow: Vec<Allowed>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Policy {
    #[default]
    Exact,
    Prefix,
    Wildcard,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Allowed {
    Call,
    Register,
    Publish,
    Subscribe,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSocketPart {
    address: Address,
    #[serde(default = "anonymous")]
    role: String,
}

#[derive(Debug)]
struct Address(RawAddress);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ComponentPart {
    name: String,
    command: Vec<String>,
    directory: Option<PathBuf>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    pause_seconds: Option<Seconds>,
    longest_pause_seconds: Option<Seconds>,
    healthy_after_seconds: Option<Seconds>,
    stop_seconds: Option<Seconds>,
}

/// A time that is not negative and not absurd.
#[derive(Clone, Copy, Debug)]
struct Seconds(Duration);

fn anonymous() -> String {
    "anonymous".to_owned()
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Seconds;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a number of seconds from 0.001 to 86400")
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> std::result::Result<Seconds, E> {
                match u32::try_from(value) {
                    Ok(whole) => self.visit_f64(f64::from(whole)),
                    Err(_) => Err(E::invalid_value(de::Unexpected::Signed(value), &self)),
                }
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> std::result::Result<Seconds, E> {
                if (0.001..=86_400.0).contains(&value) {
                    Ok(Seconds(Duration::from_secs_f64(value)))
                } else {
                    Err(E::invalid_value(de::Unexpected::Float(value), &self))
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || de::Error::custom(format!("{text:?} is neither tcp:127.0.0.1:PORT nor unix:PATH"));
        match text.split_once(':') {
            Some(("tcp", address)) => address.parse().map(RawAddress::Tcp).map_err(|_| wrong()),
            Some(("unix", path)) if !path.is_empty() => Ok(RawAddress::Unix(path.into())),
            Some(_) | None => Err(wrong()),
        }
        .map(Self)
    }
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
        for part in self.component {
            let component = Component::from(part);
            component.validate()?;
            builder = builder.component(component);
        }
        Ok(builder)
    }
}

impl LimitsPart {
    fn apply(&self, config: &mut Config) {
        let limits = &mut config.connections;
        let set = |setting: &mut usize, value: Option<usize>| *setting = value.unwrap_or(*setting);
        set(&mut limits.total, self.connections);
        set(&mut limits.per_address, self.per_address);
        set(&mut limits.component_message, self.message);
        set(&mut limits.queue.bytes, self.queue_bytes);
        set(&mut limits.queue.frames, self.queue_messages);
        let set = |setting: &mut Duration, value: Option<Seconds>| *setting = value.map_or(*setting, |value| value.0);
        set(&mut limits.handshake, self.handshake_seconds);
        set(&mut limits.ping_after, self.ping_seconds);
        set(&mut limits.pong_within, self.pong_seconds);
    }
}

impl RoleLimits {
    fn over(&self, mut limits: Limits) -> Limits {
        let set = |setting: &mut usize, value: Option<usize>| *setting = value.unwrap_or(*setting);
        set(&mut limits.subscriptions, self.subscriptions);
        set(&mut limits.registrations, self.registrations);
        set(&mut limits.patterns, self.patterns);
        set(&mut limits.calls, self.calls);
        limits
    }
}

impl From<PermissionPart> for Permission {
    fn from(part: PermissionPart) -> Self {
        let actions = part.allow.into_iter().map(|allowed| match allowed {
            Allowed::Call => Action::Call,
            Allowed::Register => Action::Register,
            Allowed::Publish => Action::Publish,
            Allowed::Subscribe => Action::Subscribe,
        });
        Self {
            uri: part.uri,
            policy: match part.policy {
                Policy::Exact => MatchPolicy::Exact,
                Policy::Prefix => MatchPolicy::Prefix,
                Policy::Wildcard => MatchPolicy::Wildcard,
            },
            actions: actions.collect(),
        }
    }
}

impl From<ComponentPart> for Component {
    fn from(part: ComponentPart) -> Self {
        let mut component = Self::new(part.name, part.command);
        component.directory = part.directory;
        component.environment = part.environment;
        let set = |setting: &mut Duration, value: Option<Seconds>| *setting = value.map_or(*setting, |value| value.0);
        set(&mut component.pause, part.pause_seconds);
        set(&mut component.longest_pause, part.longest_pause_seconds);
        set(&mut component.healthy_after, part.healthy_after_seconds);
        set(&mut component.stop_within, part.stop_seconds);
        component
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        let refused = match RouterFile::parse("router.toml", text) {
            Ok(file) => file.builder(Config::default()).map(|_| ()).expect_err(text),
            Err(error) => error,
        };
        assert_eq!(refused.kind(), crate::ErrorKind::Configuration);
        refused.to_string()
    }

    #[test]
    fn the_example_file_is_accepted() {
        let text = include_str!("../../examples/router.toml");
        let file = RouterFile::parse("router.toml", text).expect("it is right");
        assert_eq!(file.role.len(), 3);
        assert!(file.builder(Config::default()).is_ok());
    }

    #[test]
    fn each_mistake_is_one_line_that_names_the_setting() {
        for (text, words) in [
            ("reaml = \"x\"", ["line 1", "reaml"]),
            ("\n[server]\naddress = \"here\"", ["line 3", "address"]),
            ("[server]\naddress = \"0.0.0.0:80\"", ["0.0.0.0:80", "behind_proxy"]),
            ("[limits]\nmessage = -1", ["line 2", "message"]),
            ("[limits]\nqueue_messages = 0", ["queue.frames", "at least 1"]),
            ("[limits]\nping_seconds = 0", ["line 2", "ping_seconds"]),
            ("[[role]]\nlimits = {}", ["line 1", "name"]),
            (
                "[[role]]\nname = \"a\"\n[[role.permission]]\nuri = \"x\"\nallow = [\"cal\"]",
                ["line 5", "cal"],
            ),
            (
                "[[role]]\nname = \"a\"\n[[role.permission]]\nuri = \"x\"\nmatch = \"glob\"\nallow = []",
                ["line 5", "glob"],
            ),
            ("[[role]]\nname = \"a\"\n[[role]]\nname = \"a\"", ["two roles", "\"a\""]),
            ("[[rawsocket]]\naddress = \"udp:1\"", ["line 2", "udp:1"]),
            (
                "[[rawsocket]]\naddress = \"unix:/x\"\nrole = \"b\"",
                ["unix:/x", "\"b\""],
            ),
            (
                "[[role]]\nname = \"a\"\n[[rawsocket]]\naddress = \"tcp:0.0.0.0:1\"\nrole = \"a\"",
                ["tcp:0.0.0.0:1", "raw_sockets"],
            ),
            ("[[component]]\nname = \"c\"\ncommand = []", ["\"c\"", "command"]),
            ("[[component]]\nname = \"c\"\ncommand = \"ls\"", ["line 3", "command"]),
            ("realm = ", ["line 1", "realm"]),
        ] {
            let refusal = refusal(text);
            assert!(!refusal.contains('\n'), "{refusal}");
            for word in words {
                assert!(refusal.contains(word), "{text:?} gives {refusal:?} without {word:?}");
            }
        }
    }
}
