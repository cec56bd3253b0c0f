"""schedules: list, pause, resume, delete."""

from __future__ import annotations

from typing import Any

from .conftest import Cli


def test_schedules_are_listed_paused_resumed_and_deleted(cli: Cli) -> None:
    async def work(room: Any) -> None:
        await room.handoff.schedule("0 9 * * 1-5", "report", name="morning", tz="Europe/Berlin")

    cli.agent(work, "office")
    listed = cli("schedules", "list", "--room", "office").out
    for part in ("morning", "report", "0 9 * * 1-5", "Europe/Berlin", "agent"):
        assert part in listed
    assert cli("schedules", "pause", "morning").status == 0
    assert "paused" in cli("schedules", "list", "--room", "office").out
    assert cli("schedules", "resume", "morning", "--json").json["paused"] is False
    cli.agent(work, "cellar")
    assert cli("schedules", "delete", "morning").status == 2
    assert cli("schedules", "delete", "morning", "--room", "office").status == 0
    assert cli("schedules", "list", "--room", "office", "--json").json == {"schedules": []}
    assert cli("schedules", "delete", "morning", "--room", "office").status == 1
    assert cli("schedules", "delete", "morning").status == 0
