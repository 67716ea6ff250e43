"""Stops about topics: acknowledgement, exclusion, lists, patterns, retention, foreign payloads."""

from autobahn.wamp import message
from autobahn.wamp.types import EncodedPayload, PublishOptions, SubscribeOptions

from tour import outcome, plain, stop, until


async def listen(party, topic, **options):
    """Subscribes and returns the list that events land in."""
    got = []
    await party.subscribe(lambda *args, **kwargs: got.append(plain(args)), topic, options=SubscribeOptions(**options))
    return got


def send(party, topic, *args, **options):
    return party.publish(topic, *args, options=PublishOptions(acknowledge=True, **options))


def events(party):
    return party.messages(message.Event)


@stop("publish.acknowledged", "basic")
async def acknowledged(tour):
    publisher, subscriber = await tour.join("publisher"), await tour.join("subscriber")
    got = await listen(subscriber, "tour.topic")
    publication = await send(publisher, "tour.topic", 1, "two")
    await subscriber.flush()
    ids = [event.publication for event in events(subscriber)]
    return {"got": got, "same_publication": ids == [publication.id]}


@stop("publish.silent_and_in_order", "basic")
async def silent(tour):
    publisher, subscriber = await tour.join("publisher"), await tour.join("subscriber")
    got = await listen(subscriber, "tour.topic")
    for number in range(100):
        publisher.publish("tour.topic", number)
    await until(lambda: len(got) >= 100)
    answers = [msg for msg in publisher.seen if isinstance(msg, (message.Published, message.Error))]
    return {"in_order": got == [[number] for number in range(100)], "answers": len(answers)}


@stop("publish.payload", "basic")
async def payload(tour):
    publisher, subscriber = await tour.join("publisher"), await tour.join("subscriber")
    got = []
    await subscriber.subscribe(lambda *args, **kwargs: got.append([plain(args), plain(kwargs)]), "tour.topic")
    await send(publisher, "tour.topic", b"\x00\x01", "é", None, 2**53)
    await publisher.publish("tour.topic", options=PublishOptions(acknowledge=True), key={"a": [1]})
    await send(publisher, "tour.topic")
    await subscriber.flush()
    return got


@stop("subscribe.twice", "basic")
async def twice(tour):
    publisher, subscriber = await tour.join("publisher"), await tour.join("subscriber")
    one = await subscriber.subscribe(lambda *_: None, "tour.topic")
    two = await subscriber.subscribe(lambda *_: None, "tour.topic")
    await send(publisher, "tour.topic")
    await subscriber.flush()
    return {"same_id": one.id == two.id, "events": len(events(subscriber))}


@stop("subscribe.unsubscribe", "basic")
async def unsubscribe(tour):
    publisher, subscriber = await tour.join("publisher"), await tour.join("subscriber")
    got = []
    subscription = await subscriber.subscribe(lambda number: got.append(number), "tour.topic")
    await send(publisher, "tour.topic", 1)
    await subscriber.flush()
    await subscription.unsubscribe()
    await send(publisher, "tour.topic", 2)
    await subscriber.flush()
    subscriber.send_raw(message.Unsubscribe(subscriber._request_id_gen.next(), subscription.id))
    subscriber.seen.clear()
    await until(lambda: subscriber.messages(message.Error), 2)
    return {"got": got, "again": [msg.error for msg in subscriber.messages(message.Error)]}


@stop("publish.invalid_uri", "basic")
async def invalid_uri(tour):
    publisher = await tour.join("publisher")
    publisher.send_raw(message.Publish(publisher._request_id_gen.next(), "tour topic", args=[], acknowledge=True))
    await until(lambda: publisher.messages(message.Error) or publisher.gone.done(), 2)
    errors = [msg.error for msg in publisher.messages(message.Error)]
    return {"errors": errors, "session_lives": not publisher.gone.done()}


@stop("exclude_me", "publisher.publisher_exclusion")
async def exclude_me(tour):
    publisher = await tour.join("publisher")
    got = await listen(publisher, "tour.topic")
    await send(publisher, "tour.topic", "default")
    await send(publisher, "tour.topic", "true", exclude_me=True)
    await send(publisher, "tour.topic", "false", exclude_me=False)
    await publisher.flush()
    return got


@stop("lists.session", "publisher.subscriber_blackwhite_listing")
async def by_session(tour):
    publisher, one, two = await tour.join("publisher"), await tour.join("one"), await tour.join("two")
    first, second = await listen(one, "tour.topic"), await listen(two, "tour.topic")
    await send(publisher, "tour.topic", "exclude one", exclude=[one.id])
    await send(publisher, "tour.topic", "eligible one", eligible=[one.id])
    await send(publisher, "tour.topic", "both", eligible=[one.id, two.id], exclude=[one.id])
    await send(publisher, "tour.topic", "eligible nobody", eligible=[])
    await send(publisher, "tour.topic", "exclude nobody", exclude=[])
    await one.flush()
    await two.flush()
    return {"one": first, "two": second}


@stop("lists.authid", "publisher.subscriber_blackwhite_listing")
async def by_authid(tour):
    publisher, one, two = await tour.join("publisher"), await tour.join("one"), await tour.join("two")
    first, second = await listen(one, "tour.topic"), await listen(two, "tour.topic")
    await send(publisher, "tour.topic", "exclude one", exclude_authid=[one.authid])
    await send(publisher, "tour.topic", "eligible one", eligible_authid=[one.authid])
    await send(publisher, "tour.topic", "eligible other", eligible_authid=["somebody else"])
    await one.flush()
    await two.flush()
    return {"one": first, "two": second}


@stop("lists.authrole", "publisher.subscriber_blackwhite_listing")
async def by_authrole(tour):
    publisher, one = await tour.join("publisher"), await tour.join("one")
    got = await listen(one, "tour.topic")
    await send(publisher, "tour.topic", "eligible own", eligible_authrole=[one.authrole])
    await send(publisher, "tour.topic", "eligible other", eligible_authrole=["other"])
    await send(publisher, "tour.topic", "exclude own", exclude_authrole=[one.authrole])
    await send(publisher, "tour.topic", "exclude other", exclude_authrole=["other"])
    await one.flush()
    return got


async def identified(tour, **marshalled):
    publisher, subscriber = await tour.join("publisher"), await tour.join("subscriber")
    await listen(subscriber, "tour.topic")
    await send(publisher, "tour.topic", **marshalled)
    await subscriber.flush()
    return [
        [event.publisher == publisher.id, event.publisher_authid == publisher.authid,
         event.publisher_authrole == publisher.authrole]
        for event in events(subscriber)
    ]


@stop("identification.of_publisher_unasked", "publisher.publisher_identification")
@stop("identification.seen_by_subscriber", "subscriber.publisher_identification")
async def publisher_unasked(tour):
    """This client has no way to write `disclose_me`."""
    return await identified(tour)


@stop("subscription.prefix", "subscriber.pattern_based_subscription")
async def prefix(tour):
    publisher, subscriber = await tour.join("publisher"), await tour.join("subscriber")
    got = await listen(subscriber, "tour.a", match="prefix")
    for topic in ("tour.a", "tour.a.b", "tour.ab", "tour.b"):
        await send(publisher, topic, topic)
    await subscriber.flush()
    return {"got": got, "event_topic": [event.topic for event in events(subscriber)]}


@stop("subscription.wildcard", "subscriber.pattern_based_subscription")
async def wildcard(tour):
    publisher, subscriber = await tour.join("publisher"), await tour.join("subscriber")
    got = await listen(subscriber, "tour..c", match="wildcard")
    for topic in ("tour.b.c", "tour.b", "tour.b.d", "tour.b.c.d"):
        await send(publisher, topic, topic)
    await subscriber.flush()
    return {"got": got, "event_topic": [event.topic for event in events(subscriber)]}


@stop("subscription.every_match", "subscriber.pattern_based_subscription")
async def every_match(tour):
    publisher, subscriber = await tour.join("publisher"), await tour.join("subscriber")
    exact = await listen(subscriber, "tour.a.b")
    by_prefix = await listen(subscriber, "tour", match="prefix")
    by_wildcard = await listen(subscriber, "tour..b", match="wildcard")
    await send(publisher, "tour.a.b", 1)
    await subscriber.flush()
    return {
        "exact": exact,
        "prefix": by_prefix,
        "wildcard": by_wildcard,
        "publications": len({event.publication for event in events(subscriber)}),
    }


@stop("subscription.revoked", "subscriber.subscription_revocation")
async def revoked(tour):
    admin, subscriber = await tour.join("admin"), await tour.join("subscriber")
    got = []
    subscription = await subscriber.subscribe(lambda number: got.append(number), "tour.topic")
    removed = await outcome(admin.call("wamp.subscription.remove_subscriber", subscription.id, subscriber.id))
    await until(lambda: subscriber.messages(message.Unsubscribed), 1)
    await send(admin, "tour.topic", 1)
    await until(subscriber.gone.done, 1)
    return {"removed": removed, "notices": len(subscriber.messages(message.Unsubscribed)), "got": got,
            "client_ends_its_session": subscriber.gone.done()}


@stop("retention.last", "router: event_retention")
async def retention(tour):
    publisher, one, two = await tour.join("publisher"), await tour.join("one"), await tour.join("two")
    topic = f"tour.retained.{tour.codec}"
    await send(publisher, topic, "old", retain=True)
    await send(publisher, topic, "new", retain=True)
    await send(publisher, topic, "not kept")
    asked = await listen(one, topic, get_retained=True)
    unasked = await listen(two, topic)
    await one.flush()
    await two.flush()
    retained = [event.retained for event in events(one)]
    await send(publisher, topic, "live", retain=True)
    await one.flush()
    return {"asked": asked, "unasked": unasked, "retained": retained,
            "live_is_retained": [event.retained for event in events(one)][len(retained):]}


@stop("retention.prefix", "router: event_retention")
async def retention_prefix(tour):
    publisher, one = await tour.join("publisher"), await tour.join("one")
    base = f"tour.kept.{tour.codec}"
    await send(publisher, f"{base}.a", "a", retain=True)
    await send(publisher, f"{base}.b", "b", retain=True)
    got = await listen(one, f"{base}.", match="prefix", get_retained=True)
    await one.flush()
    return sorted(got)


@stop("retention.filtered", "router: event_retention")
async def retention_filtered(tour):
    publisher, one = await tour.join("publisher"), await tour.join("one")
    topic = f"tour.filtered.{tour.codec}"
    await send(publisher, topic, "for others", retain=True, eligible_authrole=["other"])
    got = await listen(one, topic, get_retained=True)
    await one.flush()
    return got


class Reverse:
    """A payload codec of the application's own: the router must not look inside."""

    def __init__(self, algorithm):
        self.algorithm = algorithm

    def encode(self, is_originating, uri, args=None, kwargs=None):
        return EncodedPayload(repr((uri, args, kwargs)).encode()[::-1], self.algorithm, "json", None)

    def decode(self, is_originating, uri, encoded):
        uri, args, kwargs = eval(encoded.payload[::-1])  # noqa: S307 - what this program wrote itself
        return uri, args, kwargs


async def opaque(tour, algorithm):
    publisher, subscriber = await tour.join("publisher"), await tour.join("subscriber")
    publisher._payload_codec = subscriber._payload_codec = Reverse(algorithm)
    got = []
    await subscriber.subscribe(lambda *args: got.append(plain(args)), "tour.topic")
    sent = await outcome(send(publisher, "tour.topic", 1, "two"))
    if "result" in sent:
        await subscriber.flush()
        sent = {"acknowledged": True}
    return {"got": got, "sent": sent, "enc_algo": [event.enc_algo for event in events(subscriber)]}


async def opaque_call(tour, algorithm):
    caller, callee = await tour.join("caller"), await tour.join("callee")
    caller._payload_codec = callee._payload_codec = Reverse(algorithm)
    await callee.register(lambda a, b: a + b, "tour.add")
    return await outcome(caller.call("tour.add", 1, 2))


for _feature, _algorithm in (("payload_transparency", "x_tour"), ("payload_encryption_cryptobox", "cryptobox")):
    for _role, _stop in (("publisher", opaque), ("subscriber", opaque), ("caller", opaque_call), ("callee", opaque_call)):
        stop(f"{_feature}.of_{_role}", f"{_role}.{_feature}")(
            lambda tour, function=_stop, algorithm=_algorithm: function(tour, algorithm)
        )
