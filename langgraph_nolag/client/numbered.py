"""Something that is read under a number of the connection: pushes find it by that, over reconnects and pauses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import NoLagError
from .requests import Answer
from .standing import establish

if TYPE_CHECKING:
    from .link import RoomLink


class Numbered:
    """Its position is on the I/O thread; `pause`, `resume` and `close` may be called from any thread.

    A paused one is given up at the broker, and taken up again from its position: nothing is lost, and nothing piles up here.
    """

    gives_up: ClassVar[str]  # the operation

    def __init__(self, link: RoomLink, on_failed: Callable[[NoLagError], None] | None) -> None:
        self._link = link
        self._on_failed = on_failed
        self._number = 0
        self._paused = False
        self.closed = False

    # --- from any thread ------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Stop reading; nothing more is told after the I/O thread has seen this."""
        self._link.connection.io.post(self._pause)

    def resume(self) -> None:
        """Go on from where it was."""
        self._link.connection.io.post(self._resume)

    def close(self) -> None:
        """Read no more. May be called more than once."""
        self._link.connection.io.post(self._close)

    # --- on the I/O thread ----------------------------------------------------------------------------------

    def begin(self) -> None:
        """Ask the broker, under a number of its own: a push for an earlier number finds nobody."""
        if self._paused or self.closed:
            return
        connection = self._link.connection
        connection.route(self._number, None)
        self._number = connection.number()
        connection.route(self._number, self)
        self._ask()

    def _ask(self) -> None:
        raise NotImplementedError

    def _establish(self, op: str, fields: Mapping[str, Any], on_answer: Callable[[Answer], None]) -> None:
        """Ask for it under the number that it has now, until it is paused, closed or begun anew."""
        number = self._number
        establish(
            self._link,
            op,
            {"sub": number, **fields},
            on_answer,
            self._fail,
            wanted=lambda: number == self._number and not self.closed,
        )

    def on_push(self, frame: dict[str, Any]) -> None:
        raise NotImplementedError

    def _give_up(self) -> None:
        if self._number:
            self._link.connection.route(self._number, None)
            self._link.connection.give_up({"op": self.gives_up, "room": self._link.room, "sub": self._number})
            self._number = 0

    def _pause(self) -> None:
        if not self._paused and not self.closed:
            self._paused = True
            self._give_up()

    def _resume(self) -> None:
        if self._paused and not self.closed:
            self._paused = False
            self.begin()

    def _close(self) -> None:
        if not self.closed:
            self._give_up()
            self._over()

    def _over(self) -> None:
        self.closed = True
        self._link.connection.route(self._number, None)
        self._link.subscriptions.forget(self)

    def _fail(self, error: NoLagError) -> None:
        if not self.closed:
            self._over()
            if self._on_failed is not None:
                self._on_failed(error)

    def on_ended(self, error: NoLagError) -> None:
        self._give_up()
        self._fail(error)
