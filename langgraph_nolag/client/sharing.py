"""One member of a consumer group, over reconnects."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import NoLagError, from_wire
from .feed import Feed
from .numbered import Numbered
from .requests import Answer
from .stream import LIMIT, OVERHEAD, Stream
from .subscription import Gap

if TYPE_CHECKING:
    from .link import RoomLink

T = TypeVar("T")


class Share(Numbered):
    """What the broker deals to one reader of a group.

    It names what it has in hand when it comes back, so that the broker neither deals that to others nor to it again.
    """

    gives_up = "log.unsubscribe"

    def __init__(
        self,
        link: RoomLink,
        group: str,
        types: str,
        subject: str,
        since: int | None,
        max_in_flight: int,
        ack_within: float,
        *,
        on_event: Callable[[dict[str, Any]], None],
        on_gap: Callable[[Gap], None],
        on_message: Callable[[dict[str, Any]], None],
        on_failed: Callable[[NoLagError], None],
    ) -> None:
        super().__init__(link, on_failed)
        self._group: dict[str, Any] = {"group": group, "types": types, "subject": subject}
        self._options = {"since": since, "max_in_flight": max_in_flight, "ack_within": ack_within}
        self._on_event = on_event
        self._on_gap = on_gap
        self._on_message = on_message
        self._in_hand: dict[int, int] = {}  # sequence, attempt
        self._member = 0
        self._epoch: str | None = None

    # --- from any thread ------------------------------------------------------------------------------------

    async def ack(self, seq: int, epoch: str) -> None:
        """It is dealt with; durable when this returns. From any loop."""
        await self._link.acall("group.ack", messages=[seq], epoch=epoch, **self._group)
        self._link.connection.io.post(self._acknowledged, seq, epoch)

    # --- on the I/O thread ----------------------------------------------------------------------------------

    def _ask(self) -> None:
        self._member = self._member or self._number
        fields = {"member": self._member, "holding": [[*held] for held in self._in_hand.items()]}
        fields |= self._group | {name: value for name, value in self._options.items() if value is not None}
        if self._epoch is not None:
            fields["epoch"] = self._epoch
        self._establish("log.subscribe", fields, self._began)

    def _began(self, answer: Answer) -> None:
        self._read_in(answer["epoch"], answer["since"])

    def _read_in(self, epoch: str, since: int) -> None:
        """In this log the group goes on after `since`, and with what it has not acknowledged from before."""
        if self._epoch not in (None, epoch):
            self._in_hand.clear()  # sequences of a log that is lost
            self._on_gap(Gap(1, since, epoch))
        self._epoch = epoch

    def _acknowledged(self, seq: int, epoch: str) -> None:
        if epoch == self._epoch:
            self._in_hand.pop(seq, None)

    def on_push(self, frame: dict[str, Any]) -> None:
        kind = frame["push"]
        if kind == "dealt":
            self._read_in(frame["epoch"], frame["events"][0]["seq"] - 1)
            for event, attempt in zip(frame["events"], frame["attempts"], strict=True):
                seq = event["seq"]
                if self._in_hand.get(seq) != attempt:
                    self._in_hand[seq] = attempt
                    self._on_event({**event, "attempt": attempt, "epoch": self._epoch})
        elif kind == "gap":
            self._on_gap(Gap(frame["from"], frame["to"], frame["epoch"]))
        elif kind == "failed":
            self._fail(from_wire(frame["err"]))
        elif kind == "message":
            self._on_message(frame)


def group_stream(
    link: RoomLink,
    group: str,
    types: str,
    subject: str,
    convert: Callable[[Share, dict[str, Any] | Gap], T | None],
    *,
    since: int | None,
    max_in_flight: int,
    ack_within: float,
) -> Stream[T]:
    """A stream of what a group deals to us: events with their attempt and epoch, QoS 0 messages and gaps."""
    # It need never be full: the broker deals no more than `max_in_flight` before something is acknowledged.
    feed: Feed[dict[str, Any] | Gap] = Feed(LIMIT, lambda: None, lambda: None)
    share = Share(
        link,
        group,
        types,
        subject,
        since,
        max_in_flight,
        ack_within,
        on_event=lambda event: feed.put(event, OVERHEAD + len(event.get("body") or b"")),
        on_gap=lambda gap: feed.put(gap, OVERHEAD),
        on_message=lambda message: feed.put(message, OVERHEAD + len(message["body"])),
        on_failed=feed.end,
    )
    link.connection.io.post(link.subscriptions.start, share)
    return Stream(link, feed, partial(convert, share), share.close)
