"""One room: a log of events, the state folded from it, and what is decided on that state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .event import Event
from .turn import Caller, Env, Turn


class Room:
    """The interface between the core and the node; the core's author fills it in.

    The node calls, for one room, strictly one after the other:
      needs -> (fetches) -> decide, connected/disconnected/heartbeat, tick, take.
    """

    name: str
    epoch: str
    seq: int  # of the last event decided, durable or not

    @classmethod
    def recover(cls, name: str, epoch: str, sequence: int, heads: Mapping[str, bytes], env: Env) -> Room:
        """The room as its rows say. Members are away and leases start again at full length."""
        raise NotImplementedError

    def needs(self, command: Any) -> Sequence[str]:
        """Cold keys whose values `decide` must be given for this command; usually none."""
        raise NotImplementedError

    def decide(self, command: Any, caller: Caller, request: int | None, cold: Mapping[str, bytes | None], env: Env) -> None:
        """Decide one command (see `command.parse`). What changes is applied at once; the reply, or the refusal, and what is to be
        pushed are among the effects of the next `take`. Never raises `Refusal`."""
        raise NotImplementedError

    def disconnected(self, session: str, env: Env) -> None:
        """A connection is gone. Its member stays until its lease ends."""
        raise NotImplementedError

    def heartbeat(self, session: str, env: Env) -> None:
        """A sign of life: renews the leases of the member on this connection. Any message counts."""
        raise NotImplementedError

    def next_deadline(self) -> float | None:
        """When `tick` has something to do at the latest (on `Env.now`)."""
        raise NotImplementedError

    def tick(self, env: Env) -> None:
        """Whatever has come due: leases, timeouts, delays, expiries."""
        raise NotImplementedError

    def take(self) -> Turn:
        """What was decided since the last `take`, with the changed heads encoded as they are now."""
        raise NotImplementedError

    def apply(self, event: Event) -> None:
        """Fold one event. `decide` uses it and so does replay: folding the whole log gives the same heads."""
        raise NotImplementedError
