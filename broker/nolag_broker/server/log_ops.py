"""The operations on a room's log: `log.subscribe` and `log.read`, which take their turn among the room's commands, and `log.unsubscribe`,
which does not: whoever wants no more waits for nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ..core.commands.fields import MAX_INT, integer, read_bool, read_moment, read_name, read_pattern
from ..core.room import Room
from ..core.turn import Env, Reply, Then
from ..wire.codec import pack
from ..wire.codes import Refusal
from . import group_ops
from .fanout import Feed, Subscription, read_page
from .hosted import HostedRoom
from .moments import first_since
from .readers import View
from .requested import field

if TYPE_CHECKING:
    from .session import Session

LogOperation = Callable[["Session", str, bool, "int | None", dict[str, Any]], None]
"""Session, room, whether the session may open it, the request's id and frame."""

MAX_SUBSCRIPTIONS: Final = 1000  # of a connection

_read_number = integer(0, MAX_INT)
_read_limit = integer(1, 1000)


def _view(session: Session, room: str, frame: dict[str, Any]) -> View:
    types = field(frame, "types", read_pattern, "**")
    return View(room, session, types, field(frame, "subject", read_pattern, None), field(frame, "bodies", read_bool, True))


def _number(frame: dict[str, Any]) -> int:
    if frame.get("sub") is None:
        raise Refusal("bad_request", "the request needs sub, a number chosen by the client", detail={"field": "sub"})
    return _read_number(frame["sub"], "sub")  # type: ignore[no-any-return]


async def _after(session: Session, room: str, feed: Feed, last: int, time: float) -> int:
    """The sequence after which the log is at this time. From the start, when it may have been there before the log begins now."""
    first = await first_since(session.context.node.engine, room, feed.first, last, time)
    return 0 if first <= feed.first else first - 1


def subscribe(session: Session, room: str, may_open: bool, request: int | None, frame: dict[str, Any]) -> None:
    number, view = _number(frame), _view(session, room, frame)
    if number in session.subscriptions:
        raise Refusal("subscription_conflict", f"the number {number} is in use on this connection")
    if len(session.subscriptions) >= MAX_SUBSCRIPTIONS:
        raise Refusal("overloaded", f"a connection can have {MAX_SUBSCRIPTIONS} subscriptions")
    ask = _follow if frame.get("group") is None else group_ops.join
    subscription, start = ask(session, request, frame, number, view)
    session.subscriptions[number] = subscription

    def begin(hosted: HostedRoom, env: Env) -> None:
        assert hosted.room is not None
        if session.subscriptions.get(number) is not subscription:  # unsubscribed, or gone, before its turn came
            if request is not None:
                now = hosted.room.seq
                hosted.room.effect(Reply(session.id, request, {"since": now, "epoch": hosted.feed.epoch}, seq=now))
            return
        try:
            start(hosted.feed, hosted.room)
        except Refusal as refusal:
            del session.subscriptions[number]
            session.refuse(request, refusal)

    session.context.node.call(room, begin, session.caller, may_open=may_open, request=request)


def _follow(session: Session, request: int | None, frame: dict[str, Any], number: int, view: View) -> tuple[Subscription, group_ops.Start]:
    """`log.subscribe` without `group`."""
    since, epoch = field(frame, "since", _read_number, None), field(frame, "epoch", read_name, None)
    since_time = field(frame, "since_time", read_moment, None)
    if since is not None and since_time is not None:
        raise Refusal("bad_request", "since or since_time, not both", detail={"field": "since_time"})
    cursor = field(frame, "cursor", read_name, None)
    if cursor is not None and since_time is not None:
        raise Refusal("bad_request", "cursor or since_time, not both", detail={"field": "since_time"})
    if cursor is not None:
        session.grants.demand("subscribe", view.room, "cursor/" + cursor)
    retained, retained_after = field(frame, "retained", read_bool, False), field(frame, "retained_after", _read_number, 0)
    subscription = Subscription(number, session, view)

    def begin(feed: Feed, room: Room) -> None:
        start, now = since, room.seq
        if cursor is not None:
            # Stored with this turn, and confirmed after it: what comes before the first acknowledgement is not lost either.
            start = room.cursors.begin(cursor, now if since is None else min(since, now))
        kept = [seq for seq in room.topics.retained(view.matches_subject) if seq > retained_after] if retained else ()
        live = start is None and since_time is None and not kept
        if live:
            feed.follow(subscription, now)

        def begin_after(sequence: int) -> None:
            session.reply(request, {"since": sequence, "epoch": feed.epoch}, seq=now, epoch=feed.epoch)
            if not live and session.subscriptions.get(number) is subscription:
                feed.catch_up(subscription, sequence, epoch, now, kept)

        async def begin_at(time: float) -> None:
            begin_after(await _after(session, view.room, feed, now, time))

        def confirm() -> None:
            if since_time is not None:
                session.answer_later(request, begin_at(since_time))
            else:
                begin_after(now if start is None else start)

        room.effect(Then(session.id, request, confirm))

    return subscription, begin


def unsubscribe(session: Session, room: str, may_open: bool, request: int | None, frame: dict[str, Any]) -> None:
    """At once, also of one whose turn has not come: that finds its number free, or another's, and begins nothing."""
    session.unsubscribe(_number(frame))
    session.reply(request, {})


def read(session: Session, room: str, may_open: bool, request: int | None, frame: dict[str, Any]) -> None:
    view = _view(session, room, frame)
    after, limit = field(frame, "after", _read_number, 0), field(frame, "limit", _read_limit, 100)
    since_time = field(frame, "since_time", read_moment, None)

    def begin(hosted: HostedRoom, env: Env) -> None:
        assert hosted.room is not None
        until = hosted.room.seq

        async def answer() -> None:
            start = after if since_time is None else await _after(session, room, hosted.feed, until, since_time)
            page = await read_page(session.context.node.engine, hosted.feed, view, max(after, start), until, limit)
            head = b"\x84" + pack("id") + pack(request) + pack("seq") + pack(until) + pack("epoch") + pack(hosted.feed.epoch)
            session.send(head + pack("ok") + page)

        if request is not None:
            hosted.room.effect(Then(session.id, request, lambda: session.answer_later(request, answer())))

    session.context.node.call(room, begin, session.caller, may_open=may_open, request=request)


LOG_OPERATIONS: Final[dict[str, LogOperation]] = {
    "log.subscribe": subscribe,
    "log.unsubscribe": unsubscribe,
    "log.read": read,
    "group.delete": group_ops.delete,
}
