//! What the default authorizer refuses, to whom, and by which error.

use super::*;

const CODES: [(Action, u64); 4] = [
    (Action::Call, 48),
    (Action::Register, 64),
    (Action::Publish, 16),
    (Action::Subscribe, 32),
];

/// Tries a request and says how it was answered: `ok` or the error URI. A call that was let through may find nothing.
fn tried(world: &mut World, number: u64, action: Action, uri: &str, policy: &str) -> String {
    let code = CODES.iter().find(|(it, _)| *it == action).expect("an action").1;
    let options = match action {
        Action::Publish => r#"{"acknowledge":true}"#.to_owned(),
        Action::Call => "{}".to_owned(),
        Action::Register | Action::Subscribe => format!(r#"{{"match":"{policy}"}}"#),
    };
    let said = world.say(number, &format!(r#"[{code},9,{options},"{uri}"]"#));
    let answer = said
        .iter()
        .find(|(to, _)| *to == number)
        .map(|(_, frame)| frame.clone())
        .unwrap_or_default();
    if answer.starts_with("[8,") {
        answer.split('"').nth(1).unwrap_or_default().to_owned()
    } else {
        "ok".to_owned()
    }
}

const DENIED: &str = "wamp.error.not_authorized";
const INVALID: &str = "wamp.error.invalid_uri";
const NOT_THERE: &str = "wamp.error.no_such_procedure";

#[test]
fn a_browser_without_a_base_may_start_a_session_and_nothing_else() {
    let mut world = World::strict();
    world.join(&[1]);
    assert_eq!(tried(&mut world, 1, Action::Call, "coati.start_session", ""), NOT_THERE);
    for (action, uri) in [
        (Action::Call, "coati.start_session.x"),
        (Action::Call, "coati.other"),
        (Action::Call, "server"),
        (Action::Register, "coati.start_session"),
        (Action::Register, "client"),
        (Action::Publish, "client.x"),
        (Action::Subscribe, "anything"),
    ] {
        assert_eq!(tried(&mut world, 1, action, uri, "exact"), DENIED, "{action:?} {uri}");
    }
}

#[test]
fn a_browser_is_confined_to_the_base_that_it_is_bound_to() {
    let mut world = World::strict();
    world.join(&[1, 2]);
    world.bind(1, "base1");
    world.bind(2, "base2");
    for (action, uri, policy, answer) in [
        (Action::Call, "base1.server", "", NOT_THERE),
        (Action::Call, "base1.server.a.b", "", NOT_THERE),
        (Action::Call, "base1.serverx", "", DENIED),
        (Action::Call, "base1.client", "", DENIED),
        (Action::Call, "base1", "", DENIED),
        (Action::Call, "base2.server", "", DENIED),
        (Action::Register, "base1.client", "exact", "ok"),
        (Action::Register, "base1.client.", "prefix", "ok"),
        (Action::Register, "base1.client", "prefix", DENIED),
        (Action::Register, "base1.client.a..b", "wildcard", "ok"),
        (Action::Register, "base1..b", "wildcard", DENIED),
        (Action::Register, ".client", "wildcard", DENIED),
        (Action::Register, "", "prefix", DENIED),
        (Action::Register, "base1.server", "exact", DENIED),
        (Action::Register, "base2.client", "exact", DENIED),
        (Action::Publish, "base1.client.sig", "", "ok"),
        (Action::Publish, "base1.clientx", "", DENIED),
        (Action::Publish, "base1.server.sig", "", DENIED),
        (Action::Publish, "base2.client.sig", "", DENIED),
        (Action::Subscribe, "base1.server.sig", "exact", "ok"),
        (Action::Subscribe, "base1.", "prefix", "ok"),
        (Action::Subscribe, "base1", "prefix", DENIED),
        (Action::Subscribe, "", "prefix", DENIED),
        (Action::Subscribe, "base1..x", "wildcard", "ok"),
        (Action::Subscribe, "..x", "wildcard", DENIED),
        (Action::Subscribe, "base2.server.sig", "exact", DENIED),
    ] {
        assert_eq!(
            tried(&mut world, 1, action, uri, policy),
            answer,
            "{action:?} {uri:?} {policy}"
        );
    }
}

#[test]
fn our_own_trees_may_do_everything_but_what_wamp_reserves() {
    let mut world = World::strict();
    world.join_as(1, CodecId::Json, Principal::internal("tree"), HELLO);
    for (action, uri, policy, answer) in [
        (Action::Register, "a.b", "exact", "ok"),
        (Action::Register, "a.", "prefix", "ok"),
        (Action::Subscribe, "base", "prefix", "ok"),
        (Action::Publish, "x.y", "", "ok"),
        (Action::Call, "nothing", "", NOT_THERE),
        (Action::Register, "wamp.session.count", "exact", INVALID),
        (Action::Register, "", "prefix", DENIED),
        (Action::Register, "wam", "prefix", DENIED),
        (Action::Register, ".session", "wildcard", DENIED),
        (Action::Publish, "wamp.session.on_join", "", INVALID),
        (Action::Subscribe, "wamp.session.on_join", "exact", "ok"),
        (Action::Call, "wamp.session.count", "", "ok"),
        (Action::Call, "wamp.session.nothing", "", NOT_THERE),
        (Action::Register, "wampum", "exact", "ok"),
    ] {
        assert_eq!(
            tried(&mut world, 1, action, uri, policy),
            answer,
            "{action:?} {uri:?} {policy}"
        );
    }
}

#[test]
fn a_role_that_is_named_may_use_its_prefix_and_nothing_else() {
    let authorizer = BaseAuthorizer::default().allow("component", "shop");
    let mut world = World::with(RouterConfig {
        authorizer: Box::new(authorizer),
        ..RouterConfig::new(1)
    });
    world.join_as(1, CodecId::Json, Principal::new("py", "component", "ticket"), HELLO);
    world.join(&[2]);
    for (number, uri, policy, answer) in [
        (1, "shop.orders", "exact", "ok"),
        (1, "shop.", "prefix", "ok"),
        (1, "shop", "prefix", DENIED),
        (1, "shopping", "exact", DENIED),
        (2, "shop.orders", "exact", DENIED),
    ] {
        assert_eq!(
            tried(&mut world, number, Action::Register, uri, policy),
            answer,
            "{number} {uri} {policy}"
        );
    }
}

#[test]
fn bad_names_are_refused_before_anybody_is_asked() {
    let mut world = World::strict();
    world.join(&[1]);
    for (action, _) in CODES {
        for uri in ["", "a..b", "a b", "a.#", ".a"] {
            assert_eq!(
                tried(&mut world, 1, action, uri, "exact"),
                INVALID,
                "{action:?} {uri:?}"
            );
        }
    }
    let mut strict = World::with(RouterConfig {
        syntax: Syntax::Strict,
        ..RouterConfig::new(1)
    });
    strict.join(&[1]);
    assert_eq!(tried(&mut strict, 1, Action::Publish, "Base.Client", ""), INVALID);
}

#[test]
fn a_refused_publication_without_acknowledgement_has_no_answer_and_no_effect() {
    let mut world = World::strict();
    world.join(&[1]);
    world.join_as(2, CodecId::Json, Principal::internal("tree"), HELLO);
    world.say(2, r#"[32,1,{},"secret"]"#);
    assert_eq!(world.say(1, r#"[16,1,{},"secret",[1]]"#), []);
}

#[test]
fn an_operator_with_a_token_reaches_everything_and_looks_into_nodes_and_its_page_does_not() {
    let mut world = World::with(RouterConfig {
        operators: BTreeSet::from(["admin".to_owned()]),
        ..RouterConfig::new(1)
    });
    for (number, role, method) in [
        (1, "admin", TOKEN),
        (2, "admin", "cookie"),
        (3, "reader", TOKEN),
        (4, "reader", "cookie"),
    ] {
        world.join_as(number, CodecId::Json, Principal::new("anna", role, method), HELLO);
    }
    for number in [2, 3, 4] {
        world.bind(number, &format!("base{number}"));
        for (action, uri) in [
            (Action::Call, "base1.server.open"),
            (Action::Publish, "base1.client.x"),
            (Action::Subscribe, "base1.server.x"),
            (Action::Call, "wamp.session.list"),
            (Action::Call, "base1.server.node_inspect"),
        ] {
            assert_eq!(
                tried(&mut world, number, action, uri, "exact"),
                DENIED,
                "{number} {uri}"
            );
        }
        let own = format!("base{number}.server");
        assert_eq!(
            tried(&mut world, number, Action::Call, &format!("{own}.open"), ""),
            NOT_THERE
        );
        for method in [NODE_INSPECT, NODE_FOLLOW] {
            let uri = format!("{own}.{method}");
            assert_eq!(
                tried(&mut world, number, Action::Call, &uri, ""),
                DENIED,
                "not even the own tree"
            );
        }
    }
    for (action, uri, policy, expected) in [
        (Action::Call, "base2.server.open", "", NOT_THERE),
        (Action::Call, "base2.server.node_inspect", "", NOT_THERE),
        (Action::Call, "wamp.session.list", "", "ok"),
        (Action::Publish, "base2.client.x", "", "ok"),
        (Action::Subscribe, "base2.", "prefix", "ok"),
        (Action::Register, "base2.client.x", "exact", DENIED),
        (Action::Publish, "wamp.session.on_join", "", INVALID),
    ] {
        assert_eq!(tried(&mut world, 1, action, uri, policy), expected, "{action:?} {uri}");
    }
}

#[test]
fn whatever_an_authorizer_allows_nodes_are_looked_into_by_operators_only() {
    let mut world = World::open();
    world.join(&[1]);
    for uri in ["a.node_inspect", "a.node_follow", "node_inspect"] {
        assert_eq!(tried(&mut world, 1, Action::Call, uri, ""), DENIED, "{uri}");
    }
    for uri in ["a.node_inspection", "a.b_node_inspect", "node_inspect.a"] {
        assert_eq!(tried(&mut world, 1, Action::Call, uri, ""), NOT_THERE, "{uri}");
    }
}
