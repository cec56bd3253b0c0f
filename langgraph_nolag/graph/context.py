"""Which node execution this code runs in: how `gate()` and the pattern nodes find their room.

Set around the body of every node of a distributed graph: on the worker for the remote ones, on the orchestrator for the
local ones. A graph that a node's body calls by itself inherits the context of that node; the innermost thread and
namespace are LangGraph's to know (`langgraph.config.get_config()`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..client.link import RoomLink


@dataclass(slots=True, eq=False)
class NodeContext:
    """One execution of one node.

    Attributes:
        link: the room that the graph is distributed over.
        graph: name and fingerprint, as in the task's type.
        node: path of the node, `outer/inner` inside sub-graphs.
        thread_id: None when the graph runs without a checkpointer.
        task_id: LangGraph's own id of the execution; the same after a restart.
        checkpoint_ns: LangGraph's namespace of the execution.
        remote: True on a worker, where the interrupt and the approvals are one commit.
        approvals: what this execution asks people for, as `approval.request` fields.
        leased: the thread is run under a lease of the room, and workers can go on with it.
        call_back: on a worker, asks the orchestrator (`Channel.call`), which answers `vote` with `approval.decide`.
        may_vote: in a local node, whether answers that the run brought are of the actor that runs it (`ThreadLease.may_vote`).
    """

    link: RoomLink
    graph: str
    node: str
    thread_id: str | None
    task_id: str
    checkpoint_ns: str
    remote: bool
    approvals: list[dict[str, Any]] = field(default_factory=list)
    call_back: Callable[..., Any] | None = None
    leased: bool = False
    may_vote: Callable[[], bool] | None = None

    def add_approval(self, fields: Mapping[str, Any], body: bytes) -> None:
        """Ask people. Call it before `interrupt()`; the same approval id again changes nothing.

        On a worker the approval is created in the commit that completes the node's task with its interrupt: there is
        never one without the other. In a local node it is requested here and now, blocking, before the interrupt is
        raised; a crash in between leaves an approval whose id the next run of the node attaches to.

        Args:
            fields: of `approval.request` (approval, action, allow, expires, approvers, quorum, …), without `body`.
            body: what is shown to them, encoded.

        Raises:
            NoLagError: in a local node, when the broker refuses the request.
        """
        request = {**fields, "body": body}
        if not self.remote:
            self.link.call("approval.request", **{"follow": False, **request})
        if all(known["approval"] != request["approval"] for known in self.approvals):
            self.approvals.append(request)

    def vote(self, fields: Mapping[str, Any], *, new: bool) -> dict[str, Any] | None:
        """Cast a vote that came in as the answer to an interrupt. It is the vote of whoever runs the thread, never of the
        worker that happens to hold the node: remote, it goes through the orchestrator.

        Args:
            fields: of `approval.decide`.
            new: the answer came with this run of the thread.

        Returns:
            None: it was not cast, as whoever runs the thread did not give the answer.

        Raises:
            NoLagError: the broker refuses the vote.
        """
        if self.call_back is not None:
            answer: dict[str, Any] | None = self.call_back("vote", dict(fields), new)
            return answer
        if new and self.may_vote is not None and not self.may_vote():
            return None
        return self.link.call("approval.decide", **fields)


_current: ContextVar[NodeContext | None] = ContextVar("langgraph_nolag_node", default=None)


def current() -> NodeContext | None:
    """The node execution that the caller runs in; None outside a distributed graph."""
    return _current.get()


@contextmanager
def running(context: NodeContext) -> Iterator[NodeContext]:
    """Make `context` the current one inside the block."""
    token = _current.set(context)
    try:
        yield context
    finally:
        _current.reset(token)
