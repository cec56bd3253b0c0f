"""`gate()`: a call in a node that waits for people, in any node and any process, and holds no worker while it waits.

A gate is an approval of the room and an interrupt of LangGraph. The interrupt keeps the place: what the node returns
when it runs again depends on LangGraph's stored resume values alone. The approval keeps the question and the votes,
so that anybody may answer, from anywhere, while nothing of the graph runs.

    approval id = digest(thread, namespace of the node execution, place of the interrupt in it)

    loop    answer = interrupt(question)            raises until there is a stored answer for this place
            {"nolag_decision": id}                  it was decided in the room: look there
            any other                               one vote of the caller's actor; the room counts it under a key made of place and
                                                    answer, so that running the node again never votes twice
    until   the approval was decided by this answer, or had been before it

The vote is cast while LangGraph validates the answer. So an answer that the room refuses (not an approver, decided
otherwise before) is never stored, and the gate can be answered again. What is refused is dropped: it must not wait in the
thread until somebody else runs it, who may vote. For the same reason a run that goes on with an answer of another actor
votes for nobody, and the gate asks again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Union

from langgraph.config import get_config
from langgraph.errors import GraphInterrupt
from langgraph.types import interrupt
from pydantic import AfterValidator, BeforeValidator, ValidationError

from ..client.body import decode, encode
from ..errors import AlreadyDecided, ApprovalNotFound, BadRequest, KeyConflict, Refused
from ..patterns.approve import Decision, approval_from_wire
from ..patterns.threads import look
from ._compat import CONFIG_KEY_CHECKPOINTER, forget_answer, interrupt_index, is_new_answer, unanswered
from .context import NodeContext, current
from .errors import NotSupported
from .execution import digest
from .gates import formats
from .rooms import room_here

_SCHEMAS = {"approve": formats.Approve, "edit": formats.Edit, "reject": formats.Reject, "respond": formats.Respond}


def gate(
    action: str,
    args: Mapping[str, Any] | None = None,
    *,
    allow: Sequence[str] = ("approve", "edit", "reject"),
    expires: float | None = None,
    quorum: int = 1,
    approvers: str | Sequence[str] | None = None,
    description: str | None = None,
    room: Any = None,
) -> Decision:
    """Wait here until people have decided.

    Called in a node (sync or async) of a graph with a checkpointer. The first time it ends the node with an interrupt; nothing runs
    or is held while it waits, be it for days. The node runs again, from its start, when its thread is resumed, and the call then
    returns. Several gates in one node must be called in the same order every time, as with `interrupt()`.

    Args:
        action: what is to be done, as people and rules know it (`approvers` hold grants on actions).
        args: the arguments to be approved: a map of names to plain values.
        allow: the answers that are possible: approve, edit, reject, respond.
        expires: seconds until it is decided as rejected; None: it waits for ever.
        quorum: how many actors have to agree: approve what is shown, or give the same edit. One reject ends it.
        approvers: who may decide: actors, or `role:NAME`; None: everybody with the `approve` grant.
        description: words for people.
        room: where it is asked, if not in the room that the graph is distributed over or that its `NoLagSaver` keeps.

    Returns:
        The decision: `approved`, `type`, `args` (those to act on: the original ones, or the edited), `message`, `by`, `roles`.

    Raises:
        GraphInterrupt: it waits. LangGraph's own; let it pass.
        pydantic.ValidationError: the answer is none of the known formats, or not allowed. The gate can be answered again.
        AlreadyDecided: the answer came after a decision that would do what this answer did not say. The gate can be resumed
            with `await_decisions`.
        NotAuthorized: the caller may not decide this.
        NotEncodable: names the path to an argument that is not a plain value.
        NoLagError: the room could not be asked.
    """
    waiting = _Gate(action, dict(args or {}), formats.check_allow(allow), expires, quorum, approvers, description, room)
    while (decision := waiting.ask()) is None:
        pass  # a vote was counted, and it takes more
    return decision


class _NotTheirs(Exception):
    """The answer is of another actor than the one that runs the thread."""


class _Gate:
    """One call of `gate` in one execution of a node."""

    def __init__(
        self,
        action: str,
        args: dict[str, Any],
        allow: tuple[str, ...],
        expires: float | None,
        quorum: int,
        approvers: str | Sequence[str] | None,
        description: str | None,
        room: Any,
    ) -> None:
        self.thread, self.ns = _place_of_node()
        self.link, context = room_here(room), current()
        self.context = context if context is not None and context.link is self.link else None
        self.action, self.args, self.allow, self.description = action, args, allow, description
        self.body = encode(args)
        self.fields: dict[str, Any] = {
            "action": action,
            "allow": list(allow),
            "expires": expires,
            "quorum": quorum,
            "approvers": [approvers] if isinstance(approvers, str) else None if approvers is None else list(approvers),
            "description": description,
            "thread": self.thread,
        }
        self.approval: str | None = None
        self.place = 0
        self.is_new = False  # the answer came with this run, and was not counted before

    def ask(self) -> Decision | None:
        """The decision; None when the stored answer was a vote that did not decide."""
        with interrupt_index() as self.place:
            self.is_new = is_new_answer(self.place)
            if self.approval is None:
                self.approval = approval_id(self.thread, self.ns, self.place)
            kinds: Any = Union[*(_SCHEMAS[kind] for kind in self.allow), formats.Decided]
            normalise = partial(formats.normalise, action=self.action, allow=self.allow)
            schema = Annotated[kinds, BeforeValidator(normalise), AfterValidator(self._judge)]
            try:
                return self._answer(schema)
            except GraphInterrupt as waits:
                if (shown := self._request()) != self.args:
                    waits.args[0][0].value = self._question(shown)
                raise
            except (ValidationError, Refused) as error:
                if self.is_new and not getattr(error, "retryable", False):
                    forget_answer(self.place)
                raise

    def _answer(self, schema: Any) -> Decision | None:
        decision: Decision | None
        try:
            decision = interrupt(self._question(self.args), response_schema=schema)
        except _NotTheirs:
            forget_answer(self.place)
            with unanswered(self.place):
                decision = interrupt(self._question(self.args), response_schema=schema)
        return decision

    def _question(self, args: Mapping[str, Any]) -> dict[str, Any]:
        return formats.published(str(self.approval), self.link.room, self.action, args, self.allow, self.description)

    def _request(self) -> dict[str, Any]:
        """Ask in the room, unless an earlier run of this node did. Returns the arguments that people see: those of the first run, should a
        node make up others when it runs again."""
        known = self._info()
        if known is not None:
            return self._shown(known)
        if self.context is not None:
            self.context.add_approval(self._asked(), self.body)
        else:
            self.link.call("approval.request", follow=False, body=self.body, **self._asked())
        return self.args

    def _asked(self) -> dict[str, Any]:
        """`approval.request` fields, without `body`."""
        fields = {"approval": self.approval, **{name: value for name, value in self.fields.items() if value is not None}}
        if self.context is not None and self._is_leased(self.context):
            fields["wake"] = look(self.context.graph, self.thread, str(self.approval))
        return fields

    def _is_leased(self, context: NodeContext) -> bool:
        """Whether workers of the room can go on with this thread."""
        return context.leased and context.thread_id == self.thread

    def _judge(self, answer: formats.Answer) -> Decision | None:
        """What an answer comes to: the decision, or None for a vote that leaves it open. Raises to have the answer forgotten."""
        vote: dict[str, Any] = dict(answer)
        if formats.MARKER in vote:
            if vote[formats.MARKER] != self.approval:
                raise ValueError(f"this gate waits for approval {self.approval}, not for {vote[formats.MARKER]}")
            standing = self._standing()
            if standing is None:
                raise ValueError(f"approval {self.approval} is not decided yet")
            return standing
        body = encode(vote["args"]) if vote["type"] == "edit" else None
        key = f"{self.place}:{hashlib.sha256(encode(vote)).hexdigest()[:32]}"
        fields: dict[str, Any] = {"approval": self.approval, "type": vote["type"], "body": body, "message": vote.get("message"), "key": key}
        if self.context is not None and self._is_leased(self.context):
            fields["wake"] = False  # the run that votes goes on by itself
        try:
            counted = self._vote(fields)
        except AlreadyDecided:
            standing = self._standing()
            if standing is None or not _abides(standing, vote):
                raise
            return standing
        except KeyConflict as earlier:  # the key names the answer: this node ran before in another actor's hands, and voted there
            return self._standing() if earlier.detail.get("decided") else None
        if counted is None:
            standing = None if self._info() is None else self._standing()
            if standing is None or not _abides(standing, vote):
                raise _NotTheirs
            return standing
        return self._standing() if counted["state"] == "decided" else None

    def _vote(self, fields: Mapping[str, Any]) -> dict[str, Any] | None:
        """What the room counted; None: nothing, as the vote is not of the actor that runs the thread."""
        try:
            return self._cast(fields)
        except ApprovalNotFound:
            if not self.is_new:
                raise
        # A thread that was forked, copied or updated while it waited was answered before its gate had asked.
        self.link.call("approval.request", follow=False, body=self.body, **self._asked())
        return self._cast(fields)

    def _cast(self, fields: Mapping[str, Any]) -> dict[str, Any] | None:
        if self.context is None:
            return self.link.call("approval.decide", **fields)
        return self.context.vote(fields, new=self.is_new and self._is_leased(self.context))

    def _standing(self) -> Decision | None:
        info = self._info()
        if info is None:
            raise ApprovalNotFound(f"approval {self.approval} of action {self.action!r} is not in room {self.link.room!r} (any more)")
        decision = approval_from_wire(info).decision
        if decision is not None and decision.type == "approve":
            return replace(decision, args=self._shown(info))
        return decision

    def _info(self) -> dict[str, Any] | None:
        try:
            info: dict[str, Any] = self.link.call("approval.get", approval=self.approval)["approval"]
        except ApprovalNotFound:
            return None
        if info["action"] != self.action:
            raise BadRequest(
                f"the gate {self.action!r} was {info['action']!r} when this node ran first; call gates in the same order every time"
            )
        return info

    def _shown(self, info: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as they were shown; the node's own objects where they are the same."""
        if info["digest"] == hashlib.sha256(self.body).hexdigest():
            return self.args
        shown: dict[str, Any] = decode(info.get("body"))
        return shown


def _place_of_node() -> tuple[str, str]:
    """Thread and namespace of the node execution."""
    try:
        configurable = get_config().get("configurable", {})
    except RuntimeError:
        configurable = {}
    if configurable.get("thread_id") is None or configurable.get(CONFIG_KEY_CHECKPOINTER) is None:
        raise NotSupported("gate() waits with its thread: call it in a node of a graph that has a checkpointer and is run with a thread_id")
    return str(configurable["thread_id"]), str(configurable.get("checkpoint_ns", ""))


def approval_id(thread: str, ns: str, place: int) -> str:
    """The approval of the gate at `place` in one execution of a node. The same in every process and after every restart."""
    return digest("gate", thread, ns, str(place))


def _abides(standing: Decision, vote: Mapping[str, Any]) -> bool:
    """Whether a late answer can live with what was decided before it: nothing happens that it did not ask for."""
    if not standing.approved:
        return True
    return standing.type == vote["type"] and (standing.type != "edit" or standing.args == vote["args"])
