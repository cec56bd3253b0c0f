"""The operations that belong to no room."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from .. import __version__
from ..core import room
from ..core.turn import ScanAt
from ..engine.base import Engine
from ..wire.codec import pack, unpack
from ..wire.codes import Refusal
from ..wire.topics import check_name
from .auth import SYSTEM, Revocations
from .backup import back_up

if TYPE_CHECKING:
    from .session import Session

Operation = Callable[["Session", "int | None", dict[str, Any]], None]
SERVER: Final = f"nolag-broker/{__version__}"
COMPILED: Final = not room.__file__.endswith(".py")  # see CONTRIBUTING.md
REVOCATION: Final = "revocation"  # the kind of a revocation's record


def ping(session: Session, request: int | None, frame: dict[str, Any]) -> None:
    session.reply(request, {"time": time.time(), "server": SERVER})


def refresh(session: Session, request: int | None, frame: dict[str, Any]) -> None:
    """A newer token of the same actor; what it may see is judged anew from here on."""
    identity = session.context.authority.verify(frame.get("token"))
    if identity.actor != session.actor:
        raise Refusal("access_denied", "the token is not valid for this broker")
    session.assume(identity)
    for number, subscription in list(session.subscriptions.items()):
        try:
            session.grants.admit(subscription.view.room)
            subscription.change_view(subscription.view.under(session))
        except Refusal as refusal:  # it ends, and its number is free
            session.end_subscription(number, refusal)
    session.context.node.refreshed(session.caller, session.rooms)
    session.reply(request, {"expires": identity.expires})


def mint(session: Session, request: int | None, frame: dict[str, Any]) -> None:
    wanted = (frame.get(name) for name in ("actor", "grants", "roles", "ttl"))
    session.reply(request, {"token": session.context.authority.mint_for(session.identity, *wanted)})


async def list_rooms(session: Session, frame: dict[str, Any]) -> dict[str, Any]:
    rooms = await session.context.node.engine.rooms()
    return {"rooms": [{"name": name, "seq": seq} for name, seq in sorted(rooms.items()) if name != SYSTEM and session.grants.touches(name)]}


async def create_room(session: Session, frame: dict[str, Any]) -> dict[str, Any]:
    name = frame.get("name")
    if not isinstance(name, str):
        raise Refusal("bad_request", "room.create needs name, a string", detail={"field": "name"})
    if check_name(name, "room") == SYSTEM or not session.grants.is_admin(name):
        raise Refusal("not_authorized", f"creating the room {name!r} needs the verb admin")
    await session.context.inside.ask(name, op="room.info")
    return {}


async def revoke(session: Session, frame: dict[str, Any]) -> dict[str, Any]:
    _admin_only(session)
    kinds = [kind for kind in ("actor", "jti") if frame.get(kind) is not None]
    if len(kinds) != 1 or not isinstance(frame[kinds[0]], str):
        raise Refusal("bad_request", "token.revoke needs actor or jti, a string")
    context, kind, now = session.context, kinds[0], time.time()
    name = check_name(frame[kind], kind)
    key = f"{REVOCATION}/{kind}/{hashlib.sha256(name.encode()).hexdigest()}"
    await context.inside.ask(SYSTEM, op="record.write", puts=[[key, pack([kind, name, now]), False]])
    context.revocations.add(kind, name, now)
    context.sessions.close_revoked()
    return {}


async def load_revocations(engine: Engine, revocations: Revocations) -> None:
    """Those that were made before this start."""
    after: str | None = None
    while page := await engine.scan(SYSTEM, ScanAt(f"{REVOCATION}/", after, limit=1000)):
        for _, value in page:
            revocations.add(*unpack(value or b""))
        after = page[-1][0]


async def info(session: Session, frame: dict[str, Any]) -> dict[str, Any]:
    _admin_only(session)
    context = session.context
    rooms = await context.node.engine.rooms()
    durability = context.node.engine.durability
    return {
        "version": __version__,
        "compiled": COMPILED,
        "engine": context.settings.engine,
        "durability": durability,
        "rooms": len(rooms),
        "connections": len(context.sessions),
    }


async def backup(session: Session, frame: dict[str, Any]) -> dict[str, Any]:
    _admin_only(session)
    return await back_up(session.context.node.engine, session.context.settings.path, frame.get("folder"))


def _admin_only(session: Session) -> None:
    if not session.identity.is_admin:
        raise Refusal("not_authorized", "this needs the verb admin on all rooms")


def _later(work: Callable[[Session, dict[str, Any]], Coroutine[Any, Any, dict[str, Any]]]) -> Operation:
    """An operation that has to wait for something: its answer comes when it comes."""
    return lambda session, request, frame: session.answer_later(request, work(session, frame))


OPERATIONS: Final[dict[str, Operation]] = {
    "ping": ping,
    "auth.refresh": refresh,
    "token.mint": mint,
    "token.revoke": _later(revoke),
    "rooms.list": _later(list_rooms),
    "room.create": _later(create_room),
    "broker.info": _later(info),
    "broker.backup": _later(backup),
}
