"""Why a broker can't start, or can't go on."""

from __future__ import annotations

from ..wire.codec import pack
from ..wire.codes import Refusal


class CannotStart(Exception):
    """The message says what is in the way and what to do: one line for people, no traceback."""


def storage_failed() -> Refusal:
    """What whoever waits is told. The broker's own log says what failed, and where."""
    return Refusal("storage_failed", "the broker's storage failed, and it stops", maybe_applied=True)


def failed_push(subscription: int, refusal: Refusal) -> bytes:
    """What a subscription is told that can't go on. Told nothing, its client would ask every broker to come for the same."""
    push: bytes = pack({"push": "failed", "sub": subscription, "err": refusal.to_wire()})
    return push
