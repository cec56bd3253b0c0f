"""A walk into a value that ends, whatever the value holds: its parts may hold it again."""

from __future__ import annotations

from typing import Any


class Walk:
    """Where a walk is, and what need not be walked again."""

    __slots__ = ("_around", "_holding", "_knots")

    def __init__(self) -> None:
        self._around: dict[int, Any] = {}  # what the walk is inside of, the outermost first
        self._holding: set[int] = set()  # those of them that hold something around them
        self._knots: dict[int, Any] = {}  # those that did, and are done: a net has ways without number, so each is gone into once

    def again(self, value: Any) -> bool:
        """Whether the walk is inside of it, or done with it as a part of a net."""
        key = id(value)
        if key not in self._around:
            return key in self._knots
        around = list(self._around)
        self._holding.update(around[around.index(key) :])
        return True

    def enter(self, value: Any) -> None:
        self._around[id(value)] = value

    def leave(self, value: Any, *, done: bool = True) -> None:
        """
        Args:
            done: False where it could not be walked to its end.
        """
        key = id(value)
        del self._around[key]
        if key in self._holding:
            self._holding.discard(key)
            if done:
                self._knots[key] = value
