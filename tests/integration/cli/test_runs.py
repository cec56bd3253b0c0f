"""runs: start, list, show, cancel."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from langgraph_nolag.client.body import encode

from .conftest import Cli


def test_runs_are_started_listed_shown_and_cancelled(cli: Cli) -> None:
    started = cli("runs", "start", "letters", '{"topic": "tea"}', "--room", "office", "--thread", "t-1", "--json").json
    assert (started["state"], started["thread"]) == ("waiting", "t-1")
    assert cli("runs", "start", "letters", "--room", "office", "--thread", "t-1", "--on-busy", "reject").status == 1
    assert cli("runs", "start", "letters", "{", "--room", "office").status == 2
    assert cli("runs", "start", "letters", "--room", "office", "--on-busy", "never").status == 2
    listed = cli("runs", "list", "--room", "office").out
    for part in (started["run"][:8], "letters", "t-1", "waiting"):
        assert part in listed
    assert cli("runs", "list", "--thread", "t-2", "--json").json == {"runs": []}
    assert cli("runs", "show", started["run"], "--json").json["state"] == "waiting"
    assert cli("runs", "show", "nothing").status == 1
    assert cli("runs", "cancel", started["run"], "--room", "office").status == 0
    assert cli("runs", "list", "--room", "office", "--json").json == {"runs": []}
    assert cli("runs", "show", started["run"], "--json").json["state"] == "cancelled"


def test_a_run_shows_what_it_waits_for_by_its_thread_too(cli: Cli) -> None:
    first = cli("runs", "start", "letters", "--room", "attic", "--thread", "t-1", "--json").json["run"]
    for name in (first, "t-1"):
        shown = cli("runs", "show", name, "--room", "attic", "--json").json
        assert (shown["run"], shown["waits_for"]) == (first, ["a worker that serves it with resume=True and is free"])
    second = cli("runs", "start", "letters", "--room", "attic", "--thread", "t-1", "--json").json["run"]
    several = cli("runs", "show", "t-1", "--room", "attic")
    assert several.status == 2
    assert first in several.err
    assert second in several.err
    for run in (first, second):
        assert cli("runs", "cancel", run).status == 0
    assert cli("runs", "show", "t-1", "--room", "attic").status == 1

    async def ask(room: Any) -> None:
        fields = {"approval": "gate-1", "action": "publish", "body": encode({}), "allow": ["approve"], "thread": "t-1", "follow": False}
        await room.link.acall("approval.request", **fields)

    cli.agent(ask, "attic")
    shown = cli("runs", "show", "t-1", "--json").json
    assert (shown["room"], shown["state"], shown["waits_for"]) == ("attic", "interrupted", ["approval gate-1: publish"])


def test_a_run_that_is_done_shows_its_result(cli: Cli) -> None:
    """Whoever carries it out here only says how it ended."""
    outcome = {"status": "done", "thread_id": "t", "values": {"text": "Tea."}, "next": [], "interrupts": []}
    started = cli("runs", "start", "letters", "{}", "--room", "study", "--json").json

    async def work(room: Any) -> None:
        done = asyncio.get_running_loop().create_future()

        def on_task(task: Any) -> None:
            task.offer.complete(task, encode(outcome), on_answer=lambda *_: done.get_loop().call_soon_threadsafe(done.set_result, None))

        offer = room.link.serve(kind="run", types=["letters"], on_task=on_task)
        await asyncio.wait_for(done, 20)
        await asyncio.wrap_future(offer.close())

    cli.agent(work, "study")
    shown = cli("runs", "show", started["run"], "--json").json
    assert (shown["state"], shown["result"]["values"]) == ("completed", {"text": "Tea."})


def test_who_waits_for_a_run_is_told_which_and_what_for(cli: Cli) -> None:
    outcome = {"status": "done", "thread_id": "t", "values": {"text": "Tea."}, "next": [], "interrupts": []}

    async def work(room: Any) -> Any:
        waits = asyncio.create_task(asyncio.to_thread(cli, "runs", "start", "notes", "{}", "--room", "study", "--thread", "t", "--wait"))
        async with asyncio.timeout(20):
            while not await room.runs.list(thread_id="t"):  # before there is anybody to run it
                await asyncio.sleep(0.02)
            offer = room.link.serve(kind="run", types=["notes"], on_task=lambda task: task.offer.complete(task, encode(outcome)))
            answer = await waits
            await asyncio.wrap_future(offer.close())
        return answer

    answer = cli.agent(work, "study")
    assert (answer.status, json.loads(answer.out)["values"]) == (0, {"text": "Tea."})
    assert "of notes is waiting, thread t; a worker that serves it with resume=True" in answer.err
