//! Who may ask at all: host and origin allow-lists, proxies, and the headers that keep a page to itself.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::{extract::Request, response::Response};

use super::{AppState, sentence};
use crate::{config::Config, telemetry};

/// The hosts that are served and the origins that may open sockets and post forms.
///
/// Both are checked on loopback too: any page of the web can reach a server on the reader's own machine.
#[derive(Clone, Debug)]
pub(crate) struct HostPolicy {
    hosts: BTreeSet<String>,
    origins: BTreeSet<String>,
    secure: bool,
}

impl HostPolicy {
    /// The policy of a server that listens on `bound`.
    pub(crate) fn new(config: &Config, bound: SocketAddr) -> Self {
        let mut hosts: BTreeSet<String> = config
            .allowed_hosts
            .iter()
            .map(|host| host.to_ascii_lowercase())
            .collect();
        if !config.behind_proxy {
            let port = bound.port();
            for name in [
                bound_name(bound),
                "127.0.0.1".into(),
                "localhost".into(),
                "[::1]".into(),
            ] {
                if port == if config.tls.is_some() { 443 } else { 80 } {
                    hosts.insert(name.clone());
                }
                hosts.insert(format!("{name}:{port}"));
            }
        }
        let scheme = if config.is_secure() { "https" } else { "http" };
        let own = hosts.iter().map(|host| format!("{scheme}://{host}"));
        let origins = own.chain(config.allowed_origins.iter().cloned()).collect();
        Self {
            hosts,
            origins,
            secure: config.is_secure(),
        }
    }

    /// The host that a request names, if it names exactly one and that is served.
    pub(crate) fn host<'a>(&self, request: &'a Request) -> Option<&'a str> {
        let mut named = request.headers().get_all(header::HOST).iter();
        let (host, second) = (named.next()?.to_str().ok()?, named.next());
        // The absolute form of a request line names a host too.
        let other = request
            .uri()
            .authority()
            .is_some_and(|authority| !authority.as_str().eq_ignore_ascii_case(host));
        (second.is_none() && !other && self.hosts.contains(&host.to_ascii_lowercase())).then_some(host)
    }

    /// What the `Origin` header says.
    pub(crate) fn origin(&self, headers: &HeaderMap) -> Origin {
        let mut named = headers.get_all(header::ORIGIN).iter();
        match (named.next(), named.next()) {
            (None, _) => Origin::Absent,
            (Some(origin), None) if origin.to_str().is_ok_and(|origin| self.origins.contains(origin)) => Origin::Own,
            (Some(_), _) => Origin::Foreign,
        }
    }

    /// Whether a form was posted from a page of ours: `Sec-Fetch-Site` where the browser sends it, `Origin` in any case
    /// where it is there. Neither header means no.
    pub(crate) fn is_own_form(&self, headers: &HeaderMap) -> bool {
        let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        match (site, self.origin(headers)) {
            (_, Origin::Foreign) | (None, Origin::Absent) => false,
            (None, Origin::Own) => true,
            (Some(site), Origin::Own | Origin::Absent) => site == b"same-origin",
        }
    }
}

/// What an `Origin` header amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A page of ours.
    Own,
    /// A page of somebody else's, or no page at all (`null`).
    Foreign,
    /// No header: not a browser.
    Absent,
}

fn bound_name(bound: SocketAddr) -> String {
    match bound.ip() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

/// The address of a client that nothing credible is known about: nobody's, so it counts as foreign everywhere.
const UNKNOWN: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// The client's address. If the peer is a trusted proxy, it is the nearest entry of `X-Forwarded-For` that is no trusted
/// proxy: each proxy adds who it saw at the end, and everything further left was written by strangers.
pub(super) fn forwarded_address(peer: IpAddr, proxies: &[IpAddr], headers: &HeaderMap) -> IpAddr {
    if !proxies.contains(&peer) {
        return peer;
    }
    let lines = headers.get_all("x-forwarded-for").iter();
    let entries = lines
        .rev()
        .flat_map(|line| line.as_bytes().rsplit(|octet| *octet == b','));
    for entry in entries {
        match std::str::from_utf8(entry).ok().and_then(address) {
            Some(address) if proxies.contains(&address) => {}
            Some(address) => return address,
            None => return UNKNOWN,
        }
    }
    peer
}

/// An entry: an address, with or without a port.
fn address(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    let bare = entry.trim_start_matches('[').trim_end_matches(']');
    bare.parse()
        .ok()
        .or_else(|| entry.parse().ok().map(|both: SocketAddr| both.ip()))
        .map(|address: IpAddr| address.to_canonical())
}

/// A refusal that is counted and says one sentence.
pub(crate) fn refuse(reason: &'static str, text: &str) -> Response {
    metrics::counter!(telemetry::REFUSED, "reason" => reason).increment(1);
    tracing::info!(reason, "request refused");
    sentence(StatusCode::FORBIDDEN, text)
}

/// Headers of every answer. `host` is the request's, already checked.
pub(super) fn add_headers(app: &AppState, host: Option<&str>, headers: &mut HeaderMap) {
    let fixed = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // Not `no-referrer`: that makes browsers send `Origin: null` with our own forms.
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (
            HeaderName::from_static("permissions-policy"),
            "camera=(), geolocation=(), microphone=(), payment=()",
        ),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if app.policy.secure {
        headers.insert(
            header::STRICT_TRANSPORT_SECURITY,
            HeaderValue::from_static("max-age=31536000"),
        );
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if let Ok(policy) = HeaderValue::from_str(&content_policy(app, host)) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
}

fn content_policy(app: &AppState, host: Option<&str>) -> String {
    let mut connect = "'self'".to_owned();
    if let Some(host) = host {
        // Some browsers still do not take `'self'` for the page's own WebSocket.
        let scheme = if app.policy.secure { "wss" } else { "ws" };
        connect.push_str(&format!(" {scheme}://{host}"));
        if let Some(port) = app.reload_port {
            let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
            connect.push_str(&format!(" ws://{name}:{port}"));
        }
    }
    format!(
        "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data:; \
         connect-src {connect}; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> HostPolicy {
        let config = Config {
            allowed_hosts: vec!["Good.Example:8443".into()],
            ..Config::default()
        };
        HostPolicy::new(&config, SocketAddr::from(([127, 0, 0, 1], 3000)))
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn only_exact_hosts_are_served() {
        let request = |host: &str| {
            Request::builder()
                .uri("/")
                .header("host", host)
                .body(axum::body::Body::empty())
        };
        for (host, served) in [
            ("127.0.0.1:3000", true),
            ("LOCALHOST:3000", true),
            ("[::1]:3000", true),
            ("good.example:8443", true),
            ("good.example", false),
            ("127.0.0.1", false),
            ("127.0.0.1:3001", false),
            ("evil.test", false),
            ("evil.test:3000", false),
            ("localhost.evil.test:3000", false),
            ("", false),
        ] {
            assert_eq!(
                policy().host(&request(host).expect("a request")).is_some(),
                served,
                "{host:?}"
            );
        }
        let absolute = Request::builder()
            .uri("http://evil.test/")
            .header("host", "localhost:3000");
        assert!(
            policy()
                .host(&absolute.body(axum::body::Body::empty()).expect("a request"))
                .is_none()
        );
        let twice = Request::builder()
            .uri("/")
            .header("host", "localhost:3000")
            .header("host", "evil.test");
        assert!(
            policy()
                .host(&twice.body(axum::body::Body::empty()).expect("a request"))
                .is_none()
        );
    }

    #[test]
    fn only_exact_origins_are_ours() {
        for origin in [
            "null",
            "http://evil.test",
            "https://localhost:3000",
            "http://localhost:3001",
            "http://localhost:3000.evil.test",
            "http://localhostX3000",
            "HTTP://LOCALHOST:3000",
            "http://localhost:3000/",
        ] {
            assert_eq!(
                policy().origin(&headers(&[("origin", origin)])),
                Origin::Foreign,
                "{origin}"
            );
        }
        assert_eq!(policy().origin(&headers(&[])), Origin::Absent);
        assert_eq!(
            policy().origin(&headers(&[("origin", "http://localhost:3000")])),
            Origin::Own
        );
    }

    #[test]
    fn a_form_is_ours_only_if_the_browser_says_so() {
        let own = ("origin", "http://localhost:3000");
        for (pairs, ours) in [
            (vec![], false),
            (vec![own], true),
            (vec![own, ("sec-fetch-site", "same-origin")], true),
            (vec![("sec-fetch-site", "same-origin")], true),
            (vec![own, ("sec-fetch-site", "cross-site")], false),
            (vec![own, ("sec-fetch-site", "same-site")], false),
            (vec![("origin", "null"), ("sec-fetch-site", "same-origin")], false),
            (vec![("origin", "http://evil.test")], false),
        ] {
            assert_eq!(policy().is_own_form(&headers(&pairs)), ours, "{pairs:?}");
        }
    }

    #[test]
    fn forwarded_addresses_count_only_from_trusted_proxies() {
        let [proxy, client]: [IpAddr; 2] = [[10, 0, 0, 1].into(), [192, 0, 2, 9].into()];
        let spoofed = headers(&[("x-forwarded-for", "1.2.3.4, 192.0.2.9")]);
        assert_eq!(
            forwarded_address(client, &[proxy], &spoofed),
            client,
            "the peer is no proxy"
        );
        assert_eq!(
            forwarded_address(proxy, &[proxy], &spoofed),
            client,
            "the entry that the proxy added"
        );
        assert_eq!(
            forwarded_address(proxy, &[proxy], &headers(&[("x-forwarded-for", "nonsense")])),
            UNKNOWN,
            "never the proxy's own, which may be local"
        );
        for (list, expected) in [
            ("nonsense, 192.0.2.9", client),
            ("192.0.2.9, nonsense", UNKNOWN),
            ("192.0.2.9:4711, 10.0.0.1", client),
            ("[2001:db8::1]:80", [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into()),
            ("2001:db8::1", [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into()),
            ("::ffff:192.0.2.9, ::ffff:10.0.0.1", client),
            ("10.0.0.1", proxy),
            ("", UNKNOWN),
        ] {
            let headers = headers(&[("x-forwarded-for", list)]);
            assert_eq!(forwarded_address(proxy, &[proxy], &headers), expected, "{list}");
        }
    }
}
