//! The router's file: accepted and usable, or refused in one line that names the file.

use coati_server::{Config, config::file::RouterFile};

/// Names and values of settings.
pub const WORDS: &[&str] = &[
    "[[role]]\n",
    "[server]\n",
    "[limits]\n",
    "[[role.permission]]\n",
    "[[component]]\n",
    "[[rawsocket]]\n",
    "name = \"a\"\n",
    "uri = \"a.\"\n",
    "match = \"prefix\"\n",
    "allow = [\"call\"]\n",
    "role = \"a\"\n",
    "address = \"unix:x\"\n",
    "address = \"tcp:127.0.0.1:1\"\n",
    "message = ",
    "ping_seconds = ",
    "queue_messages = 0\n",
    "-1",
    "1e400",
    "nan",
    "= [[[[",
    "a.a.a.a.",
    "{a={a={",
    "\"\"\"",
    "'''",
    "\\u0000",
    "\r\n",
    "9223372036854775808",
    "1979-05-27",
];

/// A router's file.
pub fn router_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let made = RouterFile::parse("router.toml", text).and_then(|file| file.builder(Config::default()));
    if let Err(error) = made {
        let line = error.to_string();
        assert!(!line.is_empty() && !line.contains('\n'), "more than one line: {line:?}");
    }
}
