"""The demo: starts a broker, three workers and an orchestrator, shows what they do, has the gate answered, and, when asked to,
kills some of them on the way."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langgraph_nolag import NoLagError, connect

from .chaos import Blow, Chaos
from .corpus import Corpus
from .ledger import Ledger
from .processes import Child, Died
from .screen import Screen, describe
from .settings import QUESTION, ROOM, Settings

if TYPE_CHECKING:
    from langgraph_nolag.client.credentials import Credentials

WORKERS = ("librarian", "writer", "reviewer")
READY = 30.0  # seconds a process may take to get ready on a busy machine
PUBLISHED, REJECTED = 0, 3  # how the orchestrator ends
MAX_RESTARTS = 3  # of a process that ends by itself


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
        0 when the briefing was published, 1 when somebody rejected it or the books do not add up.

    Raises:
        CorpusError, ModelError: the documents or the model can't be used; before anything was started.
        Died: a process of the team ended and could not be brought back.
        NoLagError: the broker refused something.
    """
    if not options.settings.model:
        Corpus.load(options.settings.docs or None)  # a bad folder is said here, not by four processes
    options.settings.agents()
    with _data_directory(options.path) as data, screen or Screen() as shown:
        return await Supervisor(options, data, shown).run()


class Supervisor:
    """One run. Everything it knows of the others' work it reads from the room's events."""

    def __init__(self, options: Options, data: Path, screen: Screen) -> None:
        self._options = options
        self._data = data
        self._screen = screen
        self._children: dict[str, Child] = {}
        self._watchers: list[asyncio.Task[None]] = []
        self._chaos = Chaos(victims=WORKERS[1:]) if options.chaos else None  # the librarian's tool has no second server
        self._expected: set[str] = set()  # who was killed on purpose and is being brought back
        self._ledger = Ledger()
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._asking: asyncio.Task[None] | None = None
        self._decided = asyncio.Event()
        self._logs = data / "logs"

    async def run(self) -> int:
        began = time.monotonic()
        self._logs.mkdir(parents=True, exist_ok=True)
        self._stop_on_signals()
        try:
            credentials = await self._start_broker()
            async with connect(credentials.url, token=credentials.token) as client:
                room = await client.join(ROOM, metadata={"kind": "supervisor"})
                since = (await room.info())["seq"] if self._options.path else 0
                watching = asyncio.create_task(self._watch_room(room, since))
                watching.add_done_callback(self._failed_with)
                await self._start_team(client, credentials.url)
                status = await self._ended
                await self._read_to_the_end(room, watching)
            self._screen.pause()
            return self._report(status, time.monotonic() - began)
        finally:
            await self._stop_everybody()

    # --- processes ------------------------------------------------------------------------------------------

    async def _start_broker(self) -> Credentials:
        from langgraph_nolag.client.credentials import resolve

        broker = self._child("broker", ["langgraph_nolag", "broker", "--path", str(self._data), "--port", "0"], {})
        await broker.start()
        address = await self._listening(broker)
        # the next start, after a kill, must be found at the same address
        broker.arguments[-1] = address.rpartition(":")[2]
        self._screen.line("broker", f"listens on {address} (process {broker.pid}, data in {self._data})")
        self._watch(broker)
        return resolve(address, path=self._data)

    async def _listening(self, broker: Child) -> str:
        try:
            line = await broker.first_line(READY)
        except Died as error:
            raise Died(f"{error}: {broker.last_words(1) or 'it said nothing'}") from None
        if not line.startswith("listening on "):
            raise Died(f"the broker did not start: {line}")
        return line.removeprefix("listening on ").strip()

    async def _start_team(self, client: Any, url: str) -> None:
        tokens = {name: await client.mint(name, ttl=86400.0) for name in (*WORKERS, "orchestrator")}
        shared = {"NOLAG_URL": url, **self._options.settings.environment()}
        arguments = {name: ["langgraph_nolag", "worker", f"nolag_briefing.worker:{name}"] for name in WORKERS}
        arguments["orchestrator"] = [
            "nolag_briefing.orchestrator",
            *("--thread", secrets.token_hex(4), "--question", self._options.question, "--out", str(self._options.out.absolute())),
        ]
        for name, command in arguments.items():
            child = self._child(name, command, {**shared, "NOLAG_TOKEN": tokens[name]})
            await child.start()
            self._screen.line(name, f"started (process {child.pid})")
            self._watch(child)

    def _child(self, name: str, arguments: list[str], environment: dict[str, str]) -> Child:
        child = self._children[name] = Child(name, arguments, environment, self._logs / f"{name}.log")
        self._screen.state(name, "starting")
        return child

    def _watch(self, child: Child) -> None:
        watcher = asyncio.create_task(self._keep_alive(child))
        watcher.add_done_callback(self._failed_with)
        self._watchers.append(watcher)

    async def _keep_alive(self, child: Child) -> None:
        """Bring a process back when it is gone; the orchestrator's own end is the end of the run."""
        while True:
            status = await child.wait()
            if child.name == "orchestrator" and status in (PUBLISHED, REJECTED):
                if not self._ended.done():
                    self._ended.set_result(status)
                return
            killed = child.name in self._expected
            self._expected.discard(child.name)
            if not killed and (child.starts > MAX_RESTARTS or status > 0):
                raise Died(f"{child.name} ended with status {status}; its last words:\n{child.last_words()}")
            await child.start()
            if child.name == "broker":
                await self._listening(child)
                if killed and self._chaos:
                    self._chaos.blows[-1].taken_over(f"the same data, read again (process {child.pid})")
            self._screen.line(child.name, f"started again (process {child.pid})", style="bold")

    def _kill(self, who: str, during: str) -> Blow:
        assert self._chaos is not None
        self._expected.add(who)
        pid = self._children[who].kill()
        self._screen.line(who, f"kill -9 (process {pid}) during {during}", style="bold red")
        self._screen.state(who, "killed")
        return self._chaos.struck(who, pid, during)

    async def _stop_everybody(self) -> None:
        for task in [*self._watchers, *([self._asking] if self._asking else [])]:
            task.cancel()
        broker = self._children.pop("broker", None)
        await asyncio.gather(*(child.stop() for child in self._children.values()))
        if broker is not None:
            await broker.stop()

    def _stop_on_signals(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, task.cancel)

    def _failed_with(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None and not self._ended.done():
            self._ended.set_exception(error)

    # --- the room -------------------------------------------------------------------------------------------

    async def _watch_room(self, room: Any, since: int) -> None:
        async for event in room.observe.stream("**", since=since):
            await self._on_event(room, event)

    async def _read_to_the_end(self, room: Any, watching: asyncio.Task[None]) -> None:
        """The orchestrator is gone: what it did last must be in the books before they are closed."""
        marker = asyncio.Event()
        self._marker = marker
        await room.observe.emit("supervisor.closing")
        async with asyncio.timeout(READY):
            await marker.wait()
        watching.cancel()

    async def _on_event(self, room: Any, event: Any) -> None:
        facts = {**(event.data or {}), **(event.body if isinstance(event.body, dict) else {})}
        sender = str(event.sender).partition("/")[0]
        if event.type == "supervisor.closing":
            self._marker.set()
            return
        self._ledger.note(event.type, facts)
        if event.type.startswith("task.") and self._is_node(event.type, facts):
            self._ledger.task(event.type, facts["task"])
        if self._chaos:
            self._chaos.watch(event.type, sender, facts)
        self._show(event, sender, facts)
        if self._chaos and (victim := self._chaos.next_victim(event.type, sender, facts)):
            self._kill(*victim)
        if event.type == "approval.requested":
            self._asking = asyncio.create_task(self._have_it_answered(room, facts["approval"]))
            self._asking.add_done_callback(self._failed_with)
        elif event.type == "approval.decided":
            self._decided.set()

    def _is_node(self, type: str, facts: dict[str, Any]) -> bool:
        if type == "task.dispatched" and facts["kind"] == "node":
            self._node_tasks.add(facts["task"])
        return facts.get("task") in self._node_tasks

    _node_tasks: set[str]

    def _show(self, event: Any, sender: str, facts: dict[str, Any]) -> None:
        who = str(facts["actor"]).partition("/")[0] if event.type == "task.claimed" else sender
        if (text := describe(event.type, event.subject, facts)) is not None:
            self._screen.line(who, text, seq=event.seq)
            self._screen.state(who, text)
        if event.type == "plan.finished":
            self._screen.expect(facts["sub_questions"])
        if event.type.endswith(".finished") or event.type == "approval.decided":
            self._screen.step()

    # --- the gate -------------------------------------------------------------------------------------------

    async def _have_it_answered(self, room: Any, approval: str) -> None:
        if self._chaos:
            await self._everybody_is_back(room)
        command = [*_ourselves(), "approvals", "approve", approval, "--path", str(self._data)]
        if self._options.yes:
            await self._answer_from_another_process([*command, "--by", "demo"])
        elif self._screen.is_terminal and sys.stdin.isatty():
            await self._ask_here(room, approval)
        else:
            self._screen.say(f"\nThe briefing waits for a person. Read it with\n  {shlex.join([*command[:-4], 'show', *command[-3:]])}")
            self._screen.say(f"and let it be published with\n  {shlex.join(command)}\n")

    async def _everybody_is_back(self, room: Any) -> None:
        """After the broker's end: no answer before all workers have found the new one."""
        async with asyncio.timeout(READY):
            while True:
                with contextlib.suppress(NoLagError):
                    online = {str(member.actor).partition("/")[0] for member in await room.presence.list() if member.online}
                    if online >= set(WORKERS) and self._chaos and self._chaos.blows[-1].after is not None:
                        return
                await asyncio.sleep(0.1)

    async def _answer_from_another_process(self, command: list[str]) -> None:
        self._screen.line("supervisor", f"$ {shlex.join(command)}")
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await process.communicate()
        self._screen.line("supervisor", output.decode(errors="replace").strip())
        if process.returncode != 0:
            raise Died(f"the gate could not be answered: {output.decode(errors='replace').strip()}")

    async def _ask_here(self, room: Any, approval: str) -> None:
        self._screen.pause()
        pending = next(request for request in await room.approve.pending() if request.id == approval)
        self._screen.say("\n" + pending.args["text"])
        self._screen.say(f"Publish this as {self._options.out}?", style="bold")
        while not self._decided.is_set():
            self._screen.console.print("[y]es or [n]o: ", end="", markup=False)
            answer = await self._answered_elsewhere_or_typed()
            if answer in ("y", "yes", "n", "no"):
                await room.approve.decide(approval, "approve" if answer.startswith("y") else "reject", by="terminal")
                break
        self._screen.resume()

    async def _answered_elsewhere_or_typed(self) -> str:
        """A line from the terminal; empty when somebody decided by other means in the meantime."""
        typed = asyncio.create_task(_read_line())
        decided = asyncio.create_task(self._decided.wait())
        try:
            await asyncio.wait((typed, decided), return_when=asyncio.FIRST_COMPLETED)
            return typed.result() if typed.done() else ""
        finally:
            typed.cancel()
            decided.cancel()

    # --- the end --------------------------------------------------------------------------------------------

    def _report(self, status: int, seconds: float) -> int:
        say = self._screen.say
        say()
        if self._chaos:
            rows = [
                (
                    blow.who,
                    f"process {blow.pid}",
                    blow.during,
                    blow.successor or "NOBODY",
                    f"{blow.after:.2f} s" if blow.after is not None else "-",
                )
                for blow in self._chaos.blows
            ]
            self._screen.table(("KILLED WITH -9", "", "DURING", "TAKEN OVER BY", "AFTER"), rows)
            say()
        say(self._ledger.summary(), style="green" if self._ledger.is_sound else "bold red")
        if status == REJECTED:
            say("rejected: nothing was published")
            return 1
        say(f"{self._options.out}: published after {seconds:.1f} s")
        return 0 if self._ledger.is_sound and (not self._chaos or all(blow.successor for blow in self._chaos.blows)) else 1


async def _read_line() -> str:
    loop = asyncio.get_running_loop()
    line: asyncio.Future[str] = loop.create_future()
    loop.add_reader(sys.stdin.fileno(), lambda: line.done() or line.set_result(sys.stdin.readline()))
    try:
        text = await line
    finally:
        loop.remove_reader(sys.stdin.fileno())
    if not text:
        raise Died("the terminal is gone; the gate still waits")
    return text.strip().lower()


def _ourselves() -> list[str]:
    """How people call the command from where they are."""
    script = Path(sys.executable).with_name("langgraph-nolag")
    if found := shutil.which("langgraph-nolag"):
        return ["langgraph-nolag"] if Path(found).resolve() == script.resolve() else [str(script)]
    return [str(script)] if script.exists() else [sys.executable, "-m", "langgraph_nolag"]


@contextlib.contextmanager
def _data_directory(path: Path | None) -> Iterator[Path]:
    if path is not None:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="nolag-demo-") as temporary:
        yield Path(temporary)
