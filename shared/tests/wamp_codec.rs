//! The codecs byte by byte: layouts, what is malformed, how deep is too deep, and what translating does.

use bytes::Bytes;
use coati_shared::wamp::{
    CodecId, Message, Payload, RequestId, SubscriptionId, Uri,
    codec::{DEPTH_LIMIT, DecodeErrorKind},
    message::{Call, CallOptions, Unsubscribed, UnsubscribedDetails, Yield, YieldOptions},
    value::Dynamic,
};

fn hex(text: &str) -> Bytes {
    let digits: Vec<u8> = text
        .bytes()
        .filter_map(|b| char::from(b).to_digit(16))
        .map(|digit| digit as u8)
        .collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[test]
fn layouts_byte_by_byte() {
    let call = |codec| {
        let payload = Payload::encode(codec, &("x", 300)).and_then(|it| it.with_kwargs(&[("k", true)].map(pair)[0]));
        Message::Call(Call {
            request: RequestId::new(1).unwrap(),
            options: CallOptions {
                timeout: Some(1000),
                ..CallOptions::default()
            },
            procedure: Uri::unchecked("a.b"),
            payload: payload.expect("arguments"),
        })
    };
    assert_eq!(
        CodecId::Json.encode(&call(CodecId::Json)),
        r#"[48,1,{"timeout":1000},"a.b",["x",300],{"k":true}]"#
    );
    assert_eq!(
        CodecId::Msgpack.encode(&call(CodecId::Msgpack)),
        hex("96 30 01 81 a7 74696d656f7574 cd03e8 a3 612e62 92 a178 cd012c 81 a16b c3")
    );
    assert_eq!(
        CodecId::Cbor.encode(&call(CodecId::Cbor)),
        hex("86 1830 01 a1 67 74696d656f7574 1903e8 63 612e62 82 6178 19012c a1 616b f5")
    );
    let revoked = Message::Unsubscribed(Unsubscribed {
        request: None,
        details: Some(UnsubscribedDetails {
            subscription: SubscriptionId::new(9),
            reason: None,
        }),
    });
    assert_eq!(CodecId::Json.encode(&revoked), r#"[35,0,{"subscription":9}]"#);
}

fn pair((key, value): (&str, bool)) -> std::collections::BTreeMap<&str, bool> {
    [(key, value)].into()
}

#[test]
fn keyword_arguments_alone_have_an_empty_list_before_them_and_empty_arguments_are_left_out() {
    let none: [u8; 0] = [];
    let with = |payload: Payload| {
        CodecId::Json.encode(&Message::Yield(Yield {
            request: RequestId::new(1).unwrap(),
            options: YieldOptions::default(),
            payload,
        }))
    };
    let empty = Payload::encode(CodecId::Json, &none).expect("arguments");
    assert_eq!(with(empty.clone()), "[70,1,{}]");
    assert_eq!(
        with(empty.with_kwargs(&pair(("k", false))).expect("keywords")),
        r#"[70,1,{},[],{"k":false}]"#
    );
    let read = CodecId::Json.decode("[70,1,{},[],{}]".into()).expect("a message");
    assert!(read.payload().expect("arguments").is_empty());
    assert_eq!(read.payload().expect("arguments").decode_args::<()>(), Ok(()));
    assert_eq!(read.payload().expect("arguments").decode_args::<Vec<u8>>(), Ok(vec![]));
}

#[test]
fn what_is_malformed_is_refused() {
    for bad in [
        "",
        "{}",
        "[]",
        "[",
        "[48",
        "[48,1,{},\"a\"",
        "[48,1,{},\"a\"]]",
        "48",
        "null",
        "[\"48\"]",
        "[48.0,1,{},\"a\"]",
        "[-1]",
        "[48]",
        "[48,0,{},\"a\"]",
        "[48,-1,{},\"a\"]",
        "[48,1.5,{},\"a\"]",
        "[48,1.0,{},\"a\"]",
        "[48,9007199254740993,{},\"a\"]",
        "[48,1,[],\"a\"]",
        "[48,1,{},7]",
        "[48,1,{},\"a\",{}]",
        "[48,1,{},\"a\",7]",
        "[48,1,{},\"a\",[],[]]",
        "[48,1,{},\"a\",[],{},1]",
        "[48,1,{},\"a\",[],{},1,2,3]",
        "[7,1]",
        "[9999,1]",
        "[48,1,{\"timeout\":\"x\"},\"a\"]",
        "[48,1,{\"timeout\":-1},\"a\"]",
        "[48,1,{\"progress\":1},\"a\"]",
        "[16,1,{\"eligible\":[0]},\"a\"]",
        "[16,1,{\"eligible\":[1.5]},\"a\"]",
        "[64,1,{\"match\":\"near\"},\"a\"]",
        "[34,1,2,3]",
        "[35]",
        "[35,0,7]",
        "[35,1,{}]",
        "[1,\"realm\"]",
        "[48,1,{},\"a\",[01]]",
        "[48,1,{},\"a\",[\"\\ud800\"]]",
        "[48,1,{},\"a\",[1e999]]",
        "[48,1,{},\"a\",[\"\u{1}\"]]",
        "[48,1,{},\"a\",\"x\",{}]",
    ] {
        assert!(CodecId::Json.decode(bad.to_owned().into()).is_err(), "{bad}");
    }
    assert!(CodecId::Json.decode(Bytes::from_static(b"[48,1,{},\"\xff\"]")).is_err());
    for bad in [
        "",
        "90",
        "80",
        "c0",
        "9430",
        "94300180",
        "943001 80 a161 00",
        "9430 00 80 a161",
        "9430 ff 80 a161",
        "9430 cb3ff0000000000000 80 a161",
        "95 30 01 80 a161 91 a1ff",
        "95 30 01 80 a161 91 c1",
        "95 30 01 80 a161 dd ffffffff",
        "95 30 01 80 a161 91 c6 ffffffff",
        "dd ffffffff 30",
        "9430 cf 0020000000000001 80 a161",
        "94 30 01 90 a161",
    ] {
        assert!(CodecId::Msgpack.decode(hex(bad)).is_err(), "{bad}");
    }
    for bad in [
        "",
        "80",
        "a0",
        "f6",
        "841830",
        "84 1830 00 a0 6161",
        "84 1830 20 a0 6161",
        "84 1830 f93c00 a0 6161",
        "85 1830 01 a0 6161 81 61ff",
        "85 1830 01 a0 6161 81 1c",
        "85 1830 01 a0 6161 9bffffffffffffffff",
        "85 1830 01 a0 6161 81 5f6161ff",
        "85 1830 01 a0 6161 81 ff",
        "9f 1830 01 a0 6161",
        "84 1830 01 a0 6161 00",
        "84 1830 01 80 6161",
        "85 1830 01 a0 6161 81 f8ff",
        "85 1830 01 a0 6161 81 e0",
    ] {
        assert!(CodecId::Cbor.decode(hex(bad)).is_err(), "{bad}");
    }
}

#[test]
fn indefinite_lengths_of_cbor_are_read() {
    let message = CodecId::Cbor.decode(hex("9f 1830 01 bf ff 7f 6161 6162 ff 9f 01 7f 6161 ff bf ff ff ff"));
    let Ok(Message::Call(call)) = message else {
        panic!("{message:?}")
    };
    assert_eq!(call.procedure, "ab");
    let args: Dynamic = call.payload.decode_args().expect("arguments");
    assert_eq!(args, Dynamic::List(vec![1.into(), "a".into(), Dynamic::Map(vec![])]));
}

#[test]
fn nesting_is_limited_and_100_000_levels_do_no_harm() {
    let nested = |codec: CodecId, levels: usize| -> Bytes {
        let (head, open, close): (&[u8], u8, u8) = match codec {
            CodecId::Json => (b"[48,1,{},\"a\",", b'[', b']'),
            CodecId::Msgpack => (&[0x95, 48, 1, 0x80, 0xa1, b'a'], 0x91, 0),
            CodecId::Cbor => (&[0x85, 0x18, 48, 1, 0xa0, 0x61, b'a'], 0x81, 0),
        };
        let mut frame = head.to_vec();
        frame.extend(std::iter::repeat_n(open, levels - 1));
        match codec {
            CodecId::Json => {
                frame.extend_from_slice(b"[]");
                frame.extend(std::iter::repeat_n(close, levels - 1));
                frame.push(b']');
            }
            CodecId::Msgpack => frame.push(0x90),
            CodecId::Cbor => frame.push(0x80),
        }
        frame.into()
    };
    for codec in CodecId::ALL {
        let deepest = codec
            .decode(nested(codec, DEPTH_LIMIT - 1))
            .expect("as deep as allowed");
        for other in CodecId::ALL {
            assert!(other.decode(other.encode(&deepest)).is_ok(), "{codec:?} to {other:?}");
        }
        for levels in [DEPTH_LIMIT, 100_000] {
            let error = codec.decode(nested(codec, levels)).expect_err("too deep");
            assert_eq!(error.kind, DecodeErrorKind::TooDeep, "{codec:?} {levels}");
        }
    }
    let maps = format!("[48,1,{{}},\"a\",[{}", "{\"a\":".repeat(100_000));
    assert_eq!(
        CodecId::Json.decode(maps.into()).expect_err("too deep").kind,
        DecodeErrorKind::TooDeep
    );
    let details = format!("[48,1,{}", "{\"a\":".repeat(100_000));
    assert_eq!(
        CodecId::Json.decode(details.into()).expect_err("too deep").kind,
        DecodeErrorKind::TooDeep
    );
}

#[test]
fn bytes_are_nul_and_base64_in_json_and_bytes_elsewhere() {
    let json = Payload::encode(CodecId::Json, &("\0AQID", "plain", "\0not base64!")).expect("arguments");
    for codec in [CodecId::Msgpack, CodecId::Cbor] {
        let there = json.transcode(codec).expect("transcoded");
        let values: Vec<Dynamic> = there.decode_args().expect("arguments");
        assert_eq!(
            values,
            [Dynamic::Binary(vec![1, 2, 3]), "plain".into(), "\0not base64!".into()],
            "{codec:?}"
        );
        let back = there.transcode(CodecId::Json).expect("transcoded");
        assert_eq!(back.args(), json.args());
    }
}

#[test]
fn numbers_of_cbor_beyond_64_bits_are_read_as_near_as_may_be() {
    let json = |number: &str| -> String {
        let frame = Bytes::from([&hex("85 10 01 a0 61 61 81")[..], &hex(number)].concat());
        let Ok(Message::Publish(publish)) = CodecId::Cbor.decode(frame) else {
            panic!("{number} is taken")
        };
        let json = publish.payload.transcode(CodecId::Json).expect("transcoded");
        String::from_utf8(json.args().to_vec()).expect("text")
    };
    assert_eq!(json("c2 41 07"), "[7]");
    assert_eq!(json("c3 41 07"), "[-8]");
    assert_eq!(json("c2 49 01 0000000000000000"), "[1.8446744073709552e+19]");
    assert_eq!(json("3b ffffffffffffffff"), "[-1.8446744073709552e+19]");
    let most = "ffffffffffffffffffffffffffffffff";
    assert_eq!(json(&format!("c2 50 {most}")), "[3.402823669209385e+38]");
    assert_eq!(json(&format!("c3 50 7f{}", &most[2..])), "[-1.7014118346046923e+38]");
    let below = hex(&format!("85 10 01 a0 61 61 81 c3 50 {most}"));
    assert!(
        CodecId::Cbor.decode(below).is_err(),
        "refused when it comes, not lost when it is handed on"
    );
}

#[test]
fn keys_that_are_numbers_are_short_in_json() {
    let value = Dynamic::Map(
        [1.0, 2.5, 1e300, -5e-324]
            .map(|key| (Dynamic::Real(key), Dynamic::Null))
            .into(),
    );
    let there = Payload::encode(CodecId::Msgpack, &(value,)).expect("arguments");
    let json = there.transcode(CodecId::Json).expect("transcoded");
    assert_eq!(
        json.args(),
        r#"[{"1.0":null,"2.5":null,"1e300":null,"-5e-324":null}]"#.as_bytes()
    );
}

#[test]
fn what_json_cannot_say_is_bent_to_it() {
    let value = Dynamic::List(vec![Dynamic::Map(vec![
        (Dynamic::Integer(7), Dynamic::Real(f64::NAN)),
        (Dynamic::Boolean(true), Dynamic::Unsigned(u64::MAX)),
    ])]);
    for codec in [CodecId::Msgpack, CodecId::Cbor] {
        let there = Payload::encode(codec, &value).expect("arguments");
        let json = there.transcode(CodecId::Json).expect("transcoded");
        assert_eq!(
            json.args(),
            r#"[{"7":null,"true":18446744073709551615}]"#.as_bytes(),
            "{codec:?}"
        );
    }
}

#[test]
fn keys_within_keys_take_as_much_room_in_json_as_they_have_levels() {
    let frame = |levels: usize| {
        let mut frame = hex("85 10 01 a0 61 61 81");
        let key = std::iter::repeat_n(0xa1, levels).chain([0]);
        let frame: Vec<u8> = std::mem::take(&mut frame)
            .into_iter()
            .chain(key)
            .chain(std::iter::repeat_n(0xf6, levels))
            .collect();
        let Ok(Message::Publish(publish)) = CodecId::Cbor.decode(frame.into()) else {
            panic!("a publication")
        };
        publish.payload.transcode(CodecId::Json).expect("transcoded").size()
    };
    assert!(frame(14) < 300, "{} bytes", frame(14));
    assert!(frame(30) < 600, "{} bytes", frame(30));
}

#[test]
fn unknown_keys_are_ignored_and_nulls_read_as_absent() {
    let frame = r#"[48,1,{"x_new":[1,{"a":2}],"timeout":null,"_trace":"t","disclose_me":null},"a"]"#;
    let Ok(Message::Call(call)) = CodecId::Json.decode(frame.into()) else {
        panic!("a call")
    };
    assert_eq!(
        call.options,
        CallOptions {
            trace: Some("t".to_owned()),
            ..CallOptions::default()
        }
    );
    let frame = CodecId::Msgpack.encode(&Message::Call(call));
    assert_eq!(frame, hex("94 30 01 81 a6 5f7472616365 a174 a161"));
}

#[test]
fn contract_structs_travel_as_maps_in_every_codec() {
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Row {
        key: i64,
        name: Option<String>,
        kind: Kind,
        at: std::net::IpAddr,
    }
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    enum Kind {
        Plain,
        Sized { width: u32 },
    }
    let rows = || {
        vec![
            Row {
                key: i64::MAX,
                name: None,
                kind: Kind::Plain,
                at: [127, 0, 0, 1].into(),
            },
            Row {
                key: -1,
                name: Some("é".to_owned()),
                kind: Kind::Sized { width: 7 },
                at: [0; 16].into(),
            },
        ]
    };
    // Cbor is for other peers only: their values come to us transcoded.
    for (from, to) in [
        (CodecId::Json, CodecId::Msgpack),
        (CodecId::Msgpack, CodecId::Json),
        (CodecId::Msgpack, CodecId::Msgpack),
    ] {
        let there = Payload::encode(from, &(rows(),))
            .and_then(|payload| payload.transcode(to))
            .expect("transcoded");
        assert_eq!(there.decode_args::<(Vec<Row>,)>(), Ok((rows(),)), "{from:?} to {to:?}");
    }
    let text = Payload::encode(CodecId::Msgpack, &(rows(),))
        .and_then(|it| it.transcode(CodecId::Json))
        .expect("JSON");
    assert!(
        std::str::from_utf8(text.args())
            .expect("text")
            .starts_with(r#"[[{"key":9223372036854775807,"name":null"#)
    );
}
