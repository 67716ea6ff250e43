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
    assert_eq!(file.role.len(), 5);
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
            "[tls]\ncertificate = \"a.pem\"\nkey = \"k.pem\"\n[[role]]\nname = \"a\"\n\
             [[rawsocket]]\naddress = \"tls:0.0.0.0:1\"\nrole = \"a\"",
            [
                "tls:0.0.0.0:1 in raw_sockets would give the role \"a\" to everybody",
                "everybody = true",
            ],
        ),
        (
            "[server]\naddress = \"0.0.0.0:80\"\n[tls]\ncertificate = \"a.pem\"\nkey = \"k.pem\"",
            ["certificate", "allowed_hosts"],
        ),
        ("realm = ", ["line 1", "realm"]),
    ] {
        assert_refused(text, words);
    }
}

#[test]
fn a_public_door_gives_a_role_only_where_the_file_says_that_this_is_meant() {
    let tls = "[tls]\ncertificate = \"a.pem\"\nkey = \"k.pem\"\n[[role]]\nname = \"a\"\n";
    for door in [
        "address = \"tls:0.0.0.0:1\"\nrole = \"a\"\neverybody = true",
        "address = \"tls:0.0.0.0:1\"",
        "address = \"tls:127.0.0.1:1\"\nrole = \"a\"",
    ] {
        let file = RouterFile::parse("router.toml", &format!("{tls}[[rawsocket]]\n{door}")).expect(door);
        assert!(file.builder(Config::default()).is_ok(), "{door}");
    }
}

#[test]
fn each_mistake_about_rules_logins_and_realms_is_one_line_too() {
    for (text, words) in [
        (
            "[[role]]\nname = \"a\"\nlimits = { calls_per_second = 0 }",
            ["\"a\"", "0"],
        ),
        (
            "[[role]]\nname = \"a\"\n[[role.permission]]\nuri = \"x\"\nallow = []\n[[role.permission]]\nuri = \"x\"\nallow = []",
            ["two permissions", "\"x\""],
        ),
        (
            "[[role]]\nname = \"a\"\n[[role.permission]]\nuri = \"x..y\"\nallow = []",
            ["\"a\"", "x..y"],
        ),
        (
            "[[role]]\nname = \"a\"\nauthorizer = { procedure = \"x\", role = \"b\" }",
            ["authorizer of \"a\"", "\"b\""],
        ),
        ("[authentication]\nanonymous = \"b\"", ["anonymous", "\"b\""]),
        (
            "[[role]]\nname = \"a\"\n[authentication.authenticator]\nprocedure = \"wamp.x\"\nrole = \"a\"\nmethods = []",
            ["authenticator", "wamp.x"],
        ),
        (
            "[[role]]\nname = \"a\"\n[authentication.authenticator]\nprocedure = \"x\"\nrole = \"a\"\nmethods = [\"cookie\"]",
            ["cookie", "wampcra"],
        ),
        (
            "[[login]]\nauthid = \"a\"\nrole = \"b\"\nticket = \"c\"",
            ["login \"a\"", "\"b\""],
        ),
        (
            "[[role]]\nname = \"b\"\n[[login]]\nauthid = \"a\"\nrole = \"b\"",
            ["login \"a\"", "no method"],
        ),
        (
            "[[login]]\nauthid = \"a\"\nrole = \"b\"\nticket = { environment = \"COATI_TEST_IS_NOT_SET\" }",
            ["line 4", "COATI_TEST_IS_NOT_SET"],
        ),
        (
            "[[login]]\nauthid = \"a\"\nrole = \"b\"\nticket = { file = \"/nowhere/at/all\" }",
            ["line 4", "/nowhere/at/all"],
        ),
        (
            "[[login]]\nauthid = \"a\"\nrole = \"b\"\ncryptosign = [\"12\"]",
            ["line 4", "64 hexadecimal digits"],
        ),
        (
            "[[role]]\nname = \"b\"\n[[login]]\nauthid = \"a\"\nrole = \"b\"\nwampcra = { key = \"x\" }",
            ["login \"a\"", "salt"],
        ),
        (
            "[[role]]\nname = \"b\"\n[[login]]\nauthid = \"a\"\nrole = \"b\"\nscram = { salt = \"x\", password = \"y\" }",
            ["login \"a\"", "salt"],
        ),
        (
            "[[realm]]\nname = \"a\"\n[[realm]]\nname = \"a\"",
            ["two realms", "\"a\""],
        ),
        (
            "[[history.topic]]\nuri = \"a\"\nevents = 1\n[[realm]]\nname = \"a\"",
            ["[[realm]]", "[realm.history]"],
        ),
        (
            "[[realm]]\nname = \"a\"\n[[realm]]\nname = \"b\"\nhistory = { database = \"sqlite:x\" }",
            ["realm \"b\"", "history.topic"],
        ),
        (
            "[[role]]\nname = \"a\"\n[[realm]]\nname = \"a\"",
            ["[[realm]]", "[[realm.role]]"],
        ),
        (
            "[[realm]]\nname = \"a\"\n[[realm]]\nname = \"b\"\nauthentication = { anonymous = \"c\" }",
            ["realm \"b\"", "\"c\""],
        ),
        (
            "[[rawsocket]]\naddress = \"unix:/x\"\nrealm = \"c\"",
            ["unix:/x", "\"c\""],
        ),
    ] {
        assert_refused(text, words);
    }
}

fn assert_refused(text: &str, words: [&str; 2]) {
    let refusal = refusal(text);
    assert!(!refusal.contains('\n'), "{refusal}");
    for word in words {
        assert!(refusal.contains(word), "{text:?} gives {refusal:?} without {word:?}");
    }
}

#[test]
fn a_mistake_beside_a_secret_does_not_show_it() {
    for text in [
        "[[login]]\nauthid = \"a\"\nwampcra = \"hush\"",
        "[[login]]\nauthid = \"a\"\nwampcra = { secret = \"hush\", slat = \"x\" }",
        "[[login]]\nauthid = \"a\"\nrole = \"b\"\nticket = [\"hush\"]",
        "[[login]]\nauthid = \"a\"\nrole = \"b\"\nscram = { password = \"hush\", iterations = \"hush\" }",
    ] {
        let refusal = refusal(text);
        assert!(refusal.contains("line ") && !refusal.contains("hush"), "{refusal}");
    }
}
