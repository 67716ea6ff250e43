//! Subscriptions and events.

use super::*;

#[test]
fn an_event_reaches_every_matching_subscription_with_one_publication_id() {
    let mut world = World::open();
    world.join(&[1, 2, 3, 4]);
    assert_eq!(world.say(2, r#"[32,1,{},"a.b.c"]"#), sent([(2, "[33,1,1]")]));
    assert_eq!(
        world.say(3, r#"[32,1,{"match":"prefix"},"a.b"]"#),
        sent([(3, "[33,1,2]")])
    );
    assert_eq!(
        world.say(4, r#"[32,1,{"match":"wildcard"},"a..c"]"#),
        sent([(4, "[33,1,3]")])
    );
    assert_eq!(
        world.say(1, r#"[16,1,{"acknowledge":true},"a.b.c",["x"],{"k":1}]"#),
        sent([
            (2, r#"[36,1,ID,{},["x"],{"k":1}]"#),
            (3, r#"[36,2,ID,{"topic":"a.b.c"},["x"],{"k":1}]"#),
            (4, r#"[36,3,ID,{"topic":"a.b.c"},["x"],{"k":1}]"#),
            (1, "[17,1,ID]"),
        ])
    );
    assert_eq!(
        world.say(1, r#"[16,2,{},"a.bc"]"#),
        sent([(3, r#"[36,2,ID,{"topic":"a.bc"}]"#)])
    );
    assert_eq!(world.say(1, r#"[16,3,{},"other"]"#), []);
}

#[test]
fn the_same_topic_has_one_subscription_id_and_ends_with_its_last_subscriber() {
    let mut world = World::open();
    world.join(&[1, 2]);
    assert_eq!(world.say(1, r#"[32,1,{},"t"]"#), sent([(1, "[33,1,1]")]));
    assert_eq!(
        world.say(1, r#"[32,2,{},"t"]"#),
        sent([(1, "[33,2,1]")]),
        "twice is once"
    );
    assert_eq!(world.say(2, r#"[32,1,{},"t"]"#), sent([(2, "[33,1,1]")]));
    assert_eq!(world.say(1, r#"[34,3,1]"#), sent([(1, "[35,3]")]));
    assert_eq!(refused(&world.say(1, r#"[34,4,1]"#)), "wamp.error.no_such_subscription");
    assert_eq!(
        refused(&world.say(1, r#"[34,5,77]"#)),
        "wamp.error.no_such_subscription"
    );
    assert_eq!(world.say(2, r#"[34,2,1]"#), sent([(2, "[35,2]")]));
    assert_eq!(
        world.say(2, r#"[32,3,{},"t"]"#),
        sent([(2, "[33,3,2]")]),
        "a new subscription"
    );
}

#[test]
fn the_publisher_gets_its_own_event_only_on_request_and_is_named_only_on_request() {
    let mut world = World::open();
    world.join(&[1, 2]);
    world.say(1, r#"[32,1,{},"t"]"#);
    world.say(2, r#"[32,1,{},"t"]"#);
    assert_eq!(world.say(1, r#"[16,2,{},"t"]"#), sent([(2, "[36,1,ID,{}]")]));
    let both = world.say(1, r#"[16,3,{"exclude_me":false,"disclose_me":true},"t"]"#);
    let event = r#"[36,1,ID,{"publisher":ID,"publisher_authid":"user1","publisher_authrole":"user"}]"#;
    assert_eq!(both.len(), 2);
    assert!(both.iter().all(|(_, frame)| frame == event), "{both:?}");
}

#[test]
fn receivers_are_in_every_eligible_list_and_in_no_exclude_list() {
    let mut world = World::open();
    world.join(&[1, 2, 3]);
    world.join_as(4, CodecId::Json, Principal::new("eve", "guest", "anonymous"), HELLO);
    for number in [2, 3, 4] {
        world.say(number, r#"[32,1,{},"t"]"#);
    }
    let (second, third) = (world.session(2), world.session(3));
    let mut receivers = |options: &str| {
        let said = world.say(1, &format!(r#"[16,2,{options},"t"]"#));
        let mut numbers: Vec<u64> = said.into_iter().map(|(number, _)| number).collect();
        numbers.sort_unstable();
        numbers
    };
    assert_eq!(receivers("{}"), [2, 3, 4]);
    assert_eq!(
        receivers(r#"{"eligible":[]}"#),
        [0_u64; 0],
        "an empty list means nobody"
    );
    assert_eq!(receivers(r#"{"eligible_authid":[]}"#), [0_u64; 0]);
    assert_eq!(receivers(&format!(r#"{{"eligible":[{second}]}}"#)), [2]);
    assert_eq!(receivers(&format!(r#"{{"exclude":[{third}]}}"#)), [2, 4]);
    assert_eq!(receivers(r#"{"exclude":[]}"#), [2, 3, 4]);
    assert_eq!(
        receivers(r#"{"eligible_authrole":["user"],"exclude_authid":["user2"]}"#),
        [3]
    );
    assert_eq!(receivers(r#"{"exclude_authrole":["guest"]}"#), [2, 3]);
}

#[test]
fn one_event_is_one_message_per_codec_however_many_subscribe() {
    let mut world = World::open();
    world.join(&[1, 2, 3]);
    world.join_as(4, CodecId::Msgpack, Principal::default(), HELLO);
    world.join_as(5, CodecId::Msgpack, Principal::default(), HELLO);
    for number in 2..=5 {
        world.say(number, r#"[32,1,{},"t"]"#);
    }
    let message = CodecId::Json
        .decode(r#"[16,1,{},"t",["\u0000AQID",5]]"#.into())
        .expect("a message");
    let outputs = world.router.handle(Input::Message {
        connection: ConnectionId(1),
        message: message.into(),
    });
    let messages: BTreeMap<u64, Arc<Outgoing>> = outputs
        .into_iter()
        .map(|output| match output {
            Output::Send {
                connection,
                message,
                class: Class::Event,
            } => (connection.0, message),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(messages.len(), 4);
    assert!(Arc::ptr_eq(&messages[&2], &messages[&3]));
    assert!(Arc::ptr_eq(&messages[&4], &messages[&5]));
    let one = messages[&4].frame(CodecId::Msgpack);
    assert_eq!(
        one.as_ptr(),
        messages[&5].frame(CodecId::Msgpack).as_ptr(),
        "the frame is made once"
    );
    let payload = messages[&4].message().payload().expect("arguments").clone();
    assert_eq!(
        &payload.args()[..],
        &[0x92, 0xc4, 3, 1, 2, 3, 5],
        "NUL and base64 in JSON are bytes elsewhere"
    );
}

#[test]
fn a_topic_outside_the_base_needs_a_grant_and_goes_with_it() {
    let mut world = World::strict();
    world.join(&[1]);
    world.join_as(2, CodecId::Json, Principal::internal("tree"), HELLO);
    let (session, topic) = (world.session(1), Uri::unchecked("coati.window.1"));
    assert_eq!(
        refused(&world.say(1, r#"[32,1,{},"coati.window.1"]"#)),
        "wamp.error.not_authorized"
    );
    world.handle(Input::Grant {
        session,
        topic: topic.clone(),
    });
    assert_eq!(world.say(1, r#"[32,2,{},"coati.window.1"]"#), sent([(1, "[33,2,1]")]));
    assert_eq!(
        refused(&world.say(1, r#"[32,3,{"match":"prefix"},"coati.window.1"]"#)),
        "wamp.error.not_authorized",
        "a grant is for the name, not for what starts with it"
    );
    assert_eq!(world.say(2, r#"[16,1,{},"coati.window.1"]"#).len(), 1);
    assert_eq!(
        world.handle(Input::Revoke { session, topic }),
        sent([(1, r#"[35,0,{"subscription":1,"reason":"wamp.error.not_authorized"}]"#)])
    );
    assert_eq!(world.say(2, r#"[16,2,{},"coati.window.1"]"#), []);
    assert_eq!(
        refused(&world.say(1, r#"[32,4,{},"coati.window.1"]"#)),
        "wamp.error.not_authorized"
    );
}

#[test]
fn a_session_may_have_so_many_subscriptions_and_patterns() {
    let mut world = World::open();
    let limits = Limits {
        subscriptions: 3,
        registrations: 1,
        patterns: 1,
        calls: 1,
        testaments: 1,
        retained: 1,
    };
    world.router.config.limits.insert("user".to_owned(), limits);
    world.join(&[1]);
    assert!(
        world.say(1, r#"[32,1,{"match":"prefix"},"a."]"#)[0]
            .1
            .starts_with("[33,")
    );
    assert_eq!(
        refused(&world.say(1, r#"[32,2,{"match":"prefix"},"b."]"#)),
        "coati.error.busy"
    );
    assert_eq!(
        refused(&world.say(1, r#"[64,3,{"match":"wildcard"},"b."]"#)),
        "coati.error.busy"
    );
    assert!(world.say(1, r#"[34,4,1]"#)[0].1.starts_with("[35,"));
    assert!(
        world.say(1, r#"[32,5,{"match":"prefix"},"b."]"#)[0]
            .1
            .starts_with("[33,"),
        "the pattern is free again"
    );
    for (request, topic) in [(6, "x"), (7, "y")] {
        assert!(
            world.say(1, &format!(r#"[32,{request},{{}},"{topic}"]"#))[0]
                .1
                .starts_with("[33,")
        );
    }
    assert_eq!(refused(&world.say(1, r#"[32,8,{},"z"]"#)), "coati.error.busy");
    assert!(
        world.say(1, r#"[32,9,{},"x"]"#)[0].1.starts_with("[33,9,"),
        "what one has counts once"
    );
}

/// The shell has no room for an event of a resumable subscription.
fn fall_behind(world: &mut World, topic: &str) -> Sent {
    let connection = ConnectionId(1);
    let frame = format!(r#"[16,1,{{}},"{topic}",["too much"]]"#);
    let message = CodecId::Json.decode(frame.into()).expect("a message");
    let out = world.router.handle(Input::Message {
        connection,
        message: message.into(),
    });
    let refused = out.into_iter().find_map(|output| match output {
        Output::Send {
            connection,
            message,
            class: Class::Resumable,
        } => Some((connection, message)),
        Output::Send { .. } | Output::Pause { .. } | Output::Close { .. } | Output::Store(_) => None,
    });
    let (connection, message) = refused.expect("an event that may be dropped");
    world.handle(Input::Behind { connection, message })
}

#[test]
fn a_resumable_subscriber_that_is_behind_is_told_once_and_hears_again_when_it_asks() {
    let mut world = World::open();
    world.join(&[1, 2, 3]);
    world.say(2, r#"[32,1,{"_resumable":true},"t"]"#);
    world.say(3, r#"[32,1,{},"t"]"#);
    assert_eq!(
        fall_behind(&mut world, "t"),
        sent([(2, r#"[36,1,ID,{"_behind":true}]"#)])
    );
    assert_eq!(
        world.say(1, r#"[16,2,{},"t",["more"]]"#),
        sent([(3, r#"[36,1,ID,{},["more"]]"#)]),
        "the others hear everything, it hears nothing"
    );
    assert_eq!(
        world.say(2, r#"[32,2,{"_resumable":true},"t"]"#),
        sent([(2, "[33,2,1]")])
    );
    assert_eq!(world.say(1, r#"[16,3,{},"t",["again"]]"#).len(), 2);
    assert_eq!(fall_behind(&mut world, "t").len(), 1, "and may fall behind again");
    world.say(2, r#"[32,3,{},"t"]"#);
    assert_eq!(
        fall_behind(&mut world, "t").len(),
        1,
        "it stays resumable for who subscribes to the same beside"
    );
    world.say(2, "[34,4,1]");
    world.say(2, r#"[32,5,{},"t"]"#);
    let out = world.say(1, r#"[16,4,{},"t",["all"]]"#);
    assert_eq!(out.len(), 2, "another subscription has another choice");
}

#[test]
fn a_pattern_that_falls_behind_says_so_for_one_of_its_topics() {
    let mut world = World::open();
    world.join(&[1, 2]);
    world.say(2, r#"[32,1,{"_resumable":true,"match":"prefix"},"t."]"#);
    assert_eq!(
        fall_behind(&mut world, "t.a"),
        sent([(2, r#"[36,1,ID,{"topic":"t.a","_behind":true}]"#)])
    );
    assert_eq!(world.say(1, r#"[16,2,{},"t.b",[]]"#), sent([]));
}
