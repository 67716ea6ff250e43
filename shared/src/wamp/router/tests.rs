//! The router as its shell sees it. Messages are written as JSON frames; large ids read as `ID`.

mod abusing;
mod authenticating;
mod authorizing;
mod calling;
mod deciding;
mod history;
mod meta;
mod model;
mod publishing;
mod retaining;
mod sessions;

use std::collections::BTreeMap;

use super::*;

/// A client's hello with everything that a callee can announce.
const HELLO: &str = r#"[1,"realm",{"roles":{"caller":{},"callee":{"features":{"call_canceling":true,
    "progressive_call_results":true}},"publisher":{},"subscriber":{"features":{"subscription_revocation":true}}}}]"#;

/// A hello with the basic profile only.
const BASIC: &str = r#"[1,"realm",{"roles":{"caller":{},"callee":{},"publisher":{},"subscriber":{}}}]"#;

struct World {
    router: Router,
    codecs: BTreeMap<ConnectionId, CodecId>,
}

/// Allows every name, but nobody the meta API.
struct AllNames;

impl Authorizer for AllNames {
    fn authorize(&self, _: &SessionInfo, _: Action, _: &Uri, _: crate::wamp::uri::MatchPolicy) -> Decision {
        Decision::Allow
    }
}

/// Who gets what: connection number and JSON frame; `close REASON` for a closed connection.
type Sent = Vec<(u64, String)>;

impl World {
    fn with(config: RouterConfig) -> Self {
        Self {
            router: Router::new(Uri::unchecked("realm"), config),
            codecs: BTreeMap::new(),
        }
    }

    /// Everybody may use every name, but not the meta API.
    fn open() -> Self {
        Self::with(RouterConfig {
            authorizer: Box::new(AllNames),
            ..RouterConfig::new(1)
        })
    }

    /// The application's rules.
    fn strict() -> Self {
        Self::with(RouterConfig::new(1))
    }

    fn attach(&mut self, number: u64, codec: CodecId, principal: Principal) {
        let connection = ConnectionId(number);
        self.codecs.insert(connection, codec);
        assert!(
            self.router
                .handle(Input::Attach {
                    connection,
                    codec,
                    principal
                })
                .is_empty()
        );
    }

    fn join_as(&mut self, number: u64, codec: CodecId, principal: Principal, hello: &str) -> SessionId {
        self.attach(number, codec, principal);
        let sent = self.say(number, hello);
        assert!(sent.len() == 1 && sent[0].1.starts_with("[2,"), "{sent:?}");
        self.router.session_at(ConnectionId(number)).expect("joined")
    }

    /// Joins several ordinary JSON clients.
    fn join(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.join_as(
                *number,
                CodecId::Json,
                Principal::new(format!("user{number}"), "user", "cookie"),
                HELLO,
            );
        }
    }

    fn session(&self, number: u64) -> SessionId {
        self.router.session_at(ConnectionId(number)).expect("a session")
    }

    /// A client sends a message, given in JSON whatever its codec.
    fn say(&mut self, number: u64, json: &str) -> Sent {
        let connection = ConnectionId(number);
        let message = CodecId::Json.decode(json.to_owned().into()).expect("a message");
        let codec = self.codecs[&connection];
        let message = codec
            .decode(codec.encode(&message))
            .expect("the same message in another codec");
        self.handle(Input::Message {
            connection,
            message: message.into(),
        })
    }

    fn handle(&mut self, input: Input) -> Sent {
        self.router.handle(input).into_iter().map(shown).collect()
    }

    fn kill(&mut self, number: u64) -> Sent {
        let input = Input::Kill {
            session: self.session(number),
            reason: Uri::unchecked(close::KILLED),
            message: None,
        };
        self.handle(input)
    }

    fn tick(&mut self, milliseconds: u64) -> Sent {
        self.handle(Input::Tick {
            now: Duration::from_millis(milliseconds),
        })
    }

    fn detach(&mut self, number: u64) -> Sent {
        self.handle(Input::Detach {
            connection: ConnectionId(number),
        })
    }

    fn bind(&mut self, number: u64, base: &str) -> Sent {
        let session = self.session(number);
        self.handle(Input::BindBase {
            session,
            base: Uri::unchecked(base),
        })
    }
}

fn shown(output: Output) -> (u64, String) {
    match output {
        Output::Send {
            connection, message, ..
        } => {
            let frame = message.frame(CodecId::Json);
            (
                connection.0,
                without_large_ids(std::str::from_utf8(&frame).expect("JSON")),
            )
        }
        Output::Pause { connection, paused } => (connection.0, format!("paused {paused}")),
        Output::Close { connection, reason } => (connection.0, format!("close {reason}")),
        Output::Store(change) => (0, format!("store {} without {:?}", change.number, change.evicted)),
    }
}

/// Numbers of ten digits and more are drawn at random.
fn without_large_ids(text: &str) -> String {
    let mut shown = String::new();
    let mut digits = String::new();
    for character in text.chars().chain(['\0']) {
        if character.is_ascii_digit() {
            digits.push(character);
            continue;
        }
        shown.push_str(if digits.len() >= 10 { "ID" } else { &digits });
        digits.clear();
        if character != '\0' {
            shown.push(character);
        }
    }
    shown
}

/// What was sent, for comparing.
fn sent<const N: usize>(expected: [(u64, &str); N]) -> Sent {
    expected
        .into_iter()
        .map(|(number, frame)| (number, frame.to_owned()))
        .collect()
}

/// The error URI that the only answer carries.
fn refused(sent: &Sent) -> &str {
    match sent.as_slice() {
        [(_, frame)] if frame.starts_with("[8,") => frame.split('"').nth(1).unwrap_or_default(),
        other => panic!("expected one ERROR: {other:?}"),
    }
}
