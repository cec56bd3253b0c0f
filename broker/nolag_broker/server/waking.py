"""Rooms that have something to do by themselves are opened with the broker, whoever is there."""

from __future__ import annotations

from ..core.schedules import KEYS
from ..core.turn import BROKER, Env
from .hosted import HostedRoom
from .node import Node


async def wake_rooms(node: Node) -> None:
    for room in await node.engine.rooms_with(KEYS):
        node.call(room, _look_at_the_clock, BROKER, may_open=False, request=None)


def _look_at_the_clock(hosted: HostedRoom, env: Env) -> None:
    """Nothing: whatever is done in a room, its deadlines are looked at afterwards."""
