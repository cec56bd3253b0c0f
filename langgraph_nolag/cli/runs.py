"""`runs`: graphs that run in the background."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..client.pages import approvals_listed
from ..errors import BadRequest, TaskNotFound
from .output import ago, plain, table
from .session import Access, AsJson, DataPath, Room, Session, Token, Url, with_broker

if TYPE_CHECKING:
    from ..patterns.runs import RunInfo, RunResult, Runs

app = typer.Typer(name="runs", help="Start runs of graphs, see them, cancel them.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="The run, or its first characters, or its thread.")]
Thread = Annotated[str | None, typer.Option("--thread", help="LangGraph's thread id.", show_default=False)]
TheRoom = Annotated[str, typer.Option("--room", help="The room whose workers serve the graph.")]


WAITING = "a worker that serves it with resume=True and is free"
PARKED = "the run that has its thread"


@app.command("list")
def list_(
    thread: Thread = None, room: Room = None, url: Url = None, token: Token = None, path: DataPath = None, as_json: AsJson = False
) -> None:
    """List the runs that have not ended, and those that failed."""

    async def command(session: Session) -> None:
        found = [
            (name, info) for name in await session.rooms(room) for info in await _runs(session, name).list(thread_id=thread, limit=1000)
        ]
        columns = ("ID", "ROOM", "GRAPH", "THREAD", "STATE", "ATTEMPT", "WORKER", "STARTED", "LAST ERROR")
        rows = [_row(name, info) for name, info in sorted(found, key=lambda each: each[1].created)]
        session.out.show({"runs": [_json(name, info) for name, info in found]}, lambda screen: table(screen, columns, rows, "no runs"))

    with_broker(Access(url, token, path), as_json, command)


@app.command("show")
def show(id: Id, room: Room = None, url: Url = None, token: Token = None, path: DataPath = None, as_json: AsJson = False) -> None:
    """Show how a run is, or how it ended; of a thread, what it waits for."""

    async def command(session: Session) -> None:
        try:
            name, info = await _find(session, room, id)
        except TaskNotFound:
            value = await _thread(session, room, id)
            if value is None:
                raise
        else:
            result = await _runs(session, name).result(info.id, timeout=15.0) if info.state == "completed" else None
            waits_for = {"waiting": [WAITING], "parked": [PARKED]}.get(info.state) or await _gates(session, name, info.thread_id)
            value = {**_json(name, info), "waits_for": waits_for, **({} if result is None else {"result": _result(result)})}
        session.out.say(value, json.dumps(plain(value), indent=2, ensure_ascii=False))

    with_broker(Access(url, token, path), as_json, command)


@app.command("cancel")
def cancel(id: Id, room: Room = None, url: Url = None, token: Token = None, path: DataPath = None, as_json: AsJson = False) -> None:
    """End a run; its nodes are stopped, its thread stays at its last checkpoint."""

    async def command(session: Session) -> None:
        name, info = await _find(session, room, id)
        state = await _runs(session, name).cancel(info.id)
        session.out.say({"run": info.id, "room": name, "state": state}, f"run {info.id} of {info.graph} is now {state}")

    with_broker(Access(url, token, path), as_json, command)


@app.command("start")
def start(
    graph: Annotated[str, typer.Argument(help="The graph's name, as its workers have it.")],
    input: Annotated[str, typer.Argument(metavar="INPUT", help="JSON; without it the thread goes on where it stands.")] = "null",
    room: TheRoom = "default",
    thread: Thread = None,
    on_busy: Annotated[str, typer.Option("--on-busy", help="queue, reject or interrupt, where the thread is run already.")] = "queue",
    wait: Annotated[bool, typer.Option("--wait", help="Wait for its end, and print its output.")] = False,
    url: Url = None,
    token: Token = None,
    path: DataPath = None,
    as_json: AsJson = False,
) -> None:
    """Start a run in the background. A worker that serves the graph with resume=True carries it out."""

    async def command(session: Session) -> None:
        try:
            value = json.loads(input)
        except ValueError as error:
            raise BadRequest(f"INPUT is not JSON: {error}") from None
        config = {} if thread is None else {"configurable": {"thread_id": thread}}
        run = await _runs(session, room).start(graph, value, config, on_busy=on_busy)  # type: ignore[arg-type]
        shown = {"run": run.id, "room": room, "thread": run.thread_id, "state": run.state}
        said = f"run {run.id} of {graph} is {run.state}, thread {run.thread_id}"
        if not wait:
            session.out.say(shown, said)
            return
        if not as_json:  # without a worker this waits for ever: whoever looks on has the id, and what is needed
            hint = f"; {WAITING} takes it" if run.state == "waiting" else ""
            typer.echo(said + hint, err=True)
        result = _result(await run.result())
        session.out.say({**shown, "result": result}, json.dumps(plain(result), indent=2, ensure_ascii=False))

    with_broker(Access(url, token, path), as_json, command)


def _runs(session: Session, room: str) -> Runs:
    from ..patterns.runs import Runs

    return Runs(session.link(room))


async def _find(session: Session, room: str | None, id: str) -> tuple[str, RunInfo]:
    found = []
    for name in await session.rooms(room):
        try:
            return name, await _runs(session, name).get(id)
        except TaskNotFound:
            there = await _runs(session, name).list()
            found += [(name, info) for info in there if info.id.startswith(id) or info.thread_id == id]
    if not found:
        raise TaskNotFound(f"no run begins with {id!r}, or goes on in a thread of this name; `langgraph-nolag runs list` shows them")
    if len(found) > 1:
        raise BadRequest(f"{len(found)} runs begin with {id!r}, or are of this thread; give one: {', '.join(info.id for _, info in found)}")
    return found[0]


async def _thread(session: Session, room: str | None, thread: str) -> dict[str, Any] | None:
    """A thread of which nothing runs, and which waits for people."""
    for name in await session.rooms(room):
        if gates := await _gates(session, name, thread):
            return {"room": name, "thread": thread, "state": "interrupted", "waits_for": gates}
    return None


async def _gates(session: Session, room: str, thread: str | None) -> list[str]:
    """The gates of a thread that nobody has decided yet."""
    pending = await approvals_listed(partial(session.ask, "approval.list", room), ["pending"])
    return [f"approval {each['approval']}: {each['action']}" for each in pending if thread is not None and each.get("thread") == thread]


def _json(room: str, info: RunInfo) -> dict[str, Any]:
    shown = {"run": info.id, "room": room, "graph": info.graph, "thread": info.thread_id, "state": info.state, "attempt": info.attempt}
    return {**shown, "created": info.created, "worker": info.holder, "errors": list(info.errors)}


def _result(result: RunResult) -> dict[str, Any]:
    return {"status": result.status, "values": result.values, "next": list(result.next), "interrupts": list(result.interrupts)}


def _row(room: str, info: RunInfo) -> tuple[str, ...]:
    error = info.errors[-1]["error"] if info.errors else None
    last = f"{error['type']}: {error['message']}" if error else ""
    what = (info.id, room, info.graph.partition("@")[0], info.thread_id or "", info.state, str(info.attempt), info.holder or "")
    return (*what, ago(info.created), " ".join(last.split())[:80])
