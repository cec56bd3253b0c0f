"""The first frame of a connection: who is there."""

from __future__ import annotations

import asyncio
from typing import Any

from websockets.exceptions import ConnectionClosed

from ..core.commands.fields import read_name
from ..settings import Settings
from ..wire.codec import DIALECT, pack, unpack
from ..wire.codes import Closes, Refusal
from .connection import Connection
from .context import Context
from .logs import get_logger
from .operations import SERVER
from .session import Session

log = get_logger("session")


async def welcome(context: Context, connection: Connection) -> Session | None:
    """Wait for the auth frame and answer it. None: the connection was refused, or is gone."""
    try:
        async with asyncio.timeout(context.settings.auth_timeout):
            message = await connection.inlet.first()
    except TimeoutError:
        await connection.close(Closes.AUTH_TIMEOUT.code, Closes.AUTH_TIMEOUT.reason)
        return None
    if message is None:
        return None
    try:
        session = _judge(context, connection, message)
    except Refusal as refusal:
        await _refuse(connection, refusal)
        return None
    connection.admit(context.settings.max_frame)
    session.send(pack(_welcome(context.settings, session)))
    return session


def _judge(context: Context, connection: Connection, message: bytes) -> Session:
    frame = unpack(message)
    if type(frame) is not dict:
        raise Refusal("bad_frame", "the first message is an auth frame")
    if frame.get("type") != "auth":
        raise Refusal("not_authenticated", "the first frame must be {type: 'auth', dialect, token, instance}")
    if frame.get("dialect") != DIALECT:
        raise Refusal("bad_request", f"this broker speaks the dialect {DIALECT!r}")
    instance = read_name(frame.get("instance"), "instance")
    return Session(context, connection, context.authority.verify(frame.get("token")), instance)


async def _refuse(connection: Connection, refusal: Refusal) -> None:
    log.info("connection refused", code=refusal.code)
    try:
        await connection.send(pack({"type": "auth", "success": False, "error": refusal.code, "message": refusal.message}))
    except ConnectionClosed:
        return
    if refusal.code == "bad_frame":
        await connection.close(Closes.BAD_FRAME.code, Closes.BAD_FRAME.reason)
    else:
        await connection.close(1000)  # it was told why, and is not waiting for anything


def _welcome(settings: Settings, session: Session) -> dict[str, Any]:
    return {
        "type": "auth",
        "success": True,
        "dialect": DIALECT,
        "actor": session.actor,
        "instance": session.instance,
        "session": session.id,
        "roles": sorted(session.identity.roles),
        "heartbeat": settings.heartbeat,
        "lease": settings.lease,
        "max_frame": settings.max_frame,
        "max_body": settings.max_body,
        "max_value": settings.max_value,
        "server": SERVER,
        "expires": session.identity.expires,
    }
