"""A component in Python: it answers calls, hears events and tells others. The server starts and watches it.

    pip install autobahn
    COATI_URL=ws://127.0.0.1:8080/ws COATI_REALM=realm1 python component.py
"""

import os
from datetime import date
from decimal import Decimal

from autobahn.asyncio.component import Component, run
from autobahn.wamp.exception import ApplicationError
from autobahn.wamp.types import RegisterOptions

component = Component(
    transports=[{"type": "websocket", "url": os.environ["COATI_URL"], "serializers": ["msgpack"]}],
    realm=os.environ["COATI_REALM"],
)


@component.register("com.example.risk.score", options=RegisterOptions(details_arg="details"))
async def score(probability, severity, cost, due, details=None):
    """Numbers arrive as numbers; decimals and dates as text, so that nothing is rounded."""
    if not 1 <= probability <= 5:
        # A kind, a sentence for people, and facts for the form: a Coati caller gets them as its own `Error`.
        raise ApplicationError(
            "wamp.error.invalid_argument", "Probability is 1 to 5.", details={"probability": "1 to 5"}
        )
    days = (date.fromisoformat(due) - date(2026, 1, 1)).days
    return {
        "score": probability * severity,
        "per_day": str(Decimal(cost) / days),
        # Who asks is the router's word, not the caller's.
        "asked_by": details.caller_authrole,
    }


@component.subscribe("com.example.desk.on_changed")
async def changed(key):
    """A signal of a Coati node: its topic is the node's path and the signal's name."""
    component.session.publish("com.example.risk.on_noted", f"noted {key}")


@component.on_join
async def joined(session, details):
    component.session = session


if __name__ == "__main__":
    run([component])
