//! Peers over the router in memory: calls, events, giving up, back-pressure with every capacity at 1, and leaving.

use std::{
    cell::{Cell, RefCell},
    future::pending,
    rc::Rc,
    time::Duration,
};

use coati_shared::{
    error::{Error, ErrorKind},
    platform::{PlatformRef, default_platform},
    wamp::{
        CodecId, Event, Invocation, Join, LocalRealm, MatchPolicy, Payload, Peer, Uri,
        message::{CallOptions, PublishOptions, RegisterOptions, SubscribeOptions},
        peer::{CallHandler, Part, Progress, ProgressiveHandler},
        router::{Open, Principal, Router, RouterConfig},
    },
};
use futures::{FutureExt, StreamExt, future::join_all};

/// Runs a test on a thread of its own kind: one thread, many tasks.
fn local<F: Future<Output = ()>>(test: impl FnOnce(World) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    let runtime = runtime.expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let platform = default_platform();
        let config = RouterConfig {
            authorizer: Box::new(Open),
            ..RouterConfig::new(1)
        };
        let router = Router::new(Uri::unchecked("realm"), config);
        let world = World {
            realm: LocalRealm::new(Rc::clone(&platform), router),
            platform,
        };
        let limit = tokio::time::timeout(Duration::from_secs(60), test(world));
        limit.await.expect("the test hangs");
    });
}

struct World {
    realm: LocalRealm,
    platform: PlatformRef,
}

impl World {
    async fn peer(&self, name: &str, codec: CodecId, capacity: usize) -> Peer {
        let link = self.realm.connect(Principal::internal(name), codec, capacity);
        let join = Join::new(Uri::unchecked("realm"));
        Peer::join(Rc::clone(&self.platform), link, join).await.expect("joined")
    }
}

fn uri(text: &str) -> Uri {
    Uri::loose(text).expect("a URI")
}

fn args<A: serde::Serialize>(peer: &Peer, args: A) -> Payload {
    Payload::encode(peer.codec(), &args).expect("arguments")
}

/// Answers with twice the number.
fn doubles(peer: &Peer) -> CallHandler {
    let codec = peer.codec();
    Rc::new(move |invocation: Invocation| {
        async move {
            let (number,): (u64,) = invocation.payload.decode_args()?;
            Payload::encode(codec, &(number * 2,))
        }
        .boxed_local()
    })
}

async fn call(peer: &Peer, procedure: &str, number: u64) -> Result<u64, Error> {
    let payload = args(peer, (number,));
    let result = peer.call(&uri(procedure), payload, CallOptions::default()).await?;
    result.decode_args().map(|(number,)| number)
}

/// Lets all other tasks run until nothing moves any more.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[test]
fn a_call_comes_back_with_its_result_in_any_mix_of_codecs() {
    local(|world| async move {
        for (one, other) in [
            (CodecId::Msgpack, CodecId::Msgpack),
            (CodecId::Json, CodecId::Msgpack),
            (CodecId::Cbor, CodecId::Json),
            (CodecId::Msgpack, CodecId::Cbor),
        ] {
            let caller = world.peer("caller", one, 8).await;
            let callee = world.peer("callee", other, 8).await;
            let registration = callee
                .register(&uri("double"), RegisterOptions::default(), doubles(&callee))
                .await;
            let registration = registration.expect("registered");
            assert_eq!(call(&caller, "double", 21).await, Ok(42));
            registration.unregister().await.expect("unregistered");
            assert_eq!(
                call(&caller, "double", 21).await.expect_err("gone").kind,
                ErrorKind::NoSuchProcedure
            );
        }
    });
}

#[test]
fn errors_cross_with_kind_text_details_and_incident() {
    local(|world| async move {
        let caller = world.peer("caller", CodecId::Json, 8).await;
        let callee = world.peer("callee", CodecId::Msgpack, 8).await;
        let error = Error::new(ErrorKind::Conflict, "Too late.")
            .with_detail("field", "name")
            .with_incident("i1");
        let sent = error.clone();
        let handler: CallHandler = Rc::new(move |_| std::future::ready(Err(sent.clone())).boxed_local());
        let _kept = callee.register(&uri("p"), RegisterOptions::default(), handler).await;
        assert_eq!(call(&caller, "p", 1).await, Err(error));
    });
}

#[test]
fn the_callee_knows_who_calls_and_what_was_called() {
    local(|world| async move {
        let caller = world.peer("ann", CodecId::Msgpack, 8).await;
        let callee = world.peer("callee", CodecId::Msgpack, 8).await;
        let seen = Rc::new(RefCell::new(None));
        let handler: CallHandler = {
            let seen = Rc::clone(&seen);
            Rc::new(move |invocation: Invocation| {
                *seen.borrow_mut() = Some((invocation.procedure.clone(), invocation.details.clone()));
                std::future::ready(Ok(Payload::empty(CodecId::Msgpack))).boxed_local()
            })
        };
        let options = RegisterOptions {
            policy: MatchPolicy::Prefix,
            ..RegisterOptions::default()
        };
        let _kept = callee.register(&Uri::unchecked("root."), options, handler).await;
        let options = CallOptions {
            trace: Some("t1".to_owned()),
            ..CallOptions::default()
        };
        caller
            .call(&uri("root.a.b"), args(&caller, ()), options)
            .await
            .expect("a result");
        let (procedure, details) = seen.borrow_mut().take().expect("a call");
        assert_eq!(procedure, "root.a.b");
        assert_eq!(details.caller.session(), Some(caller.session().session));
        assert_eq!(details.caller.authid(), Some("ann"));
        assert_eq!(details.caller.authrole(), Some("node"));
        assert_eq!(details.trace.as_deref(), Some("t1"));
    });
}

#[test]
fn events_come_in_order_to_every_handler_until_it_is_dropped() {
    local(|world| async move {
        let publisher = world.peer("publisher", CodecId::Msgpack, 1).await;
        let listener = world.peer("listener", CodecId::Msgpack, 1).await;
        let heard: [Rc<RefCell<Vec<u64>>>; 2] = Default::default();
        let handler = |index: usize| {
            let heard = Rc::clone(&heard[index]);
            Rc::new(move |event: Event| {
                let (number,): (u64,) = event.payload.decode_args().expect("a number");
                assert_eq!(event.topic, "t");
                heard.borrow_mut().push(number);
            })
        };
        let first = listener
            .subscribe(&uri("t"), SubscribeOptions::default(), handler(0))
            .await
            .expect("first");
        let second = listener
            .subscribe(&uri("t"), SubscribeOptions::default(), handler(1))
            .await
            .expect("second");
        assert_eq!(first.id(), second.id(), "one subscription at the router");
        for number in 0..100 {
            publisher
                .publish(&uri("t"), args(&publisher, (number,)), PublishOptions::default())
                .expect("published");
        }
        settle().await;
        drop(first);
        publisher
            .publish(&uri("t"), args(&publisher, (100,)), PublishOptions::default())
            .expect("published");
        settle().await;
        second.unsubscribe().await.expect("unsubscribed");
        publisher
            .publish(&uri("t"), args(&publisher, (101,)), PublishOptions::default())
            .expect("published");
        settle().await;
        assert_eq!(*heard[0].borrow(), (0..100).collect::<Vec<_>>());
        assert_eq!(*heard[1].borrow(), (0..101).collect::<Vec<_>>());
        assert_eq!(world.realm.with_router(|router| router.stats().subscriptions), 0);
    });
}

#[test]
fn subscribing_anew_while_the_last_listener_goes_keeps_the_topic_alive() {
    local(|world| async move {
        let publisher = world.peer("publisher", CodecId::Msgpack, 8).await;
        let listener = world.peer("listener", CodecId::Msgpack, 8).await;
        let heard = Rc::new(Cell::new(0));
        let count = {
            let heard = Rc::clone(&heard);
            Rc::new(move |_: Event| heard.set(heard.get() + 1))
        };
        let topic = uri("t");
        let old = listener
            .subscribe(&topic, SubscribeOptions::default(), Rc::clone(&count) as _)
            .await
            .expect("old");
        let mut coming = Box::pin(listener.subscribe(&topic, SubscribeOptions::default(), count));
        assert!((&mut coming).now_or_never().is_none(), "SUBSCRIBE is on its way");
        drop(old);
        let new = coming.await.expect("new");
        publisher
            .publish(&topic, args(&publisher, ()), PublishOptions::default())
            .expect("published");
        settle().await;
        assert_eq!(heard.get(), 1);
        drop(new);
        settle().await;
        assert_eq!(world.realm.with_router(|router| router.stats().subscriptions), 0);
    });
}

#[test]
fn a_dropped_call_interrupts_its_callee_and_frees_its_credit() {
    local(|world| async move {
        let caller = world.peer("caller", CodecId::Msgpack, 8).await;
        let callee = world.peer("callee", CodecId::Msgpack, 8).await;
        let running = Rc::new(Cell::new(0));
        struct Count(Rc<Cell<i32>>);
        impl Drop for Count {
            fn drop(&mut self) {
                self.0.set(self.0.get() - 1);
            }
        }
        let handler: CallHandler = {
            let running = Rc::clone(&running);
            Rc::new(move |_| {
                running.set(running.get() + 1);
                let count = Count(Rc::clone(&running));
                async move {
                    let _count = count;
                    pending().await
                }
                .boxed_local()
            })
        };
        let _kept = callee
            .register(&uri("never"), RegisterOptions::default(), handler)
            .await;
        for _ in 0..200 {
            let mut given_up = Box::pin(call(&caller, "never", 1));
            assert!((&mut given_up).now_or_never().is_none());
            settle().await;
            assert_eq!(running.get(), 1);
            drop(given_up);
            settle().await;
            assert_eq!(running.get(), 0, "the callee's work is dropped");
        }
        assert_eq!(world.realm.with_router(|router| router.stats().calls), 0);
    });
}

#[test]
fn more_calls_than_the_credit_wait_in_the_callers_future_and_all_are_answered() {
    local(|world| async move {
        let caller = world.peer("caller", CodecId::Msgpack, 4).await;
        let callee = world.peer("callee", CodecId::Msgpack, 4).await;
        let most = Rc::new(Cell::new((0, 0)));
        let handler: CallHandler = {
            let (most, platform) = (Rc::clone(&most), Rc::clone(&world.platform));
            Rc::new(move |_| {
                let (most, platform) = (Rc::clone(&most), Rc::clone(&platform));
                async move {
                    let (now, peak) = most.get();
                    most.set((now + 1, peak.max(now + 1)));
                    platform.sleep(Duration::from_millis(10)).await;
                    let (now, peak) = most.get();
                    most.set((now - 1, peak));
                    Payload::encode(CodecId::Msgpack, &(1_u64,))
                }
                .boxed_local()
            })
        };
        let _kept = callee.register(&uri("slow"), RegisterOptions::default(), handler).await;
        let answers = join_all((0..500).map(|_| call(&caller, "slow", 1))).await;
        assert!(answers.iter().all(|answer| *answer == Ok(1)));
        assert_eq!(most.get(), (0, 64), "exactly the credit is in flight");
    });
}

/// Each peer's procedure calls the next peer's, round and round: with every queue at 1 and everybody busy, a design in
/// which anybody waits for a queue stands still.
#[test]
fn calls_in_circles_do_not_deadlock_with_every_capacity_at_one() {
    local(|world| async move {
        let peers = join_all((0..3).map(|_| world.peer("peer", CodecId::Msgpack, 1))).await;
        let mut kept = Vec::new();
        for (index, peer) in peers.iter().enumerate() {
            let (this, next) = (peer.clone(), format!("p{}", (index + 1) % peers.len()));
            let handler: CallHandler = Rc::new(move |invocation: Invocation| {
                let (this, next) = (this.clone(), next.clone());
                async move {
                    let (depth,): (u64,) = invocation.payload.decode_args()?;
                    let sum = if depth == 0 {
                        0
                    } else {
                        call(&this, &next, depth - 1).await? + 1
                    };
                    this.publish(&uri("done"), args(&this, (depth,)), PublishOptions::default())?;
                    Payload::encode(this.codec(), &(sum,))
                }
                .boxed_local()
            });
            let procedure = uri(&format!("p{index}"));
            kept.push(
                peer.register(&procedure, RegisterOptions::default(), handler)
                    .await
                    .expect("registered"),
            );
        }
        let heard = Rc::new(Cell::new(0));
        let count = {
            let heard = Rc::clone(&heard);
            Rc::new(move |_: Event| heard.set(heard.get() + 1))
        };
        let listener = world.peer("listener", CodecId::Msgpack, 1).await;
        let _listening = listener
            .subscribe(&uri("done"), SubscribeOptions::default(), count)
            .await
            .expect("listening");
        let calls = peers.iter().enumerate().flat_map(|(index, peer)| {
            (0..15).map(move |_| async move { call(peer, &format!("p{}", (index + 1) % 3), 4).await })
        });
        let sums = join_all(calls).await;
        assert!(sums.iter().all(|sum| *sum == Ok(4)), "{sums:?}");
        settle().await;
        assert_eq!(heard.get(), 45 * 5, "no event is lost either");
        assert_eq!(
            world
                .realm
                .with_router(|router| (router.stats().calls, router.stats().held)),
            (0, 0)
        );
    });
}

#[test]
fn a_panic_costs_its_call_and_nothing_else() {
    local(|world| async move {
        let caller = world.peer("caller", CodecId::Msgpack, 8).await;
        let callee = world.peer("callee", CodecId::Msgpack, 8).await;
        let handler: CallHandler = Rc::new(|_| async { panic!("on purpose") }.boxed_local());
        let _bad = callee.register(&uri("bad"), RegisterOptions::default(), handler).await;
        let _good = callee
            .register(&uri("good"), RegisterOptions::default(), doubles(&callee))
            .await;
        let _ear = callee
            .subscribe(
                &uri("t"),
                SubscribeOptions::default(),
                Rc::new(|_| panic!("on purpose")),
            )
            .await;
        caller
            .publish(&uri("t"), args(&caller, ()), PublishOptions::default())
            .expect("published");
        let error = call(&caller, "bad", 1).await.expect_err("a panic");
        assert_eq!(error.kind, ErrorKind::Internal);
        assert!(
            error.incident.is_some() && !error.message.contains("purpose"),
            "{error:?}"
        );
        assert_eq!(call(&caller, "good", 2).await, Ok(4));
    });
}

#[test]
fn whoever_waits_hears_of_the_end() {
    local(|world| async move {
        let caller = world.peer("caller", CodecId::Msgpack, 8).await;
        let callee = world.peer("callee", CodecId::Msgpack, 8).await;
        let handler: CallHandler = Rc::new(|_| pending().boxed_local());
        let _kept = callee
            .register(&uri("never"), RegisterOptions::default(), handler)
            .await;
        let mut calls = Box::pin(join_all((0..100).map(|_| call(&caller, "never", 1))));
        assert!((&mut calls).now_or_never().is_none());
        settle().await;
        let input = coati_shared::wamp::router::Input::Kill {
            session: caller.session().session,
            reason: uri("wamp.close.killed"),
            message: Some("Out.".to_owned()),
        };
        world.realm.handle(input);
        let reason = caller.closed().await;
        assert_eq!(
            (reason.uri.as_str(), reason.message.as_deref()),
            ("wamp.close.killed", Some("Out."))
        );
        for answer in calls.await {
            assert_eq!(answer.expect_err("over").kind, ErrorKind::Disconnected);
        }
        let error = caller
            .publish(&uri("t"), args(&caller, ()), PublishOptions::default())
            .expect_err("over");
        assert_eq!(error.kind, ErrorKind::Disconnected);
        assert_eq!(caller.closed().await, reason, "asking again is fine");
    });
}

#[test]
fn leaving_and_dropping_end_the_session_at_the_router() {
    local(|world| async move {
        let sessions = || world.realm.with_router(|router| router.stats().sessions);
        let one = world.peer("one", CodecId::Msgpack, 8).await;
        let other = world.peer("other", CodecId::Msgpack, 8).await;
        let clone = other.clone();
        assert_eq!(sessions(), 2);
        one.leave("wamp.close.normal").await;
        assert_eq!(one.close_reason().expect("over").uri, "wamp.close.normal");
        settle().await;
        assert_eq!(sessions(), 1);
        drop(other);
        settle().await;
        assert_eq!(sessions(), 1, "a clone is left");
        drop(clone);
        settle().await;
        assert_eq!(world.realm.with_router(|router| router.stats()), Default::default());
    });
}

#[test]
fn a_refused_join_says_why() {
    local(|world| async move {
        let link = world.realm.connect(Principal::internal("x"), CodecId::Msgpack, 8);
        let join = Join::new(Uri::unchecked("elsewhere"));
        let refused = Peer::join(Rc::clone(&world.platform), link, join).await;
        let error = refused.err().expect("refused");
        assert!(error.message.contains("elsewhere"), "{error:?}");
    });
}

#[test]
fn a_call_past_its_time_limit_fails_and_its_work_stops() {
    local(|world| async move {
        let caller = world.peer("caller", CodecId::Msgpack, 8).await;
        let callee = world.peer("callee", CodecId::Msgpack, 8).await;
        let handler: CallHandler = Rc::new(|_| pending().boxed_local());
        let _kept = callee
            .register(&uri("never"), RegisterOptions::default(), handler)
            .await;
        let options = CallOptions {
            timeout: Some(50),
            ..CallOptions::default()
        };
        let error = caller
            .call(&uri("never"), args(&caller, ()), options)
            .await
            .expect_err("too long");
        assert_eq!(error.kind, ErrorKind::Timeout);
    });
}

#[test]
fn an_acknowledged_publication_has_an_id() {
    local(|world| async move {
        let peer = world.peer("peer", CodecId::Msgpack, 8).await;
        let published = peer
            .publish_acknowledged(&uri("t"), args(&peer, ()), PublishOptions::default())
            .await;
        assert!(published.is_ok());
        let reserved = uri("wamp.x");
        let refused = peer.publish_acknowledged(&reserved, args(&peer, ()), PublishOptions::default());
        assert_eq!(refused.await.expect_err("reserved").uri, "wamp.error.invalid_uri");
    });
}

/// Counts to the number it is given, then answers with it.
fn counts(peer: &Peer) -> ProgressiveHandler {
    let codec = peer.codec();
    Rc::new(move |invocation: Invocation, progress: Progress| {
        async move {
            let (number,): (u64,) = invocation.payload.decode_args()?;
            for step in 1..number {
                progress.send(Payload::encode(codec, &(step,))?)?;
            }
            invocation.payload.transcode(codec)
        }
        .boxed_local()
    })
}

#[test]
fn a_callee_streams_its_results_to_a_caller_who_wants_them() {
    local(|world| async move {
        let callee = world.peer("callee", CodecId::Msgpack, 1).await;
        let caller = world.peer("caller", CodecId::Json, 1).await;
        let _offer = callee
            .register_progressive(&uri("count"), RegisterOptions::default(), counts(&callee))
            .await
            .expect("registered");
        let stream = caller.call_stream(&uri("count"), args(&caller, (5_u64,)), CallOptions::default());
        let parts: Vec<_> = stream.collect().await;
        let numbers: Vec<(bool, u64)> = parts
            .into_iter()
            .map(|part| match part.expect("a part") {
                Part::Progress(payload) => (false, payload.decode_args::<(u64,)>().expect("a number").0),
                Part::Last(payload) => (true, payload.decode_args::<(u64,)>().expect("a number").0),
            })
            .collect();
        assert_eq!(numbers, [(false, 1), (false, 2), (false, 3), (false, 4), (true, 5)]);
        assert_eq!(
            call(&caller, "count", 3).await.expect("one result"),
            3,
            "who wants one result gets one"
        );
    });
}

#[test]
fn dropping_a_stream_gives_the_call_up_and_later_progress_is_refused() {
    local(|world| async move {
        let callee = world.peer("callee", CodecId::Msgpack, 4).await;
        let caller = world.peer("caller", CodecId::Msgpack, 4).await;
        let kept = Rc::new(RefCell::new(None));
        let keep = Rc::clone(&kept);
        let codec = callee.codec();
        let endless: ProgressiveHandler = Rc::new(move |_, progress: Progress| {
            *keep.borrow_mut() = Some(progress.clone());
            async move {
                progress.send(Payload::encode(codec, &(1,))?)?;
                pending().await
            }
            .boxed_local()
        });
        let _offer = callee
            .register_progressive(&uri("endless"), RegisterOptions::default(), endless)
            .await
            .expect("registered");
        let mut stream = caller.call_stream(&uri("endless"), Payload::empty(codec), CallOptions::default());
        assert!(matches!(stream.next().await, Some(Ok(Part::Progress(_)))));
        drop(stream);
        tokio::time::sleep(Duration::from_millis(1)).await;
        let progress = kept.borrow_mut().take().expect("a progress handle");
        let refused = progress.send(Payload::empty(codec)).expect_err("the call is over");
        assert_eq!(refused.kind, ErrorKind::Canceled);
    });
}

#[test]
fn a_stream_that_is_not_read_ends_with_an_error_and_not_with_memory() {
    local(|world| async move {
        let callee = world.peer("callee", CodecId::Msgpack, 64).await;
        let caller = world.peer("caller", CodecId::Msgpack, 64).await;
        let _offer = callee
            .register_progressive(&uri("count"), RegisterOptions::default(), counts(&callee))
            .await
            .expect("registered");
        let mut stream = caller.call_stream(&uri("count"), args(&caller, (5_000_u64,)), CallOptions::default());
        assert!(matches!(stream.next().await, Some(Ok(Part::Progress(_)))));
        tokio::time::sleep(Duration::from_secs(1)).await;
        let rest: Vec<_> = stream.collect().await;
        assert!(rest.len() <= 1_026, "{}", rest.len());
        assert_eq!(
            rest.last().expect("an end").as_ref().expect_err("too slow").kind,
            ErrorKind::Busy
        );
    });
}
