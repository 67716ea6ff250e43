//! Attempts to take what belongs to others: names, identities, topics. Numbers are those of `server/tests/faults.md`.

use super::*;

const DENIED: &str = "wamp.error.not_authorized";
const INVALID: &str = "wamp.error.invalid_uri";
const TAKEN: &str = "wamp.error.procedure_already_exists";
const BUSY: &str = "coati.error.busy";

/// `ok`, or the error of the one answer to a request.
fn answer(said: &Sent) -> &str {
    match said.first() {
        Some((_, frame)) if frame.starts_with("[8,") => refused(said),
        Some(_) => "ok",
        None => "nothing",
    }
}

const INVOKES: [&str; 5] = ["single", "first", "last", "roundrobin", "random"];
/// What covers `shop.pay`.
const COVERS: [(&str, &str); 6] = [
    ("exact", "shop.pay"),
    ("prefix", "shop.pay"),
    ("prefix", "shop."),
    ("prefix", ""),
    ("wildcard", "shop."),
    ("wildcard", "."),
];

#[test]
fn f60_a_procedure_is_shared_by_its_owners_wish_only_and_taken_by_nobody() {
    for held in INVOKES {
        for (policy, uri) in COVERS {
            for invoke in INVOKES {
                let mut world = World::open();
                world.join(&[1, 2, 3]);
                world.say(1, &format!(r#"[64,1,{{"invoke":"{held}"}},"shop.pay"]"#));
                let theft =
                    format!(r#"[64,1,{{"match":"{policy}","invoke":"{invoke}","force_reregister":true}},"{uri}"]"#);
                let said = world.say(2, &theft);
                let tried = format!("{policy} {uri:?} {invoke} beside {held}: {said:?}");
                let shared = policy == "exact" && held != "single" && held == invoke;
                let expected = if policy == "exact" && !shared { TAKEN } else { "ok" };
                assert_eq!(answer(&said), expected, "{tried}");
                let owner_is_called = |world: &mut World, request: u32| {
                    let called = world.say(3, &format!(r#"[48,{request},{{}},"shop.pay"]"#));
                    matches!(called.as_slice(), [(1, frame)] if frame.starts_with("[68,"))
                };
                assert!(shared || owner_is_called(&mut world, 1), "{tried}");
                world.detach(2);
                assert!(owner_is_called(&mut world, 2), "{tried}");
            }
        }
    }
}

#[test]
fn f60_who_may_register_what_goes_by_role_and_covers_all_that_a_pattern_matches() {
    let mut world = World::with(RouterConfig {
        authorizer: Box::new(BaseAuthorizer::default().allow("callee", "shop")),
        ..RouterConfig::new(1)
    });
    world.join_as(1, CodecId::Json, Principal::new("py", "callee", "ticket"), HELLO);
    world.join_as(2, CodecId::Json, Principal::new("eve", "user", "cookie"), HELLO);
    for invoke in INVOKES {
        for (policy, uri) in COVERS {
            let register = format!(r#"[64,1,{{"match":"{policy}","invoke":"{invoke}"}},"{uri}"]"#);
            assert_eq!(answer(&world.say(2, &register)), DENIED, "eve: {policy} {uri:?}");
            let within = uri.starts_with("shop");
            let said = world.say(1, &register);
            assert_eq!(answer(&said) == DENIED, !within, "py: {policy} {uri:?} {said:?}");
        }
    }
}

#[test]
fn f58_subscriptions_and_registrations_end_at_the_limits_of_the_role_and_go_on_when_one_ends() {
    let mut world = World::open();
    world.join(&[1, 2]);
    for (code, end, most) in [(32, 34, 256), (64, 66, 64)] {
        let ask = |world: &mut World, number: usize| {
            let said = world.say(1, &format!(r#"[{code},{number},{{}},"name.{code}.{number}"]"#));
            answer(&said).to_owned()
        };
        for number in 1..=most {
            assert_eq!(ask(&mut world, number), "ok", "{code} {number}");
        }
        assert_eq!(ask(&mut world, most + 1), BUSY, "{code}");
        assert_eq!(answer(&world.say(1, &format!("[{end},999,1]"))), "ok");
        assert_eq!(ask(&mut world, most + 2), "ok", "{code}: one has ended");
        assert_eq!(
            answer(&world.say(2, &format!(r#"[{code},1,{{}},"other"]"#))),
            "ok",
            "the limit is one session's"
        );
    }
}

#[test]
fn f59_patterns_are_counted_and_may_not_reach_beyond_what_is_allowed() {
    let mut world = World::open();
    world.join(&[1, 2]);
    let subscribe = |world: &mut World, number: usize, policy: &str, topic: &str| {
        let said = world.say(1, &format!(r#"[32,{number},{{"match":"{policy}"}},"{topic}"]"#));
        answer(&said).to_owned()
    };
    for number in 1..=16 {
        let (policy, topic) = if number % 2 == 0 {
            ("prefix", "a.".repeat(number))
        } else {
            ("wildcard", ".".repeat(number))
        };
        assert_eq!(subscribe(&mut world, number, policy, &topic), "ok", "{number}");
    }
    assert_eq!(subscribe(&mut world, 17, "prefix", ""), BUSY);
    assert_eq!(
        answer(&world.say(1, r#"[64,18,{"match":"prefix"},"b."]"#)),
        BUSY,
        "registrations count too"
    );
    assert_eq!(subscribe(&mut world, 19, "exact", "a.b"), "ok");
    // Each event is delivered once per subscription that matches, and in a confined realm none is there to begin with.
    assert_eq!(
        world.say(2, r#"[16,1,{},"a.b.c.d"]"#).len(),
        1,
        "of the wildcards, the one with three dots"
    );
    let mut strict = World::strict();
    strict.join(&[1]);
    for (policy, topic) in [("prefix", ""), ("wildcard", ""), ("wildcard", ".."), ("prefix", "base")] {
        let said = strict.say(1, &format!(r#"[32,1,{{"match":"{policy}"}},"{topic}"]"#));
        assert_eq!(answer(&said), DENIED, "{policy} {topic:?}");
    }
}

#[test]
fn f61_nobody_publishes_or_registers_a_name_that_is_or_looks_like_one_of_the_router() {
    let mut world = World::open();
    world.join_as(1, CodecId::Json, Principal::new("eve", "user", "cookie"), HELLO);
    world.join_as(2, CodecId::Json, Principal::new("none", "", "anonymous"), HELLO);
    world.join_as(3, CodecId::Json, Principal::internal("tree"), HELLO);
    for name in [
        "wamp",
        "wamp.x",
        "wamp.session.on_join",
        "Wamp.session.count",
        "WAMP.x",
        "w\u{430}mp.x",
        "\u{ff57}\u{ff41}\u{ff4d}\u{ff50}.x",
        "\u{51d}\u{3b1}m\u{440}",
    ] {
        for number in [1, 2, 3] {
            assert_eq!(
                answer(&world.say(number, &format!(r#"[16,1,{{"acknowledge":true}},"{name}"]"#))),
                INVALID,
                "{name}"
            );
            for policy in ["exact", "prefix", "wildcard"] {
                let said = world.say(number, &format!(r#"[64,1,{{"match":"{policy}"}},"{name}"]"#));
                assert_eq!(answer(&said), INVALID, "{policy} {name}");
            }
        }
    }
    // What covers the router's names without being one gets none of its calls.
    assert_eq!(answer(&world.say(1, r#"[64,2,{"match":"prefix"},"wam"]"#)), "ok");
    assert_eq!(answer(&world.say(1, r#"[64,3,{"match":"wildcard"},".."]"#)), "ok");
    let counted = world.say(3, r#"[48,4,{},"wamp.session.count"]"#);
    assert!(
        matches!(counted.as_slice(), [(3, frame)] if frame.starts_with("[50,")),
        "{counted:?}"
    );
    assert_eq!(
        answer(&world.say(3, r#"[48,5,{},"wamp.session.nothing"]"#)),
        "wamp.error.no_such_procedure"
    );
    for name in ["wampum.x", "swamp", "vamp.x", "m\u{fc}\u{fc}p"] {
        assert_eq!(
            answer(&world.say(1, &format!(r#"[16,6,{{"acknowledge":true}},"{name}"]"#))),
            "ok",
            "{name}"
        );
    }
}

#[test]
fn f62_identity_comes_from_the_router_whatever_a_message_claims() {
    let mut world = World::open();
    let hello = HELLO.replace(
        "\"roles\"",
        r#""authid":"admin","authrole":"operator","session":1,"roles""#,
    );
    world.join_as(1, CodecId::Json, Principal::new("eve", "user", "cookie"), &hello);
    world.join(&[2, 3]);
    world.say(2, r#"[32,1,{},"t"]"#);
    world.say(2, r#"[64,2,{},"p"]"#);
    let forged = r#""disclose_me":true,"publisher":7,"publisher_authid":"admin","publisher_authrole":"operator","caller":7,"caller_authid":"admin","caller_authrole":"operator","session":7,"trustlevel":9"#;
    let event = world.say(1, &format!(r#"[16,1,{{{forged}}},"t"]"#));
    let expected = r#"[36,1,ID,{"publisher":ID,"publisher_authid":"eve","publisher_authrole":"user"}]"#;
    assert_eq!(event, sent([(2, expected)]));
    let call = world.say(1, &format!(r#"[48,2,{{{forged}}},"p"]"#));
    let frame = &call[0].1;
    assert!(
        frame.contains(r#""caller_authid":"eve""#) && !frame.contains("admin") && !frame.contains(":7"),
        "{frame}"
    );
    // A lie about who answers, or for whom something is given up, is about nobody's business but the liar's.
    assert_eq!(world.say(3, r#"[49,2,{"mode":"kill"}]"#), [], "the call is another's");
    assert_eq!(refused(&world.say(3, r#"[66,9,1]"#)), "wamp.error.no_such_registration");
    assert_eq!(refused(&world.say(3, r#"[34,9,1]"#)), "wamp.error.no_such_subscription");
    let said = world.say(3, r#"[70,1,{},["forged"]]"#);
    assert!(
        said.iter().all(|(to, _)| *to == 3) && said[0].1.contains("protocol_violation"),
        "{said:?}"
    );
    let yielded = world.say(2, r#"[70,1,{},["true"]]"#);
    assert_eq!(yielded, sent([(1, r#"[50,2,{},["true"]]"#)]));
    // Lists of who may have an event leave out; they never add somebody who has not subscribed.
    let all = [1, 2].map(|number| world.session(number).get());
    let aimed = world.say(1, &format!(r#"[16,3,{{"eligible":{all:?},"exclude_me":false}},"t"]"#));
    assert_eq!(aimed.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [2]);
}

#[test]
fn f67_names_that_are_empty_long_or_deceive_the_eye_are_refused() {
    let long = "x".repeat(64 * 1024);
    let longest = "x".repeat(1024);
    let mut world = World::open();
    world.join(&[1]);
    for bad in [
        "",
        ".",
        "a..b",
        "a.",
        ".a",
        "a b",
        "a\u{a0}b",
        "a\\tb",
        "a\\u0000b",
        "a\\u001b[2Jb",
        "a\\u007f",
        "a#b",
        "#",
        "a.\u{202e}cod",
        "a\u{200b}b",
        "\u{feff}a",
        "a\u{2028}b",
        long.as_str(),
    ] {
        for request in ["[16,1,{\"acknowledge\":true},", "[32,1,{},", "[48,1,{},", "[64,1,{},"] {
            assert_eq!(
                answer(&world.say(1, &format!("{request}\"{bad}\"]"))),
                INVALID,
                "{bad:?}"
            );
        }
    }
    for good in ["a.b", "Gr\u{fc}\u{df}e.\u{6771}\u{4eac}", "a-b.c+d", longest.as_str()] {
        assert_eq!(
            answer(&world.say(1, &format!(r#"[32,1,{{}},"{good}"]"#))),
            "ok",
            "{good:?}"
        );
    }
    assert_eq!(
        answer(&world.say(1, &format!(r#"[32,1,{{"match":"prefix"}},"{long}"]"#))),
        INVALID
    );
}
