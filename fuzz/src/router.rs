//! A conversation with the router: whatever one peer says, it costs no other session anything and leaves nothing behind.

use std::time::Duration;

use shared::wamp::{
    CodecId, Message, Uri,
    router::{ConnectionId, Input, Open, Output, Principal, Router, RouterConfig},
};

const PEER: ConnectionId = ConnectionId(1);
const WITNESS: ConnectionId = ConnectionId(2);
const HELLO: &str = r#"[1,"realm",{"roles":{"caller":{},"callee":{"features":{"call_canceling":true,"progressive_call_results":true}},"publisher":{},"subscriber":{}}}]"#;

/// Messages in JSON, each ended by octet 30 as in a batch.
pub fn conversation(bytes: &[u8]) {
    let mut router = Router::new(
        Uri::unchecked("realm"),
        RouterConfig {
            authorizer: Box::new(Open),
            ..RouterConfig::new(1)
        },
    );
    for connection in [PEER, WITNESS] {
        router.handle(Input::Attach {
            connection,
            codec: CodecId::Json,
            principal: Principal::new("peer", "user", "cookie"),
        });
        say(&mut router, connection, HELLO.as_bytes());
    }
    say(&mut router, WITNESS, br#"[64,1,{},"a.witness"]"#);
    say(&mut router, WITNESS, br#"[32,2,{"match":"prefix"},"a."]"#);
    let mut closed = false;
    for frame in bytes.split(|octet| *octet == 30) {
        for output in say(&mut router, PEER, frame) {
            match output {
                Output::Send {
                    connection: PEER,
                    message,
                    ..
                } => {
                    assert!(!closed, "{message:?} after the end");
                    let _ = message.frame(CodecId::Json);
                }
                Output::Send { message, .. } => {
                    let ended = matches!(message.message(), Message::Abort(_) | Message::Goodbye(_));
                    assert!(!ended, "the witness is ended: {message:?}");
                }
                // Nobody keeps events here, and what is read does not wait.
                Output::Store(_) | Output::Pause { .. } => {}
                Output::Close { connection, .. } => {
                    assert_eq!(connection, PEER, "only who breaks the rules is closed");
                    closed = true;
                }
            }
        }
        if closed {
            break;
        }
    }
    assert!(router.session_at(WITNESS).is_some(), "the witness stays");
    router.handle(Input::Tick {
        now: Duration::from_secs(1),
    });
    for connection in [PEER, WITNESS] {
        router.handle(Input::Detach { connection });
    }
    // What was retained or recorded stays: it is not the sessions'.
    let left = router.stats();
    let left = [
        left.connections,
        left.sessions,
        left.subscriptions,
        left.registrations,
        left.calls,
        left.held,
    ];
    assert_eq!(left, [0; 6], "left behind");
}

fn say(router: &mut Router, connection: ConnectionId, frame: &[u8]) -> Vec<Output> {
    router.handle(match CodecId::Json.decode(frame.to_vec().into()) {
        Ok(message) => Input::Message {
            connection,
            message: message.into(),
        },
        Err(error) => Input::Malformed {
            connection,
            reason: error.text,
        },
    })
}
