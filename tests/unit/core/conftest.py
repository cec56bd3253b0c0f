"""A driver for one room: commands in, replies and pushes out, with a store of rows that it can be loaded from again.

The clock stands still until a test advances it; identifiers and chance are fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count, repeat
from typing import Any

import pytest

from nolag_broker.core.commands import parse
from nolag_broker.core.event import Event
from nolag_broker.core.limits import Limits
from nolag_broker.core.room import Room
from nolag_broker.core.turn import BodyAt, Caller, Env, Ephemeral, Push, RecordAt, Reply, ScanAt, Turn
from nolag_broker.server.calendar import CALENDAR
from nolag_broker.wire.codes import Refusal
from nolag_broker.wire.grants import Grants

ALL = [{"room": "**"}]
WALL = 1_800_000_000.0


class Driver:
    """A room, the rows it wrote, and the agents that use it."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.now = 100.0
        self.wall = WALL
        self.chance = 0.5
        self.log: list[Event] = []
        self.heads: dict[str, bytes] = {}
        self.records: dict[str, bytes] = {}
        self.fetched: list[str] = []  # cold keys that commands asked for
        self.ephemeral: list[Ephemeral] = []
        self.effects: list[Reply | Push | Ephemeral] = []  # of the last turn
        self.sessions = count(1)
        self.folded = 0  # the rows are the fold of the log up to here
        self.write_rows: Iterator[bool] = repeat(True)  # whether the next flush writes those that are behind
        self.pushed: dict[str, list[dict[str, Any]]] = {}
        self.room = Room.recover("room", "epoch", 0, {}, self.env, self.limits)

    @property
    def env(self) -> Env:
        return Env(self.now, self.wall, lambda: self.chance, lambda: "id", CALENDAR)

    def agent(self, actor: str, grants: Any = ALL, roles: tuple[str, ...] = (), instance: str | None = None) -> Agent:
        return Agent(self, actor, instance or actor + "-1", Grants.parse(grants), frozenset(roles))

    def worker(self, actor: str, *types: str, slots: int = 1, **fields: Any) -> Agent:
        """An agent that joined and serves."""
        agent = self.agent(actor)
        agent.ask("room.join")
        agent.serve(*types, slots=slots, **fields)
        return agent

    def decide(self, caller: Caller, frame: dict[str, Any], request: int | None) -> None:
        command = parse(frame)
        needed = self.room.needs(command)
        self.room.come_due(self.env)
        self.fetched.extend(needed)
        self.room.decide(command, caller, request, {key: self.records.get(key) for key in needed}, self.env)

    def flush(self) -> Turn:
        """Store what was decided, as an engine would, then deliver it."""
        turn = self.room.take(rows=next(self.write_rows))
        assert turn.expected_sequence == (self.log[-1].seq if self.log else 0)
        self.store(turn)
        for effect in turn.effects:
            if isinstance(effect, Push):
                self.pushed.setdefault(effect.session, []).append(self.resolve(effect.frame))
            elif isinstance(effect, Ephemeral):
                self.ephemeral.append(effect)
        self.effects = [*self.room.take_standing(), *turn.effects]
        return turn

    def store(self, turn: Turn) -> None:
        for event in turn.events:
            assert event.seq == len(self.log) + 1
            self.log.append(Event.from_wire(event.to_wire()))
        for prefix in turn.deleted_prefixes:
            for key in [key for key in self.records if key.startswith(prefix)]:
                del self.records[key]
        for rows, changes in ((self.heads, turn.heads), (self.records, turn.records)):
            for key, value in changes.items():
                if value is None:
                    rows.pop(key, None)
                else:
                    rows[key] = value
        if turn.caught_up:
            self.folded = turn.end

    def resolve(self, value: Any) -> Any:
        """With the bodies and records in their places."""
        if isinstance(value, dict):
            return {name: self.resolve(item) for name, item in value.items()}
        if isinstance(value, list):
            return [self.resolve(item) for item in value]
        if isinstance(value, BodyAt):
            body = self.log[value.seq - 1].body
            assert body is not None, f"no body at {value.seq}"
            return body
        if isinstance(value, RecordAt):
            return self.records.get(value.key)
        if isinstance(value, ScanAt):
            found = sorted((key, body) for key, body in self.records.items() if key.startswith(value.prefix))
            return [[key, body] for key, body in found][: value.limit]
        return value

    def advance(self, seconds: float, *alive: Agent) -> None:
        """Let time pass; everything happens at its moment, and these agents give signs of life."""
        while alive and seconds > 1:
            seconds -= 1
            self._advance(1)
            for agent in alive:
                agent.heartbeat()
        self._advance(seconds)

    def oversleep(self, seconds: float) -> None:
        """Let time pass, and nothing happen at its moment: an alarm is late."""
        self.now, self.wall = self.now + seconds, self.wall + seconds

    def _advance(self, seconds: float) -> None:
        end, start = self.now + seconds, self.now
        wall = self.wall
        for _ in range(100_000):
            deadline = self.room.next_deadline()
            if deadline is None or deadline > end:
                break
            self.now = max(self.now, deadline)
            self.wall = wall + self.now - start
            self.room.tick(self.env)
            self.flush()
        else:
            raise AssertionError("the room always wants another tick")
        self.now, self.wall = end, wall + seconds
        self.room.tick(self.env)
        self.flush()

    def restart(self) -> None:
        """The broker was killed: everything in memory is gone, connections too."""
        if self.folded < len(self.log):
            self.room = Room.recover("room", "epoch", self.folded, self.heads, self.env, self.limits)
            self.room.replay(self.log[self.folded :])
            self.store(self.room.take(rows=True))
        self.room = Room.recover("room", "epoch", len(self.log), self.heads, self.env, self.limits)

    def sweep(self) -> None:
        """Drop the records of periods gone by, as the server does from time to time."""
        period = self.room.retention.period
        for key in [key for key in self.records if key.startswith("kept/") and int(key.split("/")[1]) < period]:
            del self.records[key]

    def types(self, after: int = 0) -> list[str]:
        return [event.type for event in self.log[after:]]


class Agent:
    """One process of an actor, on one connection."""

    def __init__(self, driver: Driver, actor: str, instance: str, grants: Grants, roles: frozenset[str]) -> None:
        self.driver = driver
        self.requests = count(1)
        self.caller = Caller(f"s{next(driver.sessions)}", actor, instance, grants, roles)

    def ask(self, op: str, *, request: int | None = None, **fields: Any) -> dict[str, Any]:
        """The `ok` of the reply; raises the refusal."""
        number = request or next(self.requests)
        self.driver.decide(self.caller, {"op": op, **fields}, number)
        self.driver.flush()
        (reply,) = [effect for effect in self.driver.effects if isinstance(effect, Reply)]
        assert (reply.session, reply.id) == (self.caller.session, number)
        if reply.err is not None:
            err = reply.err
            raise Refusal(err["code"], err["message"], detail=err["detail"], maybe_applied=err["maybe_applied"])
        answer: dict[str, Any] = self.driver.resolve(reply.ok)
        return answer

    def say(self, op: str, **fields: Any) -> None:
        """Without an answer."""
        self.driver.decide(self.caller, {"op": op, **fields}, None)
        assert not any(isinstance(effect, Reply) for effect in self.driver.flush().effects)

    def pushes(self, kind: str | None = None) -> list[dict[str, Any]]:
        """What was pushed since the last look; with `kind`, all of it must be of that kind."""
        pushed = self.driver.pushed.pop(self.caller.session, [])
        assert kind is None or all(frame["push"] == kind for frame in pushed), pushed
        return pushed

    def push(self, kind: str) -> dict[str, Any]:
        (frame,) = self.pushes(kind)
        return frame

    def disconnect(self) -> None:
        self.driver.room.disconnected(self.caller.session, self.driver.env)
        self.driver.flush()

    def connect(self) -> None:
        """A new connection of the same process."""
        old = self.caller
        self.caller = Caller(f"s{next(self.driver.sessions)}", old.actor, old.instance, old.grants, old.roles)

    def heartbeat(self) -> None:
        self.driver.room.heartbeat(self.caller.session, self.driver.env)

    def serve(self, *types: str, offer: int = 1, slots: int = 1, **fields: Any) -> list[str]:
        """What is lost of what it holds."""
        if types:
            fields["types"] = list(types)
        lost: list[str] = self.ask("task.serve", offer=offer, slots=slots, **fields)["lost"]
        return lost

    def dispatch(self, task: str = "t1", type: str = "draft", body: bytes = b"payload", **fields: Any) -> dict[str, Any]:
        return self.ask("task.dispatch", task=task, type=type, body=body, **fields)

    def complete(self, task: dict[str, Any], body: bytes = b"result", **fields: Any) -> dict[str, Any]:
        """`task`: the push that handed it out."""
        return self.ask("task.complete", task=task["task"], token=task["token"], body=body, **fields)

    def fail(self, task: dict[str, Any], type: str = "ValueError", message: str = "no", **fields: Any) -> dict[str, Any]:
        return self.ask("task.fail", task=task["task"], token=task["token"], error={"type": type, "message": message}, **fields)

    def done_with(self, task: dict[str, Any]) -> None:
        """Its handler has ended, whatever has become of the task meanwhile."""
        self.say("task.release", task=task["task"], token=task["token"])

    def state(self, task: str = "t1") -> str:
        state: str = self.ask("task.get", task=task)["task"]["state"]
        return state


@pytest.fixture
def driver() -> Driver:
    return Driver()


@pytest.fixture
def make_driver() -> Callable[..., Driver]:
    """For tests that set limits, or need many rooms."""
    return Driver


@pytest.fixture
def planner(driver: Driver) -> Agent:
    return driver.agent("planner")


@pytest.fixture
def writer(driver: Driver) -> Agent:
    """Serves drafts, one at a time."""
    return driver.worker("writer", "draft")


@pytest.fixture
def refused() -> Callable[[str], Any]:
    """`with refused("code") as caught:`, as pytest.raises, and the code is checked."""

    class Refused:
        def __init__(self, code: str) -> None:
            self.code = code
            self.raises = pytest.raises(Refusal)

        def __enter__(self) -> Any:
            self.caught = self.raises.__enter__()
            return self.caught

        def __exit__(self, *problem: Any) -> bool:
            handled = self.raises.__exit__(*problem)
            assert self.caught.value.code == self.code, self.caught.value.message
            return bool(handled)

    return Refused
