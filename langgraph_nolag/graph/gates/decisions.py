"""From decisions in a room back to the threads that wait for them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import RunnableConfig
from langgraph.types import Command, Interrupt

from ...client.approvals import Decided
from ...client.latch import Latch
from ...errors import DecisionTimeout
from ..errors import NothingToDecide
from ..rooms import room_of
from .formats import MARKER, approval_of

if TYPE_CHECKING:
    from ...client.link import RoomLink


async def await_decisions(graph: Any, config: RunnableConfig, timeout: float | None = None, *, room: Any = None) -> Command[Any]:
    """Wait until gates of a thread are decided in the room, by whomever and from wherever, and resume with what this returns:

        while (await graph.aget_state(config)).interrupts:
            await graph.ainvoke(await await_decisions(graph, config), config)

    Returns as soon as one gate is decided, with every gate that is decided by then. Gates that are not, and interrupts that are no
    gates, go on waiting. It may be called in any process and at any time, also long after the decision.

    Args:
        graph: the compiled graph, distributed or not, with its checkpointer.
        config: the thread.
        timeout: seconds; None: as long as it takes.
        room: where the gates are, if not in the graph's own room.

    Raises:
        NothingToDecide: no gate of this thread waits.
        DecisionTimeout: nobody decided within `timeout`; the gates stay pending.
        ApprovalNotFound, Disconnected: the decision can't be known.
    """
    gates = _gates((await graph.aget_state(config)).interrupts, config)
    waiting = _Waiting(room_of(graph, room), gates)
    try:
        await waiting.any.wait(timeout)
    except TimeoutError:
        raise _too_late(gates, timeout) from None
    finally:
        waiting.close()
    return waiting.command()


def wait_decisions(graph: Any, config: RunnableConfig, timeout: float | None = None, *, room: Any = None) -> Command[Any]:
    """`await_decisions` for sync code."""
    gates = _gates(graph.get_state(config).interrupts, config)
    waiting = _Waiting(room_of(graph, room), gates)
    try:
        waiting.any.wait_blocking(timeout)
    except TimeoutError:
        raise _too_late(gates, timeout) from None
    finally:
        waiting.close()
    return waiting.command()


class _Waiting:
    """The gates of one thread, followed until the first is decided."""

    def __init__(self, link: RoomLink, gates: dict[str, str]) -> None:
        self._gates = gates
        self._ends: list[Decided] = []
        self.any: Latch[bool] = Latch()
        self._followed = [link.follow_approval(approval, self._on_end) for approval in gates]

    def _on_end(self, end: Decided) -> None:
        self._ends.append(end)
        self.any.set(True)

    def command(self) -> Command[Any]:
        decided = [end for end in self._ends if end.error is None]
        if not decided:
            raise next(end.error for end in self._ends if end.error is not None)
        return Command(resume={self._gates[end.approval]: {MARKER: end.approval} for end in decided})

    def close(self) -> None:
        for followed in self._followed:
            followed.close()


def _gates(interrupts: Iterable[Interrupt], config: RunnableConfig) -> dict[str, str]:
    """Approval -> interrupt, of all gates that wait."""
    gates = {approval: each.id for each in interrupts if (approval := approval_of(each.value)) is not None}
    if not gates:
        raise NothingToDecide(f"no gate of thread {config.get('configurable', {}).get('thread_id')!r} waits for a decision")
    return gates


def _too_late(gates: dict[str, str], timeout: float | None) -> DecisionTimeout:
    return DecisionTimeout(f"nobody decided {', '.join(gates)} within {timeout or 0:g} s; they stay pending")
