//! Procedures that decide: who may log in, and what sessions may do. Connection 9 offers them.

use super::*;
use crate::wamp::{
    router::authentication::{SharedSecret, sign_challenge},
    uri::MatchPolicy,
};

/// Leaves everything open for role `user`, and allows everybody else everything.
struct Asks;

impl Authorizer for Asks {
    fn authorize(&self, who: &SessionInfo, _: Action, uri: &Uri, _: MatchPolicy) -> Decision {
        match (who.principal.authrole.as_str(), uri.as_str()) {
            ("user", "free") => Decision::Allow,
            ("user", "never") => Decision::Deny,
            ("user", _) => Decision::Ask,
            _ => Decision::Allow,
        }
    }
}

const MAY: &str = "judge.may";
const LOGIN: &str = "judge.login";

fn world() -> World {
    let methods = ["ticket", "wampcra", "anonymous", "cryptosign"];
    let authenticator = Authenticator {
        procedure: Uri::unchecked(LOGIN),
        role: "judge".to_owned(),
        methods: methods.map(str::to_owned).into(),
        timeout: Duration::from_secs(5),
    };
    let authentication = Authentication::new([7; 32])
        .transport()
        .shared_secret("here", "user", SharedSecret::plain("known"))
        .authenticator(authenticator);
    let authorizer = AuthorizerProcedure {
        procedure: Uri::unchecked(MAY),
        role: "judge".to_owned(),
        timeout: Duration::from_secs(5),
        remembered: Duration::from_secs(60),
    };
    let mut world = World::with(RouterConfig {
        authorizer: Box::new(Asks),
        authorizers: [("user".to_owned(), authorizer)].into(),
        authentication: Some(authentication),
        meta_roles: ["judge".to_owned()].into(),
        ..RouterConfig::new(1)
    });
    world.join_as(9, CodecId::Json, Principal::new("judge", "judge", "cookie"), HELLO);
    world
}

fn offering(procedure: &str) -> World {
    let mut world = world();
    world.say(9, &format!(r#"[64,1,{{}},"{procedure}"]"#));
    world
}

/// The number and the arguments of the invocation that the judge got.
fn asked(sent: &Sent) -> Option<(u64, serde_json::Value)> {
    let (_, frame) = sent.iter().find(|(to, frame)| *to == 9 && frame.starts_with("[68,"))?;
    let frame: serde_json::Value = serde_json::from_str(&frame.replace("ID", "0")).expect("JSON");
    Some((frame[1].as_u64().expect("a number"), frame[4].clone()))
}

/// The judge answers.
fn says(world: &mut World, invocation: u64, answer: &str) -> Sent {
    world.say(9, &format!("[70,{invocation},{{}},[{answer}]]"))
}

fn hello(world: &mut World, number: u64, details: &str) -> Sent {
    world.attach(number, CodecId::Json, Principal::default());
    world.say(
        number,
        &format!(r#"[1,"realm",{{"roles":{{"caller":{{}}}},{details}}}]"#),
    )
}

#[test]
fn an_authenticator_judges_tickets() {
    let mut world = offering(LOGIN);
    let challenged = hello(
        &mut world,
        1,
        r#""authmethods":["ticket"],"authid":"tim","authextra":{"a":1}"#,
    );
    assert_eq!(challenged, sent([(1, r#"[4,"ticket",{}]"#)]));
    let (invocation, arguments) = asked(&world.say(1, r#"[5,"secret",{}]"#)).expect("asked");
    assert_eq!(
        arguments,
        serde_json::json!(["realm", "tim", {"session": 0, "authmethod": "ticket", "authrole": null,
            "authextra": {"a": 1}, "ticket": "secret"}])
    );
    let said = says(
        &mut world,
        invocation,
        r#"{"role":"guest","authid":"timothy","extra":{"x":[1]}}"#,
    );
    assert!(
        said.len() == 1 && said[0].0 == 1,
        "the answer stays in the router: {said:?}"
    );
    for part in [
        r#""authid":"timothy","authrole":"guest","authmethod":"ticket","authprovider":"dynamic""#,
        r#""authextra":{"x":[1]}"#,
    ] {
        assert!(said[0].1.contains(part), "{said:?}");
    }
}

#[test]
fn a_login_fails_with_whatever_is_no_answer() {
    for answer in [
        "null",
        "true",
        "{}",
        r#"{"role":null}"#,
        r#"{"role":"a","realm":"other"}"#,
        r#"{"role":1}"#,
        "[]",
    ] {
        let mut world = offering(LOGIN);
        hello(&mut world, 1, r#""authmethods":["ticket"],"authid":"tim""#);
        let (invocation, _) = asked(&world.say(1, r#"[5,"x",{}]"#)).expect("asked");
        let said = says(&mut world, invocation, answer);
        assert!(
            said[0].1.contains("authentication_failed") && said[1].1.starts_with("close"),
            "{answer}: {said:?}"
        );
    }
    let mut world = offering(LOGIN);
    hello(&mut world, 1, r#""authmethods":["ticket"],"authid":"tim""#);
    let (invocation, _) = asked(&world.say(1, r#"[5,"x",{}]"#)).expect("asked");
    let said = world.say(
        9,
        &format!(r#"[8,68,{invocation},{{}},"no.such.user",["Tim is unknown"]]"#),
    );
    assert!(
        said[0].1.contains("authentication_failed") && !said[0].1.contains("Tim"),
        "{said:?}"
    );
    // Its time is over, it leaves, it is not there.
    for way in ["late", "left", "absent", "by another role", "by another role's pattern"] {
        let mut world = match way {
            "late" | "left" => offering(LOGIN),
            _ => world_without_judge(way),
        };
        hello(&mut world, 1, r#""authmethods":["ticket"],"authid":"tim""#);
        let mut said = world.say(1, r#"[5,"x",{}]"#);
        match way {
            "late" => {
                assert!(world.tick(4_999).is_empty());
                said = world.tick(5_001);
            }
            "left" => said = world.detach(9),
            _ => {}
        }
        let told = said
            .iter()
            .any(|(to, frame)| *to == 1 && frame.contains("authentication_failed"));
        assert!(told && asked(&said).is_none(), "{way}: {said:?}");
    }
}

/// Somebody else offers what the judge should, where `way` says so.
fn world_without_judge(way: &str) -> World {
    let mut world = world();
    world.join_as(8, CodecId::Json, Principal::new("eve", "other", "cookie"), HELLO);
    let said = match way {
        "by another role" => world.say(8, &format!(r#"[64,1,{{}},"{LOGIN}"]"#)),
        "by another role's pattern" => world.say(8, r#"[64,1,{"match":"prefix"},"judge."]"#),
        _ => return world,
    };
    assert_eq!(
        said[0].1.contains("not_authorized"),
        way == "by another role",
        "{said:?}"
    );
    world
}

#[test]
fn an_authenticator_gives_the_secret_that_a_challenge_is_checked_with() {
    for (secret, expected) in [("hidden", true), ("wrong", false)] {
        let mut world = offering(LOGIN);
        let said = hello(&mut world, 1, r#""authmethods":["wampcra"],"authid":"cra""#);
        let (invocation, arguments) = asked(&said).expect("asked");
        assert_eq!(arguments[2]["authmethod"], "wampcra");
        let connection = ConnectionId(9);
        let answer = format!(r#"[70,{invocation},{{}},[{{"role":"guest","secret":"hidden","salt":"s","keylen":16}}]]"#);
        let message = CodecId::Json.decode(answer.into()).expect("YIELD");
        let out = world.router.handle(Input::Message {
            connection,
            message: message.into(),
        });
        let [Output::Send { message, .. }] = out.as_slice() else {
            panic!("{out:?}")
        };
        let Message::Challenge(challenge) = message.message() else {
            panic!("{message:?}")
        };
        assert_eq!(challenge.extra["keylen"].as_integer(), Some(16));
        let text = challenge.extra["challenge"].as_str().expect("text");
        let said = world.say(1, &format!(r#"[5,"{}",{{}}]"#, sign_challenge(secret.as_bytes(), text)));
        assert_eq!(said[0].1.starts_with("[2,"), expected, "{said:?}");
    }
}

#[test]
fn a_login_that_is_known_here_is_not_asked_about_and_a_name_nobody_proved_does_not_count() {
    let mut world = offering(LOGIN);
    let said = hello(&mut world, 1, r#""authmethods":["wampcra"],"authid":"here""#);
    assert!(asked(&said).is_none() && said[0].1.starts_with("[4,"), "{said:?}");
    let said = hello(&mut world, 2, r#""authmethods":["anonymous"],"authid":"root""#);
    let (invocation, _) = asked(&said).expect("asked");
    let said = says(&mut world, invocation, r#""guest""#);
    assert!(
        said[0].1.contains(r#""authid":"anonymous-"#) && !said[0].1.contains("root"),
        "{said:?}"
    );
    let said = hello(&mut world, 3, r#""authmethods":["cryptosign"]"#);
    let (invocation, _) = asked(&said).expect("asked");
    let said = says(
        &mut world,
        invocation,
        &format!(r#"{{"role":"guest","pubkey":"{}"}}"#, "0".repeat(64)),
    );
    assert!(
        said[0].1.contains("authentication_failed"),
        "nobody has said who this is: {said:?}"
    );
}

#[test]
fn nothing_may_follow_while_the_authenticator_is_asked_and_its_answer_finds_no_later_login() {
    let mut world = offering(LOGIN);
    let said = hello(&mut world, 1, r#""authmethods":["wampcra"],"authid":"cra""#);
    let (invocation, _) = asked(&said).expect("asked");
    let said = world.say(1, BASIC);
    assert!(said[0].1.contains("protocol_violation"), "{said:?}");
    assert!(says(&mut world, invocation, r#"{"role":"guest","secret":"x"}"#).is_empty());
    let said = hello(&mut world, 2, r#""authmethods":["wampcra"],"authid":"cra""#);
    let (invocation, _) = asked(&said).expect("asked");
    world.detach(2);
    assert!(says(&mut world, invocation, r#"{"role":"guest","secret":"x"}"#).is_empty());
}

/// A user on connection 1, whose requests the judge decides.
fn judged() -> World {
    let mut world = offering(MAY);
    world.join(&[1]);
    world
}

#[test]
fn an_authorizer_decides_what_the_rules_leave_open() {
    let mut world = judged();
    assert!(asked(&world.say(1, r#"[32,1,{},"free"]"#)).is_none());
    assert_eq!(
        refused(&world.say(1, r#"[32,2,{},"never"]"#)),
        "wamp.error.not_authorized"
    );
    let (invocation, arguments) = asked(&world.say(1, r#"[32,3,{"match":"prefix"},"a."]"#)).expect("asked");
    assert_eq!(
        arguments,
        serde_json::json!([{"session": 0, "authid": "user1", "authrole": "user", "authmethod": "cookie",
            "authprovider": "cookie", "transport": {}}, "a.", "subscribe", {"match": "prefix"}])
    );
    let said = says(&mut world, invocation, "true");
    assert!(said.len() == 1 && said[0].1.starts_with("[33,3,"), "{said:?}");
    for (answer, error) in [
        ("false", "wamp.error.not_authorized"),
        (r#"{"allow":false}"#, "wamp.error.not_authorized"),
        ("null", "wamp.error.authorization_failed"),
        (r#""yes""#, "wamp.error.authorization_failed"),
        ("{}", "wamp.error.authorization_failed"),
        (r#"{"allow":1}"#, "wamp.error.authorization_failed"),
        (r#"{"allow":true,"validate":{}}"#, "wamp.error.authorization_failed"),
    ] {
        for request in [
            r#"[32,5,{},"b"]"#,
            r#"[48,5,{},"b"]"#,
            r#"[64,5,{},"b"]"#,
            r#"[16,5,{"acknowledge":true},"b"]"#,
        ] {
            let (invocation, _) = asked(&world.say(1, request)).expect("asked");
            assert_eq!(
                refused(&says(&mut world, invocation, answer)),
                error,
                "{request} {answer}"
            );
        }
    }
    let (invocation, _) = asked(&world.say(1, r#"[32,6,{},"b"]"#)).expect("asked");
    let failed = world.say(9, &format!(r#"[8,68,{invocation},{{}},"my.error",["inside"]]"#));
    assert_eq!(refused(&failed), "wamp.error.authorization_failed");
    assert!(!failed[0].1.contains("inside"), "{failed:?}");
    asked(&world.say(1, r#"[32,7,{},"b"]"#)).expect("asked");
    let late = world.tick(5_001);
    assert!(
        late.iter()
            .any(|(to, frame)| *to == 1 && frame.contains("authorization_failed")),
        "{late:?}"
    );
    world.detach(9);
    assert_eq!(
        refused(&world.say(1, r#"[32,8,{},"b"]"#)),
        "wamp.error.authorization_failed"
    );
}

#[test]
fn only_the_session_that_asked_waits_and_what_it_sends_keeps_its_order() {
    let mut world = judged();
    world.join(&[2]);
    world.say(2, r#"[32,1,{},"free"]"#);
    let (first, _) = asked(&world.say(1, r#"[16,1,{"acknowledge":true},"a"]"#)).expect("asked");
    for next in [
        r#"[32,2,{},"free"]"#,
        r#"[16,3,{"acknowledge":true},"b"]"#,
        r#"[34,4,77]"#,
    ] {
        assert!(world.say(1, next).is_empty(), "{next} waits");
    }
    let said = world.say(2, r#"[32,2,{},"never"]"#);
    assert_eq!(refused(&said), "wamp.error.not_authorized", "others do not wait");
    let said = says(&mut world, first, "true");
    let (second, arguments) = asked(&said).expect("asked about the next");
    assert_eq!(arguments[1], "b");
    let to_first: Vec<&str> = said
        .iter()
        .filter(|(to, _)| *to == 1)
        .map(|(_, frame)| &frame[..5])
        .collect();
    assert_eq!(to_first, ["[17,1", "[33,2"]);
    let said = says(&mut world, second, "false");
    let kinds: Vec<&str> = said.iter().map(|(_, frame)| &frame[..7]).collect();
    assert_eq!(kinds, ["[8,16,3", "[8,34,4"], "{said:?}");
}

#[test]
fn who_leaves_or_joins_again_while_something_is_decided_loses_nothing_else() {
    let mut world = judged();
    let (invocation, _) = asked(&world.say(1, r#"[32,1,{},"a"]"#)).expect("asked");
    world.say(1, r#"[6,{},"wamp.close.close_realm"]"#);
    world.say(1, r#"[1,"realm",{"roles":{"caller":{}},"authmethods":["anonymous"]}]"#);
    let said = says(&mut world, invocation, "true");
    let to_first: Vec<&str> = said
        .iter()
        .filter(|(to, _)| *to == 1)
        .map(|(_, frame)| &frame[..3])
        .collect();
    assert_eq!(
        to_first,
        ["[33", "[6,", "[3,", "clo"],
        "its next HELLO is heard too: {said:?}"
    );
    let mut world = judged();
    let (invocation, _) = asked(&world.say(1, r#"[32,1,{},"a"]"#)).expect("asked");
    world.detach(1);
    assert!(says(&mut world, invocation, "true").is_empty());
}

#[test]
fn who_floods_while_something_is_decided_is_paused_and_at_last_ended() {
    let mut world = judged();
    let (invocation, _) = asked(&world.say(1, r#"[32,1,{},"a"]"#)).expect("asked");
    let said: Vec<_> = (0..40).flat_map(|_| world.say(1, r#"[16,2,{},"free"]"#)).collect();
    assert_eq!(said, sent([(1, "paused true")]));
    let said = says(&mut world, invocation, "true");
    assert_eq!(
        said.last().map(|(_, what)| what.as_str()),
        Some("paused false"),
        "{said:?}"
    );
    asked(&world.say(1, r#"[32,3,{},"b"]"#)).expect("asked");
    let said: Vec<_> = (0..5_000).flat_map(|_| world.say(1, r#"[16,4,{},"free"]"#)).collect();
    assert!(
        said.iter().any(|(_, what)| what == "close coati.error.busy"),
        "{said:?}"
    );
}

#[test]
fn an_answer_is_remembered_for_one_session_until_its_time_is_over_or_it_is_taken_back() {
    let mut world = judged();
    world.join(&[2]);
    let call = r#"[48,1,{},"x"]"#;
    let (invocation, _) = asked(&world.say(1, call)).expect("asked");
    says(&mut world, invocation, r#"{"allow":true,"cache":true}"#);
    assert_eq!(
        refused(&world.say(1, call)),
        "wamp.error.no_such_procedure",
        "not asked again"
    );
    let (invocation, _) = asked(&world.say(2, call)).expect("another session is asked about");
    says(&mut world, invocation, "true");
    let (invocation, _) = asked(&world.say(2, call)).expect("what is not to be remembered is asked again");
    says(&mut world, invocation, r#"{"allow":false,"cache":true}"#);
    assert_eq!(refused(&world.say(2, call)), "wamp.error.not_authorized");
    world.tick(59_000);
    assert!(asked(&world.say(1, call)).is_none());
    world.tick(61_000);
    let (invocation, _) = asked(&world.say(1, call)).expect("its time is over");
    says(&mut world, invocation, r#"{"allow":true,"cache":true}"#);
    assert!(asked(&world.say(1, call)).is_none());
    assert_eq!(
        refused(&world.say(1, r#"[48,9,{},"coati.reauthorize"]"#)),
        "wamp.error.not_authorized"
    );
    let said = world.say(9, r#"[48,9,{},"coati.reauthorize"]"#);
    assert_eq!(said, sent([(9, "[50,9,{}]")]));
    let (invocation, _) = asked(&world.say(1, call)).expect("forgotten");
    says(&mut world, invocation, r#"{"allow":true,"cache":true}"#);
    world.say(9, r#"[66,2,1]"#);
    world.say(9, &format!(r#"[64,3,{{}},"{MAY}"]"#));
    asked(&world.say(1, call)).expect("another authorizer may judge otherwise");
}

#[test]
fn what_is_not_allowed_any_more_is_taken_from_open_sessions() {
    let mut world = judged();
    for request in [r#"[32,1,{},"keep"]"#, r#"[32,2,{},"lose"]"#, r#"[64,3,{},"lose"]"#] {
        let (invocation, _) = asked(&world.say(1, request)).expect("asked");
        says(&mut world, invocation, "true");
    }
    world.say(1, r#"[32,4,{},"free"]"#);
    let session = Some(world.session(1));
    let mut said = world.handle(Input::Reauthorize { session });
    let mut revoked = Vec::new();
    for _ in 0..3 {
        let invocations: Vec<(u64, String)> = said.iter().filter(|(to, _)| *to == 9).cloned().collect();
        assert!(
            invocations.len() <= 3,
            "what needs no question is not asked about: {said:?}"
        );
        let mut answers = Vec::new();
        for (to, frame) in invocations {
            let (invocation, arguments) = asked(&vec![(to, frame)]).expect("asked");
            answers.extend(says(
                &mut world,
                invocation,
                if arguments[1] == "keep" { "true" } else { "false" },
            ));
        }
        revoked.extend(
            answers
                .iter()
                .filter(|(to, _)| *to == 1)
                .map(|(_, frame)| frame.clone()),
        );
        said = Vec::new();
    }
    assert_eq!(
        revoked.len(),
        3,
        "a subscription, a registration and the session that cannot lose one: {revoked:?}"
    );
    assert!(
        revoked[0].starts_with("[35,0,") && revoked[0].contains("not_authorized"),
        "{revoked:?}"
    );
}

#[test]
fn an_authorizer_can_have_the_publisher_disclosed() {
    for (answer, disclosed) in [(r#"{"allow":true,"disclose":true}"#, true), ("true", false)] {
        let mut world = judged();
        world.join_as(3, CodecId::Json, Principal::new("ear", "other", "cookie"), HELLO);
        world.say(3, r#"[32,1,{},"t"]"#);
        let (invocation, _) = asked(&world.say(1, r#"[16,1,{},"t"]"#)).expect("asked");
        let said = says(&mut world, invocation, answer);
        assert_eq!(
            said[0].1.contains(r#""publisher_authid":"user1""#),
            disclosed,
            "{said:?}"
        );
    }
}
