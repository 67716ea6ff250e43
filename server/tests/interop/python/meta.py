"""Stops about what the router tells about itself (meta API), testaments, and the end of sessions."""

import asyncio

from autobahn.wamp import message
from autobahn.wamp.types import PublishOptions, RegisterOptions, SubscribeOptions

from tour import outcome, plain, stop, until


def keys(answer):
    """The keys of a dictionary result: the values are ids and dates."""
    if isinstance(answer.get("result"), dict):
        return sorted(answer["result"])
    return answer


@stop("meta.session.count_and_list", "router: session_meta_api")
async def count_and_list(tour):
    one, two = await tour.join("one"), await tour.join("two")
    listed = await outcome(one.call("wamp.session.list"))
    return {
        "count": await outcome(one.call("wamp.session.count")),
        "count_of_role": await outcome(one.call("wamp.session.count", [one.authrole])),
        "count_of_other_role": await outcome(one.call("wamp.session.count", ["nobody"])),
        "list_has_both": {one.id, two.id} <= set(listed.get("result") or []),
        "list_of_role": len((await outcome(one.call("wamp.session.list", [one.authrole]))).get("result") or []),
    }


@stop("meta.session.get", "router: session_meta_api")
async def get(tour):
    one, two = await tour.join("one"), await tour.join("two")
    answer = await outcome(one.call("wamp.session.get", two.id))
    it = answer.get("result") or {}
    return {
        "keys": keys(answer),
        "right": [it.get("session") == two.id, it.get("authid") == two.authid, it.get("authrole") == two.authrole],
        "unknown": await outcome(one.call("wamp.session.get", 1)),
        "no_argument": await outcome(one.call("wamp.session.get")),
    }


@stop("meta.session.kill", "router: session_meta_api")
async def kill(tour):
    one, two = await tour.join("one"), await tour.join("two")
    killed = await outcome(one.call("wamp.session.kill", two.id, reason="tour.reason", message="be gone"))
    await until(two.left.done)
    return {
        "killed": killed,
        "reason": two.left.result() if two.left.done() else "(still there)",
        "unknown": await outcome(one.call("wamp.session.kill", 1)),
        "itself": await outcome(one.call("wamp.session.kill", one.id)),
    }


@stop("meta.session.kill_by_authid", "router: session_meta_api")
async def kill_by_authid(tour):
    one, two = await tour.join("one"), await tour.join("two")
    answer = await outcome(one.call("wamp.session.kill_by_authid", two.authid))
    await until(two.left.done)
    answered = answer.get("result")
    return {
        "answer": [tour.name(it) for it in answered] if isinstance(answered, list) else answer,
        "gone": two.left.done(),
    }


@stop("meta.session.kill_all", "router: session_meta_api")
async def kill_all(tour):
    one, two = await tour.join("one"), await tour.join("two")
    answer = await outcome(one.call("wamp.session.kill_all"))
    await until(two.left.done, 1)
    return {"answer": answer, "two_gone": two.left.done(), "caller_gone": one.left.done()}


@stop("meta.session.events", "router: session_meta_api")
async def session_events(tour):
    watcher = await tour.join("watcher")
    joins, leaves = [], []
    await watcher.subscribe(joins.append, "wamp.session.on_join")
    await watcher.subscribe(lambda *args: leaves.append(args), "wamp.session.on_leave")
    other = await tour.join("other")
    await until(lambda: joins, 1.5)
    other.leave()
    await until(lambda: leaves, 1.5)
    await watcher.flush()
    return {
        "joins": [sorted(it) for it in joins],
        "join_right": [it.get("session") == other.id for it in joins],
        "leaves": [[tour.name(value) if value != other.authid else "(its authid)" for value in it] for it in leaves],
    }


@stop("meta.registration.procedures", "router: registration_meta_api")
async def registration(tour):
    one, two = await tour.join("one"), await tour.join("two")
    shared = RegisterOptions(invoke="roundrobin")
    exact = await one.register(lambda: 1, "tour.exact", options=shared)
    await two.register(lambda: 1, "tour.exact", options=shared)
    prefix = await one.register(lambda: 1, "tour.prefix", options=RegisterOptions(match="prefix"))
    lists = (await outcome(one.call("wamp.registration.list"))).get("result")
    got = await outcome(one.call("wamp.registration.get", exact.id))
    it = got.get("result") or {}
    name = {exact.id: "exact", prefix.id: "prefix"}
    named = lambda answer: name.get(answer["result"], answer) if isinstance(answer.get("result"), int) else answer
    callees = await outcome(one.call("wamp.registration.list_callees", exact.id))
    call = lambda procedure, *args: outcome(one.call(f"wamp.registration.{procedure}", *args))
    return {
        "list_keys": sorted(lists) if isinstance(lists, dict) else lists,
        "listed": isinstance(lists, dict) and exact.id in lists["exact"] and prefix.id in lists["prefix"],
        "get_keys": keys(got),
        "get": {key: it.get(key) for key in ("uri", "match", "invoke")},
        "lookup": named(await call("lookup", "tour.exact")),
        "lookup_prefix": named(await call("lookup", "tour.prefix", {"match": "prefix"})),
        "lookup_absent": await call("lookup", "tour.absent"),
        "match": named(await call("match", "tour.prefix.more")),
        "match_absent": await call("match", "tour.absent"),
        "callees": sorted(tour.name(it) for it in callees.get("result") or []),
        "count_callees": await call("count_callees", exact.id),
        "get_unknown": await call("get", 1),
        "count_unknown": await call("count_callees", 1),
    }


@stop("meta.subscription.procedures", "router: subscription_meta_api")
async def subscription(tour):
    one, two = await tour.join("one"), await tour.join("two")
    ignore = lambda *_: None
    exact = await one.subscribe(ignore, "tour.exact")
    await two.subscribe(ignore, "tour.exact")
    prefix = await one.subscribe(ignore, "tour.exa", options=SubscribeOptions(match="prefix"))
    lists = (await outcome(one.call("wamp.subscription.list"))).get("result")
    got = await outcome(one.call("wamp.subscription.get", exact.id))
    it = got.get("result") or {}
    name = {exact.id: "exact", prefix.id: "prefix"}
    named = lambda answer: name.get(answer["result"], answer) if isinstance(answer.get("result"), int) else answer
    call = lambda procedure, *args: outcome(one.call(f"wamp.subscription.{procedure}", *args))
    matched = (await call("match", "tour.exact")).get("result")
    subscribers = (await call("list_subscribers", exact.id)).get("result") or []
    return {
        "list_keys": sorted(lists) if isinstance(lists, dict) else lists,
        "listed": isinstance(lists, dict) and exact.id in lists["exact"] and prefix.id in lists["prefix"],
        "get_keys": keys(got),
        "get": {key: it.get(key) for key in ("uri", "match")},
        "lookup": named(await call("lookup", "tour.exact")),
        "lookup_absent": await call("lookup", "tour.absent"),
        "match": sorted(name.get(it, "?") for it in matched) if isinstance(matched, list) else matched,
        "match_absent": await call("match", "other.absent"),
        "subscribers": sorted(tour.name(it) for it in subscribers),
        "count_subscribers": await call("count_subscribers", exact.id),
        "get_unknown": await call("get", 1),
    }


async def meta_events(tour, kind, first, last, act):
    """The meta events while a session acts, and its way of ending."""
    watcher, other = await tour.join("watcher"), await tour.join("other")
    seen = []
    for event in ("on_create", first, last, "on_delete"):
        await watcher.subscribe(
            lambda session, it, event=event: seen.append([
                event, tour.name(session), sorted(it) if isinstance(it, dict) else "(id)"
            ]),
            f"wamp.{kind}.{event}",
        )
    await watcher.flush()
    seen.clear()
    undo = await act(other)
    await until(lambda: len(seen) >= 2, 1)
    await undo()
    await until(lambda: len(seen) >= 4, 1)
    asked = list(seen)
    seen.clear()
    await act(other)
    await until(lambda: len(seen) >= 2, 1)
    seen.clear()
    other.leave()
    await until(lambda: len(seen) >= 2, 1)
    return {"asked": asked, "by_leaving": seen}


@stop("meta.registration.events", "router: registration_meta_api")
async def registration_events(tour):
    async def act(party):
        return (await party.register(lambda: 1, "tour.watched")).unregister

    return await meta_events(tour, "registration", "on_register", "on_unregister", act)


@stop("meta.subscription.events", "router: subscription_meta_api")
async def subscription_events(tour):
    async def act(party):
        return (await party.subscribe(lambda *_: None, "tour.watched")).unsubscribe

    return await meta_events(tour, "subscription", "on_subscribe", "on_unsubscribe", act)


@stop("history.get_events", "router: event_history")
async def history(tour):
    one = await tour.join("one")
    subscription = await one.subscribe(lambda *_: None, "tour.history")
    await one.publish("tour.history", 1, options=PublishOptions(acknowledge=True))
    return await outcome(one.call("wamp.subscription.get_events", subscription.id, 10))


async def testament(tour, end):
    """What a watcher hears when a session with a testament ends."""
    watcher, other = await tour.join("watcher"), await tour.join("other")
    got = []
    for topic in ("tour.detached", "tour.destroyed"):
        await watcher.subscribe(lambda *args, topic=topic, **kwargs: got.append([topic, plain(args), kwargs]), topic)
    add = lambda *args, **kwargs: outcome(other.call("wamp.session.add_testament", *args, **kwargs))
    added = [
        await add("tour.destroyed", ["bye"], {"key": 1}),
        await add("tour.detached", ["first"], {}, scope="detached"),
        await add("tour.destroyed", [], {}, scope="nonsense"),
    ]
    added = ["(a number)" if isinstance(it.get("result"), int) else it for it in added]
    await end(other)
    await until(lambda: len(got) >= 2, 1.5)
    return {"added": added, "got": got}


@stop("testament.at_goodbye", "router: testament_meta_api")
async def testament_goodbye(tour):
    async def end(other):
        other.leave()

    return await testament(tour, end)


@stop("testament.at_loss", "router: testament_meta_api")
async def testament_loss(tour):
    async def end(other):
        other.tcp.abort()

    return await testament(tour, end)


@stop("testament.flushed", "router: testament_meta_api")
async def testament_flushed(tour):
    flushed = []

    async def end(other):
        flushed.append(await outcome(other.call("wamp.session.flush_testaments")))
        other.leave()

    saw = await testament(tour, end)
    return {"flushed": flushed, "got": saw["got"]}


@stop("goodbye", "basic")
async def goodbye(tour):
    one = await tour.join("one")
    one.leave("tour.leaving", "see you")
    reason = await asyncio.wait_for(one.left, 3)
    return {"answer": reason, "messages": len(one.messages(message.Goodbye))}


@stop("realm.unknown", "basic")
async def unknown_realm(tour):
    tour.realm = "tour.no.such.realm"
    return await outcome(tour.join("one"))


@stop("realm.second_hello", "basic")
async def second_hello(tour):
    from autobahn.wamp import role

    one = await tour.join("one")
    one.send_raw(message.Hello(tour.realm, role.DEFAULT_CLIENT_ROLES))
    await until(one.gone.done, 1)
    return {"aborts": [msg.reason for msg in one.messages(message.Abort)], "session_lives": not one.gone.done()}
