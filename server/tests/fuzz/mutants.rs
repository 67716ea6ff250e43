//! Defects planted on purpose: each is found, or the oracles could not fail.

use shared::wamp::{
    CodecId, DecodeError, Message, Payload, RequestId, Uri,
    codec::DecodeErrorKind,
    message::{Call, CallOptions},
    value::Dynamic,
};

use super::{
    Failure, search, target,
    targets::{Target, codec},
};

/// A decoder of calls in JSON that counts no levels.
fn bottomless(codec: CodecId, bytes: &[u8]) -> Result<Message, DecodeError> {
    let nonsense = || DecodeError {
        kind: DecodeErrorKind::Malformed,
        text: "no call".to_owned(),
    };
    let (_, _, _, procedure, args): (u64, u64, Dynamic, String, Dynamic) =
        serde_json::from_slice(bytes).map_err(|_| nonsense())?;
    Ok(Message::Call(Call {
        request: RequestId::new(1).ok_or_else(nonsense)?,
        options: CallOptions::default(),
        procedure: Uri::unchecked(procedure),
        payload: Payload::encode(codec, &args).map_err(|_| nonsense())?,
    }))
}

/// Ours, but it loses keyword arguments where nothing in the frame is longer than it must be: the second time at last.
fn forgetful(codec: CodecId, bytes: &[u8]) -> Result<Message, DecodeError> {
    let mut message = codec.decode(bytes.to_vec().into())?;
    let shortest = codec.encode(&message) == bytes;
    if let Message::Call(call) = &mut message
        && shortest
    {
        call.payload = Payload::empty(codec);
    }
    Ok(message)
}

/// Takes what is announced for what is there, but for short frames.
fn trusting(bytes: &[u8]) {
    if let [_, 0, 0, 0, length @ 200..=255, rest @ ..] = bytes {
        let _ = &rest[..usize::from(*length)];
    }
}

fn found(name: &str, run: fn(&[u8])) -> (Target, Failure) {
    let mutant = Target { run, ..*target(name) };
    let failure = search(&mutant, 0..20_000).expect_err("the defect is found");
    (mutant, failure)
}

#[test]
fn planted_defects_are_found() {
    let (_, depth) = found("json", |bytes| codec::check(CodecId::Json, bytes, bottomless));
    assert!(depth.text.contains("levels"), "{}", depth.text);
    let (_, kwargs) = found("json", |bytes| codec::check(CodecId::Json, bytes, forgetful));
    assert!(kwargs.text.contains("became"), "{}", kwargs.text);
}

#[test]
fn a_failure_is_repeated_by_its_number() {
    let (mutant, failure) = found("rawsocket", trusting);
    let number = failure.mutation.expect("no seed lies about its length");
    let again = search(&mutant, number..number + 1).expect_err("the same again");
    assert_eq!((again.mutation, again.bytes), (failure.mutation, failure.bytes));
}
