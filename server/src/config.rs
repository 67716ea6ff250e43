//! What an operator can set, with defaults that are safe on one machine.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

pub mod file;

use crate::error::{Error, Result};

/// The settings of one server process.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen. A port of 0 lets the system choose.
    pub address: SocketAddr,
    /// `host` or `host:port` values of the `Host` header that are served, beside the loopback names of [`Self::address`].
    pub allowed_hosts: Vec<String>,
    /// Origins (`scheme://host[:port]`) that may open sockets and post forms, beside those made from the hosts.
    pub allowed_origins: Vec<String>,
    /// A reverse proxy in front ends TLS: cookies become `Secure` with the `__Host-` prefix and HSTS is sent.
    /// Without it only loopback addresses are served, because passwords would travel in clear.
    pub behind_proxy: bool,
    /// A certificate of our own: then [`Self::address`] speaks HTTPS and WSS, and cookies are as behind a proxy.
    pub tls: Option<Tls>,
    /// Addresses whose `X-Forwarded-For` is believed; loopback when empty. Used only with [`Self::behind_proxy`].
    pub trusted_proxies: Vec<IpAddr>,
    /// Serve `/metrics` to every address instead of to loopback only.
    pub public_metrics: bool,
    /// Threads that run the session trees.
    pub tree_threads: usize,
    /// How long the end may take before what is left is cut.
    pub shutdown_within: Duration,
    /// How long logins last.
    pub logins: LoginLimits,
    /// What one connection, address and user may use.
    pub connections: ConnectionLimits,
    /// Further doors for components.
    pub raw_sockets: Vec<RawSocket>,
}

/// The files of a TLS certificate, both in PEM. They are read at the start and at SIGHUP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificate, followed by those between it and an authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Where RawSocket connections are taken: WAMP without HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawSocket {
    /// Where to listen.
    pub address: RawAddress,
    /// The role of everybody who comes in here, without a login; none = what their login says.
    pub role: Option<String>,
    /// The realm where that holds; none = the first.
    pub realm: Option<String>,
    /// It is meant that the whole network gets [`Self::role`]: without this, an address that other machines reach gives none.
    pub everybody: bool,
}

/// An address for RawSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RawAddress {
    /// A loopback address.
    Tcp(SocketAddr),
    /// Any address, with the certificate of [`Config::tls`].
    Tls(SocketAddr),
    /// A socket in the file system, which only the user of the server can open.
    Unix(PathBuf),
}

impl fmt::Display for RawAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(formatter, "tcp:{address}"),
            Self::Tls(address) => write!(formatter, "tls:{address}"),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// Lifetimes of a login.
#[derive(Clone, Copy, Debug)]
pub struct LoginLimits {
    /// A login unused for this long ends. An open page counts as use.
    pub idle: Duration,
    /// A login ends after this time, used or not.
    pub absolute: Duration,
    /// How often an open socket's login is checked again.
    pub recheck: Duration,
}

/// What sockets may use, so that one of them cannot hurt the others.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Open TCP connections in all.
    pub total: usize,
    /// Open sockets from one address. Here and everywhere, an IPv6 network of 64 bits counts as one address.
    pub per_address: usize,
    /// Connections from one address that are no socket, or not yet: requests, and those that have not said anything. Those
    /// of a trusted proxy are not counted.
    pub requests_per_address: usize,
    /// Open WebSockets of one user.
    pub per_user: usize,
    /// Time to send the request head, the login body, and HELLO after the upgrade.
    pub handshake: Duration,
    /// Silence after which a ping is sent.
    pub ping_after: Duration,
    /// Time for the answer to a ping, after which the peer counts as gone.
    pub pong_within: Duration,
    /// Time for a farewell to reach the peer after the end was decided; then the connection is cut.
    pub farewell: Duration,
    /// Largest message of a browser, in bytes.
    pub browser_message: usize,
    /// Largest message of a component, in bytes.
    pub component_message: usize,
    /// Calls per second of a browser session, on average.
    pub calls_per_second: u32,
    /// Calls that a browser session may make at once before the average counts.
    pub calls_burst: u32,
    /// The queue from the router to one peer.
    pub queue: QueueLimits,
    /// Events and invocations that may wait for one of our own trees. One that is further behind is stuck and closed.
    pub link: usize,
}

/// Bounds of the queue from the router to one peer.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    /// Queued bytes of events and invocations. One message is always accepted, however large.
    pub bytes: usize,
    /// Queued events and invocations.
    pub frames: usize,
    /// Replies and control messages that fit beyond the limits above.
    pub reserved: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 3000)),
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            behind_proxy: false,
            tls: None,
            trusted_proxies: Vec::new(),
            public_metrics: false,
            tree_threads: std::thread::available_parallelism().map_or(1, usize::from),
            shutdown_within: Duration::from_secs(4),
            logins: LoginLimits::default(),
            connections: ConnectionLimits::default(),
            raw_sockets: Vec::new(),
        }
    }
}

impl Default for LoginLimits {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(12 * 3600),
            absolute: Duration::from_secs(7 * 24 * 3600),
            recheck: Duration::from_secs(30),
        }
    }
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            total: 12_000,
            per_address: 64,
            requests_per_address: 256,
            per_user: 20,
            handshake: Duration::from_secs(10),
            ping_after: Duration::from_secs(20),
            pong_within: Duration::from_secs(10),
            farewell: Duration::from_secs(2),
            browser_message: 64 * 1024,
            component_message: 4 * 1024 * 1024,
            calls_per_second: 50,
            calls_burst: 200,
            queue: QueueLimits::default(),
            link: 8192,
        }
    }
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self {
            bytes: 1024 * 1024,
            frames: 1024,
            reserved: 256,
        }
    }
}

/// Whether only this machine reaches the address, also where it is IPv4 in the form of IPv6.
fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

impl Config {
    /// Refuses settings that cannot work or are not safe.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Configuration`], with a sentence that names the setting.
    pub fn validate(&self) -> Result<()> {
        if !is_loopback(self.address) && !self.is_secure() {
            return Err(Error::configuration(format!(
                "The address {} is reachable from other machines and would take passwords without encryption; \
                 listen on 127.0.0.1, name a certificate (tls), or put a TLS proxy in front and say so (behind_proxy)",
                self.address
            )));
        }
        if !is_loopback(self.address) && self.allowed_hosts.is_empty() && !self.behind_proxy {
            return Err(Error::configuration(
                "The host names of the certificate must be named in allowed_hosts, or every request is refused",
            ));
        }
        if self.behind_proxy && self.allowed_hosts.is_empty() {
            return Err(Error::configuration(
                "Behind a proxy the public host name must be named in allowed_hosts, or every request is refused",
            ));
        }
        for host in &self.allowed_hosts {
            if host.is_empty() || host.contains(['/', ' ', '@']) {
                return Err(Error::configuration(format!(
                    "{host:?} in allowed_hosts is not of the form host or host:port"
                )));
            }
        }
        for origin in &self.allowed_origins {
            let parsed = url::Url::parse(origin)
                .ok()
                .map(|url| url.origin().ascii_serialization());
            if parsed.as_deref() != Some(origin.as_str()) {
                return Err(Error::configuration(format!(
                    "{origin:?} in allowed_origins is not of the form scheme://host[:port]"
                )));
            }
        }
        for RawSocket {
            address,
            role,
            everybody,
            ..
        } in &self.raw_sockets
        {
            if matches!(address, RawAddress::Tls(_)) && self.tls.is_none() {
                return Err(Error::configuration(format!(
                    "{address} in raw_sockets needs a certificate (tls)"
                )));
            }
            if let (RawAddress::Tls(public), Some(role), false) = (address, role, everybody)
                && !is_loopback(*public)
            {
                return Err(Error::configuration(format!(
                    "{address} in raw_sockets would give the role {role:?} to everybody who reaches it from other machines; \
                     leave the role out, so that logins decide, or say that this is meant (everybody = true)"
                )));
            }
            if let RawAddress::Tcp(tcp) = address
                && !is_loopback(*tcp)
            {
                return Err(Error::configuration(format!(
                    "{address} in raw_sockets is reachable from other machines without encryption; listen on 127.0.0.1 or \
                     at a Unix socket, or use a certificate (tls:ADDRESS)"
                )));
            }
        }
        let limits = &self.connections;
        let at_least_one = [
            ("tree_threads", self.tree_threads),
            ("connections.total", limits.total),
            ("connections.per_address", limits.per_address),
            ("connections.requests_per_address", limits.requests_per_address),
            ("connections.per_user", limits.per_user),
            ("connections.link", limits.link),
            ("connections.queue.bytes", limits.queue.bytes),
            ("connections.queue.frames", limits.queue.frames),
        ];
        match at_least_one.iter().find(|(_, value)| *value == 0) {
            Some((name, _)) => Err(Error::configuration(format!("{name} must be at least 1"))),
            None => Ok(()),
        }
    }

    /// Whether everybody who comes by HTTP comes through TLS: ours, or that of a proxy.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.behind_proxy || self.tls.is_some()
    }

    /// The proxies whose word about the client's address counts.
    pub(crate) fn proxies(&self) -> Vec<IpAddr> {
        match (self.behind_proxy, self.trusted_proxies.is_empty()) {
            (false, _) => Vec::new(),
            (true, true) => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            (true, false) => self.trusted_proxies.iter().map(IpAddr::to_canonical).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn refusal(change: impl FnOnce(&mut Config)) -> Option<String> {
        let mut config = Config::default();
        change(&mut config);
        config.validate().err().map(|error| {
            assert_eq!(error.kind(), ErrorKind::Configuration);
            error.to_string()
        })
    }

    #[test]
    fn the_defaults_are_accepted() {
        assert_eq!(refusal(|_| {}), None);
    }

    #[test]
    fn a_public_address_needs_a_proxy_and_a_proxy_needs_a_host_name() {
        let public = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 3000));
        assert!(refusal(|config| config.address = public).is_some_and(|text| text.contains("behind_proxy")));
        let hostless = |config: &mut Config| {
            config.address = public;
            config.behind_proxy = true;
        };
        assert!(refusal(hostless).is_some_and(|text| text.contains("allowed_hosts")));
        let complete = |config: &mut Config| {
            hostless(config);
            config.allowed_hosts.push("safety.example.org".into());
        };
        assert_eq!(refusal(complete), None);
    }

    #[test]
    fn what_is_no_origin_and_no_capacity_is_named() {
        for wrong in [
            "https://example.org/",
            "example.org",
            "null",
            "https://user@example.org",
        ] {
            assert!(
                refusal(|config| config.allowed_origins.push(wrong.into())).is_some_and(|text| text.contains(wrong))
            );
        }
        assert!(
            refusal(|config| config.connections.queue.frames = 0).is_some_and(|text| text.contains("queue.frames"))
        );
    }
}
