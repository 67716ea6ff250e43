//! A router between peers of one codec decodes no arguments. Alone in its process, because the counter is global.

use coati_shared::wamp::{
    CodecId, Uri, payload_decodes,
    router::{ConnectionId, Input, Open, Output, Principal, Router, RouterConfig},
};

struct World(Router);

impl World {
    /// A client says something; what is sent to whom.
    fn say(&mut self, number: u64, codec: CodecId, json: &str) -> Vec<(u64, String)> {
        let message = CodecId::Json.decode(json.to_owned().into()).expect("a message");
        let message = if codec == CodecId::Json {
            message
        } else {
            codec.decode(codec.encode(&message)).expect("same")
        };
        let outputs = self.0.handle(Input::Message {
            connection: ConnectionId(number),
            message: message.into(),
        });
        let frames = outputs.into_iter().filter_map(|output| match output {
            Output::Send {
                connection, message, ..
            } => {
                let frame = message.frame(codec);
                Some((connection.0, String::from_utf8_lossy(&frame).into_owned()))
            }
            Output::Close { .. } | Output::Store(_) | Output::Pause { .. } => None,
        });
        frames.collect()
    }
}

#[test]
fn arguments_pass_through_the_router_undecoded() {
    let config = RouterConfig {
        authorizer: Box::new(Open),
        ..RouterConfig::new(1)
    };
    let mut world = World(Router::new(Uri::unchecked("realm"), config));
    for number in 1..=3 {
        let (connection, principal) = (ConnectionId(number), Principal::new("a", "b", "c"));
        world.0.handle(Input::Attach {
            connection,
            codec: CodecId::Json,
            principal,
        });
        world.say(number, CodecId::Json, r#"[1,"realm",{"roles":{"caller":{}}}]"#);
    }
    world.say(2, CodecId::Json, r#"[64,1,{},"p"]"#);
    world.say(2, CodecId::Json, r#"[32,2,{},"t"]"#);
    world.say(3, CodecId::Json, r#"[32,2,{"match":"prefix"},"t"]"#);

    let before = payload_decodes();
    let odd = r#"[1.50, "\u0041\/",{"b" :1,"a":1e2}],{"k":[ ]}"#;
    let said = world.say(1, CodecId::Json, &format!(r#"[48,1,{{}},"p",{odd}]"#));
    assert!(said[0].1.ends_with(&format!(",{odd}]")), "not even respelt: {said:?}");
    let said = world.say(2, CodecId::Json, &format!(r#"[70,1,{{}},{odd}]"#));
    assert_eq!(said, [(1, format!(r#"[50,1,{{}},{odd}]"#))]);
    let said = world.say(1, CodecId::Json, &format!(r#"[16,2,{{}},"t",{odd}]"#));
    assert_eq!(said.len(), 2);
    assert!(
        said.iter().all(|(_, frame)| frame.ends_with(&format!(",{odd}]"))),
        "{said:?}"
    );
    assert_eq!(payload_decodes(), before, "nothing was decoded");

    // The counter does count: ten more subscribers of another codec cost one translation.
    for number in 11..=20 {
        let (connection, principal) = (ConnectionId(number), Principal::new("a", "b", "c"));
        world.0.handle(Input::Attach {
            connection,
            codec: CodecId::Msgpack,
            principal,
        });
        world.say(number, CodecId::Msgpack, r#"[1,"realm",{"roles":{"subscriber":{}}}]"#);
        world.say(number, CodecId::Msgpack, r#"[32,1,{},"t"]"#);
    }
    let before = payload_decodes();
    let message = CodecId::Json.decode(r#"[16,3,{},"t",[1]]"#.into()).expect("a message");
    let outputs = world.0.handle(Input::Message {
        connection: ConnectionId(1),
        message: message.into(),
    });
    assert_eq!(outputs.len(), 12);
    for output in outputs {
        if let Output::Send {
            connection, message, ..
        } = output
        {
            let codec = if connection.0 > 10 {
                CodecId::Msgpack
            } else {
                CodecId::Json
            };
            assert!(!message.frame(codec).is_empty());
        }
    }
    assert_eq!(payload_decodes(), before + 1);
}
