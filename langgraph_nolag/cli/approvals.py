"""`approvals`: what waits for a person, in every room the token covers, and the answers to it."""

from __future__ import annotations

import json
import time
from collections import Counter
from functools import partial
from typing import Annotated, Any

import typer

from ..client.pages import approvals_listed
from ..errors import ApprovalNotFound, BadRequest
from .output import ago, plain, span, table
from .session import Access, AsJson, DataPath, Room, Session, Token, Url, with_broker

app = typer.Typer(name="approvals", help="See and answer what waits for a person.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="The approval; its first characters do, when no other begins so.")]
Message = Annotated[str | None, typer.Option("--message", "-m", help="A word for whoever asked.", show_default=False)]
By = Annotated[str | None, typer.Option("--by", help="A label beside the token's actor, for the audit trail.", show_default=False)]
Args = Annotated[str | None, typer.Option("--args", metavar="JSON", help="The arguments, edited; - reads them from standard input.")]

_EVERY_STATE = ["pending", "decided"]


@app.command("list")
def list_(
    everything: Annotated[bool, typer.Option("--all", help="The decided ones too.")] = False,
    room: Room = None,
    url: Url = None,
    token: Token = None,
    path: DataPath = None,
    as_json: AsJson = False,
) -> None:
    """List what waits for an answer."""

    async def command(session: Session) -> None:
        found = await _all(session, room, _EVERY_STATE if everything else ["pending"])
        rows = [_row(approval) for approval in found]
        columns = ("ID", "ROOM", "ACTION", "FROM", "ASKED", "STATE", "ANSWERS")
        session.out.show(
            {"approvals": [_value(approval) for approval in found]},
            lambda screen: table(screen, columns, rows, "nothing waits for an answer"),
        )

    with_broker(Access(url, token, path), as_json, command)


@app.command("show")
def show(id: Id, room: Room = None, url: Url = None, token: Token = None, path: DataPath = None, as_json: AsJson = False) -> None:
    """Show one: what is asked, of whom, and who answered what."""

    async def command(session: Session) -> None:
        approval = await _find(session, room, id)
        session.out.show(_value(approval), lambda screen: _render(screen, approval))

    with_broker(Access(url, token, path), as_json, command)


@app.command("approve")
def approve(
    id: Id,
    room: Room = None,
    message: Message = None,
    by: By = None,
    url: Url = None,
    token: Token = None,
    path: DataPath = None,
    as_json: AsJson = False,
) -> None:
    """Say yes."""
    _decide(Access(url, token, path), as_json, room, id, "approve", None, message, by)


@app.command("edit")
def edit(
    id: Id,
    args: Args,
    room: Room = None,
    message: Message = None,
    by: By = None,
    url: Url = None,
    token: Token = None,
    path: DataPath = None,
    as_json: AsJson = False,
) -> None:
    """Say yes, with other arguments."""
    if args is None:
        raise typer.BadParameter("edit needs the new arguments: --args JSON", param_hint="--args")
    _decide(Access(url, token, path), as_json, room, id, "edit", args, message, by)


@app.command("reject")
def reject(
    id: Id,
    room: Room = None,
    message: Message = None,
    by: By = None,
    url: Url = None,
    token: Token = None,
    path: DataPath = None,
    as_json: AsJson = False,
) -> None:
    """Say no."""
    _decide(Access(url, token, path), as_json, room, id, "reject", None, message, by)


@app.command("respond")
def respond(
    id: Id,
    message: Annotated[str | None, typer.Option("--message", "-m", help="The answer; needed.", show_default=False)] = None,
    room: Room = None,
    by: By = None,
    url: Url = None,
    token: Token = None,
    path: DataPath = None,
    as_json: AsJson = False,
) -> None:
    """Answer in words."""
    if message is None:
        raise typer.BadParameter("respond needs the words: --message TEXT", param_hint="--message")
    _decide(Access(url, token, path), as_json, room, id, "respond", None, message, by)


@app.command("delegate")
def delegate(
    id: Id,
    to: Annotated[str, typer.Argument(metavar="TO", help="An actor, or role:NAME: whoever of that role votes first.")],
    room: Room = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Why, for the audit trail.", show_default=False)] = None,
    url: Url = None,
    token: Token = None,
    path: DataPath = None,
    as_json: AsJson = False,
) -> None:
    """Pass your vote on one approval on to somebody else."""

    async def command(session: Session) -> None:
        approval = await _find(session, room, id)
        fields: dict[str, Any] = {"reason": reason} if reason is not None else {}
        await session.ask("approval.delegate", approval["room"], approval=approval["approval"], to=to, **fields)
        value = {"approval": approval["approval"], "room": approval["room"], "action": approval["action"], "to": to}
        session.out.say(value, f"your vote on {approval['action']} ({approval['approval']}) is with {to}")

    with_broker(Access(url, token, path), as_json, command)


def _decide(
    access: Access, as_json: bool, room: str | None, id: str, type: str, args: str | None, message: str | None, by: str | None
) -> None:
    edited = _parse(args) if args is not None else None

    async def command(session: Session) -> None:
        from ..client.body import encode

        approval = await _find(session, room, id)
        if type not in approval["allow"]:
            raise BadRequest(f"{type} is not among the answers asked for: {', '.join(approval['allow'])}")
        if type == "edit" and isinstance(_shown(approval), dict) and not isinstance(edited, dict):
            raise BadRequest('what is asked about is a map of names to values; --args must be one too: {"name": value}')
        # the digest binds the answer to what was shown: had it changed since, the broker would refuse
        fields: dict[str, Any] = {"approval": approval["approval"], "type": type, "digest": approval["digest"]}
        fields |= {key: value for key, value in (("message", message), ("by", by)) if value is not None}
        if edited is not None:
            fields["body"] = encode(edited)
        answer = await session.ask("approval.decide", approval["room"], **fields)
        done = answer["state"] != "pending"
        text = f"{type}: {approval['action']} ({approval['approval']})"
        if not done:
            now = (await session.ask("approval.get", approval["room"], approval=approval["approval"]))["approval"]
            text += f"; recorded, {_agreed(now, type)} of {now['quorum']} votes"
        value = {
            "approval": approval["approval"],
            "room": approval["room"],
            "action": approval["action"],
            "type": type,
            "state": answer["state"],
        }
        session.out.say(value, text)

    with_broker(access, as_json, command)


def _parse(args: str) -> Any:
    try:
        return json.loads(typer.get_text_stream("stdin").read() if args == "-" else args)
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"not JSON: {error}", param_hint="--args") from None


async def _all(session: Session, room: str | None, states: list[str]) -> list[dict[str, Any]]:
    found = []
    for name in await session.rooms(room):
        infos = await approvals_listed(partial(session.ask, "approval.list", name), states)
        found += [{**approval, "room": name} for approval in infos]
    return sorted(found, key=lambda approval: float(approval["created"]))


async def _find(session: Session, room: str | None, id: str) -> dict[str, Any]:
    """The one approval whose id is, or begins with, `id`; one that waits goes before one that is decided."""
    for states in (["pending"], _EVERY_STATE):
        found = await _all(session, room, states)
        exact = [approval for approval in found if approval["approval"] == id]
        if matching := exact or [approval for approval in found if str(approval["approval"]).startswith(id)]:
            if len(matching) > 1:
                raise BadRequest(f"{len(matching)} approvals begin with {id!r}; give more of the id")
            return matching[0]
    raise ApprovalNotFound(f"no approval begins with {id!r}; `langgraph-nolag approvals list` shows what waits")


def _shown(approval: dict[str, Any]) -> Any:
    from ..client.body import read

    return read(approval.get("body"), approval.get("ct"))


def _value(approval: dict[str, Any]) -> dict[str, Any]:
    value = {**_readable(approval), "votes": [_readable(vote) if vote.get("body") else vote for vote in approval["votes"]]}
    if decision := approval.get("decision"):
        value["decision"] = _readable(decision)
    return value


def _readable(said: dict[str, Any]) -> dict[str, Any]:
    return {**{key: item for key, item in said.items() if key not in ("body", "ct")}, "args": _shown(said)}


def _agreed(approval: dict[str, Any], type: str | None = None) -> int:
    """How many votes count together at most: those for the same. With `type`: of such votes."""
    votes = [vote for vote in approval["votes"] if type in (None, vote["type"])]
    said = Counter((vote["type"], vote.get("digest"), vote["type"] == "respond" and vote.get("message")) for vote in votes)
    return max(said.values(), default=0)


def _row(approval: dict[str, Any]) -> tuple[str, ...]:
    state = approval["state"]
    if state == "pending" and approval["quorum"] > 1:
        state = f"{_agreed(approval)} of {approval['quorum']} votes"
    if passed := approval.get("delegations"):
        state += "; delegated: " + ", ".join(f"{each['from']} to {each['to']}" for each in passed)
    if decision := approval.get("decision"):
        state = f"{decision['type']} by {decision.get('actor') or decision.get('reason')}"
    asked = ago(approval["created"])
    return (approval["approval"], approval["room"], approval["action"], approval["requester"], asked, state, ", ".join(approval["allow"]))


def _render(screen: Any, approval: dict[str, Any]) -> None:
    facts = [
        ("approval", approval["approval"]),
        ("room", approval["room"]),
        ("action", approval["action"]),
        ("from", f"{approval['requester']}, {ago(approval['created'])}"),
        ("state", approval["state"]),
        ("answers", ", ".join(approval["allow"])),
    ]
    if approval.get("thread"):
        facts.append(("thread", approval["thread"]))
    if approval.get("description"):
        facts.append(("asks", approval["description"]))
    if approval.get("approvers"):
        facts.append(("approvers", ", ".join(approval["approvers"])))
    if approval["quorum"] > 1:
        facts.append(("quorum", str(approval["quorum"])))
    if approval.get("expires") and approval["state"] == "pending":
        facts.append(("expires", f"in {span(approval['expires'] - time.time())}, as a no"))
    facts += [("delegated", _delegation(passed)) for passed in approval.get("delegations", ())]
    facts += [("vote", _vote(vote)) for vote in approval["votes"]]
    if decision := approval.get("decision"):
        facts.append(("decision", _vote(decision)))
    for name, text in facts:
        lines = text.replace("\n", "\n" + " " * 11)  # so that a text can't pass for further facts
        screen.print(f"{name:<10} {lines}", markup=False, soft_wrap=True)
    screen.print()
    _render_args(screen, _shown(approval))


def _vote(vote: dict[str, Any]) -> str:
    label = f" ({vote['by']})" if vote.get("by") else ""
    message = f": {vote['message']}" if vote.get("message") else ""
    label += f" for {', '.join(vote['for'])}" if vote.get("for") else ""
    edited = f", to {json.dumps(plain(_shown(vote)), ensure_ascii=False)}" if vote["type"] == "edit" and vote.get("body") else ""
    return f"{vote['type']} by {vote.get('actor') or vote.get('reason')}{label}, {ago(vote['time'])}{edited}{message}"


def _delegation(passed: dict[str, Any]) -> str:
    reason = f": {passed['reason']}" if passed.get("reason") else ""
    taken = f" (taken by {passed['taken']})" if passed.get("taken", passed["to"]) != passed["to"] else ""
    return f"{passed['from']} to {passed['to']}{taken}, {ago(passed['time'])}{reason}"


def _render_args(screen: Any, args: Any) -> None:
    """What is to be approved. Long texts stand as they are, not as JSON strings."""
    if not isinstance(args, dict):
        screen.print(args if isinstance(args, str) else json.dumps(plain(args), ensure_ascii=False, indent=2), markup=False, soft_wrap=True)
        return
    for key, value in args.items():
        key = str(key).replace("\n", "\\n")
        if isinstance(value, str) and "\n" in value:
            screen.print(f"{key}:\n", markup=False)
            screen.print(value, markup=False, soft_wrap=True)
        else:
            text = value if isinstance(value, str) else json.dumps(plain(value), ensure_ascii=False)
            screen.print(f"{key}: {text}", markup=False, soft_wrap=True)
