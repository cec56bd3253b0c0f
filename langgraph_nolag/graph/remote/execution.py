"""One execution of a node's body on a worker, as whoever waits for it sees it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import logging
import secrets
import weakref
from collections.abc import Callable, Iterator
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import set_config_context

from ...client.follow import Followed, Progress, Result
from ...errors import NoLagError, TaskCancelled, TaskFailed, TaskTimeout
from .._compat import (
    CONFIG_KEY_CHECKPOINTER,
    CONFIG_KEY_DURABILITY,
    CONFIG_KEY_REPLAY_STATE,
    CONFIG_KEY_RESUME_MAP,
    CONFIG_KEY_RUN,
    CONFIG_KEY_RUNTIME,
    CONFIG_KEY_SCRATCHPAD,
    CONFIG_KEY_SEND,
    CONFIG_KEY_STREAM,
    CONFIG_KEY_TASK_ID,
    RESUME,
    Numbers,
    PregelScratchpad,
    patch_configurable,
    questions_of,
    shared_answer,
    visited,
)
from . import callbacks, channel
from .answers import Answers, answering_threads
from .called import ENDED, TASK
from .envelope import describe
from .key import identity
from .lookout import Lookout
from .outcome import Outcome
from .place import Place
from .run import Run
from .unseen import HEAD, Seen

if TYPE_CHECKING:
    from ..runs.lease import ThreadLease
    from .scheduling import ScheduledTasks

log = logging.getLogger("langgraph_nolag")

HAND_OUTS: Final = 5  # lost workers until a node's task is given up
DRAIN_LOOK: Final = 0.2  # seconds until a running body hears that its run is to end
ABANDONED: Final = "abandoned by its orchestrator"
CANCEL_SLACK: Final = 5.0  # seconds that the broker has to say that a cancellation was taken, and what came of it
ANSWER_SLACK: Final = 5.0  # seconds beyond a node's timeout until nobody waits for the broker to say so

Item = tuple[str, Any]  # "frame": attempt and frame, "call": to be answered, "task": called by the body, "end": Result, "refused": error,
# "left": nothing more is heard of what was cancelled


class Execution:
    """One execution of a remote body, as the orchestrator sees it.

    Args:
        put: hands an item to whoever waits; called on the I/O thread.
        blocking: whether the waiter has no event loop: then all calls are answered on threads.
    """

    def __init__(
        self, place: Place, input: Any, config: RunnableConfig, mode: bytes, put: Callable[[Item], None], *, blocking: bool
    ) -> None:
        self.place = place
        self.config = config
        self.conf = config.get("configurable", {})
        self._put = put
        self._blocking = blocking
        self.nonce = secrets.token_hex(8)
        self.taps = callbacks.Taps()
        self.answers = Answers(place, self.conf, self.nonce)
        this = weakref.proxy(self)  # a strong reference would be a cycle: the run's state would stay until a garbage collection
        self._seen = Seen(place.node, lambda number: this.tell(channel.SEEN + place.codec.encode(number)))
        self._drained = getattr(self.conf.get(CONFIG_KEY_RUNTIME), "drain_requested", False)  # the body is told with its task
        body = describe(place.codec, input, config, node=place.node, mode=mode, nonce=self.nonce)
        self._run: Run | None = self.conf.get(CONFIG_KEY_RUN) if self.conf.get(CONFIG_KEY_CHECKPOINTER) else None
        self._namespace = str(self.conf.get("checkpoint_ns", "")).rpartition("|")[0]
        self._step = int((config.get("metadata") or {}).get("langgraph_step", 0))
        self._handle: int | None = None
        self._over = False
        self._lookout: Lookout | None = None
        self._late: asyncio.TimerHandle | None = None
        self._leaving: asyncio.TimerHandle | None = None
        self._left = self._unfenced = False  # cancelled, and perhaps not ended
        self._lease: ThreadLease | None = None if self._run is None else self._run.lease
        self.hand_out(body)

    def hand_out(self, body: bytes) -> None:
        """Let a worker run it."""
        place = self.place
        self._task = task = place.link.new_id()
        fields: dict[str, Any] = {
            "task": task,
            "kind": "node",
            "type": f"{place.graph}/{place.node}",
            "capabilities": list(place.capabilities),
            "max_attempts": HAND_OUTS,
            "timeout": place.timeout,
            "lease": None if self._lease is None else self._lease.fields(),
            **self._identity(),
        }
        if self._run is not None:
            if self.conf.get(CONFIG_KEY_DURABILITY) == "sync":
                # A checkpoint that is still on its way is known to be stored only when a task that was dispatched after it has ended.
                on_its_way = self._lease is not None and self._lease.ahead
                fields["forget"] = self._run.stored_before(self._namespace, self._step - on_its_way)
            self._handle = self._run.dispatched(task)
        self.followed: Followed = place.link.dispatch(
            fields, body, on_progress=self._on_progress, on_end=self._on_end, on_accepted=self._on_accepted, timeout=None
        )
        if self._lease is not None:
            self._lease.watch(id(self), lambda error: self._put(("refused", error)))
        if place.timeout is not None:
            place.link.connection.io.post(self._wait_until, place.timeout + ANSWER_SLACK)

    def _identity(self) -> dict[str, str]:
        """What makes a crashed orchestrator's successor find this execution; nothing where nothing survives a crash."""
        thread = self.conf.get("thread_id")
        if self._run is None or thread is None:
            return {}
        who = identity(
            graph=self.place.graph,
            node=self.place.node,
            thread=str(thread),
            group=self._run.group,
            task_id=self.conf[CONFIG_KEY_TASK_ID],
            answers=self._given(),
            codec=self.place.codec,
        )
        return {"key": who.key, "slot": who.slot, "group": who.group, "digest": who.digest}

    def _given(self) -> list[Any]:
        """The answers that are this execution's. Those of others beside it change with what is answered while it runs."""
        pad = self.conf.get(CONFIG_KEY_SCRATCHPAD)
        if pad is None:
            return []
        asked = {each.id for each in questions_of(pad, self.conf[CONFIG_KEY_TASK_ID])}
        by_question = {id: answer for id, answer in (self.conf.get(CONFIG_KEY_RESUME_MAP) or {}).items() if id in asked}
        shared = shared_answer(pad) if asked else None
        if asked and pad.get_null_resume(False) is None and self._lease is not None and not self._lease.stepped:
            shared = self._lease.given  # a graph inside the body may have taken it: then it is stored there, and nowhere else
        return [pad.resume if shared is None else [*pad.resume, shared], sorted(by_question.items())]

    @functools.cached_property
    def tasks(self) -> ScheduledTasks:
        """What the body calls as `@task`."""
        from .scheduling import ScheduledTasks

        return ScheduledTasks(self)

    # --- on the I/O thread ----------------------------------------------------------------------------------

    def _on_accepted(self, answer: dict[str, Any] | None, error: NoLagError | None) -> None:
        if answer is None:
            self._put(("refused", error if self._lease is None or error is None else self._lease.meant(error)))
            return
        self._task = answer["task"]
        if self._run is not None and self._handle is not None:
            self._run.moved(self._handle, self._task)
        if not self._over:
            self._lookout = Lookout(self.place, self._task)
        self._look_for_drain()

    def _look_for_drain(self) -> None:
        """A run's control is a flag that anybody may set, and tells nobody: look at it."""
        control = getattr(self.conf.get(CONFIG_KEY_RUNTIME), "control", None)
        if self._over or control is None or self._drained:
            return
        if control.drain_requested:
            self.tell(channel.DRAIN + self.place.codec.encode(control.drain_reason))
        else:
            self.place.link.connection.io.loop.call_later(DRAIN_LOOK, self._look_for_drain)

    def _wait_until(self, seconds: float) -> None:
        """The room ends what takes too long; while the room is away, we do."""
        if not self._over:
            self._late = self.place.link.connection.io.loop.call_later(seconds, lambda: self._put(("refused", self._timed_out())))

    def _timed_out(self) -> TaskTimeout:
        place = self.place
        return TaskTimeout(
            f"node {place.node!r} of {place.graph} gave no answer within {place.timeout:g} s", state="timed_out", maybe_applied=True
        )

    def _on_progress(self, progress: Progress) -> None:
        if progress.body is not None:
            self.heard(progress.attempt, progress.body)

    def heard(self, attempt: int, frame: bytes) -> None:
        """A frame of the body."""
        kind = frame[:1]
        if kind == channel.INNER:
            self.tasks.heard(attempt, frame)
            return
        if kind not in (channel.CALL, channel.BLOCKING_CALL):
            self._put(("frame", (attempt, frame)))
            return
        call, reply = self.answers.sort(attempt, frame)
        if reply is not None:
            self.tell(reply)
        if call is None:
            return
        if call[1] in (TASK, ENDED):
            self._put(("task", call))
        elif kind == channel.BLOCKING_CALL or self._blocking:
            answering_threads().submit(self._carry_out, call)
        else:
            self._put(("call", call))

    def _carry_out(self, call: tuple[int, str, bytes]) -> None:
        if not self._left:
            self.tell(self.answers.carry_out(*call))

    def tell(self, frame: bytes) -> None:
        """To the worker that has the task now; one that gets it later asks anew."""
        self.place.link.request("task.tell", task=self._task, body=frame, keep=False)

    def _on_end(self, result: Result) -> None:
        self._over, self._unfenced = True, False
        self._stop_timers()
        if self._lease is not None:
            self._lease.unwatch(id(self))
        self._put(("end", result))
        self._end_tasks()

    def _end_tasks(self) -> None:
        if "tasks" in vars(self):
            self.tasks.end(TaskCancelled(f"node {self.place.node!r} has ended, and what it called with it"))

    def _stop_timers(self) -> None:
        if self._lookout is not None:
            self._lookout.stop()
        for timer in (self._late, self._leaving):
            if timer is not None:
                timer.cancel()

    # --- where the node waits -------------------------------------------------------------------------------

    def show(self, attempt: int, frame: bytes) -> Any:
        """Do what a frame says, unless that was done, and return a callback event, if it is one, for the caller to hand on."""
        kind = frame[:1]
        if kind == channel.BEAT:
            self.conf[CONFIG_KEY_RUNTIME].heartbeat()
            return None
        if kind == channel.DRAIN:
            if (control := self.conf[CONFIG_KEY_RUNTIME].control) is not None:
                control.request_drain(self.place.codec.decode(frame[1:]))
            return None
        if not self._seen.is_new(attempt, frame):
            return None
        value = self.place.codec.decode(frame[HEAD:], lax=True)
        if kind == channel.EVENT:
            return value
        if kind == channel.CUSTOM:
            with set_config_context(patch_configurable(self.config, {"checkpoint_ns": value[0]})) as context:
                context.run(self.conf[CONFIG_KEY_RUNTIME].stream_writer, value[1])
        elif kind == channel.STREAM and (stream := self.conf.get(CONFIG_KEY_STREAM)) is not None:
            stream((tuple(value[0]), value[1], value[2]))
        return None

    def outcome(self, result: Result) -> Outcome:
        """What came of the body; what it streamed and was not shown is in it.

        Raises:
            TaskFailed: no worker could finish the node, or its task could not be read by a worker.
            TaskTimeout: the place's timeout ended it.
            TaskCancelled: somebody else ended it: an administrator, or another run of the same thread.
        """
        if result.state != "completed" or result.body is None:
            self.drop()
            raise self._not_had(result)
        return Outcome.decode(self.place.codec, result.body)

    def unseen(self, result: Result, outcome: Outcome) -> Iterator[Any]:
        """Show what was streamed and did not come; the callback events of that."""
        for frame in outcome.unseen:
            if (event := self.show(result.attempt, frame)) is not None:
                yield event

    def settle(self, outcome: Outcome) -> Any:
        """The node's return value, or raise what it raised."""
        vars(self).pop("tasks", None)  # they refer to us: a cycle
        if outcome.writes:
            self.conf[CONFIG_KEY_SEND](outcome.writes)
        if (pad := self.conf.get(CONFIG_KEY_SCRATCHPAD)) is not None:
            _go_on(pad, outcome)
        if outcome.visited is not None and (replaying := self.conf.get(CONFIG_KEY_REPLAY_STATE)) is not None:
            visited(replaying).update(outcome.visited)
        # An error is not stored: whoever tries again must find nothing. The rest is kept until it is.
        if outcome.kind == "interrupt" and self._run is not None and self._handle is not None:
            self._run.asked(self._handle, self.conf[CONFIG_KEY_TASK_ID])
        elif outcome.kind != "error" and self._run is not None and self._handle is not None:
            self._run.read(self._handle, self._namespace, self._step)
        else:
            self.drop()
        return outcome.give()

    def _not_had(self, result: Result) -> BaseException:
        if result.reason is not None:
            return result.reason
        error = result.error or {}
        what = f"node {self.place.node!r}"
        if result.state == "failed":
            if result.body is not None and isinstance(raised := self.place.codec.decode(result.body, lax=True), BaseException):
                return raised
            said = error.get("message") or "its workers were lost"
            lost = error.get("type") == "lease_expired"
            return TaskFailed(
                f"{what} lost {result.attempt} workers, one after the other: {said}"
                if lost
                else f"{what}: {said} (attempt {result.attempt})",
                error_type=error.get("type", ""),
                error_message=error.get("message", ""),
                task=result.task,
            )
        if result.state == "timed_out":
            return self._timed_out()
        return TaskCancelled(f"{what} was ended from outside: {error.get('reason') or result.state}")

    def drop(self) -> None:
        """The room need not keep this task any more."""
        if self._run is not None and self._handle is not None:
            self._run.dropped(self._handle)
        else:
            self.followed.ack()

    # --- when nobody wants the answer any more --------------------------------------------------------------

    def cancel(self, error: BaseException) -> bool:
        """Have the body end. Whether that is to be waited for: then its `end` comes, or `left`. `leave` is to follow, unless its answer is
        taken all the same.

        Args:
            error: why.
        """
        self._over = True
        io, lease = self.place.link.connection.io, self._lease
        io.post(self._stop_timers)
        if lease is not None:
            lease.unwatch(id(self))
        if lease is not None and lease.lost and not lease.ends_bodies:
            return False  # the orchestrator that goes on with the thread decides about it
        self._unfenced = True
        if isinstance(error, TaskTimeout):
            return False  # nobody waits longer than that for a broker that is away
        self._ask_to_cancel(self.place.cancel_timeout).add_done_callback(self._asked_to_cancel)
        io.post(self._leave_after, CANCEL_SLACK)
        return True

    def _ask_to_cancel(self, wait: float) -> concurrent.futures.Future[Any]:
        lease = None if self._run is None else self._run.fields()
        fields: dict[str, Any] = {"task": self.followed.task, "reason": ABANDONED, "lease": lease, "wait": wait or None, "forget": True}
        # In a context of no task: what ended the run took its task away, and its bodies are ours to end all the same.
        return Context().run(lambda: self.place.link.request("task.cancel", **fields))

    def _asked_to_cancel(self, answered: concurrent.futures.Future[Any]) -> None:
        """On the I/O thread, as `_leave_after`."""
        if answered.exception() is None and "until" in answered.result():
            self._leave_after(self.place.cancel_timeout + CANCEL_SLACK)
        else:
            self._unfenced = False
            self._put(("left", None))  # behind the end, where there was one

    def _leave_after(self, seconds: float) -> None:
        if self._leaving is not None:
            self._leaving.cancel()
        self._leaving = self.place.link.connection.io.loop.call_later(seconds, self._put, ("left", None))

    def went_on(self, result: Result | None) -> bool:
        """Whether the body gave an answer although it was cancelled, as it may in one process, too."""
        return (
            result is not None
            and result.state == "completed"
            and result.body is not None
            and Outcome.is_late(self.place.codec, result.body)
        )

    def leave(self) -> None:
        """Nothing that the body still does counts, and nobody hears of it."""
        self._left = True
        self._end_tasks()
        self.place.link.connection.io.post(self._stop_timers)
        if self._unfenced:
            self._ask_to_cancel(0.0)
        if self._run is not None and self._handle is not None:
            self._run.abandoned(self._handle)
        self.followed.close()


def _go_on(pad: PregelScratchpad, outcome: Outcome) -> None:
    """LangGraph forgets what a failed try wrote; its scratchpad is what the next one goes on from."""
    for written, taken in outcome.writes:
        if written == RESUME:
            pad.resume.extend(taken[len(pad.resume) :])  # those that the body asked for: it may ask for fewer than there are
    Numbers.of_graphs(pad).reach(outcome.called)
