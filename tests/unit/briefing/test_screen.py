"""What people read while the demo runs."""

from __future__ import annotations

from nolag_briefing.screen import describe


def test_one_is_not_plural() -> None:
    assert describe("plan.finished", None, {"sub_questions": 1}) == "plan made: 1 sub-question"
    assert describe("research.finished", None, {"index": 0, "quotations": 1}) == "research 1: 1 quotation found"
    assert describe("draft.finished", None, {"version": 2, "quotations": 11}) == "draft 2: 11 quotations"


def test_whose_process_the_broker_gave_up_is_said() -> None:
    assert describe("presence.left", "writer/7f3a", {"reason": "lease_expired"}) == "gave a process of writer up (lease_expired)"
    assert describe("presence.left", "writer/7f3a", {"reason": "left"}) == "left the room"
    assert describe("task.released", "briefing@1/research", {"reason": "lease_expired"}) == "took research back (lease_expired)"
    assert describe("task.released", "briefing@1/research", {"reason": "drained"}) == "gave research back (drained)"
