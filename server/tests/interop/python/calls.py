"""Stops about procedures: results, errors, progress, cancelling, time-outs, patterns, shared registrations."""

import asyncio

from autobahn.wamp import message
from autobahn.wamp.exception import ApplicationError
from autobahn.wamp.types import CallOptions, CallResult, RegisterOptions

from tour import outcome, plain, stop, until


def details(**more):
    return RegisterOptions(details_arg="details", **more)


@stop("welcome", "basic")
async def welcome(tour):
    one = await tour.join("one")
    return {
        "realm": one.details.realm,
        "authrole": one.authrole,
        "authmethod": one.details.authmethod,
        "authid_is_text": isinstance(one.authid, str) and one.authid != "",
        "session_in_range": 1 <= one.id <= 2**53,
    }


@stop("welcome.authid_differs", "basic")
async def authids(tour):
    one, two = await tour.join("one"), await tour.join("two")
    return {"two anonymous sessions have one authid": one.authid == two.authid}


@stop("welcome.announces", "basic")
async def announces(tour):
    one = await tour.join("one")
    hello = one.messages(message.Welcome)
    roles = (hello[0] if hello else one.details).roles if hello else one._router_roles
    seen = {}
    for name, it in roles.items():
        seen[name] = sorted(key for key, there in vars(it).items() if there is True)
    return seen


@stop("offers.default", "basic")
async def offers(tour):
    """Without a choice of its own this client offers the batched forms first."""
    one = await tour.join("one", serializers=[])
    return {"chosen": one.protocol.websocket_protocol_in_use}


@stop("call.payloads", "basic")
async def payloads(tour):
    caller, callee = await tour.join("caller"), await tour.join("callee")
    await callee.register(lambda *args, **kwargs: CallResult(*args, **kwargs), "tour.echo")
    values = [0, -1, 2**53, -(2**53), 2**63 - 1, 1.5, "", "é😀\u0000z", None, True, [], {}, [[1], {"a": [None]}]]
    together = await outcome(caller.call("tour.echo", *values, key="v", other=[1]))
    binary = await outcome(caller.call("tour.echo", b"", b"\x00\xff\x10", [b"in"]))
    nothing = await outcome(caller.call("tour.echo"))
    many = [1, "many"]
    one = await outcome(caller.call("tour.echo", many))
    return {
        "same": together == {"result": {"args": values, "kwargs": {"key": "v", "other": [1]}}},
        "binary": binary,
        "nothing": nothing,
        "one": one,
    }


@stop("call.large", "basic")
async def large(tour):
    caller, callee = await tour.join("caller"), await tour.join("callee")
    await callee.register(lambda text: len(text), "tour.length")
    return await outcome(caller.call("tour.length", "x" * 300_000))


@stop("call.error", "basic")
async def error(tour):
    caller, callee = await tour.join("caller"), await tour.join("callee")

    def fail():
        raise ApplicationError("tour.error.custom", 1, "two", reason="because")

    await callee.register(fail, "tour.fail")
    try:
        await caller.call("tour.fail")
    except ApplicationError as seen:
        return {"error": seen.error, "args": plain(seen.args), "kwargs": plain(seen.kwargs)}
    return "no error"


@stop("call.no_such_procedure", "basic")
async def no_such_procedure(tour):
    return await outcome((await tour.join("caller")).call("tour.absent"))


@stop("call.invalid_uri", "basic")
async def invalid_uri(tour):
    caller = await tour.join("caller")
    # The client would refuse this itself, so the message goes out by hand.
    caller.send_raw(message.Call(caller._request_id_gen.next(), "tour..empty", args=[]))
    await until(lambda: caller.messages(message.Error) or caller.gone.done(), 2)
    errors = [msg.error for msg in caller.messages(message.Error)]
    return {"errors": errors, "session_lives": not caller.gone.done()}


@stop("call.reserved_uri", "basic")
async def reserved(tour):
    callee = await tour.join("callee")
    return {
        "register": await outcome(callee.register(lambda: 1, "wamp.tour")),
        "publish": await outcome(publish(callee, "wamp.tour")),
    }


def publish(party, topic):
    from autobahn.wamp.types import PublishOptions

    return party.publish(topic, 1, options=PublishOptions(acknowledge=True))


@stop("call.in_order", "basic")
async def in_order(tour):
    caller, callee = await tour.join("caller"), await tour.join("callee")
    got = []
    await callee.register(lambda number: got.append(number) or number, "tour.note")
    results = await asyncio.gather(*(caller.call("tour.note", number) for number in range(50)))
    return {"invocations": got == list(range(50)), "results": results == list(range(50))}


@stop("register.twice", "basic")
async def twice(tour):
    one, two = await tour.join("one"), await tour.join("two")
    await one.register(lambda: 1, "tour.taken")
    return {"other_session": await outcome(two.register(lambda: 2, "tour.taken"))}


@stop("register.unregister", "basic")
async def unregister(tour):
    caller, callee = await tour.join("caller"), await tour.join("callee")
    registration = await callee.register(lambda: 1, "tour.brief")
    before = await outcome(caller.call("tour.brief"))
    await registration.unregister()
    after = await outcome(caller.call("tour.brief"))
    callee.send_raw(message.Unregister(callee._request_id_gen.next(), registration.id))
    callee.seen.clear()
    await until(lambda: callee.messages(message.Error), 2)
    again = [msg.error for msg in callee.messages(message.Error)]
    return {"before": before, "after": after, "again": again}


@stop("call.callee_leaves", "basic")
async def callee_leaves(tour):
    caller, callee = await tour.join("caller"), await tour.join("callee")
    begun = asyncio.Event()

    async def never():
        begun.set()
        await asyncio.sleep(30)

    await callee.register(never, "tour.never")
    call = asyncio.ensure_future(outcome(caller.call("tour.never")))
    await asyncio.wait_for(begun.wait(), 3)
    callee.tcp.abort()
    return await call


@stop("call.caller_leaves", "caller.call_canceling")
async def caller_leaves(tour):
    caller, callee = await tour.join("caller"), await tour.join("callee")
    begun = asyncio.Event()

    async def never():
        begun.set()
        await asyncio.sleep(30)

    await callee.register(never, "tour.never")
    call = asyncio.ensure_future(outcome(caller.call("tour.never")))
    await asyncio.wait_for(begun.wait(), 3)
    caller.tcp.abort()
    await until(lambda: callee.messages(message.Interrupt))
    await call
    return {"interrupts": [msg.mode for msg in callee.messages(message.Interrupt)]}


@stop("identification", "callee.caller_identification")
@stop("identification.of_caller", "caller.caller_identification")
async def identification(tour):
    caller, callee = await tour.join("caller"), await tour.join("callee")

    def who(details=None):
        return [
            details.caller == caller.id,
            details.caller_authid == caller.authid,
            details.caller_authrole == caller.authrole,
        ]

    await callee.register(who, "tour.who", options=details())
    return await outcome(caller.call("tour.who"))


async def counting(number, details=None):
    for at in range(number):
        if details.progress:
            details.progress(at)
    return "done"


@stop("progress", "caller.progressive_call_results")
@stop("progress.of_callee", "callee.progressive_call_results")
async def progress(tour):
    caller, callee = await tour.join("caller"), await tour.join("callee")
    await callee.register(counting, "tour.count", options=details())
    got = []
    asked = await outcome(caller.call("tour.count", 5, options=CallOptions(on_progress=got.append)))
    invoked = callee.messages(message.Invocation)[-1].receive_progress
    unasked = await outcome(caller.call("tour.count", 5))
    return {"asked": asked, "progress": got, "receive_progress": invoked, "unasked": unasked}


async def cancelled(tour, mode):
    """One call, cancelled in a mode: what each side sees."""
    caller, callee = await tour.join("caller"), await tour.join("callee")
    begun = asyncio.Event()
    ended = []

    async def slow():
        begun.set()
        try:
            await asyncio.sleep(1.0)
        except asyncio.CancelledError:
            ended.append("interrupted")
            raise
        ended.append("ran to its end")
        return "late"

    await callee.register(slow, "tour.slow")
    call = caller.call("tour.slow")
    request = caller.last_request
    await asyncio.wait_for(begun.wait(), 3)
    caller.send_raw(message.Cancel(request, mode=mode))
    saw = {"caller": await outcome(call, 2.5)}
    await until(lambda: ended)
    await callee.flush()
    saw["interrupts"] = [interrupt.mode for interrupt in callee.messages(message.Interrupt)]
    saw["callee"] = ended
    saw["answers"] = len([
        msg for msg in caller.seen
        if isinstance(msg, (message.Result, message.Error)) and msg.request == request
    ])
    return saw


for _mode in ("skip", "kill", "killnowait"):
    stop(f"cancel.{_mode}", "caller.call_canceling")(lambda tour, mode=_mode: cancelled(tour, mode))


@stop("cancel.future", "callee.call_canceling")
async def cancel_future(tour):
    """What this client does by itself when its future is cancelled."""
    caller, callee = await tour.join("caller"), await tour.join("callee")
    begun = asyncio.Event()

    async def slow():
        begun.set()
        await asyncio.sleep(1.0)

    await callee.register(slow, "tour.slow")
    call = caller.call("tour.slow")
    await asyncio.wait_for(begun.wait(), 3)
    call.cancel()
    await until(lambda: callee.messages(message.Interrupt), 2)
    return {"interrupts": [msg.mode for msg in callee.messages(message.Interrupt)]}


@stop("cancel.finished_call", "caller.call_canceling")
async def cancel_finished(tour):
    caller, callee = await tour.join("caller"), await tour.join("callee")
    await callee.register(lambda: 1, "tour.quick")
    await caller.call("tour.quick")
    caller.send_raw(message.Cancel(caller.last_request, mode="kill"))
    return await outcome(caller.call("tour.quick"))


@stop("timeout.expires", "router: call_timeout")
async def timeout(tour):
    caller, callee = await tour.join("caller"), await tour.join("callee")

    async def slow():
        await asyncio.sleep(1.5)
        return "late"

    await callee.register(slow, "tour.slow")
    saw = await outcome(caller.call("tour.slow", options=CallOptions(timeout=300)), 3)
    await until(lambda: callee.messages(message.Interrupt), 0.5)
    return {"caller": saw, "callee_interrupted": bool(callee.messages(message.Interrupt))}


@stop("timeout.kept", "router: call_timeout")
async def timeout_kept(tour):
    caller, callee = await tour.join("caller"), await tour.join("callee")
    await callee.register(lambda: "soon", "tour.soon")
    return await outcome(caller.call("tour.soon", options=CallOptions(timeout=5000)))


@stop("registration.prefix", "callee.pattern_based_registration")
async def prefix(tour):
    caller, callee = await tour.join("caller"), await tour.join("callee")
    await callee.register(lambda details=None: details.procedure, "tour.a", options=details(match="prefix"))
    calls = {name: await outcome(caller.call(name)) for name in ("tour.a", "tour.a.b", "tour.ab", "tour.b")}
    details_procedure = [msg.procedure for msg in callee.messages(message.Invocation)]
    return {"calls": calls, "invocation_procedure": details_procedure}


@stop("registration.wildcard", "callee.pattern_based_registration")
async def wildcard(tour):
    caller, callee = await tour.join("caller"), await tour.join("callee")
    await callee.register(lambda details=None: details.procedure, "tour..c", options=details(match="wildcard"))
    return {name: await outcome(caller.call(name)) for name in ("tour.b.c", "tour.b", "tour.b.d", "tour.b.c.d")}


@stop("registration.precedence", "callee.pattern_based_registration")
async def precedence(tour):
    caller, callee = await tour.join("caller"), await tour.join("callee")

    async def offer(name, match):
        await callee.register(lambda: f"{match} {name}", name, options=RegisterOptions(match=match))

    await offer("tour.p.q.r", "exact")
    await offer("tour.p", "prefix")
    await offer("tour.p.q", "prefix")
    await offer("tour..q.s", "wildcard")
    await offer("tour.w..y", "wildcard")
    await offer("tour..x.y", "wildcard")
    await offer("tour.w..", "wildcard")
    names = ("tour.p.q.r", "tour.p.q.s", "tour.p.z", "tour.o.q.s", "tour.w.x.y", "tour.w.x.z")
    return {name: await outcome(caller.call(name)) for name in names}


async def shared(tour, policy):
    """Three callees of one procedure: who answers six calls, and then without the second."""
    caller = await tour.join("caller")
    parties, registrations = [], []
    for name in ("first", "second", "third"):
        party = await tour.join(name)
        registrations.append(await party.register(lambda name=name: name, "tour.shared",
                                                  options=RegisterOptions(invoke=policy)))
        parties.append(party)
    answers = [await caller.call("tour.shared") for _ in range(6)]
    await registrations[1].unregister()
    rest = [await caller.call("tour.shared") for _ in range(4)]
    one = len({registration.id for registration in registrations}) == 1
    if policy == "random":
        return {"answers": sorted(set(answers) - {"first", "second", "third"}), "one_id": one,
                "second_answers_after": "second" in rest}
    return {"answers": answers, "after": rest, "one_id": one}


for _policy in ("first", "last", "roundrobin", "random"):
    stop(f"shared.{_policy}", "callee.shared_registration")(lambda tour, policy=_policy: shared(tour, policy))


@stop("shared.other_policy", "callee.shared_registration")
async def other_policy(tour):
    one, two = await tour.join("one"), await tour.join("two")
    await one.register(lambda: 1, "tour.shared", options=RegisterOptions(invoke="first"))
    return {
        "other": await outcome(two.register(lambda: 2, "tour.shared", options=RegisterOptions(invoke="last"))),
        "single": await outcome(two.register(lambda: 2, "tour.shared")),
    }


@stop("shared.callee_dies", "callee.shared_registration")
async def callee_dies(tour):
    caller, one, two = await tour.join("caller"), await tour.join("one"), await tour.join("two")
    for name, party in (("one", one), ("two", two)):
        await party.register(lambda name=name: name, "tour.shared", options=RegisterOptions(invoke="first"))
    before = await caller.call("tour.shared")
    one.tcp.abort()
    after = None
    for _ in range(50):
        after = await outcome(caller.call("tour.shared"))
        if after == {"result": "two"}:
            break
        await asyncio.sleep(0.05)
    return {"before": before, "after": after}


@stop("registration.revoked", "callee.registration_revocation")
async def revoked(tour):
    admin, callee = await tour.join("admin"), await tour.join("callee")
    registration = await callee.register(lambda: 1, "tour.revoked")
    removed = await outcome(admin.call("wamp.registration.remove_callee", registration.id, callee.id))
    await callee.flush()
    notices = [msg for msg in callee.messages(message.Unregistered)]
    return {"removed": removed, "notices": len(notices), "then": await outcome(admin.call("tour.revoked"))}
