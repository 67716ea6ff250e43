//! Opening and ending sessions, and what breaks the protocol.

use super::*;

#[test]
fn hello_is_answered_by_who_the_client_is_and_what_the_router_can_do() {
    let mut world = World::open();
    world.attach(1, CodecId::Json, Principal::new("ann", "user", "cookie"));
    let sent = world.say(1, HELLO);
    let frame = &sent[0].1;
    for part in [
        "\"authid\":\"ann\"",
        "\"authrole\":\"user\"",
        "\"realm\":\"realm\"",
        "\"broker\":{",
        "\"dealer\":{",
        "\"_resumable\":true",
    ] {
        assert!(frame.contains(part), "{part} in {frame}");
    }
    assert!(
        !frame.contains("event_history"),
        "features that are not there are not announced"
    );
}

#[test]
fn session_ids_differ_between_seeds_and_stay_within_a_seed() {
    let draw = |seed| {
        let mut world = World::with(RouterConfig::new(seed));
        world.join(&[1]);
        world.session(1)
    };
    assert_eq!(draw(5), draw(5));
    assert_ne!(draw(5), draw(6));
}

#[test]
fn another_realm_is_refused() {
    let mut world = World::open();
    world.attach(1, CodecId::Json, Principal::default());
    let answer = world.say(1, r#"[1,"other",{"roles":{"caller":{}}}]"#);
    assert!(
        answer[0].1.starts_with("[3,") && answer[0].1.contains("wamp.error.no_such_realm"),
        "{answer:?}"
    );
    assert_eq!(answer[1].1, "close wamp.error.no_such_realm");
}

#[test]
fn every_breach_of_protocol_ends_in_abort_and_close_and_then_silence() {
    for (joined, breach) in [
        (true, HELLO),
        (false, r#"[32,1,{},"a.b"]"#),
        (false, r#"[70,1,{}]"#),
        (true, r#"[2,1,{"roles":{}}]"#),
        (true, r#"[4,"ticket",{}]"#),
        (true, r#"[50,1,{}]"#),
        (true, r#"[36,1,1,{}]"#),
        (true, r#"[68,1,1,{}]"#),
        (true, r#"[70,1,{}]"#),
        (true, r#"[8,68,1,{},"a.error"]"#),
        (true, r#"[8,48,1,{},"a.error"]"#),
    ] {
        let mut world = World::open();
        if joined {
            world.join(&[1]);
        } else {
            world.attach(1, CodecId::Json, Principal::default());
        }
        let answer = world.say(1, breach);
        assert!(
            answer[0].1.starts_with("[3,{") && answer[0].1.contains("protocol_violation"),
            "{breach}: {answer:?}"
        );
        assert_eq!(
            answer[1],
            (1, "close wamp.error.protocol_violation".to_owned()),
            "{breach}"
        );
        assert_eq!(world.say(1, r#"[48,1,{},"a.b"]"#), [], "late frames are ignored");
        assert_eq!(world.router.stats().sessions, 0, "{breach}");
    }
}

#[test]
fn a_frame_that_is_not_a_message_aborts_the_session() {
    let mut world = World::open();
    world.join(&[1]);
    let input = Input::Malformed {
        connection: ConnectionId(1),
        reason: "not JSON".to_owned(),
    };
    let answer = world.handle(input);
    assert!(
        answer[0].1.contains("not JSON") && answer[1].1.starts_with("close"),
        "{answer:?}"
    );
}

#[test]
fn goodbye_is_answered_and_the_connection_may_join_again() {
    let mut world = World::open();
    world.join(&[1]);
    let first = world.session(1);
    assert_eq!(
        world.say(1, r#"[6,{},"wamp.close.close_realm"]"#),
        sent([(1, r#"[6,{},"wamp.close.goodbye_and_out"]"#)])
    );
    assert_eq!(world.router.stats().sessions, 0);
    assert!(world.say(1, HELLO)[0].1.starts_with("[2,"));
    assert_ne!(world.session(1), first);
}

#[test]
fn killing_a_session_says_goodbye_closes_and_frees_its_names() {
    let mut world = World::open();
    world.join(&[1, 2]);
    world.say(1, r#"[64,1,{},"a.b"]"#);
    assert_eq!(
        world.kill(1),
        sent([(1, r#"[6,{},"wamp.close.killed"]"#), (1, "close wamp.close.killed")])
    );
    assert_eq!(
        world.say(1, r#"[6,{},"wamp.close.goodbye_and_out"]"#),
        [],
        "the answer to our own goodbye"
    );
    assert_eq!(world.say(2, r#"[64,1,{},"a.b"]"#), sent([(2, "[65,1,2]")]));
    let unknown = Input::Kill {
        session: SessionId::wrapped(7),
        reason: Uri::unchecked("x"),
        message: None,
    };
    assert_eq!(world.handle(unknown), [], "killing nobody does nothing");
}

#[test]
fn shutting_down_says_goodbye_to_everybody() {
    let mut world = World::open();
    world.join(&[1, 2]);
    let said = world.handle(Input::Shutdown);
    for number in [1, 2] {
        assert!(
            said.contains(&(number, r#"[6,{},"wamp.close.system_shutdown"]"#.to_owned())),
            "{said:?}"
        );
        assert!(
            said.contains(&(number, "close wamp.close.system_shutdown".to_owned())),
            "{said:?}"
        );
    }
}

#[test]
fn an_outdated_client_is_told_so_and_others_are_not_asked() {
    let config = || RouterConfig {
        contracts: Some("new".to_owned()),
        ..RouterConfig::new(1)
    };
    let hello =
        |contracts: &str| format!(r#"[1,"realm",{{"roles":{{}},"coati":{{"protocol":1,"contracts":"{contracts}"}}}}]"#);
    let mut world = World::with(config());
    world.attach(1, CodecId::Json, Principal::default());
    let answer = world.say(1, &hello("old"));
    assert!(answer[0].1.contains("coati.error.client_outdated"), "{answer:?}");
    for (number, principal, hello) in [
        (2, Principal::default(), hello("new")),
        (3, Principal::default(), HELLO.to_owned()),
        (4, Principal::internal("tree"), hello("old")),
    ] {
        world.join_as(number, CodecId::Json, principal, &hello);
    }
}

#[test]
fn a_newer_client_of_a_session_root_replaces_the_older_before_it_registers() {
    let mut world = World::strict();
    world.join(&[1, 2]);
    world.bind(1, "base");
    assert_eq!(world.say(1, r#"[64,1,{},"base.client"]"#), sent([(1, "[65,1,1]")]));
    let said = world.bind(2, "base");
    assert!(said[0].1.contains("coati.close.replaced") && said[0].0 == 1, "{said:?}");
    assert_eq!(said[1], (1, "close coati.close.replaced".to_owned()));
    assert_eq!(
        world.say(2, r#"[64,1,{},"base.client"]"#),
        sent([(2, "[65,1,2]")]),
        "the name is free"
    );
    assert_eq!(
        world.say(1, r#"[16,2,{"acknowledge":true},"base.client.x"]"#),
        [],
        "late frames are ignored"
    );
    assert_eq!(world.router.session_of_base("base"), Some(world.session(2)));
    world.detach(1);
    assert_eq!(
        world.router.session_of_base("base"),
        Some(world.session(2)),
        "the old end does not unbind the new"
    );
    world.detach(2);
    assert_eq!(world.router.session_of_base("base"), None);
}

#[test]
fn nothing_is_left_when_everybody_has_gone() {
    let mut world = World::open();
    world.join(&[1, 2]);
    world.say(1, r#"[64,1,{"match":"wildcard"},"a..c"]"#);
    world.say(1, r#"[32,2,{"match":"prefix"},"a."]"#);
    world.say(2, r#"[48,1,{"timeout":100},"a.b.c"]"#);
    world.detach(2);
    world.detach(1);
    assert_eq!(world.router.stats(), Stats::default());
    assert_eq!(world.router.next_deadline(), None);
    assert_eq!(world.say_unknown(), []);
}

impl World {
    fn say_unknown(&mut self) -> Sent {
        let message = CodecId::Json.decode(r#"[34,1,1]"#.into()).expect("a message");
        self.handle(Input::Message {
            connection: ConnectionId(99),
            message: message.into(),
        })
    }
}

#[test]
fn a_session_that_moves_to_another_base_keeps_nothing_below_the_former_one() {
    let mut world = World::strict();
    world.join(&[1, 2]);
    world.bind(1, "old");
    world.say(1, r#"[32,1,{"match":"prefix"},"old."]"#);
    world.say(1, r#"[64,2,{"match":"prefix"},"old.client."]"#);
    assert_eq!(
        (world.router.stats().subscriptions, world.router.stats().registrations),
        (1, 1)
    );
    world.bind(1, "new");
    assert_eq!(
        (world.router.stats().subscriptions, world.router.stats().registrations),
        (0, 0)
    );
    world.bind(2, "old");
    world.say(2, r#"[64,1,{},"old.client.x"]"#);
    let said = world.say(2, r#"[16,2,{"acknowledge":true},"old.client.y"]"#);
    assert!(said.iter().all(|(to, _)| *to == 2), "{said:?}");
}
