"""Judges what clients saw against the log of their room.

The log is the order in which things happened; the broker says so, and the checker does not take its word. It asks:

- of the log by itself: the rules of `log_rules`;
- of every answer: what was acknowledged is in the log, once; what was refused is not; what nobody asked for is not;
- of time: what was answered before something else was asked comes before it. For a key of the blackboard, whose revisions are one
  order of its writes, that is linearizability, and the check is exact: no search;
- of everybody: the same key, the same result; one decision of an approval; readers of the log see it without hole, repeat or difference.

Bodies are how a write is known again: give each its own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import Any, Final

from . import chunks
from .history import Fact, History, Operation
from .log_rules import ENDS, LogRules, Violation

SUBJECT: Final[dict[str, str | None]] = {
    "event.emit": None,
    "topic.publish": "topic",
    "inbox.send": "to",
    "blackboard.set": "key",
    "task.dispatch": "type",
}
"""Operations that write a body, and the argument that is the subject of their event."""

EVENTS: Final = {
    "topic.published": "topic.publish",
    "inbox.sent": "inbox.send",
    "blackboard.set": "blackboard.set",
    "task.dispatched": "task.dispatch",
}

Wrong = Callable[[str, str], None]


def check(history: History, log: Iterable[Fact]) -> list[Violation]:
    """Every promise that this history shows to be broken; empty when there is none.

    Args:
        history: of all clients that write to the room, or of all that write with the operations that appear in it.
        log: all events of the room, from its first one on.
    """
    rules, events = LogRules(), list(log)
    for event in events:
        rules.event(event)
    found = rules.violations

    def wrong(rule: str, message: str) -> None:
        found.append(Violation(rule, message))

    _writes(history.operations, events, wrong)
    _keys(history.operations, wrong)
    _answers_follow_time(history.operations, rules, wrong)
    _blackboard(history.operations, events, wrong)
    _tasks(history.operations, rules, wrong)
    _effects(history.operations, rules, wrong)
    _approvals(history.operations, rules, wrong)
    _inbox(history.operations, events, wrong)
    chunks.judge(history.operations, events, wrong)
    for name, stream in history.streams.items():
        _stream(name, stream, events, wrong)
    return found


def _tag(body: Any) -> Any:
    return body if isinstance(body, bytes) else repr(body)


# -- what was written


def _writes(operations: Sequence[Operation], events: Sequence[Fact], wrong: Wrong) -> None:
    by_write: defaultdict[tuple[Any, ...], list[Operation]] = defaultdict(list)
    for operation in operations:
        if operation.name in SUBJECT and operation.args.get("qos") != 0:
            field = SUBJECT[operation.name]
            kind = operation.args["type"] if operation.name == "event.emit" else operation.name
            by_write[kind, field and operation.args[field], _tag(operation.args.get("body"))].append(operation)
            if operation.ok is not None and (seq := operation.ok.get("seq")) is not None:
                stored = events[seq - 1] if 0 < seq <= len(events) else None
                if stored is None or _tag(stored.body) != _tag(operation.args.get("body")):
                    wrong("lost", f"acknowledged at {seq}, where the log has {_show(stored)}: {operation}")
    kinds = {kind for kind, _, _ in by_write}
    counted: Counter[tuple[Any, ...]] = Counter()
    for event in events:
        kind = EVENTS.get(event.type, event.type)
        if kind in kinds and "payload" not in event.data:  # else it is the room that dispatched it
            write = (kind, event.subject if kind in SUBJECT else None, _tag(event.body))
            counted[write] += 1
            asked = by_write.get(write, ())
            if not any(operation.code is None for operation in asked):
                wrong("phantom", f"{_show(event)} was {'refused' if asked else 'written by nobody'}")
    for write, asked in by_write.items():
        intents = {_intent(operation) for operation in asked if operation.code is None}
        if counted[write] > len(intents) > 0:
            wrong("double", f"{counted[write]} events of {asked[0]}")
        acknowledged = {_intent(operation) for operation in asked if operation.ok is not None and not operation.ok.get("attached")}
        if counted[write] < len(acknowledged):
            wrong("lost", f"acknowledged {len(acknowledged)} times, {counted[write]} times in the log: {asked[0]}")


def _intent(operation: Operation) -> Any:
    """Operations with the same key or message id are one thing, said again."""
    return operation.args.get("key" if operation.name != "blackboard.set" else "mid") or operation.args.get("mid") or id(operation)


def _keys(operations: Sequence[Operation], wrong: Wrong) -> None:
    """The same key, the same result."""
    if any(operation.name == "task.forget" for operation in operations):
        return
    first: dict[tuple[Any, ...], Operation] = {}
    for operation in operations:
        key = operation.args.get("key")
        if key is None or operation.ok is None or operation.name not in ("event.emit", "topic.publish", "inbox.send", "task.dispatch"):
            continue
        tasks = operation.name == "task.dispatch"
        scope = (operation.name, operation.args["type"], operation.args.get("kind")) if tasks else (operation.name,)
        before = first.setdefault((*scope, key), operation)
        name = "task" if tasks else "seq"
        assert before.ok is not None
        if before.ok[name] != operation.ok[name]:
            wrong("key", f"one key, two results: {before} and {operation}")


# -- time


class _Clock:
    """Goes through operations in the order they were asked; knows the highest position that was answered before."""

    def __init__(self) -> None:
        self._ended: list[tuple[float, int, int, Operation]] = []
        self._order = count()
        self.position = -1
        self.by: Operation | None = None

    def advance(self, moment: float) -> None:
        while self._ended and self._ended[0][0] < moment:
            _, _, position, operation = heappop(self._ended)
            if position > self.position:
                self.position, self.by = position, operation

    def answered(self, operation: Operation, position: int) -> None:
        if operation.ended != inf:
            heappush(self._ended, (operation.ended, next(self._order), position, operation))


def _answers_follow_time(operations: Sequence[Operation], rules: LogRules, wrong: Wrong) -> None:
    """No answer reflects less of the room than one that was there before it was asked for; nothing is written under a lease that had
    ended by then."""
    clock = _Clock()
    for operation in sorted(operations, key=lambda operation: operation.invoked):
        if operation.at is None:
            continue
        clock.advance(operation.invoked)
        if operation.at < clock.position:
            wrong("order", f"reflects {operation.at} after {clock.position} was answered: {operation}, after {clock.by}")
        if operation.ok is not None and (lease := _lease(operation)) is not None:
            task, token = lease
            if (over := rules.over.get((task, token), inf)) <= clock.position:
                wrong("token", f"the lease ended at {over}, and {clock.position} was answered, before this was asked: {operation}")
        clock.answered(operation, operation.at)


def _lease(operation: Operation) -> tuple[str, int] | None:
    """The hand-out in whose name this was done."""
    args = operation.args
    if operation.name in ("effect.get", "effect.put"):
        return args["task"], args["token"]
    return None if args.get("lease") is None else tuple(args["lease"])


# -- the blackboard


def _blackboard(operations: Sequence[Operation], events: Sequence[Fact], wrong: Wrong) -> None:
    written: defaultdict[str, list[Fact]] = defaultdict(list)
    for event in events:
        if event.type.startswith("blackboard."):
            written[event.subject or ""].append(event)
    by_key: defaultdict[str, list[Operation]] = defaultdict(list)
    for operation in operations:
        if operation.name in ("blackboard.get", "blackboard.set", "blackboard.delete"):
            by_key[operation.args["key"]].append(operation)
    for key, asked in by_key.items():
        _one_key(key, asked, written[key], wrong)


def _one_key(key: str, asked: list[Operation], revisions: list[Fact], wrong: Wrong) -> None:
    """A write of revision r stands at 2r, what saw it at 2r + 1: positions must follow time."""
    of_body = {_tag(event.body): number for number, event in enumerate(revisions, 1) if event.type == "blackboard.set"}
    absent = [1, *(2 * number + 1 for number, event in enumerate(revisions, 1) if event.type == "blackboard.deleted")]
    said_again = {mid for mid, times in Counter(operation.args.get("mid") for operation in asked).items() if mid is not None and times > 1}
    clock = _Clock()
    for operation in sorted(asked, key=lambda operation: operation.invoked):
        clock.advance(operation.invoked)
        places = _places(operation, revisions, of_body, absent, wrong)
        if not places:
            continue
        if operation.args.get("mid") in said_again:  # it may have happened before it was asked this time
            clock.answered(operation, max(places))
            continue
        place = next((place for place in sorted(places) if place >= clock.position), None)
        if place is None:
            seen = f"revision {clock.position // 2} of {key!r}"
            wrong("stale", f"{operation}, after {seen} was written or seen by {clock.by}")
        clock.answered(operation, max(places) if place is None else place)


def _places(operation: Operation, revisions: list[Fact], of_body: Mapping[Any, int], absent: list[int], wrong: Wrong) -> list[int]:
    """Where this operation may stand in the order of the key; empty when it says nothing about it."""
    if operation.code is not None:
        if operation.code != "revision_conflict":
            return []
        return [2 * now + 1] if (now := int(operation.detail["revision"])) else absent
    if operation.name == "blackboard.get":
        if operation.ok is None:
            return []
        if (entry := operation.ok["entry"]) is None:
            return absent
        revision = int(entry["revision"])
        if not _is(revisions, revision, "blackboard.set") or _tag(revisions[revision - 1].body) != _tag(entry["body"]):
            wrong("phantom", f"read what was never written: {operation}")
            return []
        return [2 * revision + 1]
    if operation.name == "blackboard.set":
        written = of_body.get(_tag(operation.args["body"]))
        if operation.ok is not None and operation.ok["revision"] != written:
            wrong("lost", f"the log has revision {written} of this: {operation}")
        return [] if written is None else [2 * written]
    if operation.ok is None:
        return []
    revision = int(operation.ok["revision"])
    if revision == 0:
        return absent
    if not _is(revisions, revision, "blackboard.deleted"):
        wrong("lost", f"the log has no such deletion: {operation}")
        return []
    return [2 * revision, 2 * revision + 1]  # deleted by this, or found deleted


def _is(revisions: list[Fact], revision: int, type: str) -> bool:
    return 0 < revision <= len(revisions) and revisions[revision - 1].type == type


# -- tasks and approvals


def _tasks(operations: Sequence[Operation], rules: LogRules, wrong: Wrong) -> None:
    completing: defaultdict[tuple[str, int], list[Operation]] = defaultdict(list)
    for operation in operations:
        if operation.name == "task.dispatch" and operation.ok is not None and operation.ok["task"] not in rules.tasks:
            wrong("lost", f"the task is not in the log: {operation}")
        elif operation.name == "task.complete":
            completing[operation.args["task"], operation.args["token"]].append(operation)
        elif operation.name == "task.result" and operation.ok is not None:
            ends = rules.ends.get(operation.args["task"], [])
            if not any((ENDS[end.type], _tag(end.body)) == (operation.ok["state"], _tag(operation.ok.get("body"))) for end in ends):
                wrong("result", f"the log has {[_show(end) for end in ends]}, but {operation}")
    for (task, token), asked in completing.items():
        end = next((e for e in rules.ends.get(task, ()) if e.type == "task.completed" and e.data["token"] == token), None)
        if end is None:
            for operation in asked:
                if operation.ok is not None:
                    wrong("lost", f"the completion is not in the log: {operation}")
        elif all(operation.code is not None for operation in asked):
            wrong("phantom", f"{_show(end)} was refused: {asked[0]}")
        elif not any(_tag(operation.args["body"]) == _tag(end.body) for operation in asked):
            wrong("result", f"{_show(end)} has another body than {asked[0]}")


def _effects(operations: Sequence[Operation], rules: LogRules, wrong: Wrong) -> None:
    """The first result of an effect is the one that everybody gets."""
    for operation in operations:
        if operation.name not in ("effect.get", "effect.put") or operation.ok is None:
            continue
        stored = rules.effects.get((operation.args["task"], operation.args["key"]))
        if operation.ok.get("found") is False:
            if stored is not None and operation.at is not None and operation.at >= stored.seq:
                wrong("stale", f"the log has {_show(stored)}, but {operation}")
            continue
        told = operation.args["body"] if operation.ok.get("recorded") else operation.ok["body"]
        if stored is None or _tag(stored.body) != _tag(told):
            wrong("lost" if stored is None else "result", f"the log has {_show(stored)}, but {operation}")


def _approvals(operations: Sequence[Operation], rules: LogRules, wrong: Wrong) -> None:
    for operation in operations:
        if operation.name == "approval.request":
            if operation.ok is not None and operation.args["approval"] not in rules.approvals:
                wrong("lost", f"the request is not in the log: {operation}")
            continue
        if operation.name == "approval.decide":
            told = (operation.ok or {}).get("decision") if operation.ok else operation.detail.get("decision")
        elif operation.name == "approval.decision":
            told = operation.ok
        else:
            continue
        if told is None:
            continue
        decided = rules.decisions.get(operation.args["approval"])
        if decided is None or (decided.data["type"], decided.sender) != (told["type"], told["actor"]):
            wrong("result", f"the log has {_show(decided)}, but {operation}")


# -- readers


def _inbox(operations: Sequence[Operation], events: Sequence[Fact], wrong: Wrong) -> None:
    read: dict[int, Operation] = {}  # by the first acknowledgement that was answered
    for operation in operations:
        if operation.name == "inbox.ack" and operation.ok is not None:
            for seq in operation.args["messages"]:
                if seq not in read or operation.ended < read[seq].ended:
                    read[seq] = operation
    for operation in operations:
        if operation.name != "inbox.message" or operation.ok is None:
            continue
        seq = operation.ok["seq"]
        sent = events[seq - 1] if 0 < seq <= len(events) else None
        told = ("inbox.sent", operation.args["to"], operation.ok["sender"], _tag(operation.ok["body"]))
        if sent is None or (sent.type, sent.subject, sent.sender, _tag(sent.body)) != told:
            wrong("phantom", f"the log has {_show(sent)}, but {operation}")
        if seq in read and read[seq].ended < operation.invoked:
            wrong("double", f"{operation}, after {read[seq]}")


def _stream(name: str, stream: Sequence[Fact | tuple[int, int]], events: Sequence[Fact], wrong: Wrong) -> None:
    expected: int | None = None
    for item in stream:
        if isinstance(item, tuple):
            if expected is not None and item[0] > expected:
                wrong("stream", f"{name} was told of a gap from {item[0]} on and has nothing of {expected}")
            expected = item[1] + 1
            continue
        if expected is not None and item.seq != expected:
            wrong("stream", f"{name} saw {item.seq} where {expected} comes next")
        expected = item.seq + 1
        stored = events[item.seq - 1] if item.seq <= len(events) else None
        if stored is None or (stored.type, stored.sender, _tag(stored.body)) != (item.type, item.sender, _tag(item.body)):
            wrong("stream", f"{name} saw {_show(item)}; the log has {_show(stored)}")


def _show(event: Fact | None) -> str:
    return "nothing" if event is None else f"{event.seq} {event.type} {event.subject or ''} {dict(event.data)} {event.body!r:.60}"
