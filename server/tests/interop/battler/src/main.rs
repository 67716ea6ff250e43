//! Walks `battler-wamp`, a Rust client by others, over a WAMP router: one JSON line per observation.
//!
//! `coati-interop-tour --url ws://127.0.0.1:8080/ws [--only PART-OF-A-STOP]`. It knows JSON and MessagePack. What it
//! announces is fixed in its source (`RpcFeatures` of `Peer::join_realm`) and cannot be read from outside.

use std::{cell::RefCell, future::Future, pin::Pin, rc::Rc, time::Duration};

use anyhow::{Result, anyhow};
use battler_wamp::{
    core::{
        error::WampError, hash::HashSet, invocation_policy::InvocationPolicy, match_style::MatchStyle,
        publish_options::PublishOptions,
    },
    peer::{
        Invocation, PeerConfig, Procedure, ProcedureMessage, ProcedureOptions, PublishedEvent, ReceivedEvent, RpcCall,
        RpcYield, Subscription, SubscriptionOptions, WebSocketPeer, new_web_socket_peer,
    },
    serializer::serializer::SerializerType,
};
use battler_wamp_uri::{Uri, WildcardUri};
use battler_wamp_values::{Dictionary, List, Value};
use serde_json::{Value as Json, json};
use tokio::time::{sleep, timeout};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Clone)]
struct Tour {
    url: String,
    codec: SerializerType,
    /// Everybody who joined in this stop.
    parties: Rc<RefCell<Vec<Rc<WebSocketPeer>>>>,
}

impl Tour {
    async fn join(&self) -> Result<Rc<WebSocketPeer>> {
        let config = PeerConfig {
            serializers: HashSet::from_iter([self.codec]),
            ..Default::default()
        };
        let peer = Rc::new(new_web_socket_peer(config)?);
        self.parties.borrow_mut().push(peer.clone());
        timeout(PATIENCE, peer.connect(&self.url)).await??;
        timeout(PATIENCE, peer.join_realm("realm1")).await??;
        Ok(peer)
    }

    async fn close(&self) {
        let parties = self.parties.take();
        for peer in parties {
            // One that has left already is an error here, and right.
            let _ = timeout(PATIENCE, peer.disconnect()).await;
        }
    }
}

fn uri(text: &str) -> Uri {
    Uri::try_from(text).expect("the tour's names are valid")
}

fn arguments(values: &[Value]) -> RpcCall {
    RpcCall {
        arguments: List::from_iter(values.iter().cloned()),
        ..Default::default()
    }
}

fn plain(value: &Value) -> Json {
    match value {
        Value::Integer(number) => json!(number),
        Value::String(text) => json!(text),
        Value::Bool(truth) => json!(truth),
        Value::List(list) => Json::Array(list.iter().map(plain).collect()),
        Value::Dictionary(entries) => entries.iter().map(|(key, value)| (key.clone(), plain(value))).collect(),
        other => json!(format!("{other:?}")),
    }
}

fn all(list: &List) -> Json {
    Json::Array(list.iter().map(plain).collect())
}

/// The error URI, or the text of an error that is not WAMP's.
fn reason(error: &anyhow::Error) -> Json {
    match error.downcast_ref::<WampError>() {
        Some(error) => json!({ "error": error.reason().as_ref() }),
        None => json!({ "failed": error.to_string() }),
    }
}

async fn outcome(peer: &WebSocketPeer, procedure: &str, call: RpcCall) -> Json {
    match timeout(PATIENCE, peer.call_and_wait(uri(procedure), call)).await {
        Err(_) => json!({ "no answer": true }),
        Ok(Ok(result)) => json!({ "result": all(&result.arguments) }),
        Ok(Err(error)) => reason(&error),
    }
}

/// Answers the invocations of a procedure until it is dropped.
fn serve<A, F>(mut procedure: Procedure, answer: A)
where
    A: Fn(Invocation) -> F + Send + Sync + 'static,
    F: Future<Output = Result<()>> + Send + 'static,
{
    tokio::task::spawn_local(async move {
        while let Ok(message) = procedure.procedure_message_rx.recv().await {
            if let ProcedureMessage::Invocation(invocation) = message {
                tokio::task::spawn_local(answer(invocation));
            }
        }
    });
}

async fn answer_with(invocation: Invocation, values: &[Value]) -> Result<()> {
    let arguments = List::from_iter(values.iter().cloned());
    invocation
        .respond_ok(RpcYield {
            arguments,
            ..Default::default()
        })
        .await
}

async fn payloads(tour: Tour) -> Result<Json> {
    let (caller, callee) = (tour.join().await?, tour.join().await?);
    serve(callee.register(uri("tour.echo")).await?, |invocation| async move {
        let arguments = invocation.arguments.clone();
        invocation
            .respond_ok(RpcYield {
                arguments,
                ..Default::default()
            })
            .await
    });
    let values = [
        Value::Integer(0),
        Value::Integer(1 << 53),
        Value::String("é😀".to_owned()),
        Value::Bool(true),
        Value::List(List::from_iter([Value::Integer(1)])),
        Value::Dictionary(Dictionary::from_iter([("key".to_owned(), Value::Integer(1))])),
    ];
    Ok(
        json!({ "values": outcome(&caller, "tour.echo", arguments(&values)).await,
        "nothing": outcome(&caller, "tour.echo", RpcCall::default()).await }),
    )
}

async fn call_error(tour: Tour) -> Result<Json> {
    let (caller, callee) = (tour.join().await?, tour.join().await?);
    serve(callee.register(uri("tour.fail")).await?, |invocation| async move {
        invocation
            .respond_error(WampError::new(uri("tour.error.custom"), "because"))
            .await
    });
    Ok(outcome(&caller, "tour.fail", RpcCall::default()).await)
}

async fn no_such_procedure(tour: Tour) -> Result<Json> {
    Ok(outcome(&*tour.join().await?, "tour.absent", RpcCall::default()).await)
}

async fn register_twice(tour: Tour) -> Result<Json> {
    let (one, two) = (tour.join().await?, tour.join().await?);
    let _held = one.register(uri("tour.taken")).await?;
    Ok(match two.register(uri("tour.taken")).await {
        Ok(_) => json!("registered"),
        Err(error) => reason(&error),
    })
}

async fn unregister(tour: Tour) -> Result<Json> {
    let (caller, callee) = (tour.join().await?, tour.join().await?);
    let procedure = callee.register(uri("tour.brief")).await?;
    let id = procedure.id;
    serve(
        procedure,
        |invocation| async move { answer_with(invocation, &[]).await },
    );
    let before = outcome(&caller, "tour.brief", RpcCall::default()).await;
    callee.unregister(id).await?;
    Ok(json!({ "before": before, "after": outcome(&caller, "tour.brief", RpcCall::default()).await }))
}

async fn progress(tour: Tour) -> Result<Json> {
    let (caller, callee) = (tour.join().await?, tour.join().await?);
    serve(callee.register(uri("tour.count")).await?, |invocation| async move {
        for number in 0..3 {
            let arguments = List::from_iter([Value::Integer(number)]);
            // A caller who did not ask gets the last result only.
            let _ = invocation
                .progress(RpcYield {
                    arguments,
                    ..Default::default()
                })
                .await;
        }
        answer_with(invocation, &[Value::String("done".to_owned())]).await
    });
    let mut call = caller.call_with_progress(uri("tour.count"), RpcCall::default()).await?;
    let mut got = Vec::new();
    while let Some(result) = timeout(PATIENCE, call.next_result()).await?? {
        got.push(json!([all(&result.arguments), result.progress]));
    }
    Ok(json!({ "asked": got, "unasked": outcome(&caller, "tour.count", RpcCall::default()).await }))
}

async fn cancel(tour: Tour, kill: bool) -> Result<Json> {
    let (caller, callee) = (tour.join().await?, tour.join().await?);
    let mut procedure = callee.register(uri("tour.slow")).await?;
    let interrupted = tokio::task::spawn_local(async move {
        let mut held = None;
        loop {
            match timeout(PATIENCE, procedure.procedure_message_rx.recv()).await {
                Ok(Ok(ProcedureMessage::Invocation(invocation))) => held = Some(invocation),
                Ok(Ok(ProcedureMessage::Interrupt(interrupt))) => {
                    let right = held.as_ref().is_some_and(|held| held.id() == interrupt.id());
                    if let Some(held) = held.take() {
                        let _ = held
                            .respond_error(WampError::new(uri("wamp.error.canceled"), "stopped"))
                            .await;
                    }
                    break right;
                }
                Ok(Err(_)) | Err(_) => break false,
            }
        }
    });
    let call = caller.call(uri("tour.slow"), RpcCall::default()).await?;
    sleep(Duration::from_millis(200)).await;
    if kill {
        call.kill().await?
    } else {
        call.cancel().await?
    }
    let result = match timeout(PATIENCE, call.result()).await {
        Err(_) => json!({ "no answer": true }),
        Ok(Ok(result)) => all(&result.arguments),
        Ok(Err(error)) => reason(&error),
    };
    Ok(json!({ "caller": result, "callee_interrupted": interrupted.await? }))
}

async fn time_out(tour: Tour) -> Result<Json> {
    let (caller, callee) = (tour.join().await?, tour.join().await?);
    serve(callee.register(uri("tour.slow")).await?, |invocation| async move {
        sleep(Duration::from_millis(1500)).await;
        answer_with(invocation, &[Value::String("late".to_owned())]).await
    });
    let call = RpcCall {
        timeout: Some(Duration::from_millis(300)),
        ..Default::default()
    };
    Ok(outcome(&caller, "tour.slow", call).await)
}

async fn identification(tour: Tour) -> Result<Json> {
    let (caller, callee) = (tour.join().await?, tour.join().await?);
    serve(callee.register(uri("tour.who")).await?, |invocation| async move {
        let identity = invocation.peer_info.identity.clone();
        let known = [Value::String(identity.role), Value::Bool(!identity.id.is_empty())];
        answer_with(invocation, &known).await
    });
    let call = RpcCall {
        disclose_me: Some(true),
        ..Default::default()
    };
    Ok(outcome(&caller, "tour.who", call).await)
}

async fn registration(tour: Tour, style: MatchStyle) -> Result<Json> {
    let (caller, callee) = (tour.join().await?, tour.join().await?);
    let name = if style == MatchStyle::Prefix {
        "tour.a"
    } else {
        "tour..c"
    };
    let options = ProcedureOptions {
        match_style: Some(style),
        ..Default::default()
    };
    let pattern = WildcardUri::try_from(name).map_err(|error| anyhow!("{error}"))?;
    let registered = callee.register_with_options(pattern, options).await?;
    serve(registered, |invocation| async move {
        let name = invocation
            .procedure
            .as_ref()
            .map_or_else(String::new, |it| it.as_ref().to_owned());
        answer_with(invocation, &[Value::String(name)]).await
    });
    let mut saw = serde_json::Map::new();
    for name in ["tour.a.b", "tour.ab", "tour.b.c", "tour.b.d"] {
        saw.insert(name.to_owned(), outcome(&caller, name, RpcCall::default()).await);
    }
    Ok(Json::Object(saw))
}

async fn shared(tour: Tour, invocation_policy: InvocationPolicy) -> Result<Json> {
    let caller = tour.join().await?;
    let mut held = Vec::new();
    for name in ["first", "second", "third"] {
        let callee = tour.join().await?;
        let options = ProcedureOptions {
            invocation_policy,
            ..Default::default()
        };
        let pattern = WildcardUri::try_from("tour.shared").map_err(|error| anyhow!("{error}"))?;
        serve(
            callee.register_with_options(pattern, options).await?,
            move |invocation| async move { answer_with(invocation, &[Value::String(name.to_owned())]).await },
        );
        held.push(callee);
    }
    let mut answers = Vec::new();
    for _ in 0..6 {
        answers.push(outcome(&caller, "tour.shared", RpcCall::default()).await["result"][0].clone());
    }
    Ok(Json::Array(answers))
}

/// The events that are there after a moment.
async fn events(subscription: &mut Subscription) -> Vec<ReceivedEvent> {
    let mut got = Vec::new();
    while let Ok(Ok(event)) = timeout(Duration::from_millis(300), subscription.event_rx.recv()).await {
        got.push(event);
    }
    got
}

async fn publish(peer: &WebSocketPeer, topic: &str, number: u64, options: PublishOptions) -> Result<()> {
    let options = PublishOptions {
        acknowledge: Some(true),
        ..options
    };
    let arguments = List::from_iter([Value::Integer(number)]);
    peer.publish(
        uri(topic),
        PublishedEvent {
            arguments,
            options,
            ..Default::default()
        },
    )
    .await
}

async fn events_in_order(tour: Tour) -> Result<Json> {
    let (publisher, subscriber) = (tour.join().await?, tour.join().await?);
    let mut subscription = subscriber.subscribe(uri("tour.topic")).await?;
    for number in 0..10 {
        publish(&publisher, "tour.topic", number, PublishOptions::default()).await?;
    }
    Ok(events(&mut subscription)
        .await
        .iter()
        .map(|event| all(&event.arguments))
        .collect())
}

async fn exclude_me(tour: Tour) -> Result<Json> {
    let publisher = tour.join().await?;
    let mut subscription = publisher.subscribe(uri("tour.topic")).await?;
    for (number, exclude_me) in [None, Some(true), Some(false)].into_iter().enumerate() {
        publish(
            &publisher,
            "tour.topic",
            number as u64,
            PublishOptions {
                exclude_me,
                ..Default::default()
            },
        )
        .await?;
    }
    Ok(events(&mut subscription)
        .await
        .iter()
        .map(|event| all(&event.arguments))
        .collect())
}

async fn lists(tour: Tour) -> Result<Json> {
    let (publisher, one, two) = (tour.join().await?, tour.join().await?, tour.join().await?);
    let mut first = one.subscribe(uri("tour.topic")).await?;
    let mut second = two.subscribe(uri("tour.topic")).await?;
    let id = one.current_session_id().await.ok_or_else(|| anyhow!("no session"))?;
    let only = || Some(HashSet::from_iter([id]));
    publish(
        &publisher,
        "tour.topic",
        1,
        PublishOptions {
            exclude: only(),
            ..Default::default()
        },
    )
    .await?;
    publish(
        &publisher,
        "tour.topic",
        2,
        PublishOptions {
            eligible: only(),
            ..Default::default()
        },
    )
    .await?;
    let roles = Some(HashSet::from_iter(["other".to_owned()]));
    publish(
        &publisher,
        "tour.topic",
        3,
        PublishOptions {
            eligible_authrole: roles,
            ..Default::default()
        },
    )
    .await?;
    let numbers = |events: Vec<ReceivedEvent>| events.iter().map(|event| all(&event.arguments)).collect::<Json>();
    Ok(json!({ "one": numbers(events(&mut first).await), "two": numbers(events(&mut second).await) }))
}

async fn subscription(tour: Tour, style: MatchStyle) -> Result<Json> {
    let (publisher, subscriber) = (tour.join().await?, tour.join().await?);
    let name = if style == MatchStyle::Prefix {
        "tour.a"
    } else {
        "tour..c"
    };
    let pattern = WildcardUri::try_from(name).map_err(|error| anyhow!("{error}"))?;
    let options = SubscriptionOptions {
        match_style: Some(style),
    };
    let mut subscription = subscriber.subscribe_with_options(pattern, options).await?;
    for topic in ["tour.a", "tour.a.b", "tour.ab", "tour.b.c", "tour.b.d"] {
        publish(&publisher, topic, 1, PublishOptions::default()).await?;
    }
    let topic = |event: &ReceivedEvent| event.topic.as_ref().map(|topic| topic.as_ref().to_owned());
    Ok(json!(
        events(&mut subscription).await.iter().map(topic).collect::<Vec<_>>()
    ))
}

async fn unsubscribe(tour: Tour) -> Result<Json> {
    let (publisher, subscriber) = (tour.join().await?, tour.join().await?);
    let mut subscription = subscriber.subscribe(uri("tour.topic")).await?;
    publish(&publisher, "tour.topic", 1, PublishOptions::default()).await?;
    let before = events(&mut subscription).await.len();
    subscriber.unsubscribe(subscription.id).await?;
    publish(&publisher, "tour.topic", 2, PublishOptions::default()).await?;
    Ok(json!([before, events(&mut subscription).await.len()]))
}

async fn leave_and_rejoin(tour: Tour) -> Result<Json> {
    let one = tour.join().await?;
    timeout(PATIENCE, one.leave_realm()).await??;
    let rejoined = timeout(PATIENCE, one.join_realm("realm1"))
        .await
        .is_ok_and(|joined| joined.is_ok());
    Ok(json!({ "joined_again_on_the_same_socket": rejoined }))
}

type Visit = Pin<Box<dyn Future<Output = Result<Json>>>>;
type Stop = (&'static str, &'static str, fn(Tour) -> Visit);

/// Every stop with the feature that it belongs to.
const STOPS: &[Stop] = &[
    ("call.payloads", "basic", |tour| Box::pin(payloads(tour))),
    ("call.error", "basic", |tour| Box::pin(call_error(tour))),
    ("call.no_such_procedure", "basic", |tour| {
        Box::pin(no_such_procedure(tour))
    }),
    ("register.twice", "basic", |tour| Box::pin(register_twice(tour))),
    ("register.unregister", "basic", |tour| Box::pin(unregister(tour))),
    ("progress", "caller.progressive_call_results", |tour| {
        Box::pin(progress(tour))
    }),
    ("cancel.kill", "caller.call_canceling", |tour| {
        Box::pin(cancel(tour, true))
    }),
    ("cancel.killnowait", "caller.call_canceling", |tour| {
        Box::pin(cancel(tour, false))
    }),
    ("timeout.expires", "router: call_timeout", |tour| {
        Box::pin(time_out(tour))
    }),
    ("identification", "caller.caller_identification", |tour| {
        Box::pin(identification(tour))
    }),
    ("registration.prefix", "basic", |tour| {
        Box::pin(registration(tour, MatchStyle::Prefix))
    }),
    ("registration.wildcard", "basic", |tour| {
        Box::pin(registration(tour, MatchStyle::Wildcard))
    }),
    ("shared.first", "callee.shared_registration", |tour| {
        Box::pin(shared(tour, InvocationPolicy::First))
    }),
    ("shared.last", "callee.shared_registration", |tour| {
        Box::pin(shared(tour, InvocationPolicy::Last))
    }),
    ("shared.roundrobin", "callee.shared_registration", |tour| {
        Box::pin(shared(tour, InvocationPolicy::RoundRobin))
    }),
    ("publish.in_order", "basic", |tour| Box::pin(events_in_order(tour))),
    ("exclude_me", "basic", |tour| Box::pin(exclude_me(tour))),
    ("lists", "basic", |tour| Box::pin(lists(tour))),
    ("subscription.prefix", "basic", |tour| {
        Box::pin(subscription(tour, MatchStyle::Prefix))
    }),
    ("subscription.wildcard", "basic", |tour| {
        Box::pin(subscription(tour, MatchStyle::Wildcard))
    }),
    ("subscribe.unsubscribe", "basic", |tour| Box::pin(unsubscribe(tour))),
    ("goodbye.rejoin", "basic", |tour| Box::pin(leave_and_rejoin(tour))),
];

async fn walk(url: String, only: String) {
    println!("{}", json!({ "client": "battler-wamp 0.6.1" }));
    for (codec, serializer) in [("json", SerializerType::Json), ("msgpack", SerializerType::MessagePack)] {
        for (stop, feature, visit) in STOPS.iter().filter(|(stop, ..)| stop.contains(&only)) {
            let tour = Tour {
                url: url.clone(),
                codec: serializer,
                parties: Rc::default(),
            };
            let visit = tokio::task::spawn_local(timeout(Duration::from_secs(15), visit(tour.clone())));
            let saw = match visit.await {
                Ok(Ok(Ok(saw))) => saw,
                Ok(Ok(Err(error))) => json!({ "stop failed": reason(&error) }),
                Ok(Err(_)) => json!({ "stop failed": "too slow" }),
                Err(_) => json!({ "stop failed": "panicked" }),
            };
            println!(
                "{}",
                json!({ "stop": stop, "codec": codec, "feature": feature, "saw": saw })
            );
            tour.close().await;
            sleep(Duration::from_millis(50)).await;
        }
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let option = |name: &str| arguments.iter().skip_while(|it| *it != name).nth(1).cloned();
    let url = option("--url").ok_or_else(|| anyhow!("--url is missing"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, walk(url, option("--only").unwrap_or_default()));
    Ok(())
}
