//! Every message comes back from every codec as it was, means the same in all of them, and no bytes make one panic.

use coati_shared::wamp::{
    CodecId, MatchPolicy, Message, Payload, PublicationId, RegistrationId, RequestId, SessionId, SubscriptionId, Uri,
    message::*,
    role::{Role, Roles},
    uri::Name,
    value::Dynamic,
};
use proptest::{collection::vec, option, prelude::*};

fn id() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(1),
        2..300_u64,
        60_000..70_000_u64,
        4_294_967_290..4_294_967_300_u64,
        Just(1 << 53)
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{0,8}",
        "\\PC{0,40}",
        Just("\0\"\\\n😀".to_owned()),
        Just("x".repeat(256)),
        Just("long ".repeat(1000))
    ]
}

prop_compose! { fn request()(id in id()) -> RequestId { RequestId::new(id).unwrap() } }
prop_compose! { fn session()(id in id()) -> SessionId { SessionId::new(id).unwrap() } }
prop_compose! { fn registration()(id in id()) -> RegistrationId { RegistrationId::new(id).unwrap() } }
prop_compose! { fn subscription()(id in id()) -> SubscriptionId { SubscriptionId::new(id).unwrap() } }
prop_compose! { fn publication()(id in id()) -> PublicationId { PublicationId::new(id).unwrap() } }
prop_compose! { fn uri()(text in text()) -> Uri { Uri::unchecked(text) } }

fn value() -> impl Strategy<Value = Dynamic> {
    let leaf = prop_oneof![
        Just(Dynamic::Null),
        any::<bool>().prop_map(Dynamic::Boolean),
        any::<i64>().prop_map(Dynamic::Integer),
        (i64::MAX as u64 + 1..).prop_map(Dynamic::Unsigned),
        (-1_000_000..1_000_000_i32).prop_map(|number| Dynamic::Real(f64::from(number) + 0.5)),
        "[a-z😀\"]{0,12}".prop_map(Dynamic::Text),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Dynamic::List),
            prop::collection::btree_map("[a-z]{0,4}", inner, 0..4)
                .prop_map(|map| Dynamic::Map(map.into_iter().map(|(key, value)| (key.into(), value)).collect())),
        ]
    })
}

fn payload(codec: CodecId) -> impl Strategy<Value = Payload> {
    let kwargs = prop::collection::btree_map("[a-z]{1,4}", value(), 0..3);
    (vec(value(), 0..4), kwargs).prop_map(move |(args, kwargs)| {
        Payload::encode(codec, &args)
            .and_then(|payload| payload.with_kwargs(&kwargs))
            .expect("arguments")
    })
}

fn passthru() -> impl Strategy<Value = Passthru> {
    (
        option::of(text()),
        option::of(text()),
        option::of(text()),
        any::<bool>(),
    )
        .prop_map(|(scheme, keyid, hash, old)| {
            Passthru::new(PassthruKeys {
                ppt_scheme: scheme.clone(),
                ppt_serializer: keyid.clone(),
                ppt_cipher: scheme,
                ppt_keyid: keyid,
                enc_algo: old.then(|| "cryptobox".to_owned()),
                enc_key: old.then(|| "key".to_owned()),
                enc_serializer: old.then(|| "cbor".to_owned()),
                mark: hash.clone(),
                transaction_hash: hash,
            })
        })
}

fn forward_for() -> impl Strategy<Value = Option<Vec<Forwarder>>> {
    let forwarder = (id(), option::of(text()), option::of(text())).prop_map(|(session, authid, authrole)| Forwarder {
        session,
        authid,
        authrole,
    });
    option::of(vec(forwarder, 0..3))
}

fn roles() -> impl Strategy<Value = Roles> {
    let role = prop::collection::btree_map("[a-z_]{1,8}", any::<bool>(), 0..3).prop_map(|features| Role { features });
    prop::collection::btree_map("[a-z]{1,8}", role, 0..4).prop_map(Roles)
}

fn extra() -> impl Strategy<Value = Extra> {
    prop::collection::btree_map("[a-z]{1,8}", value(), 0..3)
}

fn policy() -> impl Strategy<Value = MatchPolicy> {
    prop_oneof![
        Just(MatchPolicy::Exact),
        Just(MatchPolicy::Prefix),
        Just(MatchPolicy::Wildcard)
    ]
}

fn invoke() -> impl Strategy<Value = InvokePolicy> {
    prop_oneof![
        Just(InvokePolicy::Single),
        Just(InvokePolicy::RoundRobin),
        Just(InvokePolicy::Random),
        Just(InvokePolicy::First),
        Just(InvokePolicy::Last),
    ]
}

fn cancel() -> impl Strategy<Value = CancelOptions> {
    let mode = prop_oneof![
        Just(CancelMode::Skip),
        Just(CancelMode::Kill),
        Just(CancelMode::KillNoWait)
    ];
    (option::of(mode), option::of(uri())).prop_map(|(mode, reason)| CancelOptions { mode, reason })
}

fn lifecycle(codec: CodecId) -> impl Strategy<Value = Message> {
    let strings = || {
        (
            option::of(text()),
            option::of(text()),
            option::of(text()),
            option::of(text()),
        )
    };
    let hello = (
        uri(),
        roles(),
        strings(),
        option::of(vec(text(), 0..3)),
        option::of(extra()),
        any::<u32>(),
    )
        .prop_map(
            |(realm, roles, (agent, authid, authrole, build), authmethods, authextra, protocol)| {
                let coati = build.map(|build| Coati {
                    protocol,
                    contracts: build.clone(),
                    build,
                });
                let details = HelloDetails {
                    roles,
                    agent,
                    authmethods,
                    authid,
                    authrole,
                    authextra,
                    coati,
                };
                Message::Hello(Box::new(Hello { realm, details }))
            },
        );
    let welcome = (session(), roles(), strings(), option::of(uri()), option::of(extra())).prop_map(
        |(session, roles, (agent, authid, authrole, authmethod), realm, authextra)| {
            let authprovider = authmethod.clone();
            let details = WelcomeDetails {
                roles,
                agent,
                realm,
                authid,
                authrole,
                authmethod,
                authprovider,
                authextra,
            };
            Message::Welcome(Box::new(Welcome { session, details }))
        },
    );
    prop_oneof![
        hello,
        welcome,
        (option::of(text()), uri(), payload(codec)).prop_map(|(message, reason, payload)| {
            Message::Abort(Abort {
                details: CloseDetails { message },
                reason,
                payload,
            })
        }),
        (text(), extra()).prop_map(|(method, extra)| Message::Challenge(Challenge { method, extra })),
        (text(), extra()).prop_map(|(signature, extra)| Message::Authenticate(Authenticate { signature, extra })),
        (option::of(text()), uri()).prop_map(|(message, reason)| {
            Message::Goodbye(Goodbye {
                details: CloseDetails { message },
                reason,
            })
        }),
        (id(), request(), passthru(), uri(), payload(codec)).prop_map(
            |(request_type, request, passthru, error, payload)| {
                let details = ErrorDetails { passthru };
                Message::Error(ErrorMessage {
                    request_type,
                    request,
                    details,
                    error,
                    payload,
                })
            }
        ),
    ]
}

fn publish_options() -> impl Strategy<Value = PublishOptions> {
    let sessions = || option::of(vec(session(), 0..3));
    let texts = || option::of(vec(text(), 0..3));
    let lists = (sessions(), texts(), texts(), sessions(), texts(), texts());
    let flags = (any::<bool>(), option::of(any::<bool>()), any::<bool>(), any::<bool>());
    (lists, flags, option::of(text()), forward_for(), passthru()).prop_map(
        |(lists, (acknowledge, exclude_me, disclose_me, retain), trace, forward_for, passthru)| {
            let (exclude, exclude_authid, exclude_authrole, eligible, eligible_authid, eligible_authrole) = lists;
            PublishOptions {
                acknowledge,
                exclude_me,
                exclude,
                exclude_authid,
                exclude_authrole,
                eligible,
                eligible_authid,
                eligible_authrole,
                disclose_me,
                retain,
                trace,
                forward_for,
                passthru,
            }
        },
    )
}

fn event_details() -> impl Strategy<Value = EventDetails> {
    let who = (option::of(session()), option::of(text()), option::of(text()));
    (
        who,
        option::of(uri()),
        (any::<bool>(), any::<bool>(), any::<bool>()),
        option::of(text()),
        forward_for(),
        passthru(),
    )
        .prop_map(
            |(who, topic, (retained, acknowledged_delivery, behind), trace, forward_for, passthru)| {
                let (publisher, publisher_authid, publisher_authrole) = who;
                EventDetails {
                    publisher,
                    publisher_authid: publisher_authid.as_deref().map(Name::from),
                    publisher_authrole: publisher_authrole.as_deref().map(Name::from),
                    topic,
                    retained,
                    acknowledged_delivery,
                    behind,
                    trace,
                    forward_for,
                    passthru,
                }
            },
        )
}

fn publish_subscribe(codec: CodecId) -> impl Strategy<Value = Message> {
    prop_oneof![
        (request(), publish_options(), uri(), payload(codec)).prop_map(|(request, options, topic, payload)| {
            Message::Publish(Box::new(Publish {
                request,
                options,
                topic,
                payload,
            }))
        }),
        (request(), publication())
            .prop_map(|(request, publication)| Message::Published(Published { request, publication })),
        (request(), policy(), any::<(bool, bool)>(), forward_for(), uri()).prop_map(
            |(request, policy, (get_retained, resumable), forward_for, topic)| {
                let options = SubscribeOptions {
                    policy,
                    get_retained,
                    resumable,
                    forward_for,
                };
                Message::Subscribe(Subscribe {
                    request,
                    options,
                    topic,
                })
            }
        ),
        (request(), subscription())
            .prop_map(|(request, subscription)| Message::Subscribed(Subscribed { request, subscription })),
        (request(), subscription())
            .prop_map(|(request, subscription)| Message::Unsubscribe(Unsubscribe { request, subscription })),
        request().prop_map(|request| {
            Message::Unsubscribed(Unsubscribed {
                request: Some(request),
                details: None,
            })
        }),
        (option::of(subscription()), option::of(uri())).prop_map(|(subscription, reason)| {
            let details = Some(UnsubscribedDetails { subscription, reason });
            Message::Unsubscribed(Unsubscribed { request: None, details })
        }),
        (subscription(), publication(), event_details(), payload(codec)).prop_map(
            |(subscription, publication, details, payload)| {
                Message::Event(Event {
                    subscription,
                    publication,
                    details,
                    payload,
                })
            }
        ),
        publication().prop_map(|publication| Message::EventReceived(EventReceived { publication })),
    ]
}

fn call_options() -> impl Strategy<Value = CallOptions> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (option::of(any::<u64>()), flags, option::of(text()), passthru()).prop_map(
        |(timeout, (receive_progress, progress, disclose_me), trace, passthru)| CallOptions {
            timeout,
            receive_progress,
            progress,
            disclose_me,
            trace,
            passthru,
        },
    )
}

fn invocation_details() -> impl Strategy<Value = InvocationDetails> {
    let who = (option::of(session()), option::of(text()), option::of(text()));
    let flags = (any::<bool>(), any::<bool>());
    (
        who,
        option::of(uri()),
        flags,
        option::of(any::<u64>()),
        option::of(text()),
        passthru(),
    )
        .prop_map(
            |(who, procedure, (receive_progress, progress), timeout, trace, passthru)| {
                let (session, authid, authrole) = who;
                let name = |text: Option<String>| text.as_deref().map(Name::from);
                InvocationDetails {
                    caller: Disclosed::new(session, name(authid), name(authrole)),
                    procedure,
                    receive_progress,
                    progress,
                    timeout,
                    trace,
                    passthru,
                }
            },
        )
}

fn call(codec: CodecId) -> impl Strategy<Value = Message> {
    prop_oneof![
        (request(), call_options(), uri(), payload(codec)).prop_map(|(request, options, procedure, payload)| {
            Message::Call(Call {
                request,
                options,
                procedure,
                payload,
            })
        }),
        (request(), cancel()).prop_map(|(request, options)| Message::Cancel(Cancel { request, options })),
        (request(), any::<bool>(), passthru(), payload(codec)).prop_map(|(request, progress, passthru, payload)| {
            Message::Result(CallResult {
                request,
                details: ResultDetails { progress, passthru },
                payload,
            })
        }),
        (request(), policy(), invoke(), any::<bool>(), any::<bool>(), uri()).prop_map(
            |(request, policy, invoke, disclose_caller, forward_timeout, procedure)| {
                let options = RegisterOptions {
                    policy,
                    invoke,
                    disclose_caller,
                    forward_timeout,
                };
                Message::Register(Register {
                    request,
                    options,
                    procedure,
                })
            }
        ),
        (request(), registration())
            .prop_map(|(request, registration)| Message::Registered(Registered { request, registration })),
        (request(), registration())
            .prop_map(|(request, registration)| Message::Unregister(Unregister { request, registration })),
        request().prop_map(|request| {
            Message::Unregistered(Unregistered {
                request: Some(request),
                details: None,
            })
        }),
        (option::of(registration()), option::of(uri())).prop_map(|(registration, reason)| {
            let details = Some(UnregisteredDetails { registration, reason });
            Message::Unregistered(Unregistered { request: None, details })
        }),
        (request(), registration(), invocation_details(), payload(codec)).prop_map(
            |(request, registration, details, payload)| {
                Message::Invocation(Invocation {
                    request,
                    registration,
                    details,
                    payload,
                })
            }
        ),
        (request(), cancel()).prop_map(|(request, options)| Message::Interrupt(Interrupt { request, options })),
        (request(), any::<bool>(), passthru(), payload(codec)).prop_map(|(request, progress, passthru, payload)| {
            Message::Yield(Yield {
                request,
                options: YieldOptions { progress, passthru },
                payload,
            })
        }),
    ]
}

fn codec() -> impl Strategy<Value = CodecId> {
    prop::sample::select(CodecId::ALL.to_vec())
}

/// Boxed, or the types of the strategies fill a test thread's stack.
fn any_message() -> BoxedStrategy<(CodecId, Message)> {
    codec()
        .prop_flat_map(|codec| {
            let kinds = [
                lifecycle(codec).boxed(),
                publish_subscribe(codec).boxed(),
                call(codec).boxed(),
            ];
            (Just(codec), proptest::strategy::Union::new(kinds))
        })
        .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_message_comes_back_as_it_was((codec, message) in any_message()) {
        let frame = codec.encode(&message);
        prop_assert_eq!(codec.decode(frame), Ok(message));
    }

    #[test]
    fn a_message_means_the_same_in_every_codec((codec, message) in any_message(), other in codec()) {
        let there = other.decode(other.encode(&message)).expect("a message in the other codec");
        let back = codec.decode(codec.encode(&there)).expect("a message in its own codec again");
        prop_assert_eq!(back.code(), message.code());
        let values = |message: &Message| message.payload().map(|payload| {
            (payload.decode_args::<Dynamic>().expect("arguments"), payload.decode_kwargs::<Dynamic>().expect("keywords"))
        });
        prop_assert_eq!(values(&back), values(&message));
    }

    #[test]
    fn random_bytes_never_panic(codec in codec(), bytes in vec(any::<u8>(), 0..200)) {
        let _ = codec.decode(bytes.into());
    }

    #[test]
    fn a_frame_with_any_byte_changed_or_cut_off_never_panics(
        (codec, message) in any_message(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(),
    ) {
        let mut frame = codec.encode(&message).to_vec();
        let at = at.index(frame.len());
        if cut { frame.truncate(at) } else { frame[at] = byte }
        if let Ok(message) = codec.decode(frame.into()) {
            // What was accepted can be handed on in every codec.
            for other in CodecId::ALL {
                prop_assert!(other.decode(other.encode(&message)).is_ok(), "{:?} to {:?}: {:?}", codec, other, message);
            }
        }
    }
}
