"""Subscriptions to a room's log that survive reconnects, and a slow consumer, without a hole or a repeat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import NoLagError
from .requests import Answer

if TYPE_CHECKING:
    from .link import RoomLink
    from .sharing import Share


@dataclass(frozen=True, slots=True)
class Gap:
    """Something of the log can't be had any more. What comes next is what follows `to_seq`, in the epoch named here.

    Attributes:
        from_seq, to_seq: first and last missing sequence. Where the log began anew (another epoch than before), they count in the
            new log, and all that was read before belongs to one that is lost.
        epoch: the epoch that the log has now.
    """

    from_seq: int
    to_seq: int
    epoch: str
    type: ClassVar[str] = "gap"

    @property
    def seq(self) -> int:
        """Where reading goes on after."""
        return self.to_seq


class Subscription:
    """One reading of the log. Its position is on the I/O thread; `pause`, `resume` and `close` may be called from any thread.

    A paused subscription is given up at the broker, and taken up again from its position: nothing is lost, and nothing
    piles up here.
    """

    def __init__(
        self,
        link: RoomLink,
        types: str,
        subject: str | None,
        since: int | None,
        since_time: float | None,
        cursor: str | None,
        epoch: str | None,
        retained: bool,
        bodies: bool,
        *,
        on_events: Callable[[list[dict[str, Any]], int], None],
        on_gap: Callable[[Gap], None] | None,
        on_message: Callable[[dict[str, Any]], None] | None,
        on_failed: Callable[[NoLagError], None] | None,
    ) -> None:
        self._link = link
        self._types = types
        self._subject = subject
        self._position = since
        self._since_time = since_time
        self._cursor = cursor
        self._epoch = epoch
        self._retained = retained
        self._bodies = bodies
        self._on_events = on_events
        self._on_gap = on_gap
        self._on_message = on_message
        self._on_failed = on_failed
        self._number = 0
        self._begun = False
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
        fields: dict[str, Any] = {"sub": self._number, "types": self._types, "retained": self._retained, "bodies": self._bodies}
        if self._subject is not None:
            fields["subject"] = self._subject
        if self._position is not None:
            fields["since"] = self._position
            if self._epoch is not None:
                fields["epoch"] = self._epoch
        elif self._since_time is not None:
            fields["since_time"] = self._since_time
        if self._cursor is not None and not self._begun:  # later it is where we are that counts
            fields["cursor"] = self._cursor
        number = self._number
        self._link.establish("log.subscribe", fields, lambda answer: self._began(answer, number), self._fail)

    def _began(self, answer: Answer, number: int) -> None:
        if number != self._number or self.closed:
            return
        self._retained = False
        if self._position is None or (self._cursor is not None and not self._begun):
            self._position = answer["since"]
        self._begun = True
        self._epoch = answer["epoch"]

    def on_push(self, frame: dict[str, Any]) -> None:
        kind = frame["push"]
        if kind == "log":
            # Before the callback: it may pause us, and what it was given counts as had.
            self._position = frame["through"]
            self._on_events(frame["events"], frame["through"])
        elif kind == "gap":
            self._position, self._epoch = frame["to"], frame["epoch"]
            if self._on_gap is not None:
                self._on_gap(Gap(frame["from"], frame["to"], frame["epoch"]))
        elif kind == "message" and self._on_message is not None:
            self._on_message(frame)

    def _give_up(self) -> None:
        connection = self._link.connection
        connection.route(self._number, None)
        if self._number and connection.is_live:
            frame = {"op": "log.unsubscribe", "room": self._link.room, "sub": self._number}
            connection.ask(frame, lambda answer, error: None, 30.0, 0, insist=True)
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
            self.closed = True
            self._give_up()
            self._link.subscriptions.forget(self)

    def _fail(self, error: NoLagError) -> None:
        if not self.closed:
            self.closed = True
            self._link.connection.route(self._number, None)
            self._link.subscriptions.forget(self)
            if self._on_failed is not None:
                self._on_failed(error)

    def on_ended(self, error: NoLagError) -> None:
        self._fail(error)


class Subscriptions:
    """All subscriptions of a room. On the I/O thread."""

    phase = 2

    def __init__(self, link: RoomLink) -> None:
        self._link = link
        self._all: dict[Subscription | Share, None] = {}

    def start(self, subscription: Subscription | Share) -> None:
        if self._link.connection.ended is not None:
            subscription.on_ended(self._link.connection.ended)
            return
        if not subscription.closed:
            self._all[subscription] = None
            subscription.begin()

    def forget(self, subscription: Subscription | Share) -> None:
        self._all.pop(subscription, None)

    def restore(self) -> None:
        for subscription in list(self._all):
            subscription.begin()

    def on_ended(self, error: NoLagError) -> None:
        for subscription in list(self._all):
            subscription.on_ended(error)
