"""ping, rooms, events and tasks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from langgraph_nolag.cli import session

from .conftest import Cli


def test_ping(cli: Cli) -> None:
    assert cli("ping").status == 0
    answer = cli("ping", "--json").json
    assert answer["url"] == cli.broker.url
    assert 0 < answer["seconds"] < 30


def test_ping_where_nobody_is(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "CONNECT_TIMEOUT", 0.5)
    for arguments in (("ping",), ("ping", "--url", "ws://127.0.0.1:1", "--token", "x")):
        answer = cli(*arguments, path=tmp_path)
        assert answer.status == 1
        assert len(answer.err.splitlines()) == 1
        assert "langgraph-nolag broker" in answer.err


@pytest.mark.parametrize("arguments", [("--url", "http://x"), ("--url", "ws://127.0.0.1:1")])
def test_an_address_that_is_none_or_has_no_token_is_wrong_use(cli: Cli, arguments: tuple[str, ...], tmp_path: Path) -> None:
    answer = cli("ping", *arguments, path=tmp_path)
    assert answer.status == 2
    assert len(answer.err.splitlines()) == 1


def test_a_token_that_is_refused(cli: Cli) -> None:
    answer = cli("ping", "--token", "forged")
    assert answer.status == 1
    assert "token" in answer.err


def test_rooms_and_one_room(cli: Cli) -> None:
    async def work(room: Any) -> None:
        await room.blackboard.set("plan", 1)

    cli.agent(work, "looked-at")
    assert "looked-at" in cli("rooms").out
    names = [room["name"] for room in cli("rooms", "--json").json["rooms"]]
    assert "looked-at" in names
    shown = cli("rooms", "looked-at", "--json").json
    assert shown["name"] == "looked-at"
    assert shown["seq"] > 0
    assert cli("rooms", "looked-at").status == 0


def test_a_room_that_is_not_there_is_not_made_by_looking(cli: Cli) -> None:
    for command in (("rooms", "nowhere"), ("events", "--room", "nowhere"), ("approvals", "list", "--room", "nowhere")):
        answer = cli(*command)
        assert answer.status == 1
        assert "nowhere" in answer.err
    assert "nowhere" not in cli("rooms").out


def test_a_room_is_made_when_asked_for(cli: Cli) -> None:
    assert cli("rooms", "made", "--create").status == 0
    assert "made" in cli("rooms").out
    assert cli("rooms", "--create").status == 2


@pytest.fixture(scope="module")
def told(cli: Cli) -> str:
    """A room with some events."""

    async def work(room: Any) -> None:
        for n in range(3):
            await room.observe.emit("draft.started", {"n": n})
        await room.observe.emit("review.started")
        await room.publish("notes/today", {"x": 1})

    cli.agent(work, "told")
    return "told"


def events(cli: Cli, *arguments: str) -> list[dict[str, Any]]:
    answer = cli("events", *arguments, "--json")
    assert answer.status == 0, answer.err
    return [json.loads(line) for line in answer.out.splitlines()]


def test_events_are_one_a_line_without_a_hole(cli: Cli, told: str) -> None:
    found = events(cli, "--room", told)
    assert [event["seq"] for event in found] == list(range(1, len(found) + 1))
    assert [event["type"] for event in found].count("draft.started") == 3
    assert all("body" not in event for event in found)
    assert len(cli("events", "--room", told).out.splitlines()) == len(found)


def test_events_by_type_and_from_a_sequence_and_with_bodies(cli: Cli, told: str) -> None:
    found = events(cli, "--room", told, "--types", "draft.*", "--bodies")
    assert [event["body"] for event in found] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert events(cli, "--room", told, "--types", "draft.*", "--since", str(found[1]["seq"])) == [
        {key: value for key, value in found[2].items() if key != "body"}
    ]


def test_without_a_room_there_must_be_one_only(cli: Cli, told: str) -> None:
    cli("rooms", "another", "--create")
    answer = cli("events")
    assert answer.status == 2
    assert "--room" in answer.err


def test_following_goes_on_with_what_comes(cli: Cli, told: str) -> None:
    command = [sys.executable, "-m", "langgraph_nolag", "events", "--room", told, "--types", "later.*", "--follow", "--json", "--bodies"]
    process = subprocess.Popen([*command, "--path", str(cli.path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None

        async def work(room: Any) -> None:
            await room.observe.emit("later.first", 1)

        cli.agent(work, told)
        first = json.loads(process.stdout.readline())
        assert (first["type"], first["body"]) == ("later.first", 1)

        async def more(room: Any) -> None:
            await room.observe.emit("later.second", 2)

        cli.agent(more, told)
        assert json.loads(process.stdout.readline())["body"] == 2
    finally:
        process.terminate()
        process.communicate(timeout=10)


def test_tasks_wait_visibly_and_can_be_cancelled(cli: Cli) -> None:
    async def work(room: Any) -> str:
        return str((await room.handoff.dispatch("draft", {}, capabilities=["nobody-has-this"], key="waits")).id)

    id = cli.agent(work, "work")
    assert id in cli("tasks", "list").out
    [task] = cli("tasks", "list", "--room", "work", "--json").json["tasks"]
    assert (task["task"], task["state"], task["capabilities"]) == (id, "waiting", ["nobody-has-this"])
    assert cli("tasks", "cancel", id).status == 0
    assert cli("tasks", "list", "--room", "work", "--json").json["tasks"] == []
    assert cli("tasks", "cancel", id).status == 1


def test_why_a_task_is_parked_is_shown(cli: Cli) -> None:
    async def work(room: Any) -> None:
        for n in range(2):
            await room.handoff.dispatch("draft", n, rate_key="mail", rate_limit=(1, 3600))
            await room.handoff.dispatch("draft", n, concurrency_key="ana")

    cli.agent(work, "parking")
    out = cli("tasks", "list", "--room", "parking").out
    assert "parked (rate mail)" in out
    assert "parked (concurrency ana)" in out


def test_dead_letters_are_listed_with_their_error_and_retried(cli: Cli) -> None:
    async def work(room: Any) -> str:
        async def fail(task: Any) -> None:
            raise ValueError("too hard")

        async with room.handoff.serve(fail, types=["hard"]):
            task = await room.handoff.dispatch("hard", {}, max_attempts=1, key="hard-1")
            with pytest.raises(Exception, match="too hard"):
                await task.result(timeout=10)
            return str(task.id)

    id = cli.agent(work, "graves")
    dead = cli("tasks", "dead", "--room", "graves")
    assert id in dead.out
    assert "ValueError: too hard" in dead.out
    assert cli("tasks", "retry", id, "--json").json["state"] == "waiting"
    assert cli("tasks", "dead", "--room", "graves", "--json").json["tasks"] == []


def test_dead_letters_are_purged_by_name_or_all_of_them(cli: Cli) -> None:
    async def work(room: Any) -> list[str]:
        async def fail(task: Any) -> None:
            raise ValueError("too hard")

        async with room.handoff.serve(fail, types=["hard"]):
            tasks = [await room.handoff.dispatch("hard", n, max_attempts=1) for n in range(3)]
            for task in tasks:
                with pytest.raises(Exception, match="too hard"):
                    await task.result(timeout=10)
        return [str(task.id) for task in tasks]

    ids = cli.agent(work, "purged")
    assert cli("tasks", "purge", "--room", "purged").status == 2
    assert cli("tasks", "purge", ids[0], "--room", "purged", "--json").json == {"purged": 1}
    assert len(cli("tasks", "dead", "--room", "purged", "--json").json["tasks"]) == 2
    assert "2 dead letters purged" in cli("tasks", "purge", "--all", "--room", "purged").out
    assert cli("tasks", "dead", "--room", "purged", "--json").json["tasks"] == []


def test_large_values_are_not_fetched_to_be_listed(cli: Cli) -> None:
    async def work(room: Any) -> None:
        await room.observe.emit("a.large", "x" * (3 << 20))

    cli.agent(work, "large")
    (found,) = events(cli, "--room", "large", "--types", "a.*", "--bodies")
    assert found["large"] == (3 << 20) + 5
    assert "body" not in found
    assert cli("events", "--room", "large", "--types", "a.*", "--bodies").out.strip().endswith("(3.0 MiB)")
