"""How a run begins: it gets the lease of its thread, and what it was asked to do is in the room before anything of it happens.

Who goes on with a thread (`invoke(None)`, a worker) applies what is missing: the input of a run that died before its first
checkpoint; the answers of a resume map that no node has stored, as LangGraph stores none; decisions made in the room meanwhile.
Written as `Steps`, for sync and async graphs alike.
"""

from __future__ import annotations

import concurrent.futures
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import msgpack
from langgraph.types import Command, Interrupt

from ...patterns.threads import HAND_OUTS, NEEDLESS, RUN, look_id, thread_key
from .._compat import ERROR, INTERRUPT, NULL_TASK_ID, RESUME
from ..checkpoint import NoLagSaver
from ..gates.formats import MARKER, approval_of
from ..saver import keys, reading
from ..saver.steps import Steps
from .lease import SUPERSEDED, ThreadLease
from .request import Request

if TYPE_CHECKING:
    from ...client.link import RoomLink
    from ..serde.codec import Codec

HEX: Final = re.compile("[0-9a-f]{32}")  # what ids of interrupts look like


@dataclass(frozen=True, slots=True)
class Mark:
    """How far the thread's last run came: its task, and how much of its stream belongs to the last checkpoint."""

    task: str | None = None
    position: int = 0
    stepped: bool = False


@dataclass(frozen=True, slots=True)
class Begun:
    """A run that has the lease.

    Attributes:
        input: what is to be given to the graph.
        addressed: whether the checkpoint that the configuration names still is where the run begins.
    """

    lease: ThreadLease
    input: Any
    addressed: bool = True


def begin(link: RoomLink, codec: Codec, saver: NoLagSaver, request: Request, *, take: bool) -> Steps[Begun]:
    """Get the lease of the thread, ending whoever has it; with `take` and without an input, go on with what has not ended.

    Raises (through whoever runs the steps):
        NoLagError: the room refuses the run.
    """
    thread = str(request.thread)
    fields: dict[str, Any] = {
        "task": link.new_id(),
        "kind": RUN,
        "type": request.graph,
        "body": request.pack(codec),
        "concurrency_key": thread_key(thread),
        "max_attempts": HAND_OUTS,
        "take": take,
    }
    # Without input the run looks for decisions itself, and with new input nothing waits for them any more.
    if not isinstance(request.input, Command):
        fields["drop"] = NEEDLESS
        fields["busy"] = "park" if request.input is None else "replace"
    link.connection.io.post(link.ensure_joined)
    [answer] = yield [("task.begin", fields)]
    asked = request
    if answer["attached"]:
        former = Request.unpack(codec, answer["body"])
        if _name(former.graph) == _name(request.graph):
            asked = replace(request, input=former.input)
    lease = ThreadLease(link, thread, answer["task"], answer["token"], request=request.onward().pack(codec))
    lease.taken = answer["attached"]
    lease.votes = brings_answers(asked.input) and (not answer["attached"] or answer.get("dispatcher") == link.actor)
    link.own(lease.task, lease.lose)
    for approval in _markers(request.input):  # the tasks that were to look for these decisions are not needed
        link.request("task.cancel", task=look_id(approval), reason=SUPERSEDED, lease=lease.fields()).add_done_callback(_unheard)
    if not take:
        return Begun(lease, request.input)
    return (yield from continued(saver, asked, lease, fresh=not answer["attached"]))


def continued(saver: NoLagSaver, request: Request, lease: ThreadLease, *, fresh: bool) -> Steps[Begun]:
    """What is to be done by who goes on with a run, or with a thread.

    Args:
        fresh: nobody has begun with this run before.
    """
    mark = Mark() if fresh else (yield from read_mark(saver, lease.thread))
    applied = mark.task == lease.task
    input = request.input
    resume = input.resume if isinstance(input, Command) and isinstance(input.resume, dict) and _is_map(input.resume) else None
    if isinstance(input, Command) and resume is not None:
        questions, _ = yield from _questions(saver, lease.thread)
        waiting = {each.id for each in questions}
        left = {id: answer for id, answer in resume.items() if fresh or id in waiting}
        input = _with_answers(input, left, applied)
    elif applied:
        lease.given = input.resume if isinstance(input, Command) else None
        input = None
    if input is None:
        input = yield from _decided(saver, lease, fresh=fresh)
    if applied:
        lease.apply(stepped=mark.stepped)
    return Begun(lease, input, addressed=not applied)


def _markers(input: Any) -> list[str]:
    """The approvals whose decisions a command brings."""
    resume = input.resume if isinstance(input, Command) else None
    answers = resume.values() if isinstance(resume, dict) and MARKER not in resume else [resume]
    return [answer[MARKER] for answer in answers if isinstance(answer, dict) and isinstance(answer.get(MARKER), str)]


def brings_answers(input: Any) -> bool:
    return isinstance(input, Command) and input.resume is not None


def _unheard(answered: concurrent.futures.Future[Any]) -> None:
    """Mostly there is no such task."""
    answered.exception()


def _with_answers(command: Command[Any], left: Mapping[str, Any], applied: bool) -> Command[Any] | None:
    if applied:
        return Command(resume=dict(left)) if left else None
    if not left and not command.update and not command.goto:
        return None
    return replace(command, resume=dict(left) or None)


def read_mark(saver: NoLagSaver, thread: str) -> Steps[Mark]:
    [read] = yield [("record.read", {"keys": [keys.run_mark(thread)]})]
    if (body := read["bodies"][0]) is None:
        return Mark()
    _, task, position, stepped = msgpack.unpackb(body)
    return Mark(task, position, stepped)


def waiting_interrupts(saver: NoLagSaver, thread: str) -> Steps[list[Interrupt]]:
    """The questions that the thread's latest checkpoint waits with. None where an answer without a question's id is there, as a
    `Command(resume=...)` that died leaves it: LangGraph gives it to whichever asks first."""
    questions, answered = yield from _questions(saver, thread)
    return [] if answered else questions


def _questions(saver: NoLagSaver, thread: str) -> Steps[tuple[list[Interrupt], bool]]:
    """What the thread's latest checkpoint waits with, and whether it has an answer that nobody has taken."""
    found = yield from reading.get(saver.serde, {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}, saver.known)
    if found is None:
        return [], False
    writes = found.pending_writes or []
    finished = {task for task, channel, _ in writes if channel not in (ERROR, INTERRUPT, RESUME)}
    answered = any(task == NULL_TASK_ID and channel == RESUME for task, channel, _ in writes)
    return [each for task, channel, value in writes if channel == INTERRUPT and task not in finished for each in value], answered


def _decided(saver: NoLagSaver, lease: ThreadLease, *, fresh: bool) -> Steps[Command[Any] | None]:
    """The answers to gates of the thread that were decided in the room, if there are any.

    An answer that nobody has taken comes before them while the run that brought it has not ended: a body that has it may still run. The
    answer of one that has ended (it failed before it came to its gate) is dropped.
    """
    questions, answered = yield from _questions(saver, lease.thread)
    gates = {approval: each.id for each in questions if (approval := approval_of(each.value)) is not None}
    if not gates or (answered and not fresh):
        return None
    [answer] = yield [("approval.follow", {"approvals": list(gates)})]
    decided = {gates[approval]: {MARKER: approval} for approval, state in answer["states"].items() if state == "decided"}
    if decided and answered:
        yield from saver.forget_answer(lease)
    return Command(resume=decided) if decided else None


def _is_map(resume: Mapping[Any, Any]) -> bool:
    """Whether LangGraph takes these answers to be by interrupt."""
    return bool(resume) and all(isinstance(id, str) and HEX.fullmatch(id) for id in resume)


def _name(graph: str) -> str:
    return graph.partition("@")[0]
