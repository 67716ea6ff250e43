"""Logs in to a router by every method, with Autobahn|Python at both ends of the procedures that judge.

    python logins.py --url ws://127.0.0.1:8080/ws    (the router runs with logins.toml)

LOGIN_TICKET and LOGIN_SECRET hold the secrets that the router has too. Prints a line per check; the first that fails
ends the program.
"""

import argparse
import asyncio
import os

from autobahn.asyncio.wamp import ApplicationSession
from autobahn.asyncio.websocket import WampWebSocketClientFactory
from autobahn.wamp import auth
from autobahn.wamp.exception import ApplicationError
from autobahn.wamp.types import ComponentConfig, PublishOptions, SubscribeOptions

TICKET, SECRET = os.environ["LOGIN_TICKET"], os.environ["LOGIN_SECRET"]
KEY = "4d57d97a68f555696620a6d849c0ce582568518d729eb753dc7c732de2804510"
OTHER_KEY = "d511fe78e23934b3dadb52fcd022974b80bd92bccc7c5cf404e46cc0a8a2f5cd"
FAILED = "wamp.error.authentication_failed"


class Party(ApplicationSession):
    """A session that logs in in one way."""

    method = None

    def __init__(self, config):
        super().__init__(config)
        loop = asyncio.get_running_loop()
        self.joined, self.left = loop.create_future(), loop.create_future()

    def onConnect(self):
        try:
            extra = dict(self.config.extra)
            name = extra.pop("method")
            self.method = auth.create_authenticator(name, **extra)
            authid = extra.get("authid")
            self.join(self.config.realm, authmethods=[name], authid=authid, authextra=self.method.authextra)
        except BaseException as error:
            # Autobahn swallows it: the router would wait for HELLO, and so would the test.
            self.joined.set_exception(error)
            raise

    def onChallenge(self, challenge):
        return self.method.on_challenge(self, challenge)

    def onWelcome(self, msg):
        self.router = msg.roles
        return self.method.on_welcome(self, msg.authextra)

    def onJoin(self, details):
        self.joined.set_result(details)

    def onLeave(self, details):
        if not self.joined.done():
            self.joined.set_exception(ApplicationError(details.reason, details.message))
        if not self.left.done():
            self.left.set_result(details)
        self.disconnect()


async def log_in(url, realm, method, **extra):
    """A session that has joined, or ApplicationError with the router's reason."""
    party = Party(ComponentConfig(realm, dict(extra, method=method)))
    factory = WampWebSocketClientFactory(lambda: party, url=url)
    host, port = url.removeprefix("ws://").split("/")[0].split(":")
    await asyncio.get_running_loop().create_connection(factory, host, int(port))
    party.details = await asyncio.wait_for(party.joined, 90)
    return party


async def refused(reason, awaitable):
    try:
        got = await awaitable
    except ApplicationError as error:
        assert error.error == reason, f"{error.error} instead of {reason}"
    else:
        raise AssertionError(f"{got!r} instead of {reason}")


def said(what):
    print("ok", what, flush=True)


async def static(url):
    realm = "realm1"
    for authid, method, right, wrong in [
        ("judge", "ticket", {"ticket": TICKET}, {"ticket": "guess"}),
        ("plain", "wampcra", {"secret": SECRET}, {"secret": "guess"}),
        ("salted", "wampcra", {"secret": SECRET}, {"secret": "guess"}),
        ("derived", "wampcra", {"secret": "L3L1YUE8Txlw"}, {"secret": "guess"}),
        ("signer", "cryptosign", {"privkey": KEY}, None),
        ("scrambled", "scram", {"password": SECRET}, {"password": "guess"}),
        ("stored", "scram", {"password": "secret123"}, {"password": "guess"}),
    ]:
        party = await log_in(url, realm, method, authid=authid, **right)
        details = party.details
        assert (details.authid, details.authmethod, details.authprovider) == (authid, method, "static"), details
        party.leave()
        if wrong:
            await refused(FAILED, log_in(url, realm, method, authid=authid, **wrong))
        said(f"{authid} by {method}")
    await refused("wamp.error.no_auth_method", log_in(url, realm, "anonymous"))
    await refused("wamp.error.no_such_realm", log_in(url, "realm3", "anonymous"))
    said("neither strangers nor unknown realms")


async def judge(url):
    """A component that says who may join and what they may do."""
    party = await log_in(url, "realm1", "ticket", authid="judge", ticket=TICKET)
    party.banned = set()
    party.asked = []

    def authenticate(realm, authid, details):
        assert realm == "realm1", realm
        method = details["authmethod"]
        if authid == "ticketed" and details.get("ticket") == SECRET:
            return {"role": "judged", "authid": "renamed", "extra": {"seen": method}}
        if authid == "challenged":
            key = auth.derive_key(SECRET, "pepper", 50, 32).decode("ascii")
            return {"role": "judged", "secret": key, "salt": "pepper", "iterations": 50, "keylen": 32}
        if method == "cryptosign" and details["authextra"]["pubkey"] == party.known_key:
            return {"role": "judged", "authid": "key", "pubkey": party.known_key}
        if authid == "scrammed":
            return dict(auth.derive_scram_credential("a@b", SECRET), role="judged")
        raise ApplicationError("com.example.no_such_user", "Nobody knows them.")

    def authorize(session, uri, action, options):
        party.asked.append((session["authid"], uri, action))
        return {"allow": uri not in party.banned and not uri.endswith("never"), "cache": True}

    party.known_key = auth.create_authenticator("cryptosign", privkey=OTHER_KEY).authextra["pubkey"]
    await party.register(authenticate, "com.example.authenticate")
    await party.register(authorize, "com.example.authorize")
    await party.register(lambda: "done", "com.example.work")
    return party


async def dynamic(url, judge):
    realm = "realm1"
    party = await log_in(url, realm, "ticket", authid="ticketed", ticket=SECRET)
    details = party.details
    assert (details.authid, details.authrole, details.authprovider) == ("renamed", "judged", "dynamic"), details
    assert details.authextra == {"seen": "ticket"}, details
    for method, authid, right, wrong in [
        ("wampcra", "challenged", {"secret": SECRET}, {"secret": "guess"}),
        ("scram", "scrammed", {"password": SECRET}, {"password": "guess"}),
        ("cryptosign", "key", {"privkey": OTHER_KEY}, {"privkey": "01" * 32}),
    ]:
        other = await log_in(url, realm, method, authid=authid, **right)
        assert other.details.authrole == "judged", other.details
        other.leave()
        await refused(FAILED, log_in(url, realm, method, authid=authid, **wrong))
        said(f"{authid} by {method}, judged by a procedure")
    await refused(FAILED, log_in(url, realm, "ticket", authid="stranger", ticket="x"))
    said("a ticket, judged by a procedure")
    return party


async def decided(judge, party):
    """What the authorizer decides, and what becomes of it when that changes."""
    assert await party.call("com.example.work") == "done"
    assert await party.call("com.example.work") == "done"
    assert judge.asked.count(("renamed", "com.example.work", "call")) == 1, judge.asked
    await refused("wamp.error.not_authorized", party.call("com.example.never"))
    await refused("wamp.error.not_authorized", party.subscribe(print, "com.example.never"))
    await party.subscribe(print, "com.example.news", SubscribeOptions(match="exact"))
    said("requests, decided by a procedure and remembered")
    judge.banned.update({"com.example.work"})
    assert await party.call("com.example.work") == "done"
    await judge.call("coati.reauthorize")
    await refused("wamp.error.not_authorized", party.call("com.example.work"))
    said("what was remembered is forgotten on demand")
    judge.banned.add("com.example.news")
    events = []
    await judge.subscribe(lambda *event: events.append(event), "wamp.subscription.on_unsubscribe")
    await judge.call("coati.reauthorize", party.details.session)
    for _ in range(100):
        await asyncio.sleep(0.05)
        if events:
            break
    assert events, "the subscription was not taken away"
    said("a subscription that is not allowed any more is taken away")


async def rules(url):
    party = await log_in(url, "realm1", "wampcra", authid="plain", secret=SECRET)
    assert await party.call("com.example.work") == "done"
    await refused("wamp.error.not_authorized", party.call("com.example.secret.work"))
    await refused("wamp.error.not_authorized", party.subscribe(print, "com.example.", SubscribeOptions(match="prefix")))
    said("the most specific rule decides")
    guest = await log_in(url, "realm2", "anonymous")
    assert guest.details.authrole == "guest", guest.details
    await refused("wamp.error.no_such_procedure", guest.call("com.example.work"))
    said("realms are apart")


async def caught_up(url, judge):
    """Who was away asks for what was published meanwhile, in the realm that keeps it."""
    away, writer = [await log_in(url, "realm2", "anonymous") for _ in range(2)]
    assert away.router["broker"].event_history and not judge.router["broker"].event_history
    topic = "com.example.log.doors"
    acknowledged = PublishOptions(acknowledge=True)
    publications = [await writer.publish(topic, number, options=acknowledged) for number in range(4)]
    subscription = await away.subscribe(print, topic)
    ask = "wamp.subscription.get_events"
    got = await away.call(ask, subscription.id, after_publication=publications[0].id)
    assert [event["args"] for event in got.results] == [[1], [2], [3]], got
    assert [event["publication"] for event in got.results] == [it.id for it in publications[1:]], got
    assert got.kwresults == {"more": False}, got
    got = await away.call(ask, subscription.id, 2)
    assert [event["args"] for event in got.results] == [[0], [1]] and got.kwresults == {"more": True}, got
    got = await away.call(ask, subscription.id, 2, reverse=True)
    assert [event["args"] for event in got.results] == [[3], [2]], got
    other = await judge.subscribe(print, topic)
    await refused("wamp.error.history_unavailable", judge.call(ask, other.id, 2))
    said("events of the past, where they are kept")


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    url = parser.parse_args().url
    await static(url)
    judging = await judge(url)
    party = await dynamic(url, judging)
    await decided(judging, party)
    await rules(url)
    await caught_up(url, judging)


asyncio.run(main())
