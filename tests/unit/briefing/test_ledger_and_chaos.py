from __future__ import annotations

from nolag_briefing.chaos import Chaos
from nolag_briefing.ledger import Ledger


def test_a_run_without_trouble_is_sound() -> None:
    ledger = Ledger()
    for type, facts in (
        ("plan.started", {}),
        ("plan.finished", {}),
        ("research.started", {"index": 0}),
        ("research.finished", {"index": 0}),
    ):
        ledger.record(type, facts)
    for type in ("task.dispatched", "task.claimed", "task.completed"):
        ledger.record(type, {"task": "t1", "kind": "node"})
    ledger.record("task.dispatched", {"task": "t2", "kind": "tool"})
    ledger.record("task.claimed", {"task": "t2"})
    assert ledger.is_sound
    assert "2 node executions, 2 finished, 0 begun again" in ledger.summary()


def test_a_body_that_was_killed_and_begun_again_is_sound() -> None:
    ledger = Ledger()
    for type in ("draft.started", "draft.started", "draft.finished"):
        ledger.record(type, {"version": 1})
    for type in ("task.dispatched", "task.claimed", "task.claimed", "task.completed"):
        ledger.record(type, {"task": "t1", "kind": "node"})
    assert ledger.is_sound
    assert "1 begun again after a kill" in ledger.summary()
    assert "1 of them a second time" in ledger.summary()


def test_a_finished_body_that_ran_again_is_found() -> None:
    ledger = Ledger()
    for type in ("draft.started", "draft.finished", "draft.started", "draft.finished"):
        ledger.record(type, {"version": 1})
    assert not ledger.is_sound
    assert "NOT SOUND: draft 1" in ledger.summary()


def test_a_body_or_task_without_its_end_or_with_two_is_found() -> None:
    unfinished, lost, doubled = Ledger(), Ledger(), Ledger()
    unfinished.record("research.started", {"index": 1})
    for type in ("task.dispatched", "task.claimed"):
        lost.record(type, {"task": "t1", "kind": "node"})
    for type in ("task.dispatched", "task.claimed", "task.completed", "task.completed"):
        doubled.record(type, {"task": "t1", "kind": "node"})
    assert not unfinished.is_sound
    assert not lost.is_sound
    assert not doubled.is_sound


def test_each_kill_comes_in_the_middle_of_something_and_in_order() -> None:
    chaos = Chaos(victims=["writer"])
    claim = {"task": "t7", "actor": "writer", "attempt": 1}
    assert chaos.next_victim("research.reading", "writer", {"index": 0}) is None, "it has no research yet"
    chaos.watch("task.claimed", "@broker", claim)
    assert chaos.next_victim("research.reading", "librarian", {"index": 0}) is None, "not a victim"
    assert chaos.next_victim("draft.started", "writer", {"version": 1}) is None, "not its turn"
    assert chaos.next_victim("research.reading", "writer", {"index": 0}) == ("writer", "research 1")
    first = chaos.struck("writer", 1, "research 1")
    chaos.watch("task.claimed", "@broker", {"task": "t8", "actor": "reviewer", "attempt": 1})
    assert first.successor is None, "another task"
    chaos.watch("task.claimed", "@broker", {"task": "t7", "actor": "reviewer/2", "attempt": 2})
    assert first.successor == "reviewer (attempt 2)"
    assert first.after is not None

    assert chaos.next_victim("draft.started", "writer", {"version": 1}) == ("orchestrator", "draft 1")
    second = chaos.struck("orchestrator", 2, "draft 1")
    chaos.watch("orchestrator.started", "orchestrator", {"resumed": True, "pid": 9})
    assert second.successor == "a new one (process 9)"

    assert chaos.next_victim("approval.requested", "orchestrator", {}) == ("broker", "the gate")
    chaos.struck("broker", 3, "the gate")
    assert chaos.next_victim("approval.requested", "orchestrator", {}) is None
