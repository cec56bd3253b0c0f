"""The processes of one run: a broker, three workers, an orchestrator. Whoever dies is started again."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable
from pathlib import Path

from langgraph_nolag.client.credentials import Credentials

from .processes import Child, Died
from .screen import Screen
from .settings import Settings

WORKERS = ("librarian", "writer", "reviewer")
MEMBERS = (*WORKERS, "orchestrator")
READY = 30.0  # seconds a process may take to get ready on a busy machine
PUBLISHED, REJECTED = 0, 3  # how the orchestrator ends
MAX_RESTARTS = 3  # of a process that a signal ended


class Team:
    """Starts the processes and keeps them alive.

    Args:
        data: the broker's directory; the logs of the processes go there too.
        on_back: told who was started again, and its process id, once it is ready.

    Attributes:
        ended: how the orchestrator ended, `PUBLISHED` or `REJECTED`; or `Died`, when a process could not be kept alive.
    """

    def __init__(self, data: Path, settings: Settings, screen: Screen, on_back: Callable[[str, int], None]) -> None:
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._data = data
        self._settings = settings
        self._screen = screen
        self._on_back = on_back
        self._children: dict[str, Child] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._struck: set[str] = set()
        (data / "logs").mkdir(parents=True, exist_ok=True)

    async def start_broker(self) -> Credentials:
        """Where it listens, and the admin's token."""
        broker = self._child("broker", ["langgraph_nolag", "broker", "--path", str(self._data), "--port", "0"], {})
        await broker.start()
        address = await _listening(broker)
        broker.arguments[-1] = address.rpartition(":")[2]  # after a kill it must be found at the same address
        self._screen.line("broker", f"listens on {address} (process {broker.pid}, data in {self._data})")
        self._screen.state("broker", "listening")
        self._keep(broker)
        # read here, not found: the environment may speak of another broker
        return Credentials(address, json.loads((self._data / "credentials.json").read_text())["token"], admin=True)

    async def start_members(self, url: str, tokens: dict[str, str], question: str, out: str) -> None:
        """Start the workers and the orchestrator, each with a token of its own."""
        commands = {name: ["langgraph_nolag", "worker", f"nolag_briefing.worker:{name}"] for name in WORKERS}
        thread = secrets.token_hex(4)
        commands["orchestrator"] = ["nolag_briefing.orchestrator", "--thread", thread, "--question", question, "--out", out]
        for name, command in commands.items():
            child = self._child(name, command, {"NOLAG_URL": url, "NOLAG_TOKEN": tokens[name], **self._settings.environment()})
            await child.start()
            self._screen.line(name, f"started (process {child.pid})")
            self._keep(child)

    def kill(self, who: str) -> int:
        """kill -9. Returns the process id."""
        self._struck.add(who)
        return self._children[who].kill()

    async def stop(self) -> None:
        """End everybody in order, the broker last."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        broker = self._children.pop("broker", None)
        await asyncio.gather(*(child.stop() for child in self._children.values()))
        if broker is not None:
            await broker.stop()

    def _child(self, name: str, arguments: list[str], environment: dict[str, str]) -> Child:
        child = self._children[name] = Child(name, arguments, environment, self._data / "logs" / f"{name}.log")
        self._screen.introduce(name)
        return child

    def _keep(self, child: Child) -> None:
        keeper = asyncio.create_task(self._keep_alive(child))
        keeper.add_done_callback(self._kept)
        self._keepers.append(keeper)

    def _kept(self, keeper: asyncio.Task[None]) -> None:
        if not keeper.cancelled() and (error := keeper.exception()) is not None and not self.ended.done():
            self.ended.set_exception(error)

    async def _keep_alive(self, child: Child) -> None:
        while True:
            status = await child.wait()
            if child.name == "orchestrator" and status in (PUBLISHED, REJECTED):
                self.ended.set_result(status)
                return
            struck = child.name in self._struck
            self._struck.discard(child.name)
            if not struck and (status > 0 or child.starts > MAX_RESTARTS):
                raise Died(f"{child.name} ended with status {status}: {child.last_words()}")
            await child.start()
            if child.name == "broker":
                await _listening(child)
            self._screen.line(child.name, f"started again (process {child.pid})", style="bold")
            self._on_back(child.name, child.pid)


async def _listening(broker: Child) -> str:
    """The address that the broker says it listens on. Raises `Died` with its last words when it could not start."""
    line = await broker.first_line(READY)
    if not line.startswith("listening on "):
        raise Died(f"the broker said {line!r} where its address should be")
    return line.removeprefix("listening on ").strip()
