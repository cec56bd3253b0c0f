"""The demo: starts the team, shows what it does, has the gate answered and, when asked to, kills some of it on the way."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langgraph_nolag import Gap, NoLagError, Room, connect

from .chaos import Chaos
from .corpus import Corpus
from .gatekeeper import Gatekeeper
from .ledger import Ledger
from .processes import Died
from .screen import Screen, describe
from .settings import QUESTION, ROOM, Settings
from .team import READY, REJECTED, WORKERS, Team
from .tokens import mint


@dataclass(frozen=True, slots=True)
class Options:
    """`path` keeps the broker's data; None: a temporary directory that goes with the demo."""

    question: str = QUESTION
    out: Path = Path("build/briefing.md")
    settings: Settings = field(default_factory=Settings)
    chaos: bool = False
    yes: bool = False
    path: Path | None = None


async def run(options: Options, screen: Screen | None = None) -> int:
    """Run the demo.

    Returns:
        0 when the briefing was published; 1 when somebody rejected it, or the books do not add up.

    Raises:
        CorpusError, ModelError: the documents or the model can't be used; nothing was started.
        Died: a process of the team ended and could not be brought back.
        NoLagError: the broker refused something.
    """
    if not options.settings.model:
        Corpus.load(options.settings.docs or None)  # a bad folder is said here, not by four processes
    options.settings.agents()
    with _data_directory(options.path) as data, screen or Screen() as shown:
        return await Supervisor(options, data, shown).run()


class Supervisor:
    """One run. All it knows of the others' work it reads from the events of the room."""

    def __init__(self, options: Options, data: Path, screen: Screen) -> None:
        self._options = options
        self._out = str(options.out.absolute())  # the orchestrator may have another idea of where it is
        self._screen = screen
        self._team = Team(data, options.settings, screen, self._on_back)
        self._gatekeeper = Gatekeeper(screen, data, options.out, yes=options.yes)
        # the librarian is spared: its tools have no second server, so nobody could take over before it is back
        self._chaos = Chaos(victims=WORKERS[1:]) if options.chaos else None
        self._ledger = Ledger()
        self._closing = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self) -> int:
        began = time.monotonic()
        _cancelled_by_signals()
        try:
            broker = await self._team.start_broker()
            tokens = await mint(broker)
            async with connect(broker.url, token=tokens["supervisor"]) as client:
                room = await client.join(ROOM, metadata={"kind": "supervisor"})
                since = (await room.link.acall("room.info"))["seq"] if self._options.path else 0
                self._spawn(self._watch(room, since))
                await self._team.start_members(broker.url, tokens, self._options.question, self._out)
                status = await self._team.ended
                await self._close_the_books(room)
            return self._report(status, time.monotonic() - began)
        finally:
            for task in self._tasks:
                task.cancel()
            self._screen.pause()
            await self._team.stop()

    def _spawn(self, work: Any) -> None:
        """Run something beside; its failure is the failure of the run."""

        def finished(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None and not self._team.ended.done():
                self._team.ended.set_exception(error)

        task = asyncio.create_task(work)
        task.add_done_callback(finished)
        self._tasks.append(task)

    # --- the events -----------------------------------------------------------------------------------------

    async def _watch(self, room: Room, since: int) -> None:
        async for event in room.observe.stream("**", since=since):
            if isinstance(event, Gap):
                raise Died(f"events {event.from_seq} to {event.to_seq} of the room are lost: the books can't be kept")
            facts = {**(event.data or {}), **(event.body if isinstance(event.body, dict) else {})}
            if event.type == "supervisor.closing":
                self._closing.set()
                return
            self._on_event(room, event, facts)

    def _on_event(self, room: Room, event: Any, facts: dict[str, Any]) -> None:
        sender = str(event.sender).partition("/")[0].removeprefix("@")  # "@broker" is the broker of the team
        self._ledger.record(event.type, facts)
        self._show(event, sender, facts)
        if self._chaos:
            self._chaos.watch(event.type, sender, facts)
            if victim := self._chaos.next_victim(event.type, sender, facts):
                self._kill(*victim)
        if event.type == "approval.requested":
            self._spawn(self._have_it_answered(room, facts["approval"]))
        elif event.type == "approval.decided":
            self._gatekeeper.decided.set()

    def _show(self, event: Any, sender: str, facts: dict[str, Any]) -> None:
        who = str(facts["actor"]).partition("/")[0] if event.type == "task.claimed" else sender
        if (text := describe(event.type, event.subject, facts)) is not None:
            self._screen.line(who, text, seq=event.seq)
            self._screen.state(who, text)
        if event.type == "plan.finished":
            self._screen.expect(1 + facts["sub_questions"] + len(("draft", "review", "gate", "publish")))
        if event.type == "review.finished" and facts["sent_back"]:
            self._screen.expect(len(("draft", "review")))
        if event.type.endswith(".finished") or event.type == "approval.decided":
            self._screen.step()

    async def _close_the_books(self, room: Room) -> None:
        """The orchestrator has ended: what was done last must be in the books too."""
        await room.observe.emit("supervisor.closing")
        async with _at_most(READY, "the room's events did not come to their end"):
            await self._closing.wait()

    # --- the kills ------------------------------------------------------------------------------------------

    def _kill(self, who: str, during: str) -> None:
        assert self._chaos is not None
        pid = self._team.kill(who)
        self._chaos.struck(who, pid, during)
        self._screen.line(who, f"kill -9 (process {pid}) during {during}", style="bold red")
        self._screen.state(who, "killed")

    def _on_back(self, who: str, pid: int) -> None:
        if who == "broker" and self._chaos and self._chaos.blows:
            self._chaos.blows[-1].taken_over(f"a new one on the same data (process {pid})")

    # --- the gate -------------------------------------------------------------------------------------------

    async def _have_it_answered(self, room: Room, approval: str) -> None:
        if self._chaos:
            await self._everybody_is_back(room)
        await self._gatekeeper.have_it_answered(room, approval)

    async def _everybody_is_back(self, room: Room) -> None:
        """After the broker's end: the gate is answered when all workers have found the new one."""
        assert self._chaos is not None
        async with _at_most(READY, "not all workers found the new broker"):
            while True:
                with contextlib.suppress(NoLagError):
                    online = {str(member.actor).partition("/")[0] for member in await room.presence.list() if member.online}
                    if online >= set(WORKERS) and self._chaos.blows[-1].successor is not None:
                        return
                await asyncio.sleep(0.1)

    # --- the end --------------------------------------------------------------------------------------------

    def _report(self, status: int, seconds: float) -> int:
        self._screen.pause()
        say = self._screen.say
        say()
        survived = True
        if self._chaos:
            rows = [(b.who, f"process {b.pid}", b.during, b.successor or "nobody", f"{b.after or 0:.2f} s") for b in self._chaos.blows]
            self._screen.table(("KILLED WITH -9", "", "DURING", "TAKEN OVER BY", "AFTER"), rows)
            say()
            survived = len(rows) == 3 and all(blow.successor for blow in self._chaos.blows)
        sound = self._ledger.is_sound
        say(self._ledger.summary(), style="green" if sound else "bold red")
        if status == REJECTED:
            say("rejected: nothing was published")
            return 1
        say(f"{self._options.out}: published after {seconds:.1f} s")
        return 0 if sound and survived else 1


def _cancelled_by_signals() -> None:
    """SIGTERM and SIGHUP end the demo as Ctrl-C does: in order, with everybody it started."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)


@contextlib.asynccontextmanager
async def _at_most(seconds: float, what: str) -> AsyncIterator[None]:
    """Raises `Died` when the block takes longer."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise Died(f"{what} within {seconds:g} s") from None


@contextlib.contextmanager
def _data_directory(path: Path | None) -> Iterator[Path]:
    if path is not None:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="nolag-demo-") as temporary:
        yield Path(temporary)
