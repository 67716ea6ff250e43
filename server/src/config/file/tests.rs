//! Files that are right and files that are wrong.

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
    let text = include_str!("../../../examples/router.toml");
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
        ("[[history.topic]]\nuri = \"a\"", ["line 1", "events"]),
        ("[[history.topic]]\nuri = \"a b\"\nevents = 1", ["a b", "history.topic"]),
        ("[history]\ndatabase = \"sqlite:x\"", ["[history]", "history.topic"]),
        ("[tls]\ncertificate = \"a.pem\"", ["line 1", "key"]),
        (
            "[[role]]\nname = \"a\"\n[[rawsocket]]\naddress = \"tls:0.0.0.0:1\"\nrole = \"a\"",
            ["tls:0.0.0.0:1", "certificate"],
        ),
        (
            "[server]\naddress = \"0.0.0.0:80\"\n[tls]\ncertificate = \"a.pem\"\nkey = \"k.pem\"",
            ["certificate", "allowed_hosts"],
        ),
        ("realm = ", ["line 1", "realm"]),
    ] {
        let refusal = refusal(text);
        assert!(!refusal.contains('\n'), "{refusal}");
        for word in words {
            assert!(refusal.contains(word), "{text:?} gives {refusal:?} without {word:?}");
        }
    }
}
