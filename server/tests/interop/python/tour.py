"""Walks Autobahn|Python over a WAMP router and prints one JSON line per observation.

    python tour.py --url ws://127.0.0.1:8080/ws --realm realm1 [--codec json] [--only PART-OF-A-STOP]

Each stop belongs to a feature. Features of the four client roles are toured because this client announces them in its
HELLO; an announced feature without a stop is an observation of its own. Features of routers that clients do not
announce (meta API, retention, testaments, time-outs) are toured always.
"""

import argparse
import asyncio
import json
import sys
import time

import autobahn
from autobahn.asyncio.wamp import ApplicationSession
from autobahn.asyncio.websocket import WampWebSocketClientFactory
from autobahn.wamp import message, role, serializer
from autobahn.wamp.exception import ApplicationError
from autobahn.wamp.types import ComponentConfig

CODECS = {
    "json": serializer.JsonSerializer,
    "msgpack": serializer.MsgPackSerializer,
    "cbor": serializer.CBORSerializer,
}

# (name, feature, function), in the order of the modules.
STOPS = []


def stop(name, feature):
    """Marks a coroutine function as a stop of the tour."""

    def mark(function):
        STOPS.append((name, feature, function))
        return function

    return mark


class Party(ApplicationSession):
    """A session that keeps every message it gets."""

    def __init__(self, config):
        super().__init__(config)
        loop = asyncio.get_running_loop()
        self.joined = loop.create_future()
        self.left = loop.create_future()
        self.gone = loop.create_future()
        self.seen = []

    def onMessage(self, msg):
        self.seen.append(msg)
        return super().onMessage(msg)

    def onJoin(self, details):
        self.joined.set_result(details)

    def onLeave(self, details):
        if not self.left.done():
            self.left.set_result(details.reason)
        if not self.joined.done():
            self.joined.set_exception(ApplicationError(details.reason, details.message))
            self.joined.exception()
        self.disconnect()

    def onDisconnect(self):
        if not self.gone.done():
            self.gone.set_result(True)
        if not self.left.done():
            self.left.set_result("(connection lost)")
        if not self.joined.done():
            self.joined.set_exception(ConnectionError("closed before WELCOME"))
            self.joined.exception()

    def onUserError(self, fail, msg):
        pass

    id = property(lambda self: self.details.session)
    authid = property(lambda self: self.details.authid)
    authrole = property(lambda self: self.details.authrole)

    @property
    def last_request(self):
        return self._request_id_gen._next

    def send_raw(self, msg):
        self._transport.send(msg)

    def messages(self, kind):
        return [msg for msg in self.seen if isinstance(msg, kind)]

    async def flush(self):
        """Returns when everything that the router had for this session has arrived."""
        try:
            await self.call("tour.nobody.answers.this")
        except ApplicationError:
            pass


class Tour:
    """What a stop may use."""

    def __init__(self, url, realm, codec):
        self.url, self.realm, self.codec = url, realm, codec
        self.names = {}
        self.parties = []

    async def join(self, name, serializers=None):
        config = ComponentConfig(self.realm)
        host, port = self.url.split("//")[1].split("/")[0].split(":")
        made = []

        def make():
            made.append(Party(config))
            return made[-1]

        chosen = [CODECS[self.codec]()] if serializers is None else serializers
        factory = WampWebSocketClientFactory(make, url=self.url, serializers=chosen or None)
        transport, protocol = await asyncio.get_running_loop().create_connection(factory, host, int(port))
        for _ in range(500):
            if made:
                break
            await asyncio.sleep(0.01)
        party = made[0]
        party.protocol, party.tcp = protocol, transport
        party.details = await asyncio.wait_for(party.joined, 5)
        self.names[party.id] = name
        self.parties.append(party)
        return party

    def name(self, value):
        """A session's name in the stop, so that observations of two runs are equal."""
        return self.names.get(value, value if value is None or isinstance(value, str) else "(an unknown number)")

    async def close(self):
        for party in self.parties:
            if not party.left.done():
                try:
                    party.leave()
                except Exception:  # the transport may be gone already
                    pass
        for party in self.parties:
            try:
                await asyncio.wait_for(party.gone, 2)
            except asyncio.TimeoutError:
                party.tcp.abort()


async def outcome(awaitable, within=3.0):
    """What came of it, as something that JSON can hold."""
    try:
        result = await asyncio.wait_for(awaitable, within)
    except asyncio.TimeoutError:
        return {"no answer": True}
    except asyncio.CancelledError:
        return {"cancelled": True}
    except ApplicationError as error:
        return {"error": error.error}
    except Exception as error:  # e.g. the transport is lost
        return {"lost": type(error).__name__}
    return {"result": plain(result)}


def plain(value):
    """The value with types that JSON lacks written out."""
    if isinstance(value, bytes):
        return {"binary": value.hex()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if hasattr(value, "results") and hasattr(value, "kwresults"):
        return {"args": plain(value.results), "kwargs": plain(value.kwresults)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return f"({type(value).__name__})"


async def until(condition, within=3.0):
    """Waits until the condition holds; whether it did."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        if condition():
            return True
        await asyncio.sleep(0.02)
    return False


def announced():
    """The features in this client's HELLO, as `role.feature`."""
    roles = role.DEFAULT_CLIENT_ROLES
    hello = message.Hello("realm1", roles).marshal()[2]
    return sorted(
        f"{name}.{feature}"
        for name, it in hello["roles"].items()
        for feature, there in it.get("features", {}).items()
        if there
    )


async def walk(options):
    features = announced()
    clients = ("caller.", "callee.", "publisher.", "subscriber.")
    toured = {feature for _, feature, _ in STOPS}
    for codec in options.codec or list(CODECS):
        show = lambda name, feature, saw: print(
            json.dumps({"stop": name, "codec": codec, "feature": feature, "saw": saw}, sort_keys=True), flush=True
        )
        if not options.only:
            show("hello.announces", "basic", features)
            show("hello.not_toured", "basic", [feature for feature in features if feature not in toured])
        for name, feature, function in STOPS:
            if options.only and options.only not in name:
                continue
            if feature.startswith(clients) and feature not in features:
                show(name, feature, "(this client does not announce the feature)")
                continue
            tour = Tour(options.url, options.realm, codec)
            try:
                saw = await asyncio.wait_for(function(tour), 20)
            except Exception as error:
                uri = getattr(error, "error", "")
                saw = {"stop failed": f"{type(error).__name__} {uri}".strip()}
                if options.only:
                    raise
            finally:
                await tour.close()
            show(name, feature, saw)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--realm", default="realm1")
    parser.add_argument("--codec", action="append", choices=list(CODECS))
    parser.add_argument("--only")
    parser.add_argument("--version", action="store_true")
    options = parser.parse_args()
    print(json.dumps({"client": f"autobahn-python {autobahn.__version__}"}), flush=True)
    asyncio.run(walk(options))
    return 0


if __name__ == "__main__":
    # The stops import this module by its name; they must mark the same list.
    sys.modules["tour"] = sys.modules["__main__"]
    import calls  # noqa: F401
    import events  # noqa: F401
    import meta  # noqa: F401

    sys.exit(main())
