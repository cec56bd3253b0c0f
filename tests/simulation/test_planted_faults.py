"""A broker with a defect does not get through: the simulation meets it and the checker names it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from langgraph_nolag.testing.simulation.disk import SimulatedEngine
from langgraph_nolag.testing.simulation.world import simulate
from nolag_broker.core.approvals import votes
from nolag_broker.core.blackboard import Blackboard
from nolag_broker.core.commands.streams import StreamFollow
from nolag_broker.core.event import Event
from nolag_broker.core.messages.groups import Group
from nolag_broker.core.requests import Requests
from nolag_broker.core.store.store import Store
from nolag_broker.core.streams.reading import StreamReading
from nolag_broker.core.streams.stream import Stream
from nolag_broker.core.streams.writing import StreamWriting
from nolag_broker.core.tasks.finished import Finished
from nolag_broker.core.tasks.rates import Rate
from nolag_broker.core.tasks.schedules import Schedules
from nolag_broker.core.tasks.tasks import Tasks
from nolag_broker.core.turn import Turn
from nolag_broker.engine.memory_blobs import MemoryBlobs
from nolag_broker.server.blobs import Blobs
from nolag_broker.server.bodies import Encoder
from nolag_broker.server.fanout import Feed
from nolag_broker.server.sharing import Sharing
from nolag_broker.wire.codec import pack
from nolag_broker.wire.codes import Refusal

WITHIN = 40  # seeds; most defects show in one of five


class AcknowledgesEarly(SimulatedEngine):
    """Says that it is on disk when it is only written."""

    async def commit(self, turns: Sequence[tuple[str, Turn]]) -> list[Any]:
        await self._io(self.write_takes)
        conflicts = self.disk.write(turns)
        asyncio.get_running_loop().call_later(0.2, lambda: self.disk.sync() if self.alive else None)
        return conflicts


def no_token_check(monkeypatch: pytest.MonkeyPatch) -> None:
    def holding(self: Tasks, id: str, holder: Any, token: int) -> Any:
        if (task := self.by_id.get(id)) is None:
            raise Refusal("stale_lease", "it is over")
        return task

    monkeypatch.setattr(Tasks, "holding", holding)


def no_lease_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tasks, "check_lease", lambda self, lease, caller: None)


def skipped_event(monkeypatch: pytest.MonkeyPatch) -> None:
    publish = Feed.publish
    monkeypatch.setattr(Feed, "publish", lambda self, events: publish(self, events[: max(1, len(events) - 1)]))


def skipped_event_in_the_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    replay = Feed.catch_up
    monkeypatch.setattr(Feed, "catch_up", lambda self, subscription, after, *rest: replay(self, subscription, after + 1, *rest))


def forgotten_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Requests, "answered", lambda self, caller, request: None)


def forgotten_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Finished, "find_key", lambda self, kind, type, key: None)


def fresh_span_after_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rate, "head", lambda self: None)


def moment_fired_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recovery that does not know what was fired before it."""
    load = Schedules.load

    def loaded(self: Schedules, rows: Any) -> None:
        load(self, rows)
        for schedule in self.all():
            if schedule.fired and not schedule.paused:
                schedule.next = schedule.fired
                self._wake(schedule)

    monkeypatch.setattr(Schedules, "load", loaded)


def acknowledgement_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the room's memory only."""
    monkeypatch.setattr(Group, "head", lambda self: pack((*self.id, 0, [], [])))


def passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group that misses what it reads, now and then."""
    meets = Group.meets

    def skips(self: Group, seq: int) -> bool:
        if seq % 7 == 0:
            self.through = seq
            return False
        return meets(self, seq)

    monkeypatch.setattr(Group, "meets", skips)


def stale_read(monkeypatch: pytest.MonkeyPatch) -> None:
    get = Blackboard.get

    def late(self: Blackboard, command: Any, caller: Any) -> dict[str, Any]:
        entry = self._entries.get(command.key)
        if entry is not None and len(entry.revisions) > 1 and not (before := entry.revisions[-2]).deleted:
            return {"entry": entry.view(before)}
        return get(self, command, caller)

    monkeypatch.setattr(Blackboard, "get", late)


def any_writer_of_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StreamWriting, "_owns", lambda self, stream, token, caller: True)


def chunks_that_count_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that comes back is sent again what it had."""
    follow = StreamReading.follow

    def again(self: StreamReading, command: StreamFollow, caller: Any) -> dict[str, Any]:
        answer = follow(self, command, caller)
        for piece in answer["pieces"]:
            piece[:2] = piece[0] + 1, piece[1] + 1
        return answer

    monkeypatch.setattr(StreamReading, "follow", again)


def no_rewind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stream, "still_valid", lambda self, token, n: n)


def collected_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the moment that a large value is there and the commit that refers to it."""
    put = Blobs._put

    async def and_collects(self: Blobs, *args: Any) -> dict[str, Any]:
        answer = await put(self, *args)
        await self._engine.collect_blobs(lambda room, hash: False)
        return answer

    monkeypatch.setattr(Blobs, "_put", and_collects)


def pins_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trim that keeps an event and drops what it refers to."""
    release = MemoryBlobs._release
    monkeypatch.setattr(MemoryBlobs, "_release", lambda self, room, floor, pinned: release(self, room, floor, ()))


def items_not_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trim that drops values of the store."""
    monkeypatch.setattr(Store, "all", lambda self: [])


def any_votes_count_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(votes, "outcome", lambda approval, vote: [vote["type"] == "reject"])


def records_of_the_turn_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read for one turn is said in the next one, too, which may have written it."""
    focus = Encoder.focus

    def keep(self: Encoder, room: str, events: Sequence[Event], fetched: dict[Any, Any]) -> None:
        focus(self, room, events, {**self._fetched, **fetched})

    monkeypatch.setattr(Encoder, "focus", keep)


def timer_that_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect that the event loop swallows."""

    def tick(self: Sharing, heard: float) -> None:
        raise KeyError(heard)

    monkeypatch.setattr(Sharing, "_tick", tick)


def is_caught(rule: str, engine: type[SimulatedEngine] = SimulatedEngine) -> bool:
    """Whether one of the first seeds names the broken rule."""
    return any(rule in {violation.rule for violation in simulate(seed, engine=engine).violations} for seed in range(WITHIN))


@pytest.mark.parametrize("rule", ["early", "lost"])
def test_an_acknowledgement_before_the_commit_is_caught(rule: str) -> None:
    """When it is said, and by the history of who heard it alone."""
    assert is_caught(rule, AcknowledgesEarly)


@pytest.mark.parametrize(
    ("plant", "rule"),
    [
        (no_token_check, "token"),
        (no_lease_check, "token"),
        (skipped_event, "stream"),
        (skipped_event_in_the_replay, "stream"),
        (forgotten_answers, "double"),
        (forgotten_keys, "key"),
        (stale_read, "stale"),
        (fresh_span_after_a_restart, "rate"),
        (any_writer_of_a_stream, "phantom"),
        (chunks_that_count_twice, "stream"),
        (no_rewind, "stream"),
        (moment_fired_again, "schedule"),
        (acknowledgement_not_written, "group"),
        (passed_over, "stuck"),
        (collected_too_early, "value"),
        (pins_forgotten, "value"),
        (items_not_pinned, "item"),
        (any_votes_count_together, "approval"),
        (records_of_the_turn_before, "record"),
        (timer_that_raises, "defect"),
    ],
)
def test_a_defect_is_caught(monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None], rule: str) -> None:
    plant(monkeypatch)
    assert is_caught(rule)
