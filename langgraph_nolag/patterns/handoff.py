"""Handoff: work for whoever can do it; exactly one result is ever recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Literal

from ..client.body import encode
from ..client.callables import check_callable, check_callback
from ..client.io import hand_back, settle
from ..client.link import RoomLink
from ..client.moment import check_seconds, moment
from ..client.names import names
from ..client.pages import TASKS, listed
from ..client.requests import Answer
from .progress import Telling
from .results import Results
from .schedules import Schedule
from .serving import Handler, Serving
from .task import Batch, Task, cancel
from .terms import Retry, terms_to_wire


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """What the broker says of a task. Times in seconds since 1970.

    Attributes:
        errors: one entry an attempt that failed: `{attempt, error: {type, message}, actor?}`.
        holder: the actor who runs it.
        parked_by: why a task in the state `parked` waits: `concurrency_key` or `rate_key`.
        cancelling: it was cancelled, and until when whoever runs it has time to stop.
    """

    id: str
    type: str
    state: str
    attempt: int
    dispatcher: str
    capabilities: tuple[str, ...]
    priority: int
    created: float
    holder: str | None = None
    key: str | None = None
    due: float | None = None
    deadline: float | None = None
    attempt_timeout: float | None = None
    concurrency_key: str | None = None
    rate_key: str | None = None
    parked_by: str | None = None
    cancelling: float | None = None
    errors: tuple[dict[str, Any], ...] = ()


class Handoff:
    """`room.handoff`."""

    def __init__(self, link: RoomLink, capabilities: tuple[str, ...] = (), max_concurrency: int = 1) -> None:
        self._link = link
        self._capabilities = capabilities
        self._max_concurrency = max_concurrency

    async def dispatch(
        self,
        type: str,
        payload: Any = None,
        *,
        capabilities: Sequence[str] = (),
        preferred: str | None = None,
        key: str | None = None,
        priority: int = 0,
        delay: float = 0.0,
        run_at: datetime | float | None = None,
        timeout: float | None = None,
        attempt_timeout: float | None = None,
        max_attempts: int = 3,
        retry: Retry | Mapping[str, float] | None = None,
        concurrency_key: str | None = None,
        concurrency_limit: int = 1,
        rate_key: str | None = None,
        rate_limit: tuple[int, float] | None = None,
        on_progress: Callable[[Any], object] | None = None,
    ) -> Task:
        """Hand a task to whoever can do it; it waits where nobody can. When this returns, the task is on disk.

        Args:
            type: what kind of work.
            payload: plain values.
            capabilities: what a worker must have, all of them.
            preferred: the actor that gets it if it is free and capable; otherwise it goes to others.
            key: the same key with the same type and payload attaches to the task that exists, finished or not.
            priority: higher goes first.
            delay: seconds before it may start.
            run_at: the moment before which it may not start, in place of `delay`: a datetime with a time zone, or seconds since 1970.
            timeout: seconds to its end, waiting included.
            attempt_timeout: seconds for one attempt. One that takes longer is stopped and counts as failed (`attempt_timeout`).
            max_attempts: hand-outs that may fail or be lost.
            retry: how long it waits after an attempt that failed: a `Retry`, or a map of its fields.
            concurrency_key: of the tasks with the same one, at most `concurrency_limit` run at a time. Keys take turns.
            concurrency_limit: 1 or more; where tasks of a key name different ones, the lowest counts.
            rate_key: of the tasks with the same one, at most so many start in any span of time as `rate_limit` says, over restarts of the
                broker too. Every attempt counts. A task may have a `concurrency_key` as well.
            rate_limit: `(how many, seconds)`, 1 to 1000; needed with a `rate_key`. What the latest dispatch of a key says holds for all.
            on_progress: called on this loop with each progress value of the worker; not async. Those that came before the end are told
                before `result()` returns here. Of more than 8 MiB that wait for this loop the oldest are left out, which the log says.

        Raises:
            NotEncodable: the payload is not plain.
            KeyConflict: the key was used with another payload.
            BadRequest: a negative delay or timeout, a policy that is none, an async `on_progress`, and the like; nothing was dispatched.
            Overloaded, NotAuthorized, MessageTooLarge, RequestTimeout, Disconnected, BufferFull.
        """
        if on_progress is not None:
            check_callback(on_progress, "on_progress")
        loop = asyncio.get_running_loop()
        accepted: asyncio.Future[Answer] = loop.create_future()
        fields = {
            "type": type,
            **terms_to_wire(
                capabilities=capabilities,
                preferred=preferred,
                priority=priority,
                timeout=timeout,
                attempt_timeout=attempt_timeout,
                max_attempts=max_attempts,
                retry=retry,
                concurrency_key=concurrency_key,
                concurrency_limit=concurrency_limit,
                rate_key=rate_key,
                rate_limit=rate_limit,
            ),
        }
        if key is not None:
            fields["key"] = key
        if delay != 0:
            fields["delay"] = delay
        if run_at is not None:
            fields["run_at"] = moment(run_at, "run_at")

        telling = None if on_progress is None else Telling(on_progress, loop)
        task = Task(keeps=key is not None, telling=telling)
        task._followed = self._link.dispatch(
            fields,
            encode(payload),
            on_end=task._on_end,
            on_progress=None if telling is None else telling.put,
            on_accepted=lambda answer, error: hand_back(loop, settle, accepted, answer, error),
        )
        answer = await accepted
        task._state, task.attached = answer["state"], task._followed.attached
        return task

    async def schedule(
        self,
        cron: str,
        type: str,
        payload: Any = None,
        *,
        name: str | None = None,
        tz: str = "UTC",
        overlap: Literal["allow", "skip"] = "allow",
        capabilities: Sequence[str] = (),
        preferred: str | None = None,
        priority: int = 0,
        timeout: float | None = None,
        attempt_timeout: float | None = None,
        max_attempts: int = 3,
        retry: Retry | Mapping[str, float] | None = None,
        concurrency_key: str | None = None,
        concurrency_limit: int = 1,
        rate_key: str | None = None,
        rate_limit: tuple[int, float] | None = None,
    ) -> Schedule:
        """Let the room dispatch a task whenever a moment of a cron line comes, whoever is there. It does so until the schedule is deleted.

        Each moment brings one task, over restarts and crashes of the broker too. What was missed while the broker was down is made
        up for once: one task, for the last moment that has come. Their results reach `results()` of whoever set the schedule.

        Args:
            cron: minute, hour, day of the month, month, day of the week, as Debian's cron reads them; seconds may come before them.
            type, payload: of the tasks.
            name: a schedule that has this name already is changed to this one, and nothing happens where it is the same, so that a
                program may set its schedules at every start. None: `type` is the name.
            tz: the time zone that the line is read in, for example `Europe/Berlin`. At a fixed hour that a change of the clock skips
                it comes right after, and at one that comes twice once.
            overlap: `skip`: no task while the last one has not ended.
            capabilities, and what follows: of each task, as of `dispatch`; `timeout` counts from when it is dispatched.

        Raises:
            BadRequest: it is no cron line, or never comes; the time zone is not known; and as of `dispatch`.
            NotEncodable, Overloaded, NotAuthorized, MessageTooLarge, RequestTimeout, Disconnected.
        """
        terms = terms_to_wire(
            capabilities=capabilities,
            preferred=preferred,
            priority=priority,
            timeout=timeout,
            attempt_timeout=attempt_timeout,
            max_attempts=max_attempts,
            retry=retry,
            concurrency_key=concurrency_key,
            concurrency_limit=concurrency_limit,
            rate_key=rate_key,
            rate_limit=rate_limit,
        )
        fields: dict[str, Any] = {"schedule": name or type, "cron": cron, "tz": tz, "overlap": overlap, "type": type, "terms": terms}
        return Schedule(self._link, await self._link.acall("schedule.set", **fields, body=encode(payload)))

    async def schedules(self) -> list[Schedule]:
        """The schedules of the room whose tasks we may dispatch."""
        answer = await self._link.acall("schedule.list")
        return [Schedule(self._link, info) for info in answer["schedules"]]

    async def batch(self, jobs: Iterable[Mapping[str, Any]]) -> Batch:
        """Dispatch many tasks together. When this returns, all of them are on disk.

        Args:
            jobs: the arguments of `dispatch` for each task, for example `{"type": "draft", "payload": {"topic": "tea"}}`.

        Raises:
            NoLagError: as `dispatch` raises, the first refusal. Those that were accepted go on; with a `key` each, the same batch
                again attaches to them.
        """
        outcomes = await asyncio.gather(*(self.dispatch(**job) for job in jobs), return_exceptions=True)
        tasks = []
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
            tasks.append(outcome)
        return Batch(tasks)

    def serve(
        self,
        handler: Handler,
        *,
        capabilities: Sequence[str] | None = None,
        types: Sequence[str] | None = None,
        concurrency: int | None = None,
        drain: float = 10.0,
    ) -> Serving:
        """Run tasks: `async with room.handoff.serve(handler, …): …`.

        Args:
            handler: `handler(task) -> result`. An async one runs on this loop, a sync one on a thread of its own. What it raises fails
                the attempt; `Permanent` fails the task for good. It is cancelled (sync: `task.cancelled` becomes true) when the task is:
                it stops by raising, or by returning None.
                What it changes in the room, on this connection, is refused with `StaleLease` once another worker has the task, but for
                acknowledgements and the chunks of a stream of the room that was open. That is known of code that runs in its context:
                also in tasks that it creates and in `asyncio.to_thread`, but not in `loop.run_in_executor` or a `threading.Thread`; hand
                these `contextvars.copy_context().run`.
            capabilities: None: those we joined with.
            types: None: every type.
            concurrency: tasks at a time; None: the `max_concurrency` we joined with. A handler that goes on when its task was cancelled, or
                its time is over, counts until it ends.
            drain: seconds that running handlers have when serving ends; then they are cancelled and their tasks handed back.

        Raises:
            BadRequest: the handler can't be called, `drain` is no number, `types` or `capabilities` is no list.
        """
        check_callable(handler, "handler")
        check_seconds(drain, "drain")
        return Serving(
            self._link,
            handler,
            types=types,
            capabilities=self._capabilities if capabilities is None else capabilities,
            concurrency=self._max_concurrency if concurrency is None else concurrency,
            drain=drain,
        )

    def results(self, since: int | None = None, *, epoch: str | None = None) -> Results:
        """The ends of the tasks that this actor dispatched, from the log: those after sequence `since` first, then as they come.

        This is how results reach a dispatcher that was away. A `Gap` among them says what can't be had any more: tasks may have ended in
        it.

        Args:
            since: a sequence; 0: the whole log; None: from now.
            epoch: the epoch of `since`, where it comes from an earlier run; if the log began anew since, a `Gap` says so.
        """
        return Results(self._link, since, epoch)

    async def dead_letters(self, limit: int | None = None) -> list[TaskInfo]:
        """Tasks that failed for good, with every attempt's error, in the order of their dispatch: so many of them, or all."""
        return await self.list(states=["failed"], limit=limit)

    async def list(self, states: Sequence[str] | None = None, limit: int | None = None) -> list[TaskInfo]:
        """Tasks in these states (None: all that live, and dead letters), in the order of their dispatch: so many of them, or all."""
        ask = partial(self._link.acall, "task.list", states=None if states is None else names(states, "states"), kind="handoff")
        return [info_from_wire(info) for info in await listed(ask, "tasks", TASKS, limit)]

    async def get(self, task_id: str) -> TaskInfo:
        """One task. Raises `TaskNotFound`."""
        return info_from_wire((await self._link.acall("task.get", task=task_id))["task"])

    async def retry(self, task_id: str) -> str:
        """Put a dead letter back into the queue, with a fresh count of attempts, and its timeout anew. Returns its state."""
        return str((await self._link.acall("task.retry", task=task_id))["state"])

    async def purge_dead_letters(self, task_ids: Sequence[str] | None = None) -> int:
        """Forget dead letters for good: these, or all of them. Their keys are free again. Returns how many there were."""
        ids = None if task_ids is None else names(task_ids, "task_ids")
        return int((await self._link.acall("task.purge", kind="handoff", tasks=ids))["purged"])

    async def cancel(self, task_id: str, reason: str | None = None, *, wait: float = 0.0) -> str:
        """Cancel any task by its id; see `Task.cancel`. Returns the state it has then."""
        return await cancel(self._link, task_id, reason, wait)


def info_from_wire(info: Mapping[str, Any]) -> TaskInfo:
    return TaskInfo(
        id=info["task"],
        type=info["type"],
        state=info["state"],
        attempt=info["attempt"],
        dispatcher=info["dispatcher"],
        capabilities=tuple(info["capabilities"]),
        priority=info["priority"],
        created=info["created"],
        holder=info.get("holder"),
        key=info.get("key"),
        due=info.get("due"),
        deadline=info.get("deadline"),
        attempt_timeout=info.get("attempt_timeout"),
        concurrency_key=info.get("concurrency_key"),
        rate_key=info.get("rate_key"),
        parked_by=info.get("parked_by"),
        cancelling=info.get("cancelling"),
        errors=tuple(info.get("errors", ())),
    )
