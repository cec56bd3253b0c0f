"""Subscriptions to a room's log that survive reconnects, and a slow consumer, without a hole or a repeat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import NoLagError, from_wire
from .numbered import Numbered
from .requests import Answer

if TYPE_CHECKING:
    from .link import RoomLink


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


class Subscription(Numbered):
    """One reading of the log."""

    gives_up = "log.unsubscribe"

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
        super().__init__(link, on_failed)
        self._types = types
        self._subject = subject
        self._position = since
        self._since_time = since_time
        self._cursor = cursor
        self._epoch = epoch
        self._retained = retained  # and they may not all have come
        self._retained_had = 0  # the last one that came,
        self._retained_end = 0  # and where the log ended when we began: later ones are in what is read of it
        self._bodies = bodies
        self._on_events = on_events
        self._on_gap = on_gap
        self._on_message = on_message
        self._begun = False

    # --- on the I/O thread ----------------------------------------------------------------------------------

    def _ask(self) -> None:
        fields: dict[str, Any] = {"types": self._types, "retained": self._retained, "bodies": self._bodies}
        if self._retained and self._retained_had:
            fields["retained_after"] = self._retained_had
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
        self._establish("log.subscribe", fields, self._began)

    def _began(self, answer: Answer) -> None:
        if not self._begun or answer["epoch"] != self._epoch:
            self._retained_had, self._retained_end = 0, answer.seq
        if self._position is None or (self._cursor is not None and not self._begun):
            self._position = answer["since"]
        self._begun = True
        self._epoch = answer["epoch"]

    def on_push(self, frame: dict[str, Any]) -> None:
        kind = frame["push"]
        if kind == "log":
            events, through = frame["events"], frame["through"]
            if self._retained:
                events = self._greeted(events, through)
            if self._cursor is not None:
                for event in events:
                    event["epoch"] = self._epoch  # an acknowledgement is worth something in this log only
            # Before the callback: it may pause us, and what it was given counts as had.
            self._position = through
            self._on_events(events, through)
        elif kind == "gap":
            self._position, self._epoch = frame["to"], frame["epoch"]
            if self._on_gap is not None:
                self._on_gap(Gap(frame["from"], frame["to"], frame["epoch"]))
        elif kind == "failed":
            self._fail(from_wire(frame["err"]))
        elif kind == "message" and self._on_message is not None:
            self._on_message(frame)

    def _greeted(self, events: list[dict[str, Any]], through: int) -> list[dict[str, Any]]:
        """What of this push is news. Retained messages come first, in order; the log has begun with the first push that leads on in it."""
        if self._position is None or through > self._position:
            self._retained = False
            return events
        news = [event for event in events if event["seq"] <= self._retained_end]
        if news:
            self._retained_had = news[-1]["seq"]
        return news


class Subscriptions:
    """All that is read in a room. On the I/O thread."""

    phase = 2

    def __init__(self, link: RoomLink) -> None:
        self._link = link
        self._all: dict[Numbered, None] = {}

    def start(self, subscription: Numbered) -> None:
        if self._link.connection.ended is not None:
            subscription.on_ended(self._link.connection.ended)
            return
        if not subscription.closed:
            self._all[subscription] = None
            subscription.begin()

    def forget(self, subscription: Numbered) -> None:
        self._all.pop(subscription, None)

    def restore(self) -> None:
        for subscription in list(self._all):
            subscription.begin()

    def on_ended(self, error: NoLagError) -> None:
        for subscription in list(self._all):
            subscription.on_ended(error)
