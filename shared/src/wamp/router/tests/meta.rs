//! The meta API: procedures, events, who may use it, testaments and revocation.

use super::*;

/// Client 9 is an operator; the others are users.
fn watched() -> World {
    let mut world = World::with(RouterConfig {
        authorizer: Box::new(AllNames),
        meta_roles: ["operator".to_owned()].into(),
        epoch: Duration::from_secs(1_700_000_000),
        ..RouterConfig::new(1)
    });
    world.join_as(9, CodecId::Json, Principal::new("op", "operator", "ticket"), HELLO);
    world
}

fn call(world: &mut World, procedure: &str, args: &str) -> String {
    let said = world.say(9, &format!(r#"[48,1,{{}},"wamp.{procedure}",{args}]"#));
    let answer = said
        .iter()
        .find(|(to, frame)| *to == 9 && (frame.starts_with("[50,") || frame.starts_with("[8,")));
    let answer = answer.unwrap_or_else(|| panic!("no answer: {said:?}")).1.clone();
    answer
        .strip_prefix("[50,1,{},")
        .and_then(|rest| rest.strip_suffix(']'))
        .map(str::to_owned)
        .unwrap_or_else(|| answer.split('"').nth(1).unwrap_or_default().to_owned())
}

#[test]
fn sessions_are_counted_listed_and_shown_without_addresses() {
    let mut world = watched();
    world.join(&[1, 2]);
    world.join_as(5, CodecId::Json, Principal::internal("tree"), HELLO);
    assert_eq!(
        call(&mut world, "session.count", "[]"),
        "[3]",
        "our own trees do not show"
    );
    assert_eq!(call(&mut world, "session.count", r#"[["user"]]"#), "[2]");
    assert_eq!(
        call(&mut world, "session.list", r#"[["operator","user"]]"#),
        "[[ID,ID,ID]]"
    );
    let one = world.session(1).get();
    assert_eq!(
        call(&mut world, "session.get", &format!("[{one}]")),
        r#"[{"session":ID,"authid":"user1","authrole":"user","authmethod":"cookie","authprovider":"cookie","transport":{}}]"#
    );
    assert_eq!(call(&mut world, "session.get", "[1]"), "wamp.error.no_such_session");
    assert_eq!(call(&mut world, "session.get", "[]"), "wamp.error.invalid_argument");
    let tree = world.session(5).get();
    assert_eq!(
        call(&mut world, "session.get", &format!("[{tree}]")),
        "wamp.error.no_such_session"
    );
    assert_eq!(
        call(&mut world, "session.kill", &format!("[{tree}]")),
        "wamp.error.no_such_session"
    );
    let said = world.say(5, r#"[48,1,{},"wamp.session.count"]"#);
    assert_eq!(said, sent([(5, "[50,1,{},[4]]")]), "a tree sees its kind");
}

#[test]
fn nobody_else_may_call_or_hear_anything() {
    let mut world = watched();
    world.join(&[1, 2]);
    for procedure in [
        "session.count",
        "session.list",
        "session.kill_all",
        "session.anything",
        "registration.list",
        "registration.list_callees",
        "subscription.match",
        "subscription.list_subscribers",
    ] {
        assert_eq!(
            refused(&world.say(1, &format!(r#"[48,1,{{}},"wamp.{procedure}",[1]]"#))),
            "wamp.error.not_authorized",
            "{procedure}"
        );
    }
    assert_eq!(
        refused(&world.say(1, r#"[48,1,{},"wamp.other.thing"]"#)),
        "wamp.error.no_such_procedure"
    );
    assert_eq!(
        refused(&world.say(1, r#"[32,1,{},"wamp.session.on_join"]"#)),
        "wamp.error.not_authorized"
    );
    world.say(1, r#"[32,2,{"match":"prefix"},""]"#);
    world.say(1, r#"[32,3,{"match":"wildcard"},".session."]"#);
    world.attach(3, CodecId::Json, Principal::default());
    assert_eq!(world.say(3, HELLO).len(), 1, "patterns do not reach the meta events");
    let welcome = |world: &mut World, number| {
        world.attach(
            number,
            CodecId::Json,
            Principal::new("x", if number == 8 { "operator" } else { "user" }, "x"),
        );
        world.say(number, HELLO)[0].1.clone()
    };
    assert!(!welcome(&mut world, 7).contains("session_meta_api"));
    assert!(
        welcome(&mut world, 8).contains("session_meta_api"),
        "announced to who may use it"
    );
}

#[test]
fn in_an_open_realm_everybody_may() {
    let mut world = World::with(RouterConfig {
        authorizer: Box::new(Open),
        ..RouterConfig::new(1)
    });
    world.join(&[1]);
    assert_eq!(
        world.say(1, r#"[48,1,{},"wamp.session.count"]"#),
        sent([(1, "[50,1,{},[1]]")])
    );
    assert_eq!(
        world.say(1, r#"[32,2,{},"wamp.session.on_join"]"#),
        sent([(1, "[33,2,1]")])
    );
    assert_eq!(
        refused(&world.say(1, r#"[64,3,{},"wamp.session.count"]"#)),
        "wamp.error.invalid_uri"
    );
}

#[test]
fn killing_evicts_at_once_and_spares_the_caller() {
    let mut world = watched();
    world.join(&[1, 2, 3, 4]);
    world.say(1, r#"[64,1,{},"p"]"#);
    let one = world.session(1).get();
    let said = world.say(
        9,
        &format!(r#"[48,1,{{}},"wamp.session.kill",[{one}],{{"reason":"a.reason","message":"go"}}]"#),
    );
    assert_eq!(
        said,
        sent([
            (1, r#"[6,{"message":"go"},"a.reason"]"#),
            (1, "close a.reason"),
            (9, "[50,1,{}]"),
        ])
    );
    assert_eq!(
        world.say(1, r#"[48,2,{},"x"]"#),
        [],
        "it is gone, whether it answers or not"
    );
    assert_eq!(world.router.stats().registrations, 0);
    assert_eq!(
        call(&mut world, "session.kill", &format!("[{one}]")),
        "wamp.error.no_such_session"
    );
    let own = world.session(9).get();
    assert_eq!(
        call(&mut world, "session.kill", &format!("[{own}]")),
        "wamp.error.no_such_session"
    );
    let two = world.session(2).get();
    assert_eq!(
        call(&mut world, "session.kill", &format!(r#"[{two},"a reason"]"#)),
        "wamp.error.invalid_uri"
    );
    assert_eq!(call(&mut world, "session.kill_by_authid", r#"["user2"]"#), "[[ID]]");
    assert_eq!(call(&mut world, "session.kill_by_authrole", r#"["operator"]"#), "[[]]");
    assert_eq!(call(&mut world, "session.kill_all", "[]"), "[2]");
    assert_eq!(world.router.stats().sessions, 1);
}

#[test]
fn registrations_and_subscriptions_are_looked_up() {
    let mut world = watched();
    world.join(&[1, 2]);
    for number in [1, 2] {
        world.say(number, r#"[64,1,{"invoke":"roundrobin"},"p"]"#);
        world.say(number, r#"[32,2,{},"t"]"#);
    }
    world.say(1, r#"[64,3,{"match":"prefix"},"p."]"#);
    world.say(1, r#"[32,4,{"match":"wildcard"},"."]"#);
    for (procedure, args, answer) in [
        (
            "registration.list",
            "[]",
            r#"[{"exact":[1],"prefix":[2],"wildcard":[]}]"#,
        ),
        ("registration.lookup", r#"["p"]"#, "[1]"),
        ("registration.lookup", r#"["p.",{"match":"prefix"}]"#, "[2]"),
        (
            "registration.lookup",
            r#"["p.",{"match":"odd"}]"#,
            "wamp.error.invalid_argument",
        ),
        ("registration.lookup", r#"["q"]"#, "[null]"),
        ("registration.match", r#"["p.x"]"#, "[2]"),
        ("registration.match", r#"["q"]"#, "[null]"),
        ("registration.count_callees", "[1]", "[2]"),
        ("registration.list_callees", "[1]", "[[ID,ID]]"),
        ("registration.count_callees", "[7]", "wamp.error.no_such_registration"),
        (
            "registration.get",
            "[1]",
            r#"[{"id":1,"created":"2023-11-14T22:13:20.000Z","uri":"p","match":"exact","invoke":"roundrobin"}]"#,
        ),
        ("registration.get", "[7]", "wamp.error.no_such_registration"),
        (
            "subscription.list",
            "[]",
            r#"[{"exact":[1],"prefix":[],"wildcard":[2]}]"#,
        ),
        ("subscription.lookup", r#"["t"]"#, "[1]"),
        ("subscription.match", r#"["a.b"]"#, "[[2]]"),
        ("subscription.match", r#"["a.b.c"]"#, "[null]"),
        ("subscription.count_subscribers", "[1]", "[2]"),
        ("subscription.list_subscribers", "[1]", "[[ID,ID]]"),
        (
            "subscription.get",
            "[2]",
            r#"[{"id":2,"created":"2023-11-14T22:13:20.000Z","uri":".","match":"wildcard"}]"#,
        ),
        ("subscription.get", "[7]", "wamp.error.no_such_subscription"),
        ("subscription.nothing", "[7]", "wamp.error.no_such_procedure"),
    ] {
        assert_eq!(call(&mut world, procedure, args), answer, "{procedure} {args}");
    }
}

/// Operator 9 hears all meta events.
fn listening() -> World {
    let mut world = watched();
    world.say(9, r#"[32,1,{"match":"prefix"},"wamp."]"#);
    world
}

/// The names and arguments of the meta events among what was sent.
fn heard(sent: &Sent) -> Vec<String> {
    let events = sent.iter().filter(|(to, frame)| *to == 9 && frame.starts_with("[36,"));
    events
        .map(|(_, frame)| {
            let name = frame
                .split("\"wamp.")
                .nth(1)
                .and_then(|rest| rest.split('"').next())
                .unwrap_or_default();
            let args = frame.split("\"},").nth(1).unwrap_or_default();
            format!("{name} {}", args.strip_suffix(']').unwrap_or_default())
        })
        .collect()
}

#[test]
fn meta_events_tell_what_comes_and_goes_in_this_order() {
    let mut world = listening();
    world.attach(1, CodecId::Json, Principal::new("ann", "user", "cookie"));
    let joined = heard(&world.say(1, HELLO));
    assert_eq!(joined.len(), 1);
    assert!(joined[0].starts_with("session.on_join"), "{joined:?}");
    let created = r#""created":"2023-11-14T22:13:20.000Z""#;
    assert_eq!(
        heard(&world.say(1, r#"[64,1,{},"p"]"#)),
        [
            format!(r#"registration.on_create [ID,{{"id":1,{created},"uri":"p","match":"exact","invoke":"single"}}]"#),
            "registration.on_register [ID,1]".to_owned(),
        ]
    );
    let subscribed = heard(&world.say(1, r#"[32,2,{},"t"]"#));
    assert_eq!(subscribed.len(), 2, "{subscribed:?}");
    assert!(
        subscribed[0].starts_with("subscription.on_create [ID,{\"id\":2,"),
        "{subscribed:?}"
    );
    assert_eq!(subscribed[1], "subscription.on_subscribe [ID,2]");
    assert_eq!(heard(&world.say(1, r#"[32,3,{},"t"]"#)), [""; 0], "nothing new");
    assert_eq!(
        heard(&world.say(1, "[66,4,1]")),
        ["registration.on_unregister [ID,1]", "registration.on_delete [ID,1]"]
    );
    world.say(1, r#"[64,5,{},"p"]"#);
    assert_eq!(
        heard(&world.detach(1)),
        [
            "subscription.on_unsubscribe [ID,2]",
            "subscription.on_delete [ID,2]",
            "registration.on_unregister [ID,2]",
            "registration.on_delete [ID,2]",
            r#"session.on_leave [ID,"ann","user"]"#,
        ],
        "with the session's id also after it is gone"
    );
}

#[test]
fn our_own_trees_and_meta_subscriptions_are_not_told_about() {
    let mut world = listening();
    world.attach(5, CodecId::Json, Principal::internal("tree"));
    let mut all = world.say(5, HELLO);
    all.extend(world.say(5, r#"[64,1,{},"p"]"#));
    all.extend(world.say(5, r#"[32,2,{},"t"]"#));
    all.extend(world.detach(5));
    all.extend(world.say(9, r#"[32,3,{},"wamp.session.on_join"]"#));
    assert_eq!(heard(&all), [""; 0]);
}

#[test]
fn testaments_are_published_when_a_session_ends_however_it_ends() {
    for end in ["goodbye", "loss", "kill"] {
        let mut world = World::open();
        world.join(&[1, 2]);
        world.say(2, r#"[32,1,{"match":"prefix"},"will"]"#);
        for args in [
            r#"["will.late",["x"],{"k":1}]"#,
            r#"["will.early",[1],{}],{"scope":"detached"}"#,
            r#"["will.late",null,null],{"publish_options":{"disclose_me":true}}"#,
        ] {
            let said = world.say(1, &format!(r#"[48,1,{{}},"wamp.session.add_testament",{args}]"#));
            assert_eq!(said, sent([(1, "[50,1,{},[ID]]")]), "{args}");
        }
        let said = match end {
            "goodbye" => world.say(1, r#"[6,{},"wamp.close.close_realm"]"#),
            "loss" => world.detach(1),
            _ => world.kill(1),
        };
        let events: Vec<_> = said
            .into_iter()
            .filter(|(to, _)| *to == 2)
            .map(|(_, frame)| frame)
            .collect();
        assert_eq!(
            events,
            [
                r#"[36,1,ID,{"topic":"will.early"},[1]]"#,
                r#"[36,1,ID,{"topic":"will.late"},["x"],{"k":1}]"#,
                r#"[36,1,ID,{"publisher":ID,"publisher_authid":"user1","publisher_authrole":"user","topic":"will.late"}]"#,
            ],
            "{end}"
        );
    }
}

#[test]
fn testaments_can_be_flushed_are_bounded_and_need_permission_at_both_ends() {
    let mut world = World::strict();
    world.join(&[1]);
    world.bind(1, "base");
    world.join_as(2, CodecId::Json, Principal::internal("tree"), HELLO);
    world.say(2, r#"[32,1,{"match":"prefix"},"base."]"#);
    let add_of = |world: &mut World, number: u64, topic: &str| {
        let said = world.say(
            number,
            &format!(r#"[48,1,{{}},"wamp.session.add_testament",["{topic}",["x"]]]"#),
        );
        if said[0].1.starts_with("[50,") {
            "ok".to_owned()
        } else {
            refused(&said).to_owned()
        }
    };
    let add = |world: &mut World, topic: &str| add_of(world, 1, topic);
    assert_eq!(add(&mut world, "other.topic"), "wamp.error.not_authorized");
    assert_eq!(add(&mut world, "not valid"), "wamp.error.invalid_uri");
    assert_eq!(add(&mut world, "wamp.session.on_join"), "wamp.error.invalid_uri");
    for _ in 0..8 {
        assert_eq!(add(&mut world, "base.client.gone"), "ok");
    }
    assert_eq!(add(&mut world, "base.client.gone"), "coati.error.busy");
    for _ in 0..256 {
        assert_eq!(add_of(&mut world, 2, "base.server.gone"), "ok");
    }
    assert_eq!(add_of(&mut world, 2, "base.server.gone"), "coati.error.busy");
    assert_eq!(
        world.say(
            1,
            r#"[48,2,{},"wamp.session.flush_testaments",[],{"scope":"detached"}]"#
        ),
        sent([(1, "[50,2,{},[0]]")])
    );
    assert_eq!(
        world.say(1, r#"[48,3,{},"wamp.session.flush_testaments"]"#),
        sent([(1, "[50,3,{},[8]]")])
    );
    assert_eq!(
        refused(&world.say(1, r#"[48,4,{},"wamp.session.flush_testaments",[],{"scope":"odd"}]"#)),
        "wamp.error.invalid_argument"
    );
    add(&mut world, "base.client.gone");
    world.bind(1, "elsewhere");
    assert_eq!(world.detach(1), [], "it may not publish there any more");
}

#[test]
fn a_registration_or_subscription_can_be_taken_away() {
    let hello = HELLO.replace(
        "\"call_canceling\"",
        "\"registration_revocation\":true,\"call_canceling\"",
    );
    let mut world = watched();
    world.join_as(1, CodecId::Json, Principal::new("ann", "user", "cookie"), &hello);
    world.join_as(2, CodecId::Json, Principal::new("bob", "user", "cookie"), BASIC);
    for number in [1, 2] {
        world.say(number, r#"[64,1,{"invoke":"last"},"p"]"#);
        world.say(number, r#"[32,2,{},"t"]"#);
    }
    let one = world.session(1).get();
    assert_eq!(
        world.say(
            9,
            &format!(r#"[48,1,{{}},"wamp.registration.remove_callee",[1,{one},"a.reason"]]"#)
        ),
        sent([
            (1, r#"[67,0,{"registration":1,"reason":"a.reason"}]"#),
            (9, "[50,1,{}]")
        ])
    );
    assert_eq!(
        world.say(
            9,
            &format!(r#"[48,1,{{}},"wamp.subscription.remove_subscriber",[1,{one}]]"#)
        ),
        sent([
            (1, r#"[35,0,{"subscription":1,"reason":"wamp.close.killed"}]"#),
            (9, "[50,1,{}]")
        ])
    );
    assert_eq!(
        call(&mut world, "registration.remove_callee", &format!("[1,{one}]")),
        "wamp.error.no_such_registration"
    );
    let two = world.session(2).get();
    let said = world.say(
        9,
        &format!(r#"[48,1,{{}},"wamp.subscription.remove_subscriber",[1,{two},"a.reason"]]"#),
    );
    assert_eq!(
        said[1].1, "close a.reason",
        "who does not know revocation is closed with the reason: {said:?}"
    );
    assert_eq!(world.router.stats().registrations, 0);
}

/// Allows whatever the flag says at the moment.
struct Switch(Arc<std::sync::atomic::AtomicBool>);

impl Authorizer for Switch {
    fn authorize(&self, who: &SessionInfo, _: Action, uri: &Uri, _: crate::wamp::uri::MatchPolicy) -> Decision {
        let on = self.0.load(std::sync::atomic::Ordering::Relaxed);
        if on || who.principal.internal || uri.is_within("public") {
            Decision::Allow
        } else {
            Decision::Deny
        }
    }
}

#[test]
fn changed_permissions_take_effect_on_open_sessions() {
    let allowed = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let mut world = World::with(RouterConfig {
        authorizer: Box::new(Switch(Arc::clone(&allowed))),
        ..RouterConfig::new(1)
    });
    let hello = HELLO.replace(
        "\"call_canceling\"",
        "\"registration_revocation\":true,\"call_canceling\"",
    );
    world.join_as(1, CodecId::Json, Principal::new("ann", "user", "cookie"), &hello);
    world.say(1, r#"[64,1,{},"p"]"#);
    world.say(1, r#"[64,2,{},"public.p"]"#);
    world.say(1, r#"[32,3,{},"t"]"#);
    assert_eq!(world.handle(Input::Reauthorize { session: None }), []);
    allowed.store(false, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(
        world.handle(Input::Reauthorize { session: None }),
        sent([
            (1, r#"[35,0,{"subscription":1,"reason":"wamp.error.not_authorized"}]"#),
            (1, r#"[67,0,{"registration":1,"reason":"wamp.error.not_authorized"}]"#),
        ])
    );
    assert_eq!(world.router.stats().registrations, 1);
}
