"""The patterns as LangGraph nodes: durable, and safe to resume.

A node may run more than once: after a crash, or when its thread is resumed. Whatever one of these nodes sends carries
the key of the node execution (`execution.py`), so the second run attaches to what the first one did.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langgraph.types import Command

from ..client.body import decode, encode
from ..patterns.approve import Decision
from ..patterns.handoff import Handoff
from . import mapping
from .execution import execution_key
from .gate import gate
from .mapping import Source, Target
from .rooms import room_here

if TYPE_CHECKING:
    from ..client.link import RoomLink

Work = Callable[["RoomLink", str], Coroutine[Any, Any, Any]]
"""What a node does in the room, given the key of its execution. Runs on the caller's loop, or on the I/O thread: no user code in it."""


def handoff_node(
    room: Any,
    type: str,
    *,
    capabilities: Sequence[str] = (),
    payload: Source = None,
    result: Target = None,
    priority: int = 0,
    timeout: float | None = None,
    max_attempts: int = 3,
    concurrency_key: Source = None,
    name: str | None = None,
) -> Runnable[Any, Any]:
    """A node that hands its work to a capable agent of the room and returns the agent's result.

    A second run attaches to the task of the first, running or done. A run after the task had failed dispatches a new one.

    Args:
        room: a room handle, a joined room, an address, or None: the room of the distributed graph.
        type: the task's type.
        capabilities: what the agent must be able to do.
        payload: what the task carries: a key of the state, or a function of it; None: the whole state.
        result: where the result goes: a key of the state, or a function that makes the update; None: the result is the update.
        priority, timeout, max_attempts: as of `room.handoff.dispatch`.
        concurrency_key: tasks with the same one run one after the other: a function of the state, or a key of it.
        name: the node's name in traces.

    Raises (when it runs):
        TaskFailed, TaskTimeout, TaskCancelled: how the task ended.
    """

    def prepare(state: Any) -> Work:
        carried = mapping.read(state, payload)
        lane = None if concurrency_key is None else str(mapping.read(state, concurrency_key))

        async def work(link: RoomLink, key: str) -> Any:
            handoff = Handoff(link)
            attempt = 0
            while True:
                task = await handoff.dispatch(
                    type,
                    carried,
                    capabilities=list(capabilities),
                    key=f"{key}-{attempt}",
                    priority=priority,
                    timeout=timeout,
                    max_attempts=max_attempts,
                    concurrency_key=lane,
                )
                # An earlier run was told of this end already; what failed then is tried anew.
                if not (task.attached and task.state in ("failed", "timed_out", "cancelled")):
                    return await task.result()
                attempt += 1

        return work

    return _node(room, name or f"handoff:{type}", prepare, lambda value: mapping.update(value, result, f"the result of {type!r}"))


def blackboard_node(
    room: Any, *, write: Mapping[str, Source] | None = None, read: Mapping[str, str] | None = None, name: str = "blackboard"
) -> Runnable[Any, Any]:
    """A node that writes to the blackboard, then reads from it.

    A second run writes nothing that the first one wrote, even if others have written since.

    Args:
        room: as of `handoff_node`.
        write: blackboard key -> what is written: a key of the state, or a function of it.
        read: key of the state -> blackboard key. Keys that are absent from the blackboard are left out.
        name: the node's name in traces.
    """

    def prepare(state: Any) -> Work:
        written = {key: encode(mapping.read(state, source)) for key, source in (write or {}).items()}

        async def work(link: RoomLink, key: str) -> Any:
            for entry, body in written.items():
                await link.acall("blackboard.set", key=entry, body=body, mid=f"{key}-set")
            found = {}
            for target, entry in (read or {}).items():
                value = (await link.acall("blackboard.get", key=entry))["entry"]
                if value is not None:
                    found[target] = decode(value["body"], value.get("ct"))
            return found

        return work

    return _node(room, name, prepare, lambda found: found)


def inbox_node(
    room: Any, to: str | Callable[[Any], str], *, message: Source = None, keep: bool = True, name: str = "inbox"
) -> Runnable[Any, Any]:
    """A node that sends a message to one agent's inbox, once.

    Args:
        room: as of `handoff_node`.
        to: the receiver, or a function of the state that names it.
        message: what is sent: a key of the state, or a function of it; None: the whole state.
        keep: kept until the receiver is there; False: `PeerNotFound` for an absent one.
        name: the node's name in traces.
    """

    def prepare(state: Any) -> Work:
        receiver = to(state) if callable(to) else to
        body = encode(mapping.read(state, message))

        async def work(link: RoomLink, key: str) -> Any:
            await link.acall("inbox.send", to=receiver, body=body, keep=keep, key=key)

        return work

    return _node(room, name, prepare, lambda _: None)


def observe_node(room: Any, type: str, *, body: Source = None, severity: str = "info", name: str | None = None) -> Runnable[Any, Any]:
    """A node that emits an event, once.

    Args:
        room: as of `handoff_node`.
        type: the event's type.
        body: what it says: a key of the state, or a function of it; None: the whole state.
        severity: debug, info, warning or error.
        name: the node's name in traces.
    """

    def prepare(state: Any) -> Work:
        said = encode(mapping.read(state, body))

        async def work(link: RoomLink, key: str) -> Any:
            await link.acall("event.emit", type=type, severity=severity, body=said, key=key)

        return work

    return _node(room, name or f"observe:{type}", prepare, lambda _: None)


def approval_node(
    room: Any,
    action: str,
    *,
    args: Source = None,
    allow: Sequence[str] = ("approve", "edit", "reject"),
    expires: float | None = None,
    quorum: int = 1,
    approvers: str | Sequence[str] | None = None,
    description: str | Callable[[Any], str] | None = None,
    result: str | Callable[[Decision], Any] | None = None,
    goto: Mapping[str, str | Sequence[str]] | None = None,
    name: str | None = None,
) -> Runnable[Any, Any]:
    """A node that waits for people (see `gate`) and goes where they decide.

    Args:
        room: as of `handoff_node`.
        action: what is to be done.
        args: what is to be approved: a key of the state that holds a map, or a function of the state; None: the whole state.
        allow, expires, quorum, approvers: as of `gate`.
        description: words for people, or a function of the state.
        result: where the decision goes: a key of the state (a map of approved, type, args, message, by), or a function that makes the
            update of it; None: the state stays as it is.
        goto: type of decision -> the node (or nodes) to go to. For a type that is not in it, the node's own edges hold. Note that LangGraph
            follows a node's fixed edges in any case: with `goto`, name every outcome in it, or give the node no fixed edge.
        name: the node's name in traces.
    """

    def run(state: Any) -> Any:
        decision = gate(
            action,
            mapping.read(state, args),
            allow=allow,
            expires=expires,
            quorum=quorum,
            approvers=approvers,
            description=description(state) if callable(description) else description,
            room=room,
        )
        shown = {what: getattr(decision, what) for what in ("approved", "type", "args", "message", "by")}
        changes = None if result is None else result(decision) if callable(result) else {result: shown}
        where = (goto or {}).get(decision.type)
        return changes if where is None else Command(update=changes, goto=where if isinstance(where, str) else list(where))

    return RunnableLambda(run, name=name or f"approval:{action}")


def _node(room: Any, name: str, prepare: Callable[[Any], Work], finish: Callable[[Any], Any]) -> Runnable[Any, Any]:
    """A node of three parts: the user's mappings in, the work in the room, the user's mappings out."""

    def run(state: Any, config: RunnableConfig) -> Any:
        work, link = prepare(state), room_here(room)
        return finish(link.connection.io.run(work(link, execution_key(config, name))))

    async def arun(state: Any, config: RunnableConfig) -> Any:
        work, link = prepare(state), room_here(room)
        return finish(await work(link, execution_key(config, name)))

    return RunnableLambda(run, arun, name=name)
