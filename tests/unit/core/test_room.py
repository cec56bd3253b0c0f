"""The end of a room in memory."""

from __future__ import annotations

import pytest

from nolag_broker.core.room import Room


@pytest.mark.sources
def test_a_room_lets_go_of_what_a_compiled_one_can() -> None:
    """mypyc builds no class that deletes anything else of its own."""
    room = Room("room", "epoch")
    before = set(vars(room))
    room.dismantle()
    assert before - set(vars(room)) == set(Room.__deletable__)
