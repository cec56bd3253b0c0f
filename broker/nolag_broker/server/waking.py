"""What rooms do by themselves, whoever is there: they are opened with the broker, and looked at when the wall clock is set.

A room says when it wants to be looked at, and is, by the clock that nobody sets. Where the other one jumps (it is set, or the machine
slept), what was to come by it may be due already.
"""

from __future__ import annotations

import asyncio
from typing import Final

from ..core.tasks.schedules import KEYS
from .node import Node

LOOK_EVERY: Final = 5.0  # seconds
JUMP: Final = 0.5  # seconds that the clocks differ by more, or by less, than at the last look


async def wake_rooms(node: Node) -> None:
    """Open the rooms that have schedules."""
    for room in await node.engine.rooms_with(KEYS):
        node.look_at(room)


async def watch_the_clock(node: Node) -> None:
    """For ever."""
    ahead = node.ahead
    while True:
        await asyncio.sleep(LOOK_EVERY)
        former, ahead = ahead, node.ahead
        if abs(ahead - former) > JUMP:
            node.look_at_clocks()
