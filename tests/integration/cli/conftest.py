from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner

from langgraph_nolag import LocalBroker, Room, connect
from langgraph_nolag.cli.main import app


class Answer(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert len(self.out.splitlines()) == 1, self
        return json.loads(self.out)


class Cli:
    """The command line, against one broker."""

    def __init__(self, broker: LocalBroker, path: Path) -> None:
        self.broker = broker
        self.path = path

    def __call__(self, *arguments: str, path: Path | None = None, stdin: str | bytes | None = None) -> Answer:
        done = CliRunner().invoke(app, [*arguments, "--path", str(path or self.path)], input=stdin)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return Answer(done.exit_code, done.stdout, done.stderr)

    def agent(self, work: Callable[[Room], Awaitable[Any]], room: str = "newsroom", actor: str = "agent") -> Any:
        """Do something in a room as an agent, and leave."""

        async def run() -> Any:
            async with connect(self.broker.url, token=self.broker.token(actor)) as client:
                return await work(await client.join(room))

        return asyncio.run(run())


@pytest.fixture(autouse=True)
def _nothing_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NOLAG_URL", "NOLAG_TOKEN", "NOLAG_PATH"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    path = tmp_path_factory.mktemp("broker")
    with LocalBroker(path=path) as broker:
        yield Cli(broker, path)
