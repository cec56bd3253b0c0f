"""backup: a copy while the broker goes on, and a broker on the copy."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path
from typing import Any

from langgraph_nolag import Gap, LocalBroker, Room, connect

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
