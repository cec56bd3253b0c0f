"""The node owns rooms: it takes commands from sessions, has them decided, has stored what changed, and then lets it be said."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

from ..core.commands.command import Command
from ..core.limits import Limits, Policy
from ..core.turn import BROKER, Caller, Env
from ..engine.base import Engine, SequenceConflict, StorageFailed
from ..settings import Settings
from ..wire.codes import Refusal
from .alarms import Alarms
from .bodies import BodyCache
from .broken import Broken
from .calendar import CALENDAR
from .committing import Committer
from .deciding import Decider
from .errors import storage_failed
from .fanout import Feed
from .fetching import Fetcher
from .hosted import Call, HostedRoom, Work
from .logs import get_logger, trace
from .opening import open_room
from .pressure import OVERHEAD, Pressure
from .speaker import Speaker

log = get_logger("node")

CHANCE: Final = random.Random()  # noqa: S311 - for pauses; not the program's own, in which an embedded broker runs


class Node:
    """Rooms, and the commits of all of them.

    Args:
        on_failure: called once, when storage failed: nothing is accepted any more and the broker has to stop.
        on_lost: called with the name of a room that was thrown away: who is in it has to join again.
        on_absent: called with the name of a room that there is not, or that can't be served, and the sessions that asked for it: they are
            not in it.
    """

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        *,
        on_failure: Callable[[BaseException], None],
        on_lost: Callable[[str], None],
        on_absent: Callable[[str, set[str]], None],
    ) -> None:
        self.engine = engine
        cache = BodyCache(settings.body_cache)
        self.bodies = Fetcher(engine, cache, settings.max_body)
        self._speaker = Speaker(self.bodies, cache, self.spawn, self.broke)
        self.sinks = self._speaker.sinks
        self._on_failure = on_failure
        self._on_lost = on_lost
        self._on_absent = on_absent
        self._limits = Limits(
            lease=settings.lease,
            disconnect_grace=settings.disconnect_grace,
            log=Policy(settings.log_age, settings.log_count, settings.log_bytes),
            keep=settings.keep_keys,
            backlog=settings.max_backlog,
        )
        self._loop = asyncio.get_running_loop()
        self._rooms: dict[str, HostedRoom] = {}
        self._alarms = Alarms(self._ring)
        self._commits = Committer(self, engine, self._speaker)
        self._decider = Decider(self, engine, self._commits, self._speaker, self._alarms)
        self.behind = self._commits.behind
        self._broken = Broken(self.look_at)
        self._tasks: set[asyncio.Task[None]] = set()
        self._pressure = Pressure()
        self._failed = False
        self._refusing: Refusal | None = None  # what is answered to whatever comes from now on

    # -- what others ask

    def take_in(self, size: int) -> None:
        """Count a message whose commands are submitted next: see `overloaded`."""
        self._pressure.add(size)

    def submit(self, room: str, command: Command, caller: Caller, request: int | None, may_open: bool) -> None:
        """Queue one command. Its reply, or its refusal, goes to the caller's session."""
        self._pressure.add(OVERHEAD)
        hosted = self._rooms.get(room)
        if hosted is not None and hosted.awake and self._refusing is None:
            hosted.inbox.append((command, caller, request, may_open))
        else:
            self._put(room, (command, caller, request, may_open))

    def call(self, room: str, call: Call, caller: Caller, *, may_open: bool, request: int | None) -> None:
        """Queue something the server does in a room itself, in order with the commands. `request` is refused if there is no such room."""
        self._put(room, (call, caller, request, may_open))

    def _put(self, name: str, work: Work) -> None:
        refusal = self._refusing or self._broken.refusal(name)
        if refusal is not None:
            _, caller, request, _ = work
            if request is not None:
                self._speaker.refuse(caller.session, request, refusal)
            if self._refusing is None:
                self._on_absent(name, {caller.session})
            return
        hosted = self._rooms.get(name)
        if hosted is None:
            hosted = self._rooms[name] = HostedRoom(name, Feed(name, self.engine, self.spawn))
            self.spawn(self._open(hosted))
        hosted.inbox.append(work)
        self.wake(hosted)

    def heartbeat(self, session: str, rooms: set[str]) -> None:
        """A sign of life of a connection, in the rooms where it is."""
        env = self.env()
        for name in rooms:
            hosted = self._rooms.get(name)
            if hosted is not None and hosted.room is not None:
                hosted.room.heartbeat(session, env)

    def release(self, session: str, room: str) -> bool:
        """Whether a connection has nothing in the room, and has asked nothing there that is still to be decided."""
        hosted = self._rooms.get(room)
        if hosted is None:
            return True
        if hosted.room is None or any(caller.session == session for _, caller, _, _ in hosted.inbox):
            return False
        return hosted.room.members.release(session)

    def disconnected(self, session: str, rooms: set[str]) -> None:
        """A connection is gone; said in order with what it asked before."""
        self.sinks.pop(session, None)

        def leave(hosted: HostedRoom, env: Env) -> None:
            assert hosted.room is not None
            hosted.room.disconnected(session, env)

        for name in rooms & self._rooms.keys():
            self.call(name, leave, BROKER, may_open=False, request=None)

    def refreshed(self, caller: Caller, rooms: set[str]) -> None:
        """A connection has a newer token; said in order with what it asked before."""

        def judge(hosted: HostedRoom, env: Env) -> None:
            assert hosted.room is not None
            hosted.room.refreshed(caller, env)

        for name in rooms & self._rooms.keys():
            self.call(name, judge, caller, may_open=False, request=None)

    @property
    def overloaded(self) -> bool:
        return self._pressure.is_high

    def relief(self) -> asyncio.Future[None]:
        """Until the next commit has taken what waits, or a turn has found that nothing does: what came may have been refused."""
        self._decider.soon()
        return self._pressure.relief()

    @property
    def room_count(self) -> int:
        return len(self._rooms)

    def rooms(self) -> list[HostedRoom]:
        """Those that are open."""
        return list(self._rooms.values())

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task whose failure is not overlooked. It begins in the loop's next turn, whatever factory of tasks the program has."""
        task = asyncio.Task(work, loop=self._loop)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)

    # -- opening a room

    def look_at(self, room: str) -> None:
        """Open it if need be: what has come due by the wall clock happens, and what is still to come will."""
        self.call(room, _nothing, BROKER, may_open=False, request=None)

    async def _open(self, hosted: HostedRoom) -> None:
        def may_create() -> bool:
            return any(may_open for _, _, _, may_open in hosted.inbox)

        try:
            opened = await open_room(self.engine, hosted.name, self.env, self._limits, may_create)
        except (StorageFailed, SequenceConflict):
            raise
        except Exception as error:
            self._report("a room can't be loaded; it is tried again later", hosted, error)
            self._close(hosted, self._broken.rest(hosted.name, error))
            return
        if opened is None:
            self._close(hosted, Refusal("room_not_found", f"there is no room {hosted.name!r}, and this token can't open one"))
            return
        hosted.room, image = opened
        hosted.feed.epoch, hosted.feed.through, hosted.feed.first = image.epoch, image.sequence, image.first_sequence
        self.wake(hosted)

    def _close(self, hosted: HostedRoom, refusal: Refusal) -> None:
        """A room that could not be opened."""
        asked = {caller.session for _, caller, _, _ in hosted.inbox}
        self._refuse(hosted, refusal)
        del self._rooms[hosted.name]
        self._on_absent(hosted.name, asked)

    # -- deciding

    def wake(self, hosted: HostedRoom) -> None:
        """Look at its inbox in the next turn."""
        self._decider.wake(hosted)

    def taken(self) -> None:
        """What was decided so far is in a commit, or needs none."""
        if not self._decider.waits or self._failed:  # what is still to be decided has its place, and is asked about again after that
            self._pressure.release()

    def _ring(self, due: list[HostedRoom], heard: float) -> None:
        """Deadlines: after everything that came before them was decided."""

        def tick(hosted: HostedRoom, env: Env) -> None:
            assert hosted.room is not None
            hosted.room.tick(env, heard)

        for hosted in due:
            self.call(hosted.name, tick, BROKER, may_open=False, request=None)

    @property
    def ahead(self) -> float:
        """By how much the wall clock is ahead of the one that nobody sets."""
        env = self.env()
        return env.wall - env.now

    def look_at_clocks(self) -> None:
        """In every room: the wall clock was set, and what was to come by it may be due."""
        for name in [name for name, hosted in self._rooms.items() if hosted.room is not None]:
            self.look_at(name)

    def env(self) -> Env:
        """This moment."""
        return Env(self._loop.time(), time.time(), CHANCE.random, _new_id, CALENDAR)

    def unload(self, hosted: HostedRoom) -> bool:
        """Forget a room in which nothing goes on; the next who asks for it loads it. False: something of it waits to be stored."""
        if self._commits.awaits(hosted) or self._rooms.get(hosted.name) is not hosted:
            return False
        del self._rooms[hosted.name]
        self._commits.forget(hosted)
        if hosted.room is not None:
            hosted.room.dismantle()
        hosted.room = None
        hosted.vectors.clear()
        self._alarms.forget(hosted)
        hosted.feed.close()
        return True

    # -- when it goes wrong

    def lost(self, hosted: HostedRoom, conflict: SequenceConflict) -> None:
        """Another owner wrote to the room."""
        log.error("another owner wrote to the room; it is loaded again", room=hosted.name, reason=str(conflict))
        self._refuse(hosted, _loaded_again())
        self._throw_away(hosted)

    def broke(self, hosted: HostedRoom, error: Exception, suspects: int = 0) -> None:
        """A defect in the core: what the room holds in memory is not to be trusted any more, and it is loaded again from its rows.

        Args:
            suspects: so many of the first in its inbox may have brought it about. They are told; everybody else is to ask once more.
        """
        if hosted.room is None:  # it was thrown away already
            return
        self._report("a room broke; it is loaded again", hosted, error)
        suspected = {(caller.session, request) for _, caller, request, _ in hosted.inbox[:suspects]}
        defect, again = Refusal("internal", f"a defect in the broker: {type(error).__name__}", maybe_applied=True), _loaded_again()
        for asker in hosted.waiting():
            self._speaker.refuse(*asker, defect if asker in suspected else again)
        self._throw_away(hosted)
        self._broken.add(hosted.name, error)

    def _report(self, what: str, hosted: HostedRoom, error: Exception) -> None:
        """The broker lives on with it; a simulation does not."""
        log.error(what, room=hosted.name, trace=trace(error))

    def _throw_away(self, hosted: HostedRoom) -> None:
        """Forget what the room holds in memory. Its connections are closed: they come back, join and ask again."""
        hosted.room = None
        hosted.inbox = []
        hosted.in_flight = hosted.turn = None
        self._rooms.pop(hosted.name, None)
        self._commits.forget(hosted)
        hosted.vectors.clear()
        self._alarms.forget(hosted)
        hosted.feed.close()
        self._on_lost(hosted.name)

    def _refuse(self, hosted: HostedRoom, refusal: Refusal) -> None:
        for session, request in hosted.waiting():
            self._speaker.refuse(session, request, refusal)
        hosted.inbox = []

    def fail(self, error: BaseException) -> None:
        """Fail-stop: everybody who waits is told, nothing more is accepted, and the broker is stopped."""
        if self._failed:
            return
        self._failed = True
        self._commits.give_up()
        if isinstance(error, StorageFailed):
            self._refusing = storage_failed()
        else:
            log.error("a defect in the broker", trace=trace(error))
            self._refusing = Refusal("internal", "a defect in the broker; it stops", maybe_applied=True)
        for hosted in list(self._rooms.values()):
            self._refuse(hosted, self._refusing)
            for session, request in hosted.unanswered():
                self._speaker.refuse(session, request, self._refusing)
        self.taken()
        self._on_failure(error)

    # -- the end

    async def drain(self) -> None:
        """Accept nothing more, and wait until everything decided is stored and said."""
        self._refusing = self._refusing or Refusal("unavailable", "the broker is stopping; ask again")
        while not self._failed:
            if not (self._decider.idle and self._commits.idle):
                await self._commits.pause()
            elif self._tasks and any(hosted.blocked or hosted.unsaid for hosted in self._rooms.values()):
                await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)  # one of them reads what the room waits for
            else:
                return

    async def stop(self) -> None:
        self._commits.give_up()
        self._alarms.stop()
        self.behind.stop()
        self._broken.stop()
        for hosted in self._rooms.values():
            hosted.feed.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _nothing(hosted: HostedRoom, env: Env) -> None:
    """What is due comes before whatever is done in a room, and its deadlines are looked at afterwards."""


def _loaded_again() -> Refusal:
    return Refusal("unavailable", "the room is being loaded again; ask again", maybe_applied=True)


def _new_id() -> str:
    return secrets.token_hex(16)
