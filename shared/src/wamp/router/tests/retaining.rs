//! Retained events: who gets which, and how much is kept.

use super::*;

fn limited(retention: RetentionLimits) -> World {
    let mut world = World::with(RouterConfig {
        authorizer: Box::new(AllNames),
        retention,
        ..RouterConfig::new(1)
    });
    world.join(&[1, 2]);
    world
}

/// What client 2 gets when it subscribes to a topic and wants what is retained.
fn retained(world: &mut World, topic: &str) -> Vec<String> {
    let said = world.say(2, &format!(r#"[32,1,{{"get_retained":true}},"{topic}"]"#));
    assert!(said[0].1.starts_with("[33,1,"), "SUBSCRIBED comes first: {said:?}");
    let subscription = said[0].1.split([',', ']']).nth(2).expect("an id").to_owned();
    world.say(2, &format!("[34,2,{subscription}]"));
    said[1..]
        .iter()
        .map(|(_, frame)| frame.rsplit("},").next().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn the_last_retained_event_comes_right_after_subscribed_to_who_asks_for_it() {
    let mut world = limited(RetentionLimits::default());
    world.say(1, r#"[16,1,{"retain":true},"t",["old"]]"#);
    world.say(1, r#"[16,2,{"retain":true,"disclose_me":true},"t",["new"]]"#);
    world.say(1, r#"[16,3,{},"t",["not kept"]]"#);
    assert_eq!(world.say(2, r#"[32,1,{},"t"]"#), sent([(2, "[33,1,1]")]), "unasked");
    world.say(2, "[34,2,1]");
    let details = r#""publisher":ID,"publisher_authid":"user1","publisher_authrole":"user","retained":true"#;
    assert_eq!(
        world.say(2, r#"[32,3,{"get_retained":true},"t"]"#),
        vec![
            (2, "[33,3,2]".to_owned()),
            (2, format!(r#"[36,2,ID,{{{details}}},["new"]]"#))
        ]
    );
    world.detach(1);
    world.say(2, "[34,4,2]");
    assert_eq!(retained(&mut world, "t").len(), 1, "it outlives its publisher");
    assert!(retained(&mut world, "other").is_empty());
}

#[test]
fn a_retained_event_keeps_to_its_lists() {
    let mut world = limited(RetentionLimits::default());
    let one = world.session(1).get();
    world.say(1, r#"[16,1,{"retain":true},"t",["for all"]]"#);
    world.say(
        1,
        r#"[16,2,{"retain":true,"eligible_authrole":["other"]},"t",["for others"]]"#,
    );
    world.say(
        1,
        &format!(r#"[16,3,{{"retain":true,"eligible":[{one}]}},"t",["for one"]]"#),
    );
    world.say(
        1,
        r#"[16,4,{"retain":true,"exclude_authid":["user2"]},"t",["not for two"]]"#,
    );
    assert_eq!(
        retained(&mut world, "t"),
        [r#"["for all"]]"#],
        "the latest that two may have"
    );
    let said = world.say(1, r#"[32,9,{"get_retained":true},"t"]"#);
    assert!(
        said[1].1.ends_with(r#"["not for two"]]"#),
        "its publisher may have it: {said:?}"
    );
    world.say(1, r#"[16,5,{"retain":true,"eligible":[]},"t",["for nobody"]]"#);
    world.say(1, r#"[16,6,{"retain":true,"eligible":[]},"t",["for nobody"]]"#);
    assert_eq!(
        world.router.stats().retained,
        4,
        "beside each other, but not without end"
    );
    world.say(1, r#"[16,7,{"retain":true},"t",["again"]]"#);
    assert_eq!(world.router.stats().retained, 1, "one for everybody replaces them");
}

#[test]
fn what_is_over_a_limit_pushes_the_oldest_out() {
    // Each event counts 256 bytes beside its own.
    let few = RetentionLimits {
        session_bytes: 1_000,
        events: 4,
        bytes: 1_200,
        ..RetentionLimits::default()
    };
    let mut world = limited(few);
    world.say(2, r#"[16,1,{"retain":true},"other",[0]]"#);
    for number in 1..=9 {
        world.say(1, &format!(r#"[16,{number},{{"retain":true}},"t{number}",[{number}]]"#));
    }
    assert_eq!(world.router.stats().retained, 4);
    assert_eq!(
        retained(&mut world, "other"),
        ["[0]]"],
        "one session pushes out its own"
    );
    assert!(retained(&mut world, "t6").is_empty());
    assert_eq!(retained(&mut world, "t7"), ["[7]]"]);
    let large = "x".repeat(300);
    world.say(1, &format!(r#"[16,20,{{"retain":true}},"large",["{large}"]]"#));
    assert_eq!(retained(&mut world, "t8").len(), 0, "bytes count too");
    assert_eq!(
        retained(&mut world, "t9").len() + retained(&mut world, "large").len(),
        2
    );
    let larger = "x".repeat(1_000);
    world.say(1, &format!(r#"[16,21,{{"retain":true}},"large",["{larger}"]]"#));
    assert!(
        retained(&mut world, "large").is_empty(),
        "what cannot be kept does not leave the old one standing"
    );
    let topic = "x".repeat(1_000);
    world.say(1, &format!(r#"[16,22,{{"retain":true}},"{topic}",[]]"#));
    assert!(retained(&mut world, &topic).is_empty(), "topics count too");
}

#[test]
fn a_session_may_have_so_many_events_retained() {
    let mut world = limited(RetentionLimits::default());
    for number in 1..=20 {
        world.say(1, &format!(r#"[16,{number},{{"retain":true}},"t{number}",[{number}]]"#));
    }
    assert_eq!(world.router.stats().retained, Limits::BROWSER.retained);
}

#[test]
fn a_pattern_gets_nothing_that_is_retained() {
    let mut world = limited(RetentionLimits::default());
    world.say(1, r#"[16,1,{"retain":true},"a.b",[1]]"#);
    assert_eq!(
        world.say(2, r#"[32,1,{"match":"prefix","get_retained":true},"a."]"#),
        sent([(2, "[33,1,1]")])
    );
}

#[test]
fn a_retained_event_is_translated_for_a_subscriber_of_another_codec() {
    let mut world = limited(RetentionLimits::default());
    world.say(1, r#"[16,1,{"retain":true},"t",["x",{"y":1}]]"#);
    world.join_as(3, CodecId::Cbor, Principal::default(), HELLO);
    let said = world.say(3, r#"[32,1,{"get_retained":true},"t"]"#);
    assert_eq!(said[1].1, r#"[36,1,ID,{"retained":true},["x",{"y":1}]]"#);
}
