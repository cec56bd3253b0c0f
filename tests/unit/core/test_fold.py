"""The log is the room: folding it gives the rows that the live room wrote, and a room loaded from its rows goes on alike.

Random commands of a few agents on few names, so that they meet; time passes, connections break, refusals are part of it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from itertools import count, cycle, repeat
from typing import Any

import msgpack
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from nolag_broker.core.limits import Limits
from nolag_broker.core.retention import of_record
from nolag_broker.core.room import Room
from nolag_broker.core.tasks.task import FAILED, RUNNING, Task
from nolag_broker.wire.codes import Refusal

TIGHT = Limits(
    lease=50,
    disconnect_grace=50,
    keep=400,
    backlog=5,
    dead_letters=2,
    grouped=3,
    finished=2,
    history=3,
    items=4,
    unread=2,
    decided=2,
    retained=2,
    streams=2,
    ended_streams=3,
    ended_stream_bytes=200,
    stream_pieces=3,
    stream_bytes=150,
    roll_bytes=60,
    stream_buffers=100,
)


def some(*values: Any) -> Any:
    return st.sampled_from(values)


def maybe(**fields: Any) -> Any:
    return st.fixed_dictionaries({}, optional=fields)


def command(op: str, required: dict[str, Any], **optional: Any) -> Any:
    return st.tuples(st.just(op), st.fixed_dictionaries(required, optional=optional))


paths = some(*([space, key] for space in "ab" for key in "kl"), ["a", "b", "k"])
maybe_number = some(None, None, None, 0)
streams = some("s1", "s2", "s3")
tasks, types, bodies, groups = some(*(f"t{n}" for n in range(30))), some("a", "b"), some(b"1", b"2"), some("g1", "g2")
item = st.tuples(paths, bodies, maybe(ttl=some(5, 60), expected=some(0), vectors=some([1, bytes(4)]))).map(list)
numbers = st.integers(0, 7)
skills = st.lists(some("x", "y"), unique=True, max_size=2)
seconds = some(0, 1, 5, 40)
approving = {"action": some("act"), "body": bodies, "allow": some(["approve", "reject"], ["approve", "edit", "reject"])}
waking = st.fixed_dictionaries({"task": tasks, "type": types, "body": bodies}, optional={"concurrency_key": some("c1"), "group": groups})
approval_options = {"wake": waking, "expires": some(5, 60), "quorum": some(1, 2), "approvers": some(["p", "q"], ["role:r", "w"])}

steps = st.one_of(
    command("room.join", {}, capabilities=skills, status=some("busy", "available")),
    command("room.leave", {}),
    command("presence.update", {}, status=some("busy", "idle"), metadata=some({"a": 1}, {})),
    command(
        "task.serve",
        {"offer": some(1, 2), "slots": some(1, 3), "kind": some("handoff")},
        types=some(["a"], ["a", "b"]),
        capabilities=skills,
    ),
    command("task.serve", {"offer": some(3), "slots": some(1), "kind": some("tool"), "types": some(["a"], ["b"])}, specs=some({"a": b"s"})),
    command("task.unserve", {"offer": some(1, 2, 3)}),
    *[
        command(
            "task.dispatch",
            {"task": tasks, "type": types, "body": bodies},
            kind=some("handoff", "node"),
            capabilities=skills,
            key=some("k1", "k2"),
            priority=some(0, 1),
            delay=seconds,
            timeout=some(3, 30),
            attempt_timeout=some(4),
            preferred=some("w", "w2"),
            max_attempts=some(1, 2),
            concurrency_key=some("c1", "c2"),
            concurrency_limit=some(1, 2),
            rate=some(("r1", [1, 10]), ("r1", [2, 6]), ("r2", [2, 10]), ("r2", [1, 300])),
            slot=some("s1"),
            group=groups,
            busy=some("refuse", "replace"),
            lease=some(["t0", 5]),
            forget=st.lists(tasks, max_size=2),
        )
    ]
    * 3,
    *[
        command(
            "task.begin",
            {"task": tasks, "type": types, "body": bodies, "kind": some("run", "handoff"), "concurrency_key": some("c1", "c2")},
            take=st.booleans(),
            drop=groups,
            group=groups,
        )
    ]
    * 2,
    command(
        "task.dispatch", {"task": tasks, "type": types, "body": bodies, "kind": some("tool"), "require_live": some(True)}, timeout=some(5)
    ),
    command("task.cancel", {"task": tasks}),
    command("task.cancel", {"which": numbers}),
    *[command("task.cancel", {"which": numbers, "wait": some(5, 40)}, forget=st.booleans(), reason=some("enough"))] * 2,
    *[command("task.retry", {"which": numbers})] * 2,
    command("task.purge", {}, tasks=st.lists(tasks, max_size=2)),
    command("task.forget", {"group": groups}, keep=st.lists(tasks, max_size=2)),
    command("task.ack", {"tasks": st.lists(tasks, max_size=3)}),
    *[command("task.complete", {"which": numbers, "body": bodies}, stale=some(True))] * 2,
    command(
        "task.complete",
        {"which": numbers, "body": bodies, "approvals": st.lists(st.fixed_dictionaries({"approval": some("p1"), **approving}))},
    ),
    *[command("task.fail", {"which": numbers, "error": some({"type": "E"})}, retry=st.booleans(), delay=seconds)] * 2,
    command("task.release", {"which": numbers}),
    command("effect.put", {"which": numbers, "key": some("e1", "e2"), "body": bodies}, stale=some(True)),
    command("effect.get", {"which": numbers, "key": some("e1", "e2")}),
    command("event.emit", {"type": some("e.x", "e.y")}, body=bodies, key=some("k1")),
    command("topic.publish", {"topic": some("x", "y", "z"), "body": some(b"", b"1")}, retain=st.booleans(), key=some("k1")),
    command("inbox.send", {"to": some("p", "w"), "body": bodies}, keep=st.booleans(), key=some("k1", "k2")),
    command("inbox.open", {}),
    *[command("inbox.ack", {"messages": some(list(range(1, 500)), list(range(1, 500, 2)))})] * 2,
    command("blackboard.set", {"key": some("b1", "b2"), "body": bodies}, expected=st.integers(0, 3), mid=some("m1", "m2")),
    command("blackboard.delete", {"key": some("b1", "b2")}, expected=st.integers(0, 3)),
    *[command("store.write", {}, puts=st.lists(item, max_size=2), deletes=st.lists(st.tuples(paths, maybe_number).map(list), max_size=2))]
    * 3,
    *[command("store.get", {"paths": st.lists(paths, max_size=2)}, refresh=some(False))] * 2,
    command("store.get", {"paths": some([["a", "often"]])}),
    command("approval.request", {"approval": some("p1", "p2", "p3"), **approving}, **approval_options),
    *[
        command(
            "approval.decide", {"approval": some("p1", "p2", "p3"), "type": some("approve", "edit", "reject")}, body=bodies, key=some("v1")
        )
    ]
    * 2,
    command("approval.delegate", {"approval": some("p1", "p2", "p3"), "to": some("p", "q", "w", "role:r")}, reason=some("away")),
    command("approval.withdraw", {"approval": some("p1", "p2")}),
    command("record.write", {"puts": st.lists(st.tuples(some("r/o/1", "r/o/2"), bodies, st.booleans()).map(list), max_size=2)}),
    *[command("stream.open", {"stream": streams, "for": some({"to": "p"}, {"topic": "x"})}, keep=st.integers(0, 4))] * 2,
    command("stream.open", {"stream": streams, "for": some({"to": "p"}), "which": numbers}, keep=st.integers(0, 4), stale=some(True)),
    *[command("stream.write", {"stream": streams, "off": some(-1, 0, 0, 1), "chunks": st.lists(some(b"1", b"2" * 40), max_size=3)})] * 3,
    command("stream.close", {"stream": streams}),
    command("stream.close", {"stream": streams, "error": some({"type": "E"})}),
    command("stream.follow", {"stream": streams, "sub": some(1, 2)}, after=st.integers(0, 3)),
    command("stream.unfollow", {"sub": some(1, 2)}),
    command("stream.ack", {"stream": streams}),
    command(
        "schedule.set",
        {
            "schedule": some("s1", "s2"),
            "cron": some("* * * * *", "*/2 * * * *"),
            "type": types,
            "body": bodies,
        },
        terms=maybe(timeout=some(30), priority=some(1)),
        overlap=some("skip"),
    ),
    *[command(f"schedule.{what}", {"schedule": some("s1")}) for what in ("pause", "resume")],
    command("schedule.delete", {"schedule": some("s1", "s2")}),
    st.tuples(st.just("advance"), some(0.5, 6, 60, 300)),
    st.tuples(st.just("disconnect"), st.none()),
)
script = st.lists(st.tuples(some("p", "q", "w", "w2"), steps), min_size=20, max_size=100)


class Play:
    """A script on one room. `w` and `w2` are two processes that work."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        self.refused: Counter[str] = Counter()
        self.agents = {name: driver.agent(name, roles=("r",) if name == "q" else ()) for name in ("p", "q", "w", "w2")}

    def begin(self) -> None:
        for agent in self.agents.values():
            agent.ask("room.join", capabilities=["x"])
            agent.ask("inbox.open")
        self.agents["w"].serve("a", "b", slots=3, capabilities=["x"])
        self.agents["w2"].serve(slots=2, kind="node", capabilities=["x", "y"])
        self.agents["w2"].serve("a", "b", offer=3, kind="tool")
        self.driver.agent("root", [{"room": "**", "verbs": ["admin"]}]).ask("room.configure", retention={"count": 100})
        self.ask(self.agents["w"], "approval.request", {"approval": "p3", "action": "act", "body": b"1", "allow": ["approve"]})
        self.ask(self.agents["p"], "approval.decide", {"approval": "p3", "type": "approve"})
        for op, fields in (("open", {"to": "p"}), ("write", {"chunks": [b"1"]}), ("close", {})):
            self.ask(self.agents["w"], f"stream.{op}", {"stream": "s1", **fields})
        self.ask(self.agents["p"], "task.dispatch", {"task": "t0", "type": "a", "body": b"dies", "group": "g1"})
        self.ask(self.agents["w"], "task.fail", {"which": 0, "error": {"type": "E"}, "retry": False})
        self.ask(self.agents["p"], "store.write", {"puts": [[["a", "k"], b"1", {"ttl": 60}], [["a", "often"], b"1", {"ttl": 5}]]})
        self.ask(self.agents["p"], "store.get", {"paths": [["a", "k"], ["a", "l"]]})
        often = {"schedule": "s1", "cron": "* * * * *", "type": "a", "body": b"1", "overlap": "skip"}
        self.ask(self.agents["p"], "schedule.set", often)

    def run(self, script: list[Any]) -> None:
        for name, (what, details) in script:
            agent = self.agents[name]
            if what == "advance":
                self.driver.advance(details)
            elif what == "disconnect":
                agent.disconnect()
                agent.connect()
            else:
                self.ask(agent, what, dict(details))

    def ask(self, agent: Any, op: str, fields: dict[str, Any]) -> None:
        if op == "task.retry":
            dead = sorted(self.driver.room.tasks.by_state[FAILED])
            fields["task"] = dead[fields.pop("which") % len(dead)] if dead else "t0"
        elif (which := fields.pop("which", None)) is not None:
            running = sorted(self.driver.room.tasks.by_state[RUNNING].values(), key=lambda task: task.id)
            if not running:
                return
            task = running[which % len(running)]
            token = task.token - bool(fields.pop("stale", False))
            fields.update({"lease": [task.id, token]} if op == "stream.open" else {"task": task.id, "token": token})
            agent = self.agents[task.holder[0]]
        fields.update(fields.pop("for", {}))
        if op in ("stream.write", "stream.close", "stream.ack"):
            off, stream = fields.pop("off", 0), self.driver.room.streams.by_id.get(fields["stream"])
            if stream is None:
                return
            if op == "stream.ack":
                agent, fields = self.agents[stream.to or "p"], {"streams": [stream.id]}
        if op in ("stream.write", "stream.close"):
            fields.update(token=stream.token, n=max(1, stream.n + 1 + off) if op == "stream.write" else stream.n)
            agent = self.agents[stream.writer]
        if op == "task.dispatch" and "concurrency_key" not in fields:
            fields.pop("concurrency_limit", None)
            fields.pop("busy", None)
        if (rate := fields.pop("rate", None)) is not None:
            fields["rate_key"], fields["rate_limit"] = rate
        if op in ("task.dispatch", "task.begin"):  # an id is used for one task: again means that it is sent again
            fields["resent"] = any(event.type == "task.dispatched" and event.data["task"] == fields["task"] for event in self.driver.log)
        try:
            agent.ask(op, **fields)
        except Refusal as refusal:
            self.refused[refusal.code] += 1

    def everybody_returns_and_leaves(self) -> None:
        """So that the live room holds nothing that a loaded one could not know: full leases, no connections."""
        for agent in self.agents.values():
            agent.disconnect()
            agent.connect()
            member = self.driver.room.members.by_holder.get((agent.caller.actor, agent.caller.instance))
            if member is not None:
                description = {name: getattr(member, name) for name in ("capabilities", "max_concurrency", "status", "metadata")}
                agent.ask("room.join", **description)
                agent.disconnect()
                agent.connect()


def facts(driver: Any) -> dict[str, bytes]:
    """The rows that follow from the log: all but the answers kept for processes."""
    return {key: row for key, row in driver.heads.items() if not key.startswith("client/")}


def trim(driver: Any) -> None:
    """Whatever body nobody refers to any more goes; the driver refuses to answer without one."""
    retention = driver.room.retention
    pinned = set(retention.living())
    for key, row in driver.records.items():
        if key.startswith(retention.records()):
            pinned.update(of_record(key, row))
    for event in driver.log:
        if event.seq not in pinned:
            event.body = None


LONG = settings(max_examples=int(os.environ.get("FOLD_EXAMPLES", "60")), deadline=None, suppress_health_check=list(HealthCheck))


@settings(LONG, max_examples=LONG.max_examples // 3)
@given(script=script)
def test_what_is_still_answered_outlives_a_trim_at_any_moment(make_driver: Callable[..., Any], script: list[Any]) -> None:
    play = Play(make_driver(TIGHT))
    play.begin()
    for step in script:
        play.run([step])
        trim(play.driver)
    play.everybody_returns_and_leaves()
    trim(play.driver)
    for agent in play.agents.values():
        for op, fields in (
            ("room.join", {}),
            ("inbox.open", {}),
            ("blackboard.list", {}),
            *[("blackboard.history", {"key": key}) for key in ("b1", "b2")],
            *[("store.get", {"paths": [[space, key]]}) for space in "ab" for key in "kl"],
            ("store.get", {"paths": [["a", "b", "k"]]}),
            ("approval.list", {"states": ["pending", "decided"]}),
            *[("approval.get", {"approval": approval}) for approval in ("p1", "p2", "p3")],
            ("tool.list", {}),
            ("task.follow", {"tasks": [[f"t{n}", 0] for n in range(30)]}),
            *[("stream.follow", {"stream": f"s{n}", "sub": n}) for n in range(1, 4)],
        ):
            play.ask(agent, op, fields)


@LONG
@given(script=script)
def test_folding_the_log_gives_the_same_rows(make_driver: Callable[..., Any], script: list[Any]) -> None:
    play = Play(make_driver(TIGHT))
    play.begin()
    play.run(script)
    driver = play.driver
    folded = Room("room", "epoch", TIGHT)
    for event in driver.log:
        folded.apply(event)
    turn = folded.take(rows=True)
    assert {key: row for key, row in turn.heads.items() if row is not None} == facts(driver)
    cold = {key: row for key, row in driver.records.items() if not key.startswith("r/")}
    assert facts_kept(turn.records, folded) == facts_kept(cold, driver.room)


@LONG
@given(script=script, moments=st.lists(st.booleans(), min_size=1, max_size=7), crash=st.integers(0, 100))
def test_rows_may_be_behind_the_log(make_driver: Callable[..., Any], script: list[Any], moments: list[bool], crash: int) -> None:
    """However seldom they are written, a crash anywhere finds in rows and log what the rows would have been."""
    plays = []
    for write_rows in (repeat(True), cycle(moments)):
        play = Play(make_driver(TIGHT))
        play.driver.write_rows = write_rows
        play.begin()
        play.run(script[:crash])
        play.driver.restart()
        play.begin()
        play.run(script[crash:])
        play.driver.restart()
        plays.append(play.driver)
    at_once, behind = plays
    assert [event.to_wire() for event in behind.log] == [event.to_wire() for event in at_once.log]
    assert behind.heads == at_once.heads
    assert facts_kept(behind.records, behind.room) == facts_kept(at_once.records, at_once.room)


def facts_kept(records: dict[str, Any], room: Room) -> dict[str, bytes]:
    """The records that follow from the log. An acknowledgement is no fact, it only deletes a record, or has none written; and what is
    kept of periods gone by is swept by the server."""

    def follows(key: str, row: bytes) -> bool:
        if key.startswith("kept/") and int(key.split("/")[1]) < room.retention.period:
            return False
        return "/task/" not in key or Task.from_header(row).idempotency_key is not None

    return {key: row for key, row in records.items() if row is not None and follows(key, row)}


@LONG
@given(before=script, after=script)
def test_a_room_loaded_from_its_rows_goes_on_alike(make_driver: Callable[..., Any], before: list[Any], after: list[Any]) -> None:
    live = Play(make_driver(TIGHT))
    live.begin()
    live.run(before)
    live.everybody_returns_and_leaves()
    loaded = Play(make_driver(TIGHT))
    loaded.agents, loaded.driver.__dict__ = live.agents, {**live.driver.__dict__}
    loaded.driver.log = list(live.driver.log)
    loaded.driver.heads, loaded.driver.records = dict(live.driver.heads), dict(live.driver.records)
    loaded.driver.restart()
    loaded.agents = {name: copy_agent(agent, loaded.driver) for name, agent in live.agents.items()}
    for play in (live, loaded):
        play.begin()
        play.run(after)
    assert [event.to_wire() for event in loaded.driver.log] == [event.to_wire() for event in live.driver.log]
    assert without_hints(loaded.driver.heads) == without_hints(live.driver.heads)
    assert loaded.driver.records == live.driver.records


def without_hints(heads: dict[str, bytes]) -> dict[str, Any]:
    """When an owner's records were written last, a room says as far as it remembers; the answers that it keeps say it, too."""
    found: dict[str, Any] = dict(heads)
    for key in [key for key in found if key.startswith("client/")]:
        *rest, answers = msgpack.unpackb(found[key])
        for _, ok in answers:
            ok.pop("before", None)
        found[key] = [*rest, answers]
    return found


def copy_agent(agent: Any, driver: Any) -> Any:
    copy = object.__new__(type(agent))
    copy.__dict__.update(agent.__dict__)
    copy.driver = driver
    start = next(agent.requests)
    agent.requests, copy.requests = count(start), count(start)
    return copy


def test_the_scripts_reach_every_kind_of_event_and_refusal(make_driver: Callable[..., Any]) -> None:
    """The two properties above are worth what their scripts reach."""
    reached: Counter[str] = Counter()
    events = set(Room("room", "epoch")._folds) | {"e.x"}
    refusals = {"stale_lease", "key_conflict", "revision_conflict", "already_decided", "peer_not_found", "not_joined", "stream_ended"}

    def complete(script: list[Any]) -> bool:
        play = Play(make_driver(TIGHT))
        play.begin()
        play.run(script)
        reached.update(play.driver.types())
        reached.update(play.refused)
        return events | refusals <= set(reached)

    # as many as it takes; that none is rare is shown by the bound
    enough = settings(LONG, phases=[Phase.generate], max_examples=2000, derandomize=True, database=None)
    with suppress(NoSuchExample):
        find(script, complete, settings=enough)
    assert events | refusals <= set(reached), (events | refusals) - set(reached)
