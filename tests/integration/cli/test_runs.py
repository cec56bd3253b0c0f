"""runs: start, list, show, cancel."""

from __future__ import annotations

import asyncio
from typing import Any

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


def test_a_run_that_is_done_shows_its_result(cli: Cli) -> None:
    """Whoever carries it out here only says how it ended."""
    outcome = {"status": "done", "thread_id": "t", "values": {"text": "Tea."}, "next": [], "interrupts": []}
    started = cli("runs", "start", "letters", "{}", "--room", "study", "--json").json

    async def work(room: Any) -> None:
        done = asyncio.get_running_loop().create_future()

        def on_task(task: Any) -> None:
            from langgraph_nolag.client.body import encode

            task.offer.complete(task, encode(outcome), on_answer=lambda *_: done.get_loop().call_soon_threadsafe(done.set_result, None))

        offer = room.link.serve(kind="run", types=["letters"], on_task=on_task)
        await asyncio.wait_for(done, 20)
        await asyncio.wrap_future(offer.close())

    cli.agent(work, "study")
    shown = cli("runs", "show", started["run"], "--json").json
    assert (shown["state"], shown["result"]["values"]) == ("completed", {"text": "Tea."})
