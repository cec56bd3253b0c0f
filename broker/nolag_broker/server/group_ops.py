"""Subscriptions that share: `log.subscribe` with `group`, and `group.delete`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ..core.commands.fields import MAX_INT, integer, listed, read_lease, read_name, read_pattern, read_positive_seconds, refuse
from ..core.room import Room
from ..core.turn import Env, GroupKey, Reply
from ..wire.codes import Refusal
from .fanout import Feed
from .hosted import HostedRoom
from .readers import View
from .requested import field
from .sharing import Patience, Seat

if TYPE_CHECKING:
    from .session import Session

Start = Callable[[Feed, Room], None]
"""Begins a subscription, in its turn. Raises `Refusal`: then there is none."""

MAX_IN_FLIGHT: Final = 1000
ACK_WITHIN: Final = 60.0
IN_FLIGHT: Final = 100

_read_number = integer(0, MAX_INT)
_read_in_flight = integer(1, MAX_IN_FLIGHT)


def _read_held(value: Any, field: str) -> tuple[int, int]:
    if type(value) is not list or len(value) != 2:
        refuse(field, "a list of [sequence, attempt]")
    return _read_number(value[0], field), _read_number(value[1], field)


_read_holding = listed(_read_held)


def join(session: Session, request: int | None, frame: dict[str, Any], number: int, view: View) -> tuple[Seat, Start]:
    """`log.subscribe` with `group`."""
    for name in ("cursor", "since_time", "retained"):
        if frame.get(name):
            raise Refusal("bad_request", f"group or {name}, not both", detail={"field": name})
    group = _group(frame)
    session.grants.demand("subscribe", view.room, "group/" + group[0])
    since, epoch = field(frame, "since", _read_number, None), field(frame, "epoch", read_name, None)
    key = (session.actor, session.instance, field(frame, "member", _read_number, 0))
    holding = field(frame, "holding", _read_holding, ())
    in_flight = field(frame, "max_in_flight", _read_in_flight, IN_FLIGHT)
    seat = Seat(number, group[0], session, view, in_flight, field(frame, "ack_within", read_positive_seconds, ACK_WITHIN))

    def begin(feed: Feed, room: Room) -> None:
        now = room.seq
        shared = room.groups.begin(group, now if since is None else min(since, now))
        if request is not None:  # with this turn: then the group is stored
            room.effect(Reply(session.id, request, {"since": shared.through, "epoch": feed.epoch}, seq=now))
        settings = session.context.settings
        patience = Patience(settings.lease, settings.disconnect_grace)
        # What a broker before this one dealt is not known here: who has it in hand comes back first, and says so.
        sharing = feed.share(shared, patience, feed.opened + settings.disconnect_grace if shared.found else 0.0)
        sharing.join(key, seat, dict(holding) if epoch in (None, feed.epoch) else {})

    return seat, begin


def delete(session: Session, room: str, may_open: bool, request: int | None, frame: dict[str, Any]) -> None:
    group, lease = _group(frame), field(frame, "lease", read_lease, None)
    session.grants.demand("subscribe", room, "group/" + group[0])

    def begin(hosted: HostedRoom, env: Env) -> None:
        assert hosted.room is not None
        try:
            hosted.room.tasks.check_lease(lease, session.caller)
        except Refusal as refusal:
            session.refuse(request, refusal)
            return
        if hosted.feed.is_shared(group):
            session.refuse(request, Refusal("bad_request", f"the group {group[0]!r} has members", detail={"field": "group"}))
            return
        hosted.room.groups.delete(group)
        if request is not None:
            hosted.room.effect(Reply(session.id, request, {}, seq=hosted.room.seq))

    session.context.node.call(room, begin, session.caller, may_open=may_open, request=request)


def _group(frame: dict[str, Any]) -> GroupKey:
    if frame.get("group") is None:
        raise Refusal("bad_request", "the request needs group, a name", detail={"field": "group"})
    return read_name(frame["group"], "group"), field(frame, "types", read_pattern, "**"), field(frame, "subject", read_pattern, "**")
