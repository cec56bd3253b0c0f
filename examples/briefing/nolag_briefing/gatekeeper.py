"""Who answers the gate: a second process, a person at this terminal, or a person somewhere else."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import Mapping
from pathlib import Path

from langgraph_nolag import AlreadyDecided, Room

from .processes import Died
from .screen import Screen

PATIENCE = 60.0  # seconds for the second process


class Gatekeeper:
    """Has one approval answered.

    Args:
        yes: answer it from a second process, by the command line.
        data: the broker's directory, for that command.
    """

    def __init__(self, screen: Screen, data: Path, out: Path, *, yes: bool) -> None:
        self._screen = screen
        self._data = data
        self._out = out
        self._yes = yes
        self.decided = asyncio.Event()
        """To be set when the approval was decided, by whomever."""

    async def have_it_answered(self, room: Room, approval: str) -> None:
        """Returns when it was answered here, or when people were told how to.

        Raises:
            Died: the second process could not answer, or the terminal went away.
        """
        if self._yes:
            await self._answer_from_another_process(approval)
        elif self._screen.is_terminal and sys.stdin.isatty():
            await self._ask_here(room, approval)
        else:
            self._screen.say("\nThe briefing waits for a person. Read it with")
            self._screen.say(f"  {self._command('show', approval)}")
            self._screen.say("and let it be published with")
            self._screen.say(f"  {self._command('approve', approval)}\n")

    def _command(self, verb: str, approval: str, *more: str) -> str:
        return shlex.join([*ourselves(), "approvals", verb, approval, "--path", str(self._data), *more])

    async def _answer_from_another_process(self, approval: str) -> None:
        command = self._command("approve", approval, "--by", "demo")
        self._screen.line("supervisor", f"$ {command}")
        process = await asyncio.create_subprocess_exec(
            *shlex.split(command), stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, env=_without_brokers(os.environ)
        )
        async with asyncio.timeout(PATIENCE):
            output, _ = await process.communicate()
        said = output.decode(errors="replace").strip()
        if process.returncode != 0:
            raise Died(f"the gate could not be answered: {said}")
        self._screen.line("supervisor", said)

    async def _ask_here(self, room: Room, approval: str) -> None:
        self._screen.pause()
        pending = next((request for request in await room.approve.pending() if request.id == approval), None)
        if pending is not None:
            self._screen.say("\n" + pending.args["text"])
            self._screen.say(f"Publish this as {self._out}?", style="bold")
        while not self.decided.is_set():
            self._screen.ask("[y]es or [n]o: ")
            answer = await self._typed_or_decided()
            if answer in ("y", "yes", "n", "no"):
                await self._decide(room, approval, "approve" if answer.startswith("y") else "reject")
                break
        self._screen.resume()

    async def _decide(self, room: Room, approval: str, type: str) -> None:
        try:
            await room.approve.decide(approval, type, by="terminal")
        except AlreadyDecided:
            self._screen.say("somebody else was quicker")

    async def _typed_or_decided(self) -> str:
        """A line from the terminal; empty when it was decided by other means in the meantime."""
        typed = asyncio.create_task(_read_line())
        decided = asyncio.create_task(self.decided.wait())
        try:
            await asyncio.wait((typed, decided), return_when=asyncio.FIRST_COMPLETED)
            return typed.result() if typed.done() else ""
        finally:
            typed.cancel()
            decided.cancel()


async def _read_line() -> str:
    """One line from the terminal. No thread waits for it: whoever stops waiting leaves nothing behind."""
    loop = asyncio.get_running_loop()
    line: asyncio.Future[str] = loop.create_future()

    def ready() -> None:
        if not line.done():
            line.set_result(sys.stdin.readline())

    loop.add_reader(sys.stdin.fileno(), ready)
    try:
        text = await line
    finally:
        loop.remove_reader(sys.stdin.fileno())
    if not text:
        raise Died("the terminal is gone; the gate was not answered")
    return text.strip().lower()


def _without_brokers(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment may speak of another broker than the demo's."""
    return {name: value for name, value in environment.items() if not name.startswith("NOLAG_")}


def ourselves() -> list[str]:
    """How people call the command from where they are."""
    script = Path(sys.executable).with_name("langgraph-nolag")
    found = shutil.which("langgraph-nolag")
    if found and script.exists() and Path(found).samefile(script):
        return ["langgraph-nolag"]
    return [str(script)] if script.exists() else [sys.executable, "-m", "langgraph_nolag"]
