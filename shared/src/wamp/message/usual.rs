//! CALL, RESULT, YIELD and PUBLISH as most clients write them, in JSON: read in one pass, without a table of elements.

use std::ops::Range;

use bytes::{Buf, Bytes};

use super::*;
use crate::wamp::codec::json;

/// The message, if nothing about it is unusual: no options, no keyword arguments, no escapes in a name. Otherwise the
/// frame, to be read element by element, which also finds the words for what is wrong.
pub(super) fn read(frame: Bytes) -> Result<Box<Message>, Bytes> {
    let Some(head) = json::usual(&frame) else {
        return Err(frame);
    };
    let name = head.text.and_then(|range| std::str::from_utf8(frame.get(range)?).ok());
    let name = name.map(Uri::unchecked);
    let Some(request) = RequestId::new(head.request) else {
        return Err(frame);
    };
    let args = head.args;
    // Each is made in its box.
    Ok(match (head.code, name) {
        (code::CALL, Some(procedure)) => Box::new(Message::Call(Call {
            request,
            options: CallOptions::default(),
            procedure,
            payload: payload(frame, args),
        })),
        (code::PUBLISH, Some(topic)) => Box::new(Message::Publish(Box::new(Publish {
            request,
            options: PublishOptions::default(),
            topic,
            payload: payload(frame, args),
        }))),
        (code::RESULT, None) => Box::new(Message::Result(CallResult {
            request,
            details: ResultDetails::default(),
            payload: payload(frame, args),
        })),
        (code::YIELD, None) => Box::new(Message::Yield(Yield {
            request,
            options: YieldOptions::default(),
            payload: payload(frame, args),
        })),
        (_, _) => return Err(frame),
    })
}

fn payload(mut frame: Bytes, args: Range<usize>) -> Payload {
    if args.is_empty() {
        return Payload::empty(CodecId::Json);
    }
    frame.truncate(args.end);
    frame.advance(args.start);
    Payload::from_checked(CodecId::Json, frame, Bytes::new())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Frames of which most are usual, and those that are not nearly so.
    fn frames() -> impl Strategy<Value = String> {
        let any_of = |tokens: &'static [&'static str]| prop::sample::select(tokens);
        (
            any_of(&[
                "[48", "[16", "[50", "[70", "[64", "[8", "[048", "[", " [48", "[-70", "[48.0",
            ]),
            any_of(&[
                ",1",
                ",23",
                ",9007199254740992",
                ",9007199254740993",
                ",0",
                ",01",
                ", 7",
                ",99999999999999999999",
                "",
            ]),
            any_of(&[",{}", ",{}", ",{ }", ",{\"timeout\":5}", ",[]", ",null", ""]),
            any_of(&[
                "",
                ",\"a.b\"",
                ",\"a.ü\"",
                ",\"a\\u0062\"",
                ",\"\"",
                ",\"a\u{1}\"",
                ", \"a\"",
                ",\"a",
            ]),
            any_of(&[
                "",
                ",[]",
                ",[1,\"x\"]",
                ",[[[{}]]]",
                ",[1",
                ",[1,]",
                ", [1]",
                ",{}",
                ",[ ]",
            ]),
            any_of(&["]", "]", ",{\"k\":1}]", ",{}]", " ]", "] ", "]]", ""]),
        )
            .prop_map(|(code, request, options, name, args, end)| format!("{code}{request}{options}{name}{args}{end}"))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]
        #[test]
        fn what_is_read_in_one_pass_is_what_is_read_by_elements(text in frames()) {
            let frame = Bytes::from(text);
            if let Ok(message) = read(frame.clone()) {
                prop_assert_eq!(Ok(*message), Message::from_elements(CodecId::Json, frame));
            }
        }
    }

    #[test]
    fn usual_messages_are_read_in_one_pass_and_others_are_left() {
        let is_read = |frame: &'static str| read(Bytes::from_static(frame.as_bytes())).is_ok();
        for usual in [
            r#"[48,1,{},"a.b"]"#,
            r#"[48,1,{},"a.b",[]]"#,
            r#"[16,1,{},"a.b",["x"]]"#,
            r"[50,1,{},[1,2]]",
            r"[70,1,{}]",
        ] {
            assert!(is_read(usual), "{usual}");
        }
        for other in [
            r#"[70,1,{},"opaque"]"#,
            r"[48,1,{},[1]]",
            r#"[48,1,{"timeout":1},"a"]"#,
            r#"[48,0,{},"a"]"#,
            r#"[48,1,{},"a",[1],{"k":1}]"#,
        ] {
            assert!(!is_read(other), "{other}");
        }
    }
}
