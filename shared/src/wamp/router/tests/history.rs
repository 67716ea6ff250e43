//! Event history: what is kept, who reads it, that nothing is left out silently, and what a restart leaves.

use crate::wamp::{id::PublicationId, message::PublishOptions, payload::Payload, router::history::*, uri::MatchPolicy};

use super::*;

fn topics() -> HistoryTopics {
    HistoryTopics::default()
        .keep(MatchPolicy::Prefix, Uri::unchecked("log."), 4)
        .keep(MatchPolicy::Exact, Uri::unchecked("log.busy"), 2)
        .keep(MatchPolicy::Exact, Uri::unchecked("log.none"), 0)
}

/// Client 1 publishes, client 2 reads by its subscriptions; the origin of the clock is 2023-11-14T22:13:20Z.
fn world(history: HistoryConfig) -> World {
    let mut world = World::with(RouterConfig {
        authorizer: Box::new(AllNames),
        epoch: Duration::from_secs(1_700_000_000),
        history,
        ..RouterConfig::new(1)
    });
    world.join(&[1, 2]);
    world
}

fn with_history() -> World {
    world(HistoryConfig {
        topics: topics(),
        ..HistoryConfig::default()
    })
}

/// Publishes a number; its publication.
fn publish(world: &mut World, topic: &str, number: u32, options: &str) -> u64 {
    let connection = ConnectionId(1);
    let frame = format!(r#"[16,{number},{{"acknowledge":true{options}}},"{topic}",[{number}]]"#);
    let message = CodecId::Json.decode(frame.into()).expect("a message");
    let out = world.router.handle(Input::Message {
        connection,
        message: message.into(),
    });
    let published = out.iter().find_map(|output| {
        let Output::Send { message, .. } = output else {
            return None;
        };
        let Message::Published(published) = message.message() else {
            return None;
        };
        Some(published.publication.get())
    });
    published.expect("PUBLISHED")
}

fn subscribe(world: &mut World, client: u64, topic: &str, policy: &str) -> String {
    let said = world.say(client, &format!(r#"[32,7,{{"match":"{policy}"}},"{topic}"]"#));
    said[0].1.split([',', ']']).nth(2).expect("an id").to_owned()
}

/// The arguments of the events and whether there are more; or the error.
fn ask(world: &mut World, client: u64, subscription: &str, wanted: &str) -> String {
    let call = format!(r#"[48,8,{{}},"wamp.subscription.get_events",[{subscription}],{{{wanted}}}]"#);
    let said = world.say(client, &call);
    let frame = &said[0].1;
    if frame.starts_with("[8,") {
        return frame.split('"').nth(1).expect("an error").to_owned();
    }
    let args = frame.split(r#""args":["#).skip(1);
    let args: Vec<_> = args.filter_map(|rest| rest.split(']').next()).collect();
    let more = if frame.ends_with(r#"{"more":true}]"#) {
        " …"
    } else {
        ""
    };
    args.join(" ") + more
}

#[test]
fn events_come_with_date_details_and_arguments_to_who_subscribed_later() {
    let mut world = with_history();
    world.tick(1_500);
    world.say(1, r#"[16,1,{"disclose_me":true},"log.a",["é",null],{"k":[1]}]"#);
    world.say(1, r#"[16,2,{},"log.a"]"#);
    let subscription = subscribe(&mut world, 2, "log.", "prefix");
    let said = world.say(
        2,
        &format!(r#"[48,8,{{}},"wamp.subscription.get_events",[{subscription}]]"#),
    );
    let first = r#"{"timestamp":"2023-11-14T22:13:21.500Z","subscription":1,"publication":ID,"details":{"publisher":ID,"publisher_authid":"user1","publisher_authrole":"user","topic":"log.a"},"args":["é",null],"kwargs":{"k":[1]}}"#;
    let second =
        r#"{"timestamp":"2023-11-14T22:13:21.500Z","subscription":1,"publication":ID,"details":{"topic":"log.a"}}"#;
    assert_eq!(
        said,
        vec![(2, format!(r#"[50,8,{{}},[{first},{second}],{{"more":false}}]"#))]
    );
}

#[test]
fn the_answer_is_the_same_in_every_codec() {
    for codec in CodecId::ALL {
        let mut world = with_history();
        for number in 1..=4 {
            publish(&mut world, "log.a", number, "");
        }
        world.join_as(3, codec, Principal::new("three", "user", "ticket"), HELLO);
        let subscription = subscribe(&mut world, 3, "log.a", "exact");
        assert_eq!(
            ask(&mut world, 3, &subscription, r#""limit":3"#),
            "1 2 3 …",
            "{codec:?}"
        );
    }
}

#[test]
fn the_last_events_of_each_topic_are_kept_as_its_pattern_says() {
    let mut world = with_history();
    for number in 1..=6 {
        publish(&mut world, "log.busy", number, "");
        publish(&mut world, "log.a", number + 10, "");
        publish(&mut world, "log.none", number + 20, "");
        publish(&mut world, "other", number + 30, "");
    }
    assert_eq!(world.router.stats().history, 6);
    let all = subscribe(&mut world, 2, "log.", "prefix");
    assert_eq!(ask(&mut world, 2, &all, ""), "13 14 5 15 6 16");
    assert_eq!(ask(&mut world, 2, &all, r#""topic":"log.busy""#), "5 6");
    for topic in ["log.none", "other"] {
        let subscription = subscribe(&mut world, 2, topic, "exact");
        assert_eq!(ask(&mut world, 2, &subscription, ""), "wamp.error.history_unavailable");
    }
    let wildcard = subscribe(&mut world, 2, "log.", "wildcard");
    assert_eq!(ask(&mut world, 2, &wildcard, r#""reverse":true,"limit":2"#), "16 6 …");
}

#[test]
fn conditions_hold_together_and_pages_follow_each_other() {
    let mut world = with_history();
    let ids: Vec<u64> = (1..=4)
        .map(|number| {
            world.tick(u64::from(number) * 1_000);
            publish(&mut world, "log.a", number, "")
        })
        .collect();
    let own = subscribe(&mut world, 2, "log.a", "exact");
    for (wanted, found) in [
        (String::new(), "1 2 3 4"),
        (format!(r#""from_publication":{}"#, ids[1]), "2 3 4"),
        (format!(r#""after_publication":{}"#, ids[1]), "3 4"),
        (format!(r#""until_publication":{}"#, ids[1]), "1 2"),
        (format!(r#""before_publication":{}"#, ids[1]), "1"),
        (
            format!(r#""after_publication":{},"before_publication":{}"#, ids[3], ids[0]),
            "",
        ),
        (format!(r#""after_publication":{},"limit":1"#, ids[0]), "2 …"),
        (
            format!(r#""before_publication":{},"reverse":true,"limit":2"#, ids[3]),
            "3 2 …",
        ),
        (r#""from_time":"2023-11-14T22:13:22Z""#.into(), "2 3 4"),
        (r#""after_time":"2023-11-14T23:13:22.000+01:00""#.into(), "3 4"),
        (r#""until_time":"2023-11-14T22:13:22Z""#.into(), "1 2"),
        (
            r#""before_time":"2023-11-14T22:13:22Z","from_time":"1960-01-01T00:00:00Z""#.into(),
            "1",
        ),
        (r#""limit":0"#.into(), "wamp.error.invalid_argument"),
        (r#""limit":"all""#.into(), "wamp.error.invalid_argument"),
        (r#""reverse":1"#.into(), "wamp.error.invalid_argument"),
        (r#""topic":1"#.into(), "wamp.error.invalid_argument"),
        (r#""from_time":"yesterday""#.into(), "wamp.error.invalid_argument"),
        (r#""after_publication":-1"#.into(), "wamp.error.invalid_argument"),
    ] {
        assert_eq!(ask(&mut world, 2, &own, &wanted), found, "{wanted}");
    }
    assert_eq!(ask(&mut world, 2, "99", ""), "wamp.error.no_such_subscription");
}

#[test]
fn a_resumer_gets_everything_or_an_error_never_a_part() {
    let mut world = with_history();
    let first = publish(&mut world, "log.a", 1, "");
    let second = publish(&mut world, "log.a", 2, "");
    let exact = subscribe(&mut world, 2, "log.a", "exact");
    let all = subscribe(&mut world, 2, "log.", "prefix");
    for number in 3..=5 {
        publish(&mut world, "log.a", number, "");
    }
    let gone = "wamp.error.history_unavailable";
    assert_eq!(
        ask(&mut world, 2, &exact, &format!(r#""after_publication":{first}"#)),
        gone
    );
    assert_eq!(
        ask(&mut world, 2, &exact, &format!(r#""after_publication":{second}"#)),
        "3 4 5"
    );
    assert_eq!(
        ask(&mut world, 2, &all, &format!(r#""after_publication":{second}"#)),
        "3 4 5"
    );
    for number in 11..=13 {
        publish(&mut world, "log.busy", number, "");
    }
    assert_eq!(
        ask(&mut world, 2, &all, &format!(r#""after_publication":{second}"#)),
        gone,
        "an event of a busier topic was let go since"
    );
    assert_eq!(
        ask(&mut world, 2, &exact, &format!(r#""after_publication":{second}"#)),
        "3 4 5",
        "which is not this topic's affair"
    );
    assert_eq!(
        ask(&mut world, 2, &all, ""),
        "2 3 4 5 12 13",
        "who asks for what there is gets it"
    );
}

#[test]
fn nobody_reads_what_he_was_not_to_get_live() {
    let mut world = with_history();
    world.join_as(3, CodecId::Json, Principal::new("three", "admin", "ticket"), HELLO);
    let two = world.session(2).get();
    let last = [
        r#","exclude_authid":["user2"]"#,
        r#","exclude_authrole":["user"]"#,
        r#","eligible_authid":["three"]"#,
        r#","eligible_authrole":["admin"]"#,
    ];
    for (number, options) in (1..).zip(last) {
        publish(&mut world, "log.a", number, options);
    }
    let own = subscribe(&mut world, 2, "log.a", "exact");
    assert_eq!(ask(&mut world, 2, &own, ""), "");
    assert_eq!(
        ask(&mut world, 3, &own, ""),
        "1 2 3 4",
        "who may have them need not be subscribed"
    );
    for options in [format!(r#","eligible":[{two}]"#), r#","exclude":[]"#.to_owned()] {
        publish(&mut world, "log.b", 9, &options);
    }
    let other = subscribe(&mut world, 2, "log.b", "exact");
    assert_eq!(
        ask(&mut world, 2, &other, ""),
        "",
        "lists of sessions mean nothing later"
    );
    publish(&mut world, "log.c", 1, "");
    publish(&mut world, "log.c", 2, r#","exclude_me":false"#);
    let third = subscribe(&mut world, 2, "log.c", "exact");
    assert_eq!(
        ask(&mut world, 1, &third, ""),
        "2",
        "its publisher gets what it would have got"
    );
}

#[test]
fn history_is_for_who_may_subscribe_and_announced_where_there_is_any() {
    let mut strict = World::with(RouterConfig {
        history: HistoryConfig {
            topics: HistoryTopics::default().keep(MatchPolicy::Prefix, Uri::unchecked(""), 9),
            ..HistoryConfig::default()
        },
        ..RouterConfig::new(1)
    });
    strict.join_as(9, CodecId::Json, Principal::internal("tree"), HELLO);
    strict.join(&[1]);
    let own = subscribe(&mut strict, 9, "secret", "exact");
    strict.say(9, r#"[16,1,{"exclude_me":false},"secret",[1]]"#);
    assert_eq!(ask(&mut strict, 9, &own, ""), "1");
    assert_eq!(ask(&mut strict, 1, &own, ""), "wamp.error.not_authorized");
    let meta = subscribe(&mut strict, 9, "wamp.session.on_join", "exact");
    assert_eq!(ask(&mut strict, 9, &meta, ""), "wamp.error.history_unavailable");
    strict.attach(2, CodecId::Json, Principal::new("two", "user", "cookie"));
    assert!(strict.say(2, HELLO)[0].1.contains(r#""event_history":true"#));
    let mut without = World::open();
    without.attach(2, CodecId::Json, Principal::new("two", "user", "cookie"));
    assert!(!without.say(2, HELLO)[0].1.contains("event_history"));
}

#[test]
fn history_is_bounded_per_topic_in_all_and_per_answer() {
    let limits = HistoryLimits {
        topic_bytes: 2_000,
        events: 9,
        bytes: 6_000,
        answer_events: 3,
        answer_bytes: 700,
    };
    let mut world = world(HistoryConfig {
        topics: HistoryTopics::default().keep(MatchPolicy::Prefix, Uri::unchecked(""), 100),
        limits,
        ..HistoryConfig::default()
    });
    let large = "x".repeat(500);
    for number in 1..=4 {
        world.say(1, &format!(r#"[16,1,{{}},"big",[{number},"{large}"]]"#));
    }
    assert_eq!(world.router.stats().history, 2, "bytes of one topic");
    let too_large = "x".repeat(2_000);
    let before = publish(&mut world, "big", 5, "");
    world.say(1, &format!(r#"[16,2,{{}},"big",["{too_large}"]]"#));
    let big = subscribe(&mut world, 2, "big", "exact");
    assert_eq!(
        ask(&mut world, 2, &big, &format!(r#""after_publication":{before}"#)),
        "wamp.error.history_unavailable",
        "what could not be kept is a hole"
    );
    let nested = format!("{}{}", "[".repeat(30), "]".repeat(30));
    let before = publish(&mut world, "deep", 6, "");
    world.say(1, &format!(r#"[16,3,{{}},"deep",{nested}]"#));
    let deep = subscribe(&mut world, 2, "deep", "exact");
    assert_eq!(
        ask(&mut world, 2, &deep, &format!(r#""after_publication":{before}"#)),
        "wamp.error.history_unavailable",
        "nor may an answer nest deeper than anybody reads"
    );
    for number in 10..30 {
        publish(&mut world, &format!("t{number}"), number, "");
    }
    assert_eq!(world.router.stats().history, 9, "events in all");
    let all = subscribe(&mut world, 2, "t", "prefix");
    assert_eq!(
        ask(&mut world, 2, &all, r#""limit":1000"#),
        "21 22 …",
        "bytes of an answer"
    );
    for number in 30..50 {
        world.say(1, &format!(r#"[16,4,{{}},"u{number}",["{large}"]]"#));
    }
    assert!(world.router.stats().history < 9, "bytes in all");
    let large = subscribe(&mut world, 2, "u", "prefix");
    let said = world.say(2, &format!(r#"[48,8,{{}},"wamp.subscription.get_events",[{large}]]"#));
    assert!(said[0].1.contains("xxx"), "a single event is given however large it is");
}

#[test]
fn an_acknowledged_event_of_a_durable_history_is_stored() {
    let mut world = world(HistoryConfig {
        topics: topics(),
        durable: true,
        ..HistoryConfig::default()
    });
    let publish =
        |world: &mut World, number| world.say(1, &format!(r#"[16,{number},{{"acknowledge":true}},"log.busy"]"#));
    assert_eq!(publish(&mut world, 1), sent([(0, "store 1 without []")]));
    assert_eq!(publish(&mut world, 2), sent([(0, "store 2 without []")]));
    assert_eq!(publish(&mut world, 3), sent([(0, "store 3 without [1]")]));
    assert_eq!(
        world.handle(Input::Stored {
            numbers: 1..=2,
            kept: true
        }),
        sent([(1, "[17,1,ID]"), (1, "[17,2,ID]")])
    );
    let failed = world.handle(Input::Stored {
        numbers: 3..=3,
        kept: false,
    });
    assert_eq!(refused(&failed), "wamp.error.history_unavailable");
    publish(&mut world, 4);
    world.detach(1);
    assert_eq!(
        world.handle(Input::Stored {
            numbers: 4..=4,
            kept: true
        }),
        sent([]),
        "nobody waits any more"
    );
    let unkept = world.say(2, r#"[16,5,{"acknowledge":true},"other"]"#);
    assert_eq!(
        unkept,
        sent([(2, "[17,5,ID]")]),
        "what is not stored is acknowledged at once"
    );
}

/// What a shell would read back after these changes.
fn stored(out: &[Output], rows: &mut BTreeMap<u64, Recorded>) -> u64 {
    let mut forgotten = 0;
    for output in out {
        if let Output::Store(change) = output {
            let event = change.event.as_ref().map(|event| {
                let text = event.to_text().expect("what was published can be written");
                (change.number, Recorded::from_text(&text).expect("and read"))
            });
            rows.extend(event);
            rows.retain(|number, _| !change.evicted.contains(number));
            forgotten = change.forgotten;
        }
    }
    forgotten
}

#[test]
fn what_a_store_reads_back_is_checked() {
    let payload = Payload::encode(CodecId::Cbor, &(1, "\0é")).expect("encodable");
    let event = Recorded {
        number: 7,
        publication: PublicationId::wrapped(8),
        time: Duration::from_millis(1_700_000_000_123),
        topic: Uri::unchecked("a.b"),
        session: SessionId::wrapped(9),
        authid: "o\0ne".into(),
        authrole: "user".into(),
        options: PublishOptions {
            eligible_authrole: Some(vec!["user".into()]),
            ..PublishOptions::default()
        },
        payload,
    };
    let text = event.to_text().expect("written");
    assert!(!text.contains('\0'), "no database takes that as text");
    assert_eq!(Recorded::from_text(&text).expect("read"), event);
    for (right, wrong) in [
        ("wamp.2.cbor", "wamp.2.xml"),
        ("\"number\":7", "\"number\":-7"),
        ("ggFj", "gwFj"),
    ] {
        let broken = text.replacen(right, wrong, 1);
        assert_ne!(broken, text);
        assert!(Recorded::from_text(&broken).is_err(), "{broken}");
    }
}

#[test]
fn after_a_restart_the_history_goes_on_where_it_was() {
    let durable = |kept, forgotten| HistoryConfig {
        topics: topics(),
        durable: true,
        kept,
        forgotten,
        ..HistoryConfig::default()
    };
    let mut before = world(durable(Vec::new(), 0));
    let mut rows = BTreeMap::new();
    let mut forgotten = 0;
    for number in 1..=6 {
        let frame = format!(r#"[16,{number},{{"exclude_authid":["nobody"]}},"log.a",[{number}]]"#);
        let message = CodecId::Json.decode(frame.into()).expect("a message");
        let out = before.router.handle(Input::Message {
            connection: ConnectionId(1),
            message: message.into(),
        });
        forgotten = stored(&out, &mut rows);
    }
    assert_eq!(
        (rows.keys().copied().collect::<Vec<_>>(), forgotten),
        (vec![3, 4, 5, 6], 2)
    );
    let third = rows[&3].publication;
    let mut after = world(durable(rows.into_values().collect(), forgotten));
    let exact = subscribe(&mut after, 2, "log.a", "exact");
    assert_eq!(
        ask(&mut after, 2, &exact, &format!(r#""after_publication":{third}"#)),
        "4 5 6"
    );
    let said = after.say(1, r#"[16,7,{},"log.a",[7]]"#);
    assert!(said.contains(&(0, "store 7 without [3]".to_owned())), "{said:?}");
    assert_eq!(
        ask(&mut after, 2, &exact, &format!(r#""after_publication":{third}"#)),
        "wamp.error.history_unavailable"
    );
}
