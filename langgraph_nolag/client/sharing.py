"""One member of a consumer group, over reconnects."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import NoLagError, from_wire
from .asking import REQUEST_TIMEOUT
from .feed import Feed
from .io import settle_blocking, settled
from .numbered import Numbered
from .requests import Answer
from .stream import LIMIT, OVERHEAD, Stream
from .subscription import Gap

if TYPE_CHECKING:
    from .link import RoomLink

T = TypeVar("T")


@dataclass(slots=True)
class Hold:
    """A message that was dealt to us. Dealt again before the reader comes to it, it is still queued once, under its newest attempt."""

    attempt: int
    queued: bool = True  # the reader's thread ends it
    acknowledged: bool = False


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
        self._in_hand: dict[int, Hold] = {}  # by sequence
        self._member = 0
        self._epoch: str | None = None

    # --- from any thread ------------------------------------------------------------------------------------

    async def ack(self, seq: int, epoch: str) -> None:
        """It is dealt with; durable when this returns. From any loop."""
        acknowledged: concurrent.futures.Future[None] = concurrent.futures.Future()

        def answered(answer: Answer | None, error: NoLagError | None) -> None:
            if error is None:
                self._acknowledged(seq, epoch)  # before the reader goes on, who is not to meet it again
            settle_blocking(acknowledged, None, error)

        self._link.ask(self._link.frame("group.ack", {"messages": [seq], "epoch": epoch, **self._group}), answered, REQUEST_TIMEOUT)
        await settled(acknowledged)

    def hand_out(self, item: dict[str, Any] | Gap) -> bool:
        """The reader comes to it. False: it had it before, and has acknowledged it meanwhile."""
        if isinstance(item, Gap) or (hold := item.get("hold")) is None:
            return True
        hold.queued = False
        item["attempt"] = hold.attempt
        return not hold.acknowledged

    # --- on the I/O thread ----------------------------------------------------------------------------------

    def _ask(self) -> None:
        self._member = self._member or self._number
        fields = {"member": self._member, "holding": [[seq, hold.attempt] for seq, hold in self._in_hand.items()]}
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
        if epoch == self._epoch and (hold := self._in_hand.pop(seq, None)) is not None:
            hold.acknowledged = True

    def on_push(self, frame: dict[str, Any]) -> None:
        kind = frame["push"]
        if kind == "dealt":
            self._read_in(frame["epoch"], frame["events"][0]["seq"] - 1)
            for event, attempt in zip(frame["events"], frame["attempts"], strict=True):
                hold = self._in_hand.get(event["seq"])
                if hold is not None and hold.queued:
                    hold.attempt = attempt
                elif hold is None or hold.attempt != attempt:
                    hold = self._in_hand[event["seq"]] = Hold(attempt)
                    self._on_event({**event, "hold": hold, "epoch": self._epoch})
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
    # Nothing is paused, which would give up what we have in hand: the broker deals no more than `max_in_flight` before something is
    # acknowledged. QoS 0 messages it does not count.
    feed: Feed[dict[str, Any] | Gap] = Feed(LIMIT, lambda: None, lambda: None)

    def on_message(message: dict[str, Any]) -> None:
        if not feed.full:
            feed.put(message, OVERHEAD + len(message["body"]))

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
        on_message=on_message,
        on_failed=feed.end,
    )
    link.connection.io.post(link.subscriptions.start, share)
    return Stream(link, feed, lambda item: convert(share, item) if share.hand_out(item) else None, share.close)
