"""The processes of the demo: started, watched, killed when asked to, started again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence
from pathlib import Path


class Died(RuntimeError):
    """A process ended that should not have; the message has its last words."""


class Child:
    """One process of the team. What it says goes to a file; the first line of its standard output can be waited for.

    Args:
        name: as people call it.
        arguments: of `python -m`: a module, and its own.
        environment: beside the one of this process.
        log: the file; appended to over restarts.
    """

    def __init__(self, name: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.arguments = list(arguments)
        self._environment = {**os.environ, **environment, "PYTHONUNBUFFERED": "1"}
        self._log = log
        self._process: Process | None = None
        self._pump: asyncio.Task[None] | None = None
        self._first_line: asyncio.Future[str] | None = None
        self._lifeline: int | None = None
        self.starts = 0

    async def start(self) -> None:
        theirs, lifeline = os.pipe()  # closed when we end, however we do: the child sees it and ends too
        command = [sys.executable, "-m", "langgraph_nolag.lifeline", str(theirs), *self.arguments]
        try:
            with self._log.open("ab") as log:
                # a session of its own: Ctrl-C is for the supervisor, which then ends its children in order
                self._process = await asyncio.create_subprocess_exec(
                    *command, stdin=DEVNULL, stdout=PIPE, stderr=log, env=self._environment, start_new_session=True, pass_fds=(theirs,)
                )
        finally:
            os.close(theirs)
        self._lifeline = lifeline
        self.starts += 1
        self._first_line = asyncio.get_running_loop().create_future()
        self._pump = asyncio.create_task(self._copy_output(self._process, self._first_line))

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    async def first_line(self, timeout: float) -> str:
        """Raises `Died` when the process ends before it said anything, or says nothing within `timeout` seconds."""
        assert self._first_line is not None
        try:
            return await asyncio.wait_for(asyncio.shield(self._first_line), timeout)
        except TimeoutError:
            raise Died(f"{self.name} said nothing within {timeout:g} s") from None

    async def wait(self) -> int:
        """Its exit status; negative: the signal that killed it."""
        assert self._process is not None
        assert self._pump is not None
        status = await self._process.wait()
        await self._pump
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None
        return status

    def kill(self) -> int:
        """kill -9: no goodbye. Returns the process id."""
        pid = self.pid
        os.kill(pid, signal.SIGKILL)
        return pid

    async def stop(self, patience: float = 5.0) -> None:
        """SIGTERM, and after `patience` seconds SIGKILL."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            await asyncio.wait_for(self.wait(), patience)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self.wait()

    def last_words(self, lines: int = 3) -> str:
        """The end of what it said, on one line."""
        try:
            said = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            said = []
        return " / ".join(line.strip() for line in said[-lines:] if line.strip()) or "it said nothing"

    async def _copy_output(self, process: Process, first_line: asyncio.Future[str]) -> None:
        assert process.stdout is not None
        with self._log.open("ab", buffering=0) as log:
            while line := await process.stdout.readline():
                log.write(line)
                if not first_line.done():
                    first_line.set_result(line.decode(errors="replace").strip())
        if not first_line.done():
            await process.wait()
            first_line.set_exception(Died(f"{self.name} did not start: {self.last_words(1).removeprefix('langgraph-nolag: ')}"))
            first_line.exception()  # it may be that nobody waits for it
