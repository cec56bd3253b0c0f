"""`token ACTOR` mints a token, `token revoke ACTOR|JTI` ends one. Both need an admin's token, as `credentials.json` has it."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

from nolag_broker.wire.grants import ALL_BUT_ADMIN, VERBS

from .session import Access, AsJson, DataPath, Session, Token, Url, with_broker

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def token(
    what: Annotated[list[str], typer.Argument(metavar="ACTOR | revoke ACTOR|JTI", help="Who the token is for.", show_default=False)],
    room: Annotated[list[str] | None, typer.Option("--room", help="Only these rooms, patterns with * and **.", show_default=False)] = None,
    verb: Annotated[list[str] | None, typer.Option("--verb", help=f"Only these verbs: {', '.join(VERBS)}.", show_default=False)] = None,
    role: Annotated[list[str] | None, typer.Option("--role", help="A role, for approvers.", show_default=False)] = None,
    ttl: Annotated[str, typer.Option("--ttl", help="How long it lasts: 90s, 15m, 8h, 7d.")] = "15m",
    url: Url = None,
    own_token: Token = None,
    path: DataPath = None,
    as_json: AsJson = False,
) -> None:
    """Print a token for ACTOR, or end the ones of an actor (or a single one by its JTI) with `token revoke`."""
    access = Access(url, own_token, path)
    if what[0] == "revoke":
        if len(what) != 2:
            raise typer.BadParameter("name the ACTOR or the JTI to revoke: langgraph-nolag token revoke ACTOR", param_hint="revoke")
        _revoke(access, as_json, what[1])
    elif len(what) == 1:
        _mint(access, as_json, what[0], room or [], verb or [], role or [], _seconds(ttl))
    else:
        raise typer.BadParameter(f"one ACTOR at a time, not {' '.join(what)!r}", param_hint="ACTOR")


def _mint(access: Access, as_json: bool, actor: str, rooms: list[str], verbs: list[str], roles: list[str], ttl: float) -> None:
    for verb in verbs:
        if verb not in VERBS:
            raise typer.BadParameter(f"unknown verb {verb!r}; verbs are {', '.join(VERBS)}", param_hint="--verb")

    async def command(session: Session) -> None:
        import jwt

        grants = [{"room": room, "topics": ["**"], "verbs": verbs or list(ALL_BUT_ADMIN)} for room in rooms or ["**"]]
        minted = (await session.ask("token.mint", actor=actor, grants=grants, roles=roles, ttl=ttl))["token"]
        claims = jwt.decode(minted, options={"verify_signature": False})  # for the jti; it comes straight from the broker
        facts = {"actor": actor, "jti": claims["jti"], "grants": grants, "roles": roles, "ttl": ttl, "expires": claims["exp"]}
        session.out.say({**facts, "token": minted}, minted)

    with_broker(access, as_json, command)


def _revoke(access: Access, as_json: bool, name: str) -> None:
    # a jti is 16 hexadecimal digits, which no actor should be called
    fields: dict[str, Any] = {"jti": name} if re.fullmatch(r"[0-9a-f]{16}", name) else {"actor": name}

    async def command(session: Session) -> None:
        await session.ask("token.revoke", **fields)
        session.out.say({"revoked": fields}, f"revoked: {next(iter(fields))} {name}")

    with_broker(access, as_json, command)


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    if not match or float(match[1]) <= 0:
        raise typer.BadParameter(f"{text!r} is no length of time; write 90s, 15m, 8h or 7d", param_hint="--ttl")
    return float(match[1]) * _UNITS[match[2] or "s"]
