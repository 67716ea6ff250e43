//! Proving who one is: methods, their order, and what those who fail get to see.

use super::*;
use crate::wamp::message::Challenge;
use crate::wamp::router::authentication::{derive_key, from_hex, sign_challenge};
use ed25519_dalek::{Signer, SigningKey};

const KEY: &str = "4d57d97a68f555696620a6d849c0ce582568518d729eb753dc7c732de2804510";
const PUBLIC: &str = "1adfc8bfe1d35616e64dffbd900096f23b066f914c8c2ffbb66f6075b96e116d";

fn world() -> World {
    let authentication = Authentication::new([7; 32])
        .transport()
        .ticket("tim", "user", TicketHash::of("a long ticket"))
        .shared_secret("cra", "user", SharedSecret::plain("secret"))
        .shared_secret("salty", "editor", SharedSecret::salted("secret", Salt::new("pepper")))
        .public_keys("sig", "signer", vec![from_hex(PUBLIC).expect("hex")]);
    World::with(RouterConfig {
        authorizer: Box::new(AllNames),
        authentication: Some(authentication),
        ..RouterConfig::new(1)
    })
}

fn hello(world: &mut World, number: u64, details: &str) -> Sent {
    world.attach(number, CodecId::Json, Principal::default());
    world.say(
        number,
        &format!(r#"[1,"realm",{{"roles":{{"caller":{{}}}},{details}}}]"#),
    )
}

/// The text of a member of a challenge's extra, with its escapes undone.
fn member(challenge: &str, name: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(challenge).expect("JSON");
    value[2][name].as_str().unwrap_or_default().to_owned()
}

/// The raw challenge: large numbers as they are.
fn challenge(world: &mut World, number: u64, details: &str) -> String {
    world.attach(number, CodecId::Json, Principal::default());
    let text = format!(r#"[1,"realm",{{"roles":{{"caller":{{}}}},{details}}}]"#);
    let message = CodecId::Json.decode(text.into()).expect("HELLO");
    let connection = ConnectionId(number);
    match world
        .router
        .handle(Input::Message {
            connection,
            message: message.into(),
        })
        .as_slice()
    {
        [Output::Send { message, .. }] => String::from_utf8(message.frame(CodecId::Json).to_vec()).expect("JSON"),
        other => panic!("{other:?}"),
    }
}

fn answer(world: &mut World, number: u64, signature: &str) -> String {
    let said = world.say(number, &format!(r#"[5,"{signature}",{{}}]"#));
    if said[0].1.starts_with("[2,") {
        let session = world.router.session(world.session(number)).expect("joined");
        let who = &session.principal;
        return format!(
            "{} {} {} {}",
            who.authid, who.authrole, who.authmethod, who.authprovider
        );
    }
    assert!(said[1].1.starts_with("close"), "{said:?}");
    said[0].1.rsplit('"').nth(1).unwrap_or_default().to_owned()
}

const FAILED: &str = "wamp.error.authentication_failed";

#[test]
fn a_ticket_opens_the_door_once_it_is_right() {
    let mut world = world();
    let details = r#""authmethods":["ticket"],"authid":"tim""#;
    assert_eq!(hello(&mut world, 1, details), sent([(1, r#"[4,"ticket",{}]"#)]));
    assert_eq!(answer(&mut world, 1, "a long ticket"), "tim user ticket static");
    hello(&mut world, 2, details);
    assert_eq!(answer(&mut world, 2, "another ticket"), FAILED);
    assert_eq!(world.say(2, r#"[5,"a long ticket",{}]"#), [], "there is no second try");
    let unknown = hello(&mut world, 3, r#""authmethods":["ticket"],"authid":"nobody""#);
    assert_eq!(
        unknown,
        sent([(3, r#"[4,"ticket",{}]"#)]),
        "who does not exist is asked all the same"
    );
    assert_eq!(answer(&mut world, 3, "a long ticket"), FAILED);
}

#[test]
fn challenge_and_response_prove_a_shared_secret_salted_or_not() {
    let mut world = world();
    for (number, authid, key, role) in [
        (1, "cra", "secret".to_owned(), "user"),
        (2, "salty", derive_key("secret", &Salt::new("pepper")), "editor"),
    ] {
        let asked = challenge(
            &mut world,
            number,
            &format!(r#""authmethods":["wampcra"],"authid":"{authid}""#),
        );
        assert_eq!(member(&asked, "salt"), if authid == "salty" { "pepper" } else { "" });
        let text = member(&asked, "challenge");
        for part in [authid, "\"nonce\"", "\"session\"", "\"timestamp\""] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let proof = sign_challenge(key.as_bytes(), &text);
        assert_eq!(
            answer(&mut world, number, &proof),
            format!("{authid} {role} wampcra static")
        );
        let session = world.session(number).get();
        assert!(
            text.contains(&format!("\"session\":{session}")),
            "the session is the one announced"
        );
    }
    challenge(&mut world, 3, r#""authmethods":["wampcra"],"authid":"cra""#);
    assert_eq!(
        answer(&mut world, 3, &sign_challenge(b"secret", "an old challenge")),
        FAILED
    );
}

#[test]
fn a_challenge_does_not_tell_whether_the_user_exists() {
    let mut world = world();
    let details = r#""authmethods":["wampcra"],"authid":"nobody""#;
    let (one, other) = (challenge(&mut world, 1, details), challenge(&mut world, 2, details));
    let salts: Vec<usize> = (10..30)
        .map(|number| {
            let details = format!(r#""authmethods":["wampcra"],"authid":"nobody{number}""#);
            member(&challenge(&mut world, number, &details), "salt").len()
        })
        .collect();
    assert!(
        salts.contains(&0) && salts.contains(&"pepper".len()),
        "like one of those that exist: {salts:?}"
    );
    assert!(
        !member(
            &challenge(&mut world, 4, r#""authmethods":["wampcra"],"authid":"salty""#),
            "challenge"
        )
        .contains("editor")
    );
    assert_eq!(
        member(&one, "salt"),
        member(&other, "salt"),
        "the same salt at each try"
    );
    assert_ne!(member(&one, "challenge"), member(&other, "challenge"));
    assert_eq!(answer(&mut world, 1, ""), FAILED);
    let asked = challenge(&mut world, 3, r#""authmethods":["cryptosign"],"authid":"nobody""#);
    assert_eq!(member(&asked, "challenge").len(), 64);
    assert_eq!(answer(&mut world, 3, &"00".repeat(96)), FAILED);
}

#[test]
fn a_signature_proves_a_key_and_the_key_tells_the_user() {
    let mut world = world();
    let key = SigningKey::from_bytes(&from_hex(KEY).expect("hex"));
    let sign = |challenge: &str| {
        let challenge: [u8; 32] = from_hex(challenge).expect("hex");
        let bytes: Vec<u8> = key.sign(&challenge).to_bytes().into_iter().chain(challenge).collect();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let details = format!(r#""authmethods":["cryptosign"],"authextra":{{"pubkey":"{PUBLIC}"}}"#);
    let asked = challenge(&mut world, 1, &details);
    assert!(asked.contains(r#""channel_binding":null"#), "{asked}");
    assert_eq!(
        answer(&mut world, 1, &sign(&member(&asked, "challenge"))),
        "sig signer cryptosign static"
    );
    let again = challenge(&mut world, 2, &details);
    assert_ne!(member(&asked, "challenge"), member(&again, "challenge"));
    assert_eq!(
        answer(&mut world, 2, &sign(&member(&asked, "challenge"))),
        FAILED,
        "an old signature"
    );
    let other = format!(r#"{details},"authid":"tim""#);
    let asked = challenge(&mut world, 3, &other);
    assert_eq!(
        answer(&mut world, 3, &sign(&member(&asked, "challenge"))),
        FAILED,
        "somebody else's key"
    );
}

#[test]
fn scram_looks_alike_for_strangers_and_the_server_proves_itself_too() {
    let credential = ScramCredential::new(Kdf::Pbkdf2, b"salt".to_vec(), 10, b"salted password");
    let scram = |authid: &str, knows: &[u8]| {
        let mut world = World::with(RouterConfig {
            authentication: Some(Authentication::new([7; 32]).scram("anna", "user", credential.clone())),
            ..RouterConfig::new(1)
        });
        let details = format!(r#""authmethods":["scram"],"authid":"{authid}","authextra":{{"nonce":"AQIDBAUGBwgJ"}}"#);
        let challenge = challenge(&mut world, 1, &details);
        let challenge: Challenge = match CodecId::Json.decode(challenge.into()) {
            Ok(Message::Challenge(challenge)) => challenge,
            other => panic!("{other:?}"),
        };
        let names: Vec<&String> = challenge.extra.keys().collect();
        assert_eq!(names, ["iterations", "kdf", "nonce", "salt"]);
        let proof = crate::wamp::router::authentication::answer_scram(authid, "AQIDBAUGBwgJ", &challenge.extra, knows);
        let proof = proof.expect("a whole challenge");
        world.say(1, &format!(r#"[5,"{proof}",{{}}]"#))[0].1.clone()
    };
    let welcome = scram("anna", b"salted password");
    assert!(
        welcome.contains(r#""authextra":{"scram_server_signature":"#),
        "{welcome}"
    );
    for (authid, knows) in [("anna", &b"guess"[..]), ("bert", b"salted password")] {
        assert!(scram(authid, knows).contains(FAILED), "{authid}");
    }
}

#[test]
fn the_first_offered_method_that_is_there_is_taken() {
    let mut world = world();
    let said = hello(
        &mut world,
        1,
        r#""authmethods":["scram","x","ticket","wampcra"],"authid":"tim""#,
    );
    assert_eq!(said, sent([(1, r#"[4,"ticket",{}]"#)]));
    let said = hello(&mut world, 2, r#""authmethods":["anonymous","scram"]"#);
    assert!(said[0].1.ends_with(r#""wamp.error.no_auth_method"]"#), "{said:?}");
    assert_eq!(said[1].1, "close wamp.error.no_auth_method");
    let said = hello(&mut world, 3, r#""authid":"tim""#);
    assert!(
        said[0].1.contains("no_auth_method"),
        "without methods there is only anonymous: {said:?}"
    );
}

#[test]
fn whom_the_transport_knows_needs_no_challenge_and_our_own_trees_neither() {
    let mut world = world();
    world.attach(1, CodecId::Json, Principal::new("ann", "editor", "cookie"));
    assert!(
        world.say(1, BASIC)[0]
            .1
            .contains(r#""authid":"ann","authrole":"editor""#)
    );
    world.attach(2, CodecId::Json, Principal::new("ann", "editor", "cookie"));
    let said = world.say(
        2,
        r#"[1,"realm",{"roles":{},"authmethods":["cookie","ticket"],"authid":"tim"}]"#,
    );
    assert!(
        said[0].1.contains(r#""authid":"ann""#),
        "the cookie counts, not the wish: {said:?}"
    );
    world.attach(
        4,
        CodecId::Json,
        Principal::new("anonymous-1", "anonymous", "anonymous"),
    );
    assert!(
        world.say(4, BASIC)[0].1.contains("no_auth_method"),
        "a name for a stranger proves nothing"
    );
    world.join_as(3, CodecId::Json, Principal::internal("tree"), BASIC);
    let mut open = World::with(RouterConfig {
        authentication: Some(Authentication::new([7; 32]).anonymous("guest")),
        ..RouterConfig::new(1)
    });
    let said = hello(&mut open, 1, r#""authid":"root","authrole":"admin""#);
    assert!(
        said[0].1.contains(r#""authrole":"guest""#) && !said[0].1.contains("root"),
        "{said:?}"
    );
}

#[test]
fn nothing_but_the_answer_may_follow_a_challenge() {
    for next in [BASIC, r#"[48,1,{},"p"]"#, r#"[32,1,{},"t"]"#] {
        let mut world = world();
        hello(&mut world, 1, r#""authmethods":["ticket"],"authid":"tim""#);
        let said = world.say(1, next);
        assert!(said[0].1.contains("protocol_violation"), "{next}: {said:?}");
    }
    let mut world = world();
    world.attach(1, CodecId::Json, Principal::default());
    assert!(
        world.say(1, r#"[5,"x",{}]"#)[0].1.contains("protocol_violation"),
        "an answer to no challenge"
    );
}
