//! The one cookie: it carries a login's token.

use axum::http::{HeaderMap, HeaderValue, header};

/// Name and flags of the login cookie.
#[derive(Clone, Debug)]
pub(crate) struct SessionCookie {
    name: String,
    secure: bool,
}

impl SessionCookie {
    /// Behind TLS the name starts with `__Host-`, which makes browsers insist on `Secure` and on this very host.
    /// Otherwise it carries the port: cookies know no ports, and two servers on one machine must not end each other's logins.
    pub(crate) fn new(secure: bool, port: u16) -> Self {
        let name = if secure {
            "__Host-coati".to_owned()
        } else {
            format!("coati_{port}")
        };
        Self { name, secure }
    }

    /// The token in a request.
    pub(crate) fn read(&self, headers: &HeaderMap) -> Option<String> {
        let pairs = headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok());
        let mut pairs = pairs
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='));
        pairs
            .find(|(name, _)| *name == self.name)
            .map(|(_, value)| value.to_owned())
    }

    /// Hands a token to the browser, which keeps it until it is closed; the server ends logins by its own clock.
    pub(crate) fn set(&self, token: &str) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.line(token, "")).ok()
    }

    /// Takes the token from the browser.
    pub(crate) fn clear(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.line("", "; Max-Age=0")).ok()
    }

    fn line(&self, value: &str, more: &str) -> String {
        let secure = if self.secure { "; Secure" } else { "" };
        format!("{}={value}; HttpOnly; SameSite=Lax; Path=/{secure}{more}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_tls_the_cookie_is_bound_to_the_host() {
        let set = SessionCookie::new(true, 443).set("abc").expect("a header");
        assert_eq!(
            set.to_str().ok(),
            Some("__Host-coati=abc; HttpOnly; SameSite=Lax; Path=/; Secure")
        );
    }

    #[test]
    fn only_the_cookie_of_this_name_is_read() {
        let cookie = SessionCookie::new(false, 3000);
        let mut headers = HeaderMap::new();
        headers.insert(
            header::COOKIE,
            HeaderValue::from_static("xcoati_3000=no; coati_3001=no;coati_3000=yes; other=1"),
        );
        assert_eq!(cookie.read(&headers).as_deref(), Some("yes"));
        assert_eq!(SessionCookie::new(true, 3000).read(&headers), None);
    }
}
