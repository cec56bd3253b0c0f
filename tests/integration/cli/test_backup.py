"""backup: a copy while the broker goes on, and a broker on the copy."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from langgraph_nolag import Gap, LocalBroker, Room, connect
from nolag_broker.engine.sqlite import SqliteEngine
from nolag_broker.server import backup

from .conftest import Cli


def test_a_broker_starts_on_the_copy(cli: Cli, tmp_path: Path) -> None:
    async def write(room: Room) -> Any:
        await room.blackboard.set("plan", "before")
        return await room.link.acall("room.info")

    before = cli.agent(write, "copied")
    answer = cli("backup", str(tmp_path / "copy"), "--json")
    assert answer.status == 0, answer.err
    assert answer.json["folder"] == str(tmp_path / "copy")
    assert answer.json["events"] >= before.seq
    assert answer.json["bytes"] == sum(file.stat().st_size for file in (tmp_path / "copy").iterdir())
    assert stat.S_IMODE((tmp_path / "copy").stat().st_mode) == 0o700
    assert sorted(file.name for file in (tmp_path / "copy").iterdir()) == ["rooms.db", "rooms.end", "secret.key"]
    assert [file.name for file in tmp_path.iterdir()] == ["copy"]  # nothing was left beside it

    async def write_more(room: Room) -> Any:
        await room.blackboard.set("plan", "after")
        return await room.link.acall("room.info")

    later = cli.agent(write_more, "copied")
    with LocalBroker(tmp_path / "copy") as restored:

        async def look() -> tuple[Any, Any, Any]:
            async with connect(restored.url, token=cli.broker.token("agent")) as client:  # a token of the original is good
                room = await client.join("copied")
                entry = await room.blackboard.get("plan")
                # a reader that had seen what the copy has not
                stream = room.observe.stream("**", since=later.seq, epoch=later.epoch)
                return entry, await anext(stream), await room.link.acall("room.info")

        entry, told, info = asyncio.run(look())
    assert entry.value == "before"
    assert isinstance(told, Gap)
    assert told.epoch == info.epoch != later.epoch == before.epoch


def test_what_is_in_the_way_is_one_line(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for folder, words in (("there", "is there already"), ("no/such/folder", "No such file")):
        answer = cli("backup", str(tmp_path / folder))
        assert answer.status == 2
        assert words in answer.err
        assert len(answer.err.splitlines()) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["there"]


def test_a_copy_whose_name_is_not_durable_is_not_there(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync, rmtree, on_the_loop = os.fsync, shutil.rmtree, []

    def fails(file: int) -> None:
        if os.fstat(file).st_ino == tmp_path.stat().st_ino:
            raise OSError(errno.EIO, "the disk is gone")
        fsync(file)

    def looks(*args: Any, **options: Any) -> None:
        on_the_loop.append(asyncio._get_running_loop() is not None)
        rmtree(*args, **options)

    with monkeypatch.context() as fault:
        fault.setattr("nolag_broker.server.backup.os.fsync", fails)
        fault.setattr("nolag_broker.server.backup.shutil.rmtree", looks)
        answer = cli("backup", str(tmp_path / "copy"))
    assert answer.status == 2
    assert "no copy was made: [Errno 5] the disk is gone" in answer.err
    assert list(tmp_path.iterdir()) == []
    assert on_the_loop == [False]


async def test_a_copy_that_is_cancelled_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it gets its name it is taken away."""
    finish, rmtree, begun = backup._finish, shutil.rmtree, threading.Event()
    go_on, over = threading.Event(), threading.Event()

    def finishes(part: Path, place: Path) -> int:
        begun.set()
        go_on.wait(10)
        try:
            return finish(part, place)
        finally:
            over.set()

    def removes(part: Path, **options: Any) -> None:
        (part / "secret.key").unlink()
        go_on.set()
        over.wait(10)
        rmtree(part, **options)

    monkeypatch.setattr(backup, "_finish", finishes)
    monkeypatch.setattr("nolag_broker.server.backup.shutil.rmtree", removes)
    engine = SqliteEngine(tmp_path / "data")
    await engine.open()
    (tmp_path / "data" / "secret.key").write_bytes(b"key")
    copying = asyncio.create_task(backup.back_up(engine, tmp_path / "data", str(tmp_path / "copy")))
    assert await asyncio.to_thread(begun.wait, 10)
    copying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await copying
    await engine.close()
    assert [file.name for file in tmp_path.iterdir()] == ["data"]


def test_only_an_admin_may(cli: Cli, tmp_path: Path) -> None:
    answer = cli("backup", str(tmp_path / "copy"), "--url", cli.broker.url, "--token", cli.broker.token("agent"))
    assert answer.status == 1
    assert "admin" in answer.err


def test_what_keeps_nothing_has_nothing_to_copy(cli: Cli, tmp_path: Path) -> None:
    with LocalBroker() as broker:
        token = broker.token("root", [{"room": "**", "verbs": ["admin"]}])
        answer = cli("backup", str(tmp_path / "copy"), "--url", broker.url, "--token", token)
    assert answer.status == 2
    assert "keeps nothing on disk" in answer.err
