//! Registrations, calls, giving up, time limits and back-pressure.

use bytes::Bytes;

use super::*;

const CALLER: &str = r#""caller":ID,"caller_authid":"user1","caller_authrole":"user""#;

/// Client 1 calls `p` of client 2: invocation 1.
fn called(world: &mut World, options: &str) {
    world.join(&[1]);
    world.say(2, r#"[64,1,{},"p"]"#);
    let said = world.say(1, &format!(r#"[48,7,{options},"p",[1]]"#));
    assert!(
        said.len() == 1 && said[0].0 == 2 && said[0].1.starts_with("[68,1,1,{"),
        "{said:?}"
    );
}

fn in_flight(options: &str) -> World {
    let mut world = World::open();
    world.join(&[2]);
    called(&mut world, options);
    world
}

#[test]
fn a_call_reaches_its_callee_with_the_callers_identity_and_the_result_comes_back() {
    let mut world = World::open();
    world.join(&[1, 2]);
    assert_eq!(world.say(2, r#"[64,1,{},"p"]"#), sent([(2, "[65,1,1]")]));
    assert_eq!(
        world.say(1, r#"[48,7,{"_trace":"t"},"p",["x"],{"k":[1,2]}]"#),
        vec![(2, format!(r#"[68,1,1,{{{CALLER},"_trace":"t"}},["x"],{{"k":[1,2]}}]"#))]
    );
    assert_eq!(world.say(2, r#"[70,1,{},["y"]]"#), sent([(1, r#"[50,7,{},["y"]]"#)]));
    assert_eq!(
        world.say(2, r#"[70,1,{},["y"]]"#),
        [],
        "an answer that comes twice is ignored"
    );
    world.say(1, r#"[48,8,{},"p"]"#);
    assert_eq!(
        world.say(2, r#"[8,68,2,{},"a.error",["no"]]"#),
        sent([(1, r#"[8,48,8,{},"a.error",["no"]]"#)])
    );
    assert_eq!(
        refused(&world.say(1, r#"[48,9,{},"q"]"#)),
        "wamp.error.no_such_procedure"
    );
}

#[test]
fn patterns_tell_the_callee_what_was_called_and_the_best_match_wins() {
    let mut world = World::open();
    world.join(&[1, 2]);
    for (request, policy, uri) in [
        (1, "exact", "a.b.c"),
        (2, "prefix", "a.b"),
        (3, "prefix", "a.b."),
        (4, "wildcard", "a..x"),
        (5, "wildcard", "..x"),
    ] {
        world.say(2, &format!(r#"[64,{request},{{"match":"{policy}"}},"{uri}"]"#));
    }
    let mut winner = |uri: &str| {
        let said = world.say(1, &format!(r#"[48,{},{{}},"{uri}"]"#, uri.len()));
        let frame = said[0].1.clone();
        assert_eq!(
            frame.contains(&format!(r#""procedure":"{uri}""#)),
            uri != "a.b.c",
            "{frame}"
        );
        frame.split(',').nth(2).expect("a registration").to_owned()
    };
    assert_eq!(winner("a.b.c"), "1");
    assert_eq!(winner("a.b.cc"), "3");
    assert_eq!(winner("a.bb"), "2");
    assert_eq!(winner("a.c12345.x"), "4");
    assert_eq!(winner("cc.c12345.x"), "5");
}

#[test]
fn a_name_is_taken_once_and_free_again_after_unregister() {
    let mut world = World::open();
    world.join(&[1, 2]);
    assert_eq!(world.say(1, r#"[64,1,{},"p"]"#), sent([(1, "[65,1,1]")]));
    assert_eq!(
        refused(&world.say(2, r#"[64,1,{},"p"]"#)),
        "wamp.error.procedure_already_exists"
    );
    assert_eq!(
        refused(&world.say(1, r#"[64,2,{},"p"]"#)),
        "wamp.error.procedure_already_exists"
    );
    assert_eq!(refused(&world.say(2, r#"[66,2,1]"#)), "wamp.error.no_such_registration");
    assert_eq!(
        world.say(2, r#"[64,3,{"match":"prefix"},"p"]"#),
        sent([(2, "[65,3,2]")]),
        "patterns have their own names"
    );
    assert_eq!(world.say(1, r#"[66,3,1]"#), sent([(1, "[67,3]")]));
    assert_eq!(world.say(2, r#"[64,4,{},"p"]"#), sent([(2, "[65,4,3]")]));
}

#[test]
fn shared_registrations_choose_by_their_policy() {
    for (invoke, expected) in [("roundrobin", [2, 3, 4, 2]), ("first", [2; 4]), ("last", [4; 4])] {
        let mut world = World::open();
        world.join(&[1, 2, 3, 4]);
        for number in [2, 3, 4] {
            let register = format!(r#"[64,1,{{"invoke":"{invoke}"}},"p"]"#);
            assert_eq!(world.say(number, &register), vec![(number, "[65,1,1]".to_owned())]);
        }
        assert_eq!(
            refused(&world.say(1, r#"[64,9,{"invoke":"random"},"p"]"#)),
            "wamp.error.procedure_already_exists",
            "the first callee decides the policy"
        );
        let chosen = [1, 2, 3, 4].map(|request| world.say(1, &format!(r#"[48,{request},{{}},"p"]"#))[0].0);
        assert_eq!(chosen, expected, "{invoke}");
    }
}

#[test]
fn giving_up_goes_by_its_mode() {
    let canceled = (1, r#"[8,48,7,{},"wamp.error.canceled",["The call was given up."]]"#);
    let mut world = in_flight("{}");
    assert_eq!(world.say(1, r#"[49,7,{"mode":"skip"}]"#), sent([canceled]));
    assert_eq!(world.say(2, r#"[70,1,{}]"#), [], "the late answer is dropped");

    let mut world = in_flight("{}");
    let killed = sent([(2, r#"[69,1,{"mode":"killnowait"}]"#), canceled]);
    assert_eq!(world.say(1, r#"[49,7,{}]"#), killed, "without a mode it is killnowait");
    assert_eq!(world.say(2, r#"[8,68,1,{},"wamp.error.canceled"]"#), []);
    assert_eq!(world.say(1, r#"[49,7,{}]"#), [], "what is over cannot be given up");

    let mut world = in_flight("{}");
    assert_eq!(
        world.say(1, r#"[49,7,{"mode":"kill"}]"#),
        sent([(2, r#"[69,1,{"mode":"kill"}]"#)])
    );
    assert_eq!(world.say(1, r#"[49,7,{"mode":"kill"}]"#), [], "once is enough");
    assert_eq!(
        world.say(2, r#"[8,68,1,{},"wamp.error.canceled",["stopped"]]"#),
        sent([(1, r#"[8,48,7,{},"wamp.error.canceled",["stopped"]]"#)])
    );
}

#[test]
fn a_callee_that_cannot_be_interrupted_is_left_alone() {
    for mode in ["kill", "killnowait"] {
        let mut world = World::open();
        world.join_as(2, CodecId::Json, Principal::default(), BASIC);
        called(&mut world, "{}");
        let said = world.say(1, &format!(r#"[49,7,{{"mode":"{mode}"}}]"#));
        assert_eq!(
            refused(&said),
            "wamp.error.canceled",
            "{mode}: the caller is answered all the same"
        );
    }
}

#[test]
fn who_leaves_leaves_nobody_waiting() {
    let mut world = in_flight("{}");
    assert_eq!(world.detach(1), sent([(2, r#"[69,1,{"mode":"killnowait"}]"#)]));
    assert_eq!(world.say(2, r#"[70,1,{}]"#), []);

    let mut world = in_flight("{}");
    assert_eq!(refused(&world.detach(2)), "wamp.error.canceled");
    assert_eq!(
        refused(&world.say(1, r#"[48,8,{},"p"]"#)),
        "wamp.error.no_such_procedure"
    );

    let mut world = World::open();
    world.join(&[1]);
    world.say(1, r#"[64,1,{},"p"]"#);
    world.say(1, r#"[48,2,{},"p"]"#);
    assert_eq!(world.detach(1), [], "who calls itself and leaves gets nothing");
    assert_eq!(world.router.stats(), Stats::default());
}

#[test]
fn a_call_that_takes_too_long_ends_by_the_clock_it_is_told() {
    let mut world = in_flight(r#"{"timeout":100}"#);
    assert_eq!(world.router.next_deadline(), Some(Duration::from_millis(100)));
    assert_eq!(world.tick(99), []);
    assert_eq!(
        world.tick(100),
        sent([
            (2, r#"[69,1,{"mode":"killnowait","reason":"wamp.error.timeout"}]"#),
            (1, r#"[8,48,7,{},"wamp.error.timeout",["The call took too long."]]"#),
        ])
    );
    assert_eq!(world.say(2, r#"[70,1,{}]"#), []);
    assert_eq!(world.router.next_deadline(), None);
}

#[test]
fn progressive_results_come_if_both_sides_want_them_and_reset_the_clock() {
    let mut world = in_flight(r#"{"receive_progress":true,"timeout":100}"#);
    world.tick(80);
    assert_eq!(
        world.say(2, r#"[70,1,{"progress":true},[1]]"#),
        sent([(1, r#"[50,7,{"progress":true},[1]]"#)])
    );
    assert_eq!(world.tick(150), []);
    assert_eq!(world.say(2, r#"[70,1,{},[2]]"#), sent([(1, "[50,7,{},[2]]")]));

    let mut world = in_flight("{}");
    assert_eq!(
        world.say(2, r#"[70,1,{"progress":true},[1]]"#),
        [],
        "nobody asked for progress"
    );
    assert_eq!(world.say(2, r#"[70,1,{},[2]]"#), sent([(1, "[50,7,{},[2]]")]));

    let mut world = World::open();
    world.join_as(2, CodecId::Json, Principal::default(), BASIC);
    world.join(&[1]);
    world.say(2, r#"[64,1,{},"p"]"#);
    let said = world.say(1, r#"[48,7,{"receive_progress":true},"p"]"#);
    assert!(
        !said[0].1.contains("receive_progress"),
        "the callee did not announce it: {said:?}"
    );
}

#[test]
fn a_request_in_flight_may_not_be_used_again_and_gaps_are_fine() {
    let mut world = in_flight("{}");
    assert!(world.say(1, r#"[48,99,{},"p"]"#)[0].1.starts_with("[68,2,"));
    assert!(world.say(1, r#"[48,3,{},"p"]"#)[0].1.starts_with("[68,3,"));
    let said = world.say(1, r#"[48,7,{},"p"]"#);
    assert!(
        said.iter()
            .any(|(to, frame)| *to == 1 && frame.contains("protocol_violation")),
        "{said:?}"
    );
}

#[test]
fn a_caller_has_so_many_calls_in_flight_and_no_more() {
    let mut world = World::open();
    world.join(&[1, 2]);
    world.say(2, r#"[64,1,{},"p"]"#);
    for request in 1..=64 {
        assert_eq!(world.say(1, &format!(r#"[48,{request},{{}},"p"]"#))[0].0, 2);
    }
    assert_eq!(refused(&world.say(1, r#"[48,65,{},"p"]"#)), "coati.error.busy");
    world.say(2, "[70,1,{}]");
    assert_eq!(world.say(1, r#"[48,66,{},"p"]"#)[0].0, 2, "an answer frees a place");
}

#[test]
fn invocations_without_room_are_held_in_order_until_there_is_some() {
    let mut world = World::open();
    world.join(&[1, 2]);
    world.say(2, r#"[64,1,{},"p"]"#);
    let connection = ConnectionId(2);
    let call = |request: u64| {
        CodecId::Json
            .decode(format!(r#"[48,{request},{{}},"p"]"#).into())
            .expect("a call")
    };
    let mut outputs = world.router.handle(Input::Message {
        connection: ConnectionId(1),
        message: call(1).into(),
    });
    let Some(Output::Send {
        message,
        class: Class::Invocation,
        ..
    }) = outputs.pop()
    else {
        panic!("{outputs:?}")
    };
    assert_eq!(world.handle(Input::Undelivered { connection, message }), []);
    for request in 2..=4 {
        let message = call(request);
        assert_eq!(
            world.handle(Input::Message {
                connection: ConnectionId(1),
                message: message.into()
            }),
            []
        );
    }
    assert_eq!(world.router.stats().held, 4);
    assert_eq!(
        (world.router.held(connection), world.router.held(ConnectionId(1))),
        (4, 0)
    );
    assert_eq!(refused(&world.say(1, r#"[49,3,{}]"#)), "wamp.error.canceled");
    let numbers = |sent: Sent| sent.iter().map(|(_, frame)| frame[4..5].to_owned()).collect::<Vec<_>>();
    assert_eq!(
        numbers(world.handle(Input::Room {
            connection,
            invocations: 2
        })),
        ["1", "2"]
    );
    assert_eq!(world.say(1, r#"[48,5,{},"p"]"#), [], "nothing overtakes what is held");
    assert_eq!(
        numbers(world.handle(Input::Room {
            connection,
            invocations: 9
        })),
        ["4", "5"]
    );
    assert_eq!(
        numbers(world.say(1, r#"[48,6,{},"p"]"#)),
        ["6"],
        "the way is free again"
    );
}

#[test]
fn arguments_are_translated_for_a_callee_of_another_codec() {
    let mut world = World::open();
    world.join(&[1]);
    world.join_as(2, CodecId::Msgpack, Principal::default(), HELLO);
    world.say(2, r#"[64,1,{},"p"]"#);
    let message = CodecId::Json
        .decode(r#"[48,1,{},"p",["\u0000AQID"]]"#.into())
        .expect("a call");
    let mut outputs = world.router.handle(Input::Message {
        connection: ConnectionId(1),
        message: message.into(),
    });
    let Some(Output::Send { message, .. }) = outputs.pop() else {
        panic!("{outputs:?}")
    };
    let payload = message.message().payload().expect("arguments").clone();
    assert_eq!(
        (payload.codec(), &payload.args()[..]),
        (CodecId::Msgpack, &[0x91, 0xc4, 3, 1, 2, 3][..])
    );
    let answer = Bytes::from_static(&[0x94, 70, 1, 0x80, 0x91, 0xc4, 1, 0xff]);
    let message = CodecId::Msgpack.decode(answer).expect("a result");
    let said = world.handle(Input::Message {
        connection: ConnectionId(2),
        message: message.into(),
    });
    assert_eq!(said, sent([(1, r#"[50,1,{},["\u0000/w=="]]"#)]));
}

/// Says that it streams arguments as caller and takes them as callee.
const STREAMS: &str = r#"[1,"realm",{"roles":{"caller":{"features":{"progressive_call_invocations":true}},
    "callee":{"features":{"call_canceling":true,"progressive_call_invocations":true}}}}]"#;

fn streaming() -> World {
    let mut world = World::open();
    for number in [1, 2] {
        world.join_as(
            number,
            CodecId::Json,
            Principal::new("user1", "user", "cookie"),
            STREAMS,
        );
    }
    world.say(2, r#"[64,1,{"invoke":"roundrobin"},"p"]"#);
    world
}

#[test]
fn streamed_arguments_go_to_one_callee_under_one_invocation() {
    let mut world = streaming();
    world.join_as(3, CodecId::Json, Principal::default(), STREAMS);
    world.say(3, r#"[64,1,{"invoke":"roundrobin"},"p"]"#);
    assert_eq!(
        world.say(1, r#"[48,1,{"progress":true},"p",[1]]"#),
        vec![(2, format!(r#"[68,1,1,{{{CALLER},"progress":true}},[1]]"#))]
    );
    assert_eq!(
        world.say(1, r#"[48,1,{"progress":true},"p",[2]]"#),
        sent([(2, r#"[68,1,1,{"progress":true},[2]]"#)])
    );
    assert_eq!(
        world.say(1, r#"[48,1,{},"p",[3]]"#),
        sent([(2, "[68,1,1,{},[3]]")]),
        "the last part"
    );
    assert_eq!(world.router.stats().calls, 1);
    assert_eq!(world.say(2, "[70,1,{},[6]]"), sent([(1, "[50,1,{},[6]]")]));
    assert_eq!(
        world.say(1, r#"[48,2,{},"p"]"#)[0].0,
        3,
        "the next call is the next callee's"
    );
}

#[test]
fn a_part_after_the_last_breaks_the_protocol() {
    let mut world = streaming();
    world.say(1, r#"[48,1,{"progress":true},"p",[1]]"#);
    world.say(1, r#"[48,1,{},"p",[1]]"#);
    let said = world.say(1, r#"[48,1,{},"p",[1]]"#);
    assert!(
        said.iter()
            .any(|(to, text)| *to == 1 && text.contains("protocol_violation"))
    );
}

#[test]
fn parts_of_a_call_that_is_over_already_are_for_nobody() {
    let mut world = streaming();
    world.say(1, r#"[48,1,{"progress":true},"p",[1]]"#);
    assert_eq!(
        world.say(2, r#"[8,68,1,{},"a.full"]"#),
        sent([(1, r#"[8,48,1,{},"a.full"]"#)])
    );
    assert_eq!(world.say(1, r#"[48,1,{"progress":true},"p",[2]]"#), []);
    assert_eq!(world.say(1, r#"[48,1,{},"p",[3]]"#), [], "the last part is late too");
    assert_eq!(
        refused(&world.say(1, r#"[48,2,{"progress":true},"q",[1]]"#)),
        "wamp.error.no_such_procedure"
    );
    assert_eq!(world.say(1, r#"[48,2,{},"q",[2]]"#), [], "a refusal is said once");
    assert_eq!(world.router.stats().calls, 0);
}

#[test]
fn streaming_needs_both_sides_to_have_said_that_they_can() {
    let mut world = streaming();
    world.join(&[3]);
    world.say(3, r#"[64,1,{},"basic"]"#);
    assert_eq!(
        refused(&world.say(1, r#"[48,1,{"progress":true},"basic"]"#)),
        "wamp.error.feature_not_supported"
    );
    let said = world.say(3, r#"[48,1,{"progress":true},"p"]"#);
    assert!(said[0].1.contains("protocol_violation"), "{said:?}");
}

#[test]
fn parts_without_room_are_held_in_order_and_dropped_with_their_call() {
    let mut world = streaming();
    let connection = ConnectionId(2);
    let message = |text: &str| CodecId::Json.decode(text.to_owned().into()).expect("a message");
    let stall = |world: &mut World, text: &str| {
        let input = Input::Message {
            connection: ConnectionId(1),
            message: message(text).into(),
        };
        let Some(Output::Send { message, .. }) = world.router.handle(input).pop() else {
            panic!("nothing was sent")
        };
        world.handle(Input::Undelivered { connection, message });
    };
    world.say(1, r#"[48,1,{"progress":true},"p",[1]]"#);
    stall(&mut world, r#"[48,1,{"progress":true},"p",[2]]"#);
    world.say(1, r#"[48,2,{},"p",["other"]]"#);
    world.say(1, r#"[48,1,{},"p",[3]]"#);
    let room = Input::Room {
        connection,
        invocations: 9,
    };
    let parts = |sent: Sent| {
        sent.iter()
            .map(|(_, text)| text.rsplit('[').next().expect("args").to_owned())
            .collect()
    };
    let released: Vec<String> = parts(world.handle(room));
    assert_eq!(released, ["2]]", "\"other\"]]", "3]]"]);

    world.say(1, r#"[48,3,{"progress":true},"p",[1]]"#);
    stall(&mut world, r#"[48,3,{},"p",[2]]"#);
    assert_eq!(
        world.say(1, "[49,3,{}]")[0],
        (2, r#"[69,3,{"mode":"killnowait"}]"#.to_owned()),
        "the callee has heard of it"
    );
    assert_eq!(world.router.stats().held, 0);
}

#[test]
fn results_before_the_last_have_no_room_kept_for_them_and_need_no_canceling() {
    let mut world = World::open();
    let hello = r#"[1,"realm",{"roles":{"callee":{"features":{"progressive_call_results":true}}}}]"#;
    world.join_as(2, CodecId::Json, Principal::default(), hello);
    called(&mut world, r#"{"receive_progress":true}"#);
    for (result, class) in [
        (r#"[70,1,{"progress":true},[1]]"#, Class::Event),
        ("[70,1,{},[2]]", Class::Reply),
    ] {
        let input = Input::Message {
            connection: ConnectionId(2),
            message: CodecId::Json.decode(result.into()).expect("a result").into(),
        };
        let said = world.router.handle(input);
        assert!(
            matches!(said.as_slice(), [Output::Send { class: it, .. }] if *it == class),
            "{said:?}"
        );
    }
}
