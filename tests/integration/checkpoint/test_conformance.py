"""The public suite that a checkpointer must pass, all of it, on both engines."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from langgraph.checkpoint.conformance import checkpointer_test, validate

from langgraph_nolag import LocalBroker, NoLagSaver

LEAST = {"put": 17, "put_writes": 10, "get_tuple": 10, "list": 16, "delete_thread": 5, "delete_for_runs": 7, "copy_thread": 8, "prune": 8}
"""How many tests the suite had when this was written: a suite that runs nothing passes, too."""


async def test_conformance(broker: LocalBroker) -> None:
    rooms = iter(range(100))

    @checkpointer_test(name="NoLagSaver")
    async def savers() -> AsyncIterator[Any]:
        yield NoLagSaver(broker.room(f"conformance-{next(rooms)}"))

    report = await validate(savers)
    assert {name: result.failures for name, result in report.results.items() if result.failures} == {}
    assert report.passed_all()
    assert {name: result.tests_passed for name, result in report.results.items()} == {
        name: max(count, report.results[name].tests_passed) for name, count in LEAST.items()
    }
