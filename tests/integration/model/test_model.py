"""Random operations of the public API on a real broker, and the same ones on `plain.Room`: every answer, and the whole log, must be equal.

The short form is the same every time; the long one takes other examples each time, and prints how to have a failing one again.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test
from langgraph.store.base import PutOp

from langgraph_nolag import LocalBroker, NoLagStore, Room, connect
from langgraph_nolag.client.body import read
from langgraph_nolag.errors import NoLagError
from langgraph_nolag.patterns.handed import HandedTask
from langgraph_nolag.testing import eventually

from . import plain

T = TypeVar("T")
PATIENCE = 30.0  # seconds any one thing may take; only a failure takes so long
ACTORS = ("desk", "worker", "ana", "late")  # `late` comes when a rule says so
FAMILIES = (
    "task.",
    "blackboard.",
    "store.",
    "approval.",
    "topic.",
    "inbox.sent",
    "said.",
)  # not presence, not reading
EMPTY = ("task.claimed", "task.released", "task.failed")  # what is in their bodies, if anything, is not the model's business


class Stage:
    """A broker and the clients of every actor, for many rooms, one after the other."""

    def __init__(self, path: Path | None) -> None:
        self.durable = path is not None
        self._path = path
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._rooms = itertools.count(1)
        self._start(0)
        self.clients = {actor: self.run(self._connect(actor)) for actor in ACTORS}

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(asyncio.wait_for(work, PATIENCE))

    def restart(self) -> None:
        """Stop the broker and start it on what it stored. The clients come back by themselves."""
        port = int(self.broker.url.rpartition(":")[2])
        self.broker.close()
        self._start(port)

    def new_room(self) -> str:
        return f"room-{next(self._rooms)}"

    def close(self) -> None:
        self.run(self._stack.aclose())
        self._runner.close()
        self.broker.close()

    def _start(self, port: int) -> None:
        self.broker = LocalBroker(self._path, port=port, lease=PATIENCE, disconnect_grace=PATIENCE)

    async def _connect(self, actor: str) -> Any:
        return await self._stack.enter_async_context(connect(self.broker.url, token=self.broker.token(actor), actor=actor))


class Machine(RuleBasedStateMachine):
    """`stage` is set by whoever runs it."""

    stage: Stage

    def __init__(self) -> None:
        super().__init__()
        self.model = plain.Room(present=("desk", "worker", "ana"))
        self.rooms: dict[str, Room] = {}
        self.handed: dict[tuple[str, int], asyncio.Future[Any]] = {}  # by task id and attempt: what its handler waits for
        self.dispatched: dict[int, Any] = {}  # by number: the SDK's task
        self.positions: list[tuple[int, int]] = []  # sequence that was answered, and place in the model's log
        self.inboxes: dict[str, Any] = {}
        self.payloads = itertools.count()

    @initialize()
    def begin(self) -> None:
        async def join() -> None:
            name = self.stage.new_room()
            for actor in ("desk", "worker", "ana"):
                self.rooms[actor] = await self.stage.clients[actor].join(name)
            self.serving = self.rooms["worker"].handoff.serve(self._handle, types=["draft", "check"], concurrency=plain.SLOTS, drain=0)
            await self.serving.start()

        self.run(join())

    async def _handle(self, task: HandedTask) -> Any:
        told = self.handed[task.id, task.attempt] = asyncio.get_running_loop().create_future()
        return await told

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.stage.run(work)

    def same(self, expected: Callable[[], T], work: Coroutine[Any, Any, Any]) -> tuple[T | None, Any]:
        """Both do the same, or both refuse for the same reason. Their answers, None where it was refused."""
        try:
            want: T | None = expected()
            refused = None
        except plain.Refused as error:
            want, refused = None, error.error
        try:
            got, error_of_it = self.run(work), None
        except NoLagError as error:
            got, error_of_it = None, type(error).__name__
        assert error_of_it == refused
        return want, got

    # -- tasks

    @rule(
        jobs=st.lists(
            st.tuples(
                st.sampled_from(["draft", "check"]),
                st.none() | st.sampled_from(["k1", "k2"]),
                st.integers(0, 1),
                st.integers(0, 2),
                st.integers(1, 2),
            ),
            min_size=1,
            max_size=4,
        )
    )
    def dispatch(self, jobs: list[tuple[str, str | None, int, int, int]]) -> None:
        for job in jobs:
            self._dispatch(*job)

    def _dispatch(self, type: str, key: str | None, value: int, priority: int, max_attempts: int) -> None:
        payload = value if key is not None else f"payload {next(self.payloads)}"
        options = {"key": key, "priority": priority, "max_attempts": max_attempts, "retry": {"initial": 0}}
        before = len(self.model.tasks)
        task, there = self.same(
            lambda: self.model.dispatch(type, payload, key, priority, max_attempts),
            self.rooms["desk"].handoff.dispatch(type, payload, **options),
        )
        if task is not None:
            assert there.attached == (len(self.model.tasks) == before)
            assert self.dispatched.setdefault(task.number, there).id == there.id

    @precondition(lambda self: self.model.running)
    @rule(which=st.integers(0, plain.SLOTS - 1))
    def complete(self, which: int) -> None:
        task = self._running(which)
        result = f"result {next(self.payloads)}"
        there = self._told(task)

        async def work() -> Any:
            there.set_result(result)
            return await self.dispatched[task.number].result()

        self.model.complete(task, result)
        assert self.run(work()) == result

    @precondition(lambda self: self.model.running)
    @rule(which=st.integers(0, plain.SLOTS - 1))
    def fail(self, which: int) -> None:
        task = self._running(which)
        there = self._told(task)

        async def work() -> None:
            there.set_exception(RuntimeError("no luck"))
            await eventually(self._as_modelled, timeout=PATIENCE)

        self.model.fail(task)
        self.run(work())

    @precondition(lambda self: self.model.unfinished())
    @rule(which=st.integers(0, 5))
    def cancel(self, which: int) -> None:
        unfinished = self.model.unfinished()
        task = unfinished[which % len(unfinished)]
        self.model.cancel(task)
        assert self.run(self.rooms["ana"].handoff.cancel(self.dispatched[task.number].id)) == "cancelled"

    @precondition(lambda self: self.model.dead_letters())
    @rule(which=st.integers(0, 5))
    def retry(self, which: int) -> None:
        dead = self.model.dead_letters()
        task = dead[which % len(dead)]
        id = self.dispatched[task.number].id

        async def work() -> None:
            await self.rooms["ana"].handoff.retry(id)
            self.dispatched[task.number] = await self._follow(task, id)

        self.model.retry(task)
        self.run(work())

    async def _follow(self, task: plain.Task, id: str) -> Any:
        """Its first result was given; by its key the next one is had."""
        if task.key is None:
            return _Listed(self.rooms["desk"], id)
        return await self.rooms["desk"].handoff.dispatch(task.type, task.payload, key=task.key)

    def _running(self, which: int) -> plain.Task:
        return self.model.running[which % len(self.model.running)]

    def _told(self, task: plain.Task) -> asyncio.Future[Any]:
        """What the handler of a task waits for, once it was handed out."""
        at = self.dispatched[task.number].id, task.attempt
        self.run(eventually(lambda: at in self.handed, timeout=PATIENCE))
        return self.handed[at]

    async def _as_modelled(self) -> bool:
        listed = await self.rooms["ana"].handoff.list(["waiting", "delayed", "running"])
        dead = await self.rooms["ana"].handoff.dead_letters()
        return {(info.id, info.state, info.attempt) for info in listed} == {
            (self.dispatched[task.number].id, task.state, task.attempt) for task in self.model.unfinished()
        } and {info.id for info in dead} == {self.dispatched[task.number].id for task in self.model.dead_letters()}

    # -- blackboard

    @rule(key=st.sampled_from(["plan", "notes/a"]), delete=st.booleans(), expected=st.none() | st.integers(0, 3))
    def write(self, key: str, delete: bool, expected: int | None) -> None:
        value = None if delete else f"value {next(self.payloads)}"
        board = self.rooms["ana"].blackboard
        work = board.delete(key, expected=expected) if delete else board.set(key, value, expected=expected)
        length = len(self.model.log)
        revision, entry = self.same(lambda: self.model.set(key, value, expected), work)
        if revision is not None:
            assert entry.revision == revision
            self._answered(entry.seq, length if len(self.model.log) > length else None)

    @rule(key=st.sampled_from(["plan", "notes/a"]))
    def look(self, key: str) -> None:
        board = self.rooms["desk"].blackboard
        entry = self.run(board.get(key))
        assert (None if entry is None else (entry.revision, entry.value)) == self.model.get(key)
        history = self.run(board.history(key, limit=100))
        assert [(entry.revision, entry.value) for entry in reversed(history)] == self.model.board.get(key, [])
        assert {entry.key for entry in self.run(board.list())} == {key for key in self.model.board if self.model.get(key)}

    # -- store

    @rule(space=st.sampled_from("ab"), key=st.sampled_from("kl"), number=st.none() | st.integers(0, 3), compare=st.booleans())
    def remember(self, space: str, key: str, number: int | None, compare: bool) -> None:
        value = None if number is None else {"n": number, "text": f"value {next(self.payloads)}"}
        store = NoLagStore(self.rooms["ana"])
        self.model.remember(space, key, value)
        if compare:
            self.run(store.aupdate((space,), key, lambda before: value))
        else:
            self.run(store.abatch([PutOp((space,), key, value)]))

    @rule(prefix=st.sampled_from([(), ("a",), ("b",)]), least=st.none() | st.integers(0, 3), limit=st.integers(0, 5))
    def recall(self, prefix: tuple[str, ...], least: int | None, limit: int) -> None:
        store = NoLagStore(self.rooms["desk"])
        found = self.run(store.asearch(prefix, filter=None if least is None else {"n": {"$gte": least}}, limit=limit))
        wanted = [
            (space, key, value)
            for space, items in self.model.items.items()
            for key, value in items.items()
            if prefix in ((), (space,)) and value["n"] >= (least or 0)
        ]
        assert [(item.namespace[0], item.key, item.value) for item in found] == wanted[:limit]
        assert self.run(store.alist_namespaces()) == sorted((space,) for space in self.model.items)

    # -- topics, events, inbox

    @rule(topic=st.sampled_from(["news", "news/uk"]), value=st.integers(0, 1), key=st.none() | st.sampled_from("12"), retain=st.booleans())
    def publish(self, topic: str, value: int, key: str | None, retain: bool) -> None:
        key = key and f"{topic} {key}"
        at, seq = self.same(
            lambda: self.model.publish(topic, value, key, retain), self.rooms["desk"].publish(topic, value, key=key, retain=retain)
        )
        self._answered(seq, at)

    @rule(value=st.integers(0, 1), key=st.none() | st.sampled_from(["e1", "e2"]))
    def emit(self, value: int, key: str | None) -> None:
        at, seq = self.same(lambda: self.model.say("said.so", "", value, key), self.rooms["ana"].observe.emit("said.so", value, key=key))
        self._answered(seq, at)

    @rule(
        to=st.sampled_from(ACTORS),
        values=st.lists(st.integers(0, 1), min_size=1, max_size=3),
        key=st.none() | st.sampled_from("12"),
        keep=st.booleans(),
    )
    def send(self, to: str, values: list[Any], key: str | None, keep: bool) -> None:
        key = key and f"to {to} {key}"
        for value in values if key else [f"message {next(self.payloads)}" for _ in values]:
            work = self.rooms["desk"].inbox.send(to, value, keep=keep, key=key)
            at, seq = self.same(lambda value=value: self.model.send("desk", to, value, key, keep), work)
            self._answered(seq, at)

    @rule(actor=st.sampled_from(ACTORS))
    def read(self, actor: str) -> None:
        if actor in self.rooms:
            self._read(actor)

    def _read(self, actor: str) -> None:
        inbox = self.inboxes.setdefault(actor, aiter(self.rooms[actor].inbox))
        for sender, value in self.model.read(actor):
            message = self.run(anext(inbox))
            assert (message.sender, message.body) == (sender, value)

    @precondition(lambda self: "late" not in self.rooms)
    @rule()
    def comes_late(self) -> None:
        self.rooms["late"] = self.run(self.stage.clients["late"].join(self.rooms["desk"].name))
        self.model.present.add("late")

    def _answered(self, seq: int | None, at: int | None) -> None:
        if seq is not None and at is not None:
            self.positions.append((seq, at))

    # -- approvals

    @rule(id=st.sampled_from(["first", "second", "third"]), args=st.integers(0, 1), quorum=st.integers(1, 2))
    def request(self, id: str, args: int, quorum: int) -> None:
        id = f"{self.rooms['desk'].name} {id}"
        self.same(
            lambda: self.model.request(id, "publish", args, quorum),
            self.rooms["desk"].approve.request("publish", args, id=id, quorum=quorum, allow=["approve", "reject"]),
        )

    @rule(
        id=st.sampled_from(["first", "second", "third"]),
        actor=st.sampled_from(["desk", "worker", "ana"]),
        type=st.sampled_from(["approve", "approve", "reject"]),
    )
    def decide(self, id: str, actor: str, type: str) -> None:
        id = f"{self.rooms['desk'].name} {id}"
        state, said = self.same(lambda: self.model.decide(id, actor, type), self.rooms[actor].approve.decide(id, type))
        assert said == state

    @rule()
    def look_at_approvals(self) -> None:
        listed = self.run(self.rooms["ana"].approve.list())
        assert {
            info.id: (
                info.args,
                info.quorum,
                {vote["actor"]: vote["type"] for vote in info.votes},
                info.decision and (info.decision.type, info.decision.actor),
            )
            for info in listed
        } == {id: (one.args, one.quorum, one.votes, one.decision) for id, one in self.model.approvals.items()}

    # -- all of it

    @precondition(lambda self: self.stage.durable)
    @rule(now=st.integers(0, 4))
    def restart(self, now: int) -> None:
        if now == 0:  # not too often: it takes longer than all else
            self.stage.restart()
            for room in self.rooms.values():  # answered after what a client says first when it is back: what it serves
                self.run(room.presence.list())

    @invariant()
    def tasks_are_as_modelled(self) -> None:
        if self.rooms:
            self.run(eventually(self._as_modelled, timeout=PATIENCE))

    def teardown(self) -> None:
        if not self.rooms:
            return
        try:
            for actor in self.rooms:
                self._read(actor)
            self.run(self._whole_log())
        finally:
            self.run(self._leave())

    async def _whole_log(self) -> None:
        room = self.rooms["desk"]  # sender of every message: who else reads the log does not see their bodies
        events: list[Any] = []
        while True:
            page = await room.link.acall("log.read", after=events[-1]["seq"] if events else 0, limit=1000)
            events += page["events"]
            if page["end"]:
                break
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        known = [event for event in events if event["type"].startswith(FAMILIES)]
        assert [self._told_by(event) for event in known] == self.model.log
        for seq, at in self.positions:
            assert known[at]["seq"] == seq
        retained = {}
        async with room.subscribe("news/**", retained=True) as messages:
            while len(retained) < len(self.model.retained):
                message = await anext(messages)
                retained[message.topic] = message.body
        assert retained == self.model.retained

    def _told_by(self, event: Any) -> tuple[str, str, Any]:
        value = read(event.get("body"), event.get("ct"))
        silent = event["type"] in EMPTY or event["type"] in ("approval.voted", "approval.decided")
        return event["type"], event.get("subject") or "", None if silent else value

    async def _leave(self) -> None:
        await self.serving.close()
        for room in self.rooms.values():
            await room.leave()


class _Listed:
    """A task that nobody follows any more: its end is looked up."""

    def __init__(self, room: Room, id: str) -> None:
        self.id = id
        self._room = room

    async def result(self) -> Any:
        end = "task.completed"
        while True:
            page = await self._room.link.acall("log.read", types=end, limit=1000)
            for event in page["events"]:
                if event["data"]["task"] == self.id:
                    return read(event["body"], event.get("ct"))
            await asyncio.sleep(0.005)


SETTINGS = settings(deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
# To make a failing example small takes minutes: that is left to the long form.
SHORT = settings(SETTINGS, max_examples=16, stateful_step_count=40, derandomize=True, database=None, phases=[Phase.generate])
LONG = settings(SETTINGS, max_examples=int(os.environ.get("MODEL_EXAMPLES", "40")), stateful_step_count=80)


@pytest.fixture(params=["memory", "sqlite"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[type[Machine]]:
    stage = Stage(tmp_path / "data" if request.param == "sqlite" else None)
    yield type("Machine", (Machine,), {"stage": stage})
    stage.close()


def test_random_operations_equal_the_model(machine: type[Machine]) -> None:
    run_state_machine_as_test(machine, settings=SHORT)


@pytest.mark.slow
def test_many_random_operations_equal_the_model(machine: type[Machine]) -> None:
    run_state_machine_as_test(machine, settings=LONG)
