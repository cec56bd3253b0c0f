"""The checker accepts what keeps the promises, and finds each planted fault."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from langgraph_nolag.testing.checker import check
from langgraph_nolag.testing.history import History


@dataclass
class Event:
    seq: int
    type: str
    subject: str | None = None
    data: dict[str, Any] = field(default_factory=dict)
    body: Any = None
    sender: str = "a"
    id: str | None = None
    time: float = 0.0


class World:
    """A log and a history, written by hand."""

    def __init__(self) -> None:
        self.log: list[Event] = []
        self.history = History()

    def event(self, what: str, subject: str | None = None, body: Any = None, sender: str = "a", id: str | None = None, **data: Any) -> int:
        time = self.log[-1].time if self.log else 0.0
        self.log.append(Event(len(self.log) + 1, what, subject, data, body, sender, id, time))
        return len(self.log)

    def done(self, name: str, result: dict[str, Any], at: int | None = None, /, **args: Any) -> None:
        self.history.ok(self.history.invoke("p", name, **args), result, at)

    def refused(self, name: str, code: str, detail: dict[str, Any] | None = None, /, **args: Any) -> None:
        self.history.fail(self.history.invoke("p", name, **args), code, detail)

    def set(self, revision: int, body: str) -> None:
        seq = self.event("blackboard.set", "k", body, revision=revision)
        self.done("blackboard.set", {"revision": revision, "seq": seq}, seq, key="k", body=body)

    def read(self, revision: int, body: str | None) -> None:
        entry = None if body is None else {"revision": revision, "body": body}
        self.done("blackboard.get", {"entry": entry}, key="k")

    def task(self, task: str = "t") -> int:
        """Dispatched and claimed; the token."""
        seq = self.event("task.dispatched", "draft", f"do {task}", task=task, kind="handoff")
        self.done("task.dispatch", {"task": task, "state": "running", "attached": False}, seq, task=task, type="draft", body=f"do {task}")
        return self.event("task.claimed", "draft", task=task, token=seq + 1, actor="w", sender="@broker")

    def complete(self, token: int, body: str, task: str = "t", sender: str = "w") -> None:
        self.event("task.completed", "draft", body, sender, task=task, token=token)
        self.done("task.complete", {"state": "completed"}, task=task, token=token, body=body)

    def moment(self, moment: float, time: float) -> None:
        """Of a schedule, and the task that it brings."""
        self.event("schedule.fired", "draft", schedule="s", moment=moment, next=moment + 60, task=f"s@{moment}")
        self.log[-1].time = time
        self.event("task.dispatched", "draft", task=f"s@{moment}", kind="handoff", moment=moment, payload=1)

    def rated(self, task: str, time: float) -> None:
        """A task of a key of which two may start in ten seconds; it is handed out at once."""
        self.event("task.dispatched", "draft", f"do {task}", task=task, kind="handoff", rate_key="k", rate_limit=[2, 10])
        self.history.invoke("p", "task.dispatch", task=task, type="draft", body=f"do {task}")
        self.event("task.claimed", "draft", task=task, token=len(self.log) + 1, actor="w")
        self.log[-1].time = time


def good() -> World:
    """A bit of everything, all of it right."""
    world = World()
    world.event("room.opened")
    world.refused("blackboard.set", "revision_conflict", {"revision": 0}, key="k", body="early", expected=3)
    world.read(0, None)
    world.set(1, "one")
    world.read(1, "one")
    pending = world.history.invoke("q", "blackboard.set", key="k", body="two")  # never answered, but stored
    world.read(1, "one")
    world.event("blackboard.set", "k", "two", revision=2)
    world.read(2, "two")
    assert pending.ok is None
    world.history.invoke("q", "blackboard.set", key="k", body="never stored")
    world.set(3, "three")
    seq = world.event("blackboard.deleted", "k", revision=4)
    world.done("blackboard.delete", {"revision": 4, "seq": seq}, seq, key="k")
    world.read(0, None)
    token = world.task()
    world.event("task.released", "draft", task="t", token=token, reason="lease_expired", attempts=1)
    token = world.event("task.claimed", "draft", task="t", token=len(world.log) + 1, actor="w")
    seq = world.event("record.written", "r/o", count=1)
    world.done("record.write", {"written": 1}, seq, puts=[["r/o/1", "x", False]], lease=["t", token])
    world.done("effect.get", {"found": False}, len(world.log), task="t", token=token, key="mail")
    seq = world.event("task.effect", "draft", "sent", "w", task="t", token=token, key="mail")
    world.done("effect.put", {"recorded": True}, seq, task="t", token=token, key="mail", body="sent")
    world.done("effect.get", {"found": True, "body": "sent"}, seq, task="t", token=token, key="mail")
    world.complete(token, "result")
    world.event("task.cancelling", "draft", task="t1", token=world.task("t1"), until=0.0)
    world.event("task.cancelled", "draft", task="t1", let_go="overdue")
    world.refused("task.complete", "stale_lease", task="t", token=token - 2, body="late")
    world.history.observed("p", "task.result", {"state": "completed", "body": "result"}, task="t")
    seq = world.event("note", body="n", key="k1")
    for _ in range(2):  # the same key twice: once
        world.done("event.emit", {"seq": seq}, len(world.log), type="note", body="n", key="k1")
    world.event("approval.requested", "pay", "100", approval="a1")
    world.done("approval.request", {"approval": "a1", "state": "pending"}, approval="a1", action="pay", body="100")
    world.event("approval.voted", "pay", approval="a1", type="approve", sender="b")
    seq = world.event("approval.decided", "pay", approval="a1", type="approve", sender="b")
    world.done("approval.decide", {"state": "decided", "decision": {"type": "approve", "actor": "b"}}, seq, approval="a1")
    world.refused("approval.decide", "already_decided", {"decision": {"type": "approve", "actor": "b"}}, approval="a1")
    seq = world.event("inbox.sent", "b", "hello")
    for _ in range(2):  # until it is acknowledged it may come again
        world.history.observed("b", "inbox.message", {"seq": seq, "sender": "a", "body": "hello"}, to="b")
    world.done("inbox.ack", {}, messages=[seq])
    stream(world)
    world.history.gap("reader", 1, 2)
    for event in world.log[2:]:
        world.history.saw("reader", event)
    return world


def stream(world: World, kept: int = 2, held: Sequence[str | None] = ("1", "two", "three"), ending: str = "closed") -> None:
    """A stream that is taken over, and read to its end."""
    first = world.event("stream.opened", "inbox/b", stream="s", kept=0)
    world.done("stream.write", {"n": 2, "kept": 0}, first, stream="s", token=first, n=1, chunks=["1", "2"])
    world.event("stream.rolled", "inbox/b", ["1", "2"], stream="s", first=1, last=2)
    second = world.event("stream.opened", "inbox/b", stream="s", kept=1)
    world.refused("stream.write", "stale_lease", stream="s", token=first, n=3, chunks=["3"])
    world.event("stream.rolled", "inbox/b", ["two", "three"], stream="s", first=2, last=3)
    world.done("stream.write", {"n": 3, "kept": kept}, len(world.log), stream="s", token=second, n=2, chunks=["two", "three"])
    seq = world.event(f"stream.{ending}", "inbox/b", stream="s", n=3)
    world.done("stream.close", {"closed": True, "n": 3}, seq, stream="s", token=second, n=3)
    world.history.observed("b", "stream.end", {"state": "closed", "chunks": held}, stream="s", token=second)


def rules(world: World) -> set[str]:
    return {violation.rule for violation in check(world.history, world.log)}


def test_what_is_right_is_accepted() -> None:
    world = good()
    assert check(world.history, world.log) == []


def lost_write(world: World) -> None:
    world.done("event.emit", {"seq": len(world.log) + 1}, type="note", body="gone")


def lost_write_whose_place_another_took(world: World) -> None:
    seq = world.event("note", body="other")
    world.history.invoke("q", "event.emit", type="note", body="other")
    world.done("event.emit", {"seq": seq}, type="note", body="gone")


def lost_dispatch(world: World) -> None:
    world.done("task.dispatch", {"task": "gone", "attached": False}, task="gone", type="draft", body="x")


def lost_completion(world: World) -> None:
    world.done("task.complete", {"state": "completed"}, task="t", token=10**6, body="x")


def double_write(world: World) -> None:
    world.history.invoke("q", "event.emit", type="note", body="twice")
    world.event("note", body="twice")
    world.event("note", body="twice")


def refused_but_written(world: World) -> None:
    world.refused("event.emit", "overloaded", type="note", body="refused")
    world.event("note", body="refused")


def written_by_nobody(world: World) -> None:
    world.event("note", body="whose?")


def double_completion(world: World) -> None:
    token = world.task("t2")
    world.complete(token, "first", "t2")
    world.event("task.completed", "draft", "second", "w", task="t2", token=token)


def completed_without_the_token(world: World) -> None:
    token = world.task("t2")
    world.complete(token - 1, "x", "t2")


def completed_by_somebody_else(world: World) -> None:
    world.complete(world.task("t2"), "x", "t2", sender="zombie")


def written_under_a_lease_that_was_over(world: World) -> None:
    claimed = next(event for event in world.log if event.type == "task.claimed")
    seq = world.event("record.written", "r/o", count=1)
    world.done("record.write", {"written": 1}, seq, puts=[["r/o/1", "x", False]], lease=["t", claimed.data["token"]])


def held(world: World) -> int:
    return world.task("t2")


def effect_of_a_zombie(world: World) -> None:
    world.event("task.effect", "draft", "x", "w", task="t2", token=held(world) - 1, key="mail")


def effect_recorded_twice(world: World) -> None:
    token = held(world)
    for body in ("one", "two"):
        world.event("task.effect", "draft", body, "w", task="t2", token=token, key="mail")


def effect_that_is_lost(world: World) -> None:
    world.done("effect.put", {"recorded": True}, None, task="t2", token=held(world), key="mail", body="x")


def effect_with_another_result(world: World) -> None:
    token = held(world)
    world.event("task.effect", "draft", "one", "w", task="t2", token=token, key="mail")
    world.done("effect.put", {"recorded": False, "body": "two"}, None, task="t2", token=token, key="mail", body="two")


def effect_that_is_not_found(world: World) -> None:
    token = held(world)
    seq = world.event("task.effect", "draft", "one", "w", task="t2", token=token, key="mail")
    world.done("effect.get", {"found": False}, seq, task="t2", token=token, key="mail")


def chunks_with_a_hole(world: World) -> None:
    world.event("stream.opened", "inbox/b", stream="s2", kept=0)
    world.event("stream.rolled", "inbox/b", ["2"], stream="s2", first=2, last=2)


def chunks_of_no_open_stream(world: World) -> None:
    world.event("stream.rolled", "inbox/b", ["4"], stream="s", first=4, last=4)


def chunk_of_a_former_writer(world: World) -> None:
    first = world.event("stream.opened", "inbox/b", stream="s2", kept=0)
    world.event("stream.opened", "inbox/b", stream="s2", kept=0)
    world.history.invoke("p", "stream.write", stream="s2", token=first, n=1, chunks=["1"])
    world.event("stream.rolled", "inbox/b", ["1"], stream="s2", first=1, last=1)


def end_without_the_last_chunk(world: World) -> None:
    world.event("stream.opened", "inbox/b", stream="s2", kept=0)
    world.event("stream.rolled", "inbox/b", ["1"], stream="s2", first=1, last=1)
    world.event("stream.closed", "inbox/b", stream="s2", n=2)


def handed_out_twice(world: World) -> None:
    world.task("t2")
    world.event("task.claimed", "draft", task="t2", token=len(world.log) + 1, actor="w2")


def moment_that_comes_again(world: World) -> None:
    world.moment(120.0, 125.0)


def moment_that_comes_early(world: World) -> None:
    world.moment(180.0, 179.0)


def moment_without_its_task(world: World) -> None:
    world.event("schedule.fired", "draft", schedule="s", moment=180.0, next=240.0, task="s@180")
    world.log[-1].time = 180.0
    world.task("t2")


def one_too_many_in_a_span(world: World) -> None:
    world.rated("r4", 214.0)


def another_result(world: World) -> None:
    world.history.observed("p", "task.result", {"state": "completed", "body": "not that"}, task="t")


def stale_read(world: World) -> None:
    world.set(5, "five")
    world.set(6, "six")
    world.read(5, "five")


def read_of_what_was_deleted(world: World) -> None:
    world.read(3, "three")


def read_of_what_was_never_written(world: World) -> None:
    world.read(3, "drei")


def stale_conflict(world: World) -> None:
    world.set(5, "five")
    world.refused("blackboard.set", "revision_conflict", {"revision": 2}, key="k", body="late", expected=1)


def read_before_it_was_asked(world: World) -> None:
    world.history.observed("p", "blackboard.get", {"entry": {"revision": 5, "body": "five"}}, key="k")
    world.set(5, "five")


def lost_update(world: World) -> None:
    world.event("blackboard.set", "k", "x", revision=4)
    world.history.invoke("q", "blackboard.set", key="k", body="x")


def skipped_sequence(world: World) -> None:
    world.event("presence.left")
    world.log[-1].seq += 1


def answer_from_the_past(world: World) -> None:
    world.done("room.info", {}, len(world.log) - 3)


def two_tasks_of_a_key(world: World) -> None:
    for task in ("t2", "t3"):
        world.event("task.dispatched", "draft", task, task=task, kind="handoff", key="k")
        args = {"task": task, "type": "draft", "kind": "handoff", "key": "k", "body": task}
        world.done("task.dispatch", {"task": task, "attached": False}, **args)


def a_key_said_twice(world: World) -> None:
    world.event("note", body="n", key="k1")


def a_change_applied_twice(world: World) -> None:
    for revision in (5, 6):
        world.event("blackboard.set", "k", "x", revision=revision, id="m1")
    world.history.invoke("q", "blackboard.set", key="k", body="x", mid="m1")


def second_decision(world: World) -> None:
    world.event("approval.decided", "pay", approval="a1", type="reject", sender="c")


def vote_that_was_passed_on(world: World) -> None:
    world.event("approval.requested", "pay", "100", approval="a2")
    world.event("approval.delegated", "pay", approval="a2", to="c", sender="b")
    world.event("approval.voted", "pay", approval="a2", type="approve", sender="b")


def quorum_of_two_minds(world: World) -> None:
    world.event("approval.requested", "pay", "100", approval="a2", quorum=2)
    world.event("approval.voted", "pay", approval="a2", type="approve", digest="shown", sender="b")
    world.event("approval.voted", "pay", approval="a2", type="edit", digest="other", sender="c")
    world.event("approval.decided", "pay", approval="a2", type="edit", digest="other", reason="vote", sender="c")


def told_another_decision(world: World) -> None:
    world.history.observed("c", "approval.decision", {"type": "reject", "actor": "c"}, approval="a1")


def reader_misses_one(world: World) -> None:
    del world.history.streams["reader"][5]


def reader_sees_one_twice(world: World) -> None:
    world.history.saw("reader", world.log[-1])


def reader_sees_what_is_not_there(world: World) -> None:
    world.history.saw("reader", Event(len(world.log) + 1, "note", body="vanished"))


def message_that_was_read_comes_again(world: World) -> None:
    (message,) = [event for event in world.log if event.type == "inbox.sent"]
    world.history.observed("b", "inbox.message", {"seq": message.seq, "sender": "a", "body": "hello"}, to="b")


def message_of_somebody_else(world: World) -> None:
    (message,) = [event for event in world.log if event.type == "inbox.sent"]
    world.history.observed("c", "inbox.message", {"seq": message.seq, "sender": "a", "body": "hello"}, to="c")


def cancelling(world: World, token: int | None = None, until: float = 0.0) -> int:
    held = world.task("t2")
    world.event("task.cancelling", "draft", task="t2", token=token or held, until=until)
    return held


def cancelled_and_handed_out_again(world: World) -> None:
    world.event("task.released", "draft", task="t2", token=cancelling(world), reason="handed_back", attempts=0)


def cancelled_before_its_time_was_over(world: World) -> None:
    cancelling(world, until=world.log[-1].time + 5)
    world.event("task.cancelled", "draft", task="t2", let_go="overdue")


def let_go_of_what_was_not_cancelled(world: World) -> None:
    world.task("t2")
    world.event("task.cancelled", "draft", task="t2", let_go="handed_back")


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        (lost_write, "lost"),
        (lost_write_whose_place_another_took, "lost"),
        (lost_dispatch, "lost"),
        (lost_completion, "lost"),
        (double_write, "double"),
        (refused_but_written, "phantom"),
        (written_by_nobody, "phantom"),
        (double_completion, "completion"),
        (completed_without_the_token, "token"),
        (completed_by_somebody_else, "token"),
        (written_under_a_lease_that_was_over, "token"),
        (effect_of_a_zombie, "token"),
        (effect_recorded_twice, "double"),
        (effect_that_is_lost, "lost"),
        (effect_with_another_result, "result"),
        (effect_that_is_not_found, "stale"),
        (handed_out_twice, "token"),
        (lambda world: cancelling(world, token=1), "token"),
        (cancelled_and_handed_out_again, "task"),
        (cancelled_before_its_time_was_over, "task"),
        (let_go_of_what_was_not_cancelled, "task"),
        (another_result, "result"),
        (stale_read, "stale"),
        (read_of_what_was_deleted, "stale"),
        (read_of_what_was_never_written, "phantom"),
        (stale_conflict, "stale"),
        (read_before_it_was_asked, "stale"),
        (lost_update, "revision"),
        (skipped_sequence, "hole"),
        (answer_from_the_past, "order"),
        (two_tasks_of_a_key, "key"),
        (a_key_said_twice, "key"),
        (a_change_applied_twice, "double"),
        (second_decision, "approval"),
        (vote_that_was_passed_on, "approval"),
        (quorum_of_two_minds, "approval"),
        (told_another_decision, "result"),
        (message_that_was_read_comes_again, "double"),
        (message_of_somebody_else, "phantom"),
        (reader_misses_one, "stream"),
        (reader_sees_one_twice, "stream"),
        (reader_sees_what_is_not_there, "stream"),
        (lambda world: stream(world, kept=4), "lost"),
        (lambda world: stream(world, ending="aborted"), "lost"),
        (lambda world: stream(world, held=("1", "two")), "stream"),
        (lambda world: stream(world, held=("1", "2", "three")), "stream"),
        (chunks_with_a_hole, "chunk"),
        (chunks_of_no_open_stream, "chunk"),
        (chunk_of_a_former_writer, "phantom"),
        (end_without_the_last_chunk, "chunk"),
    ],
)
def test_a_planted_fault_is_found(fault: Callable[[World], None], rule: str) -> None:
    world = good()
    fault(world)
    assert rule in rules(world)


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        (moment_that_comes_again, "schedule"),
        (moment_that_comes_early, "schedule"),
        (moment_without_its_task, "schedule"),
        (one_too_many_in_a_span, "rate"),
    ],
)
def test_a_fault_of_time_is_found(fault: Callable[[World], None], rule: str) -> None:
    world = World()
    for moment in (60.0, 120.0):
        world.moment(moment, moment)
    for task, time in (("r1", 200.0), ("r2", 205.0), ("r3", 210.0)):
        world.rated(task, time)
    assert check(world.history, world.log) == []
    fault(world)
    assert rule in rules(world)


def test_only_the_fixture_needs_pytest() -> None:
    code = "import sys, langgraph_nolag.testing, langgraph_nolag.testing.checker; assert 'pytest' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
