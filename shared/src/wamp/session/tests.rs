//! The client session against a router that is played by the test, in JSON.

use super::*;
use crate::wamp::codec::CodecId;

const WELCOME: &str =
    r#"[2,7,{"roles":{"dealer":{"features":{"call_canceling":true}},"broker":{}},"authid":"ann","authrole":"user"}]"#;

fn join() -> Join {
    Join::new(Uri::unchecked("realm"))
}

/// What comes in, in JSON.
fn hear(session: &mut Session, json: &str) -> Vec<Output> {
    let message = CodecId::Json.decode(json.to_owned().into()).expect("a message");
    session.handle(Input::Message(message))
}

fn joined_by(welcome: &str) -> Session {
    let mut session = Session::default();
    session.handle(Input::Join(join()));
    let outputs = hear(&mut session, welcome);
    assert!(matches!(outputs.as_slice(), [Output::Joined(_)]), "{outputs:?}");
    session
}

fn joined() -> Session {
    joined_by(WELCOME)
}

/// The only message sent, in JSON.
fn sent(outputs: &[Output]) -> String {
    match outputs.first() {
        Some(Output::Send(message)) => String::from_utf8(CodecId::Json.encode(message).to_vec()).expect("JSON"),
        other => panic!("expected a message: {other:?}"),
    }
}

fn call(session: &mut Session) -> RequestId {
    let request = Request::Call {
        procedure: Uri::unchecked("p"),
        payload: Payload::empty(CodecId::Json),
        options: CallOptions::default(),
    };
    session.request(request).expect("a session").0
}

fn closed_by(outputs: &[Output]) -> &str {
    match outputs.last() {
        Some(Output::Closed(reason)) => reason.uri.as_str(),
        other => panic!("expected the end: {other:?}"),
    }
}

#[test]
fn joining_says_hello_and_learns_who_one_is() {
    let mut session = Session::default();
    assert!(
        session
            .request(Request::Unsubscribe {
                subscription: SubscriptionId::wrapped(1)
            })
            .is_err()
    );
    assert!(sent(&session.handle(Input::Join(join()))).starts_with(r#"[1,"realm",{"roles":{"callee":"#));
    let outputs = hear(&mut session, WELCOME);
    let [Output::Joined(details)] = outputs.as_slice() else {
        panic!("{outputs:?}")
    };
    assert_eq!(
        (
            details.authid.as_str(),
            details.authrole.as_str(),
            details.session.get()
        ),
        ("ann", "user", 7)
    );
    assert_eq!(details.realm, "realm", "the router need not repeat it");
}

#[test]
fn a_ticket_is_shown_when_asked_for_and_nothing_else_is() {
    let mut session = Session::default();
    session.handle(Input::Join(Join {
        ticket: Some("secret".to_owned()),
        ..join()
    }));
    assert_eq!(sent(&hear(&mut session, r#"[4,"ticket",{}]"#)), r#"[5,"secret",{}]"#);
    let outputs = hear(&mut session, r#"[4,"wampcra",{}]"#);
    assert_eq!(closed_by(&outputs), "wamp.error.no_auth_method");
}

#[test]
fn a_refusal_keeps_its_reason() {
    let mut session = Session::default();
    session.handle(Input::Join(join()));
    let outputs = hear(
        &mut session,
        r#"[3,{"message":"Reload."},"coati.error.client_outdated"]"#,
    );
    let [Output::Closed(reason)] = outputs.as_slice() else {
        panic!("{outputs:?}")
    };
    let error = reason.to_error();
    assert_eq!(
        (error.kind, error.message.as_str()),
        (ErrorKind::ClientOutdated, "Reload.")
    );
    assert!(session.is_closed());
}

#[test]
fn requests_are_numbered_from_one_without_gaps_and_answers_may_come_in_any_order() {
    let mut session = joined();
    let requests: Vec<u64> = (0..3).map(|_| call(&mut session).get()).collect();
    assert_eq!(requests, [1, 2, 3]);
    for request in [2, 3, 1] {
        let outputs = hear(&mut session, &format!("[50,{request},{{}}]"));
        let [
            Output::Answered {
                request: answered,
                answer: Ok(Answer::Result(_)),
            },
        ] = outputs.as_slice()
        else {
            panic!("{outputs:?}")
        };
        assert_eq!(answered.get(), request);
    }
}

#[test]
fn an_error_of_any_peer_becomes_an_error_with_its_text() {
    let mut session = joined();
    for (json, text) in [
        (r#"[8,48,1,{},"com.shop.empty",["No more."],{"extra":1}]"#, "No more."),
        (r#"[8,48,2,{},"com.shop.empty"]"#, "com.shop.empty"),
        (r#"[8,48,3,{},"com.shop.empty",[{"not":"text"}]]"#, "com.shop.empty"),
    ] {
        call(&mut session);
        let outputs = hear(&mut session, json);
        let [Output::Answered { answer: Err(error), .. }] = outputs.as_slice() else {
            panic!("{outputs:?}")
        };
        assert_eq!(
            (error.kind, error.uri.as_str()),
            (ErrorKind::Application, "com.shop.empty")
        );
        assert_eq!(error.message, text);
    }
}

#[test]
fn an_answer_that_crosses_with_giving_up_is_ignored() {
    let mut session = joined();
    let request = call(&mut session);
    assert_eq!(
        sent(&session.handle(Input::Cancel(request))),
        r#"[49,1,{"mode":"killnowait"}]"#
    );
    assert_eq!(session.handle(Input::Cancel(request)), [], "once is enough");
    assert_eq!(hear(&mut session, "[50,1,{}]"), []);
    assert_eq!(hear(&mut session, r#"[8,48,1,{},"wamp.error.canceled"]"#), []);
}

#[test]
fn a_router_that_cannot_cancel_is_not_asked_to_and_its_answer_is_awaited() {
    let mut session = joined_by(r#"[2,7,{"roles":{"dealer":{}}}]"#);
    let request = call(&mut session);
    assert_eq!(session.handle(Input::Cancel(request)), []);
    assert_eq!(hear(&mut session, "[50,1,{}]").len(), 1);
}

#[test]
fn a_router_that_breaks_the_protocol_is_told_so_and_left() {
    for breach in [
        "[50,9,{}]",
        "[33,1,5]",
        r#"[8,99,1,{},"x"]"#,
        r#"[48,1,{},"p"]"#,
        r#"[1,"realm",{"roles":{}}]"#,
        r#"[16,1,{},"t"]"#,
        "[70,1,{}]",
    ] {
        let mut session = joined();
        call(&mut session);
        let outputs = hear(&mut session, breach);
        assert!(sent(&outputs).contains("protocol_violation"), "{breach}: {outputs:?}");
        assert_eq!(closed_by(&outputs), "wamp.error.protocol_violation", "{breach}");
        assert_eq!(hear(&mut session, "[50,1,{}]"), [], "what comes later is ignored");
    }
    let mut session = joined();
    let outputs = session.handle(Input::LinkLost(LinkError::Malformed("not JSON".to_owned())));
    assert!(sent(&outputs).contains("not JSON"));
    assert_eq!(closed_by(&outputs), "wamp.error.protocol_violation");
}

#[test]
fn both_ways_of_ending_end_once() {
    let mut session = joined();
    let leave = || Input::Leave {
        reason: Uri::unchecked("wamp.close.normal"),
    };
    assert_eq!(sent(&session.handle(leave())), r#"[6,{},"wamp.close.normal"]"#);
    assert_eq!(session.handle(leave()), []);
    assert_eq!(hear(&mut session, "[36,1,1,{}]"), [], "events are over");
    assert_eq!(
        closed_by(&hear(&mut session, r#"[6,{},"wamp.close.goodbye_and_out"]"#)),
        "wamp.close.normal"
    );
    assert_eq!(session.handle(Input::LinkLost(LinkError::Closed(None))), []);

    let mut session = joined();
    let outputs = hear(
        &mut session,
        r#"[6,{"message":"Update."},"wamp.close.system_shutdown"]"#,
    );
    assert_eq!(sent(&outputs), r#"[6,{},"wamp.close.goodbye_and_out"]"#);
    assert_eq!(closed_by(&outputs), "wamp.close.system_shutdown");

    let mut session = joined();
    let outputs = session.handle(Input::LinkLost(LinkError::Closed(None)));
    let [Output::Closed(reason)] = outputs.as_slice() else {
        panic!("{outputs:?}")
    };
    assert_eq!(reason.to_error().kind, ErrorKind::Disconnected);
}

#[test]
fn what_is_taken_away_is_told() {
    let mut session = joined();
    assert_eq!(
        hear(
            &mut session,
            r#"[35,0,{"subscription":5,"reason":"wamp.error.not_authorized"}]"#
        ),
        [Output::SubscriptionRevoked(SubscriptionId::wrapped(5))]
    );
    assert_eq!(
        hear(&mut session, r#"[67,0,{"registration":6}]"#),
        [Output::RegistrationRevoked(RegistrationId::wrapped(6))]
    );
    assert_eq!(
        hear(&mut session, "[69,3,{}]"),
        [Output::Interrupt(RequestId::wrapped(3))]
    );
}
