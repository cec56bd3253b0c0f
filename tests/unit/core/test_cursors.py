"""Cursors: how far a reader has come, kept by the room."""

from __future__ import annotations

from typing import Any

from nolag_broker.core.limits import Limits


def test_a_cursor_moves_only_forward_and_outlives_a_restart(driver: Any, planner: Any, refused: Any) -> None:
    for _ in range(5):
        planner.ask("event.emit", type="tick")
    assert planner.ask("cursor.move", cursor="c", seq=3) == {"position": 3}
    assert planner.ask("cursor.move", cursor="c", seq=2) == {"position": 3}
    driver.restart()
    planner.connect()
    assert driver.room.cursors.begin("c", 0) == 3
    assert planner.ask("cursor.move", cursor="c", seq=5) == {"position": 5}
    with refused("bad_request"):
        planner.ask("cursor.move", cursor="c", seq=99)


def test_moving_is_no_event(driver: Any, planner: Any) -> None:
    planner.ask("event.emit", type="tick")
    before = len(driver.log)
    planner.ask("cursor.move", cursor="c", seq=1)
    assert len(driver.log) == before


def test_a_deleted_cursor_leaves_nothing(driver: Any, planner: Any) -> None:
    planner.ask("event.emit", type="tick")
    planner.ask("cursor.move", cursor="c", seq=1)
    planner.ask("cursor.delete", cursor="c")
    planner.ask("cursor.delete", cursor="never")
    assert not [key for key in driver.heads if key.startswith("cursor/")]
    driver.restart()
    assert driver.room.cursors.begin("c", 0) == 0


def test_cursors_are_bounded_and_granted(make_driver: Any, refused: Any) -> None:
    driver = make_driver(Limits(cursors=1))
    planner = driver.agent("planner")
    planner.ask("event.emit", type="tick")
    planner.ask("cursor.move", cursor="c", seq=1)
    with refused("overloaded"):
        planner.ask("cursor.move", cursor="d", seq=1)
    with refused("not_authorized"):
        driver.agent("other", [{"room": "**", "topics": ["notes/**"]}]).ask("cursor.move", cursor="c", seq=1)


def test_what_was_read_of_a_lost_log_moves_nothing(planner: Any) -> None:
    for _ in range(5):
        planner.ask("event.emit", type="tick")
    assert planner.ask("cursor.move", cursor="c", seq=99, epoch="another") == {"position": 0}
    assert planner.ask("cursor.move", cursor="c", seq=2, epoch="epoch") == {"position": 2}
    assert planner.ask("cursor.move", cursor="c", seq=4, epoch="another") == {"position": 2}
