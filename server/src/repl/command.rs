//! What an operator can type, taken apart.

use std::time::Duration;

use serde_json::{Map, Value};
use shared::wamp::MatchPolicy;

/// The most seconds of one `wait`.
const LONGEST_WAIT: u64 = 3_600;

/// The commands with their arguments and what they do, for `help` and completion.
pub(super) const COMMANDS: [(&str, &str, &str); 16] = [
    ("help", "", "this list"),
    ("realms", "", "the realms that this prompt reaches"),
    ("sessions", "", "who is in the realm"),
    ("registrations", "", "which procedures there are and who offers them"),
    ("subscriptions", "", "which topics are listened to, and by how many"),
    ("tree", "[PATH]", "procedures and topics at a path and below, as a tree"),
    (
        "nodes",
        "[PATH]",
        "the nodes at a path and below; without a path, all roots",
    ),
    ("state", "PATH", "what a node is and holds"),
    ("follow", "PATH VALUE", "show a value of a node whenever it changes"),
    ("unfollow", "PATH VALUE", "stop that"),
    (
        "call",
        "PROCEDURE [ARGUMENT…] [name=ARGUMENT…]",
        "call and show the result",
    ),
    ("publish", "TOPIC [ARGUMENT…] [name=ARGUMENT…]", "publish an event"),
    ("watch", "TOPIC [exact|prefix|wildcard]", "show events as they come"),
    ("unwatch", "TOPIC", "stop that"),
    (
        "wait",
        "SECONDS",
        "show what is watched and followed for so long, in a script",
    ),
    ("quit", "", "leave"),
];

/// A command.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Command {
    Nothing,
    Help,
    Realms,
    Sessions,
    Registrations,
    Subscriptions,
    Tree(String),
    Nodes(String),
    State(String),
    Follow(String, String),
    Unfollow(String, String),
    Call(Message),
    Publish(Message),
    Watch(String, MatchPolicy),
    Unwatch(String),
    Wait(Duration),
    Quit,
}

/// A name with arguments.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Message {
    pub(super) uri: String,
    pub(super) args: Vec<Value>,
    pub(super) kwargs: Map<String, Value>,
}

/// Takes a line apart, or says what is wrong with it.
pub(super) fn parse(line: &str) -> Result<Command, String> {
    let mut words = words(line)?.into_iter();
    let Some(name) = words.next() else {
        return Ok(Command::Nothing);
    };
    let rest: Vec<String> = words.collect();
    let one = |what: &str| match rest.as_slice() {
        [one] => Ok(one.clone()),
        _ => Err(format!("{name} needs {what}")),
    };
    let two = || match rest.as_slice() {
        [path, value] => Ok((path.clone(), value.clone())),
        _ => Err(format!("{name} needs the path of a node and the name of a value")),
    };
    match name.as_str() {
        "help" => Ok(Command::Help),
        "realms" => Ok(Command::Realms),
        "sessions" => Ok(Command::Sessions),
        "registrations" => Ok(Command::Registrations),
        "subscriptions" => Ok(Command::Subscriptions),
        "tree" => Ok(Command::Tree(rest.first().cloned().unwrap_or_default())),
        "nodes" => Ok(Command::Nodes(rest.first().cloned().unwrap_or_default())),
        "state" => one("the path of a node").map(Command::State),
        "follow" => two().map(|(path, value)| Command::Follow(path, value)),
        "unfollow" => two().map(|(path, value)| Command::Unfollow(path, value)),
        "call" => message(&name, rest).map(Command::Call),
        "publish" => message(&name, rest).map(Command::Publish),
        "watch" => match rest.as_slice() {
            [topic] => Ok(Command::Watch(topic.clone(), MatchPolicy::Exact)),
            [topic, policy] => Ok(Command::Watch(topic.clone(), policy_of(policy)?)),
            _ => Err("watch needs a topic, and may have exact, prefix or wildcard after it".to_owned()),
        },
        "unwatch" => one("a topic").map(Command::Unwatch),
        "wait" => one("a number of seconds").and_then(|seconds| wait(&seconds)),
        "quit" | "exit" => Ok(Command::Quit),
        other => Err(format!("There is no command {other}; help lists all")),
    }
}

fn wait(seconds: &str) -> Result<Command, String> {
    match seconds.parse() {
        Ok(seconds) if seconds <= LONGEST_WAIT => Ok(Command::Wait(Duration::from_secs(seconds))),
        Ok(_) | Err(_) => Err(format!("wait needs 0 to {LONGEST_WAIT} seconds")),
    }
}

fn policy_of(word: &str) -> Result<MatchPolicy, String> {
    match word {
        "exact" => Ok(MatchPolicy::Exact),
        "prefix" => Ok(MatchPolicy::Prefix),
        "wildcard" => Ok(MatchPolicy::Wildcard),
        other => Err(format!("{other} is none of exact, prefix, wildcard")),
    }
}

fn message(command: &str, words: Vec<String>) -> Result<Message, String> {
    let mut words = words.into_iter();
    let uri = words.next().ok_or_else(|| format!("{command} needs a name"))?;
    let (mut args, mut kwargs) = (Vec::new(), Map::new());
    for word in words {
        match word.split_once('=') {
            Some((name, value)) if is_name(name) => drop(kwargs.insert(name.to_owned(), argument(value))),
            Some(_) | None => args.push(argument(&word)),
        }
    }
    Ok(Message { uri, args, kwargs })
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.chars().all(|one| one.is_ascii_alphanumeric() || one == '_')
}

/// JSON, or text if it is none.
fn argument(word: &str) -> Value {
    serde_json::from_str(word).unwrap_or_else(|_| Value::String(word.to_owned()))
}

/// Splits at spaces that are neither in quotes nor in brackets.
fn words(line: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word) = (Vec::new(), String::new());
    let (mut quoted, mut escaped, mut depth) = (false, false, 0_u32);
    for character in line.chars() {
        if character.is_whitespace() && !quoted && depth == 0 {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            continue;
        }
        word.push(character);
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '[' | '{' if !quoted => depth += 1,
            ']' | '}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    if quoted || depth > 0 {
        return Err("A quote or bracket is not closed".to_owned());
    }
    if !word.is_empty() {
        words.push(word);
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn arguments_are_json_or_plain_words() {
        let line = r#"call a.b 1 two "three four" [5, "six seven"] {"k": [8]} name=9 other="x y" -1.5 null"#;
        let Ok(Command::Call(message)) = parse(line) else {
            panic!("a call");
        };
        assert_eq!(message.uri, "a.b");
        let args = [
            json!(1),
            json!("two"),
            json!("three four"),
            json!([5, "six seven"]),
            json!({"k": [8]}),
            json!(-1.5),
            json!(null),
        ];
        assert_eq!(message.args, args);
        assert_eq!(Value::Object(message.kwargs), json!({"name": 9, "other": "x y"}));
    }

    #[test]
    fn what_is_no_command_is_explained() {
        assert_eq!(parse("   "), Ok(Command::Nothing));
        for (line, word) in [
            ("cal a.b", "cal"),
            ("call", "name"),
            ("call a.b [1", "bracket"),
            ("call a.b \"x", "quote"),
            ("watch", "topic"),
            ("watch a.b glob", "glob"),
            ("unwatch", "topic"),
            ("state", "path"),
            ("follow a.b", "value"),
            ("wait long", "seconds"),
            ("wait 3601", "3600"),
        ] {
            let wrong = parse(line).expect_err(line);
            assert!(wrong.contains(word), "{line}: {wrong}");
        }
        assert_eq!(
            parse("watch a. prefix"),
            Ok(Command::Watch("a.".to_owned(), MatchPolicy::Prefix))
        );
        for (name, arguments, _) in COMMANDS {
            let words = arguments
                .split(' ')
                .map(|word| if word == "SECONDS" { "1" } else { "x" });
            let words = words.take(arguments.split(' ').filter(|word| !word.starts_with('[')).count());
            let line = format!("{name} {}", words.collect::<Vec<_>>().join(" "));
            assert!(parse(&line).is_ok(), "{line}");
        }
    }
}
