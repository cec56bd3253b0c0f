"""Which failures of a run another attempt may help."""

from __future__ import annotations

from typing import Any

import pytest

from langgraph_nolag import Disconnected, NotAuthorized, NotEncodable, Permanent, StaleLease, TaskFailed, TaskTimeout
from langgraph_nolag.errors import Busy, StorageFailed
from langgraph_nolag.graph.errors import NothingToRun
from langgraph_nolag.graph.runs.orchestrator import Orchestrator

AGAIN = [Disconnected("closed"), StaleLease("another has it"), StorageFailed("the broker stops"), Busy("not now")]
FOR_GOOD = [
    ValueError("the graph"),
    TaskFailed(error_type="ValueError"),
    TaskTimeout("a node's", state="timed_out"),
    NotAuthorized("no grant"),
    NotEncodable("a lock"),
    NothingToRun("another version"),
]


@pytest.mark.parametrize("error", [*AGAIN, *FOR_GOOD], ids=lambda error: type(error).__name__)
async def test_a_run_is_tried_again_only_where_that_may_help(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(self: Orchestrator, task: Any) -> Any:
        raise error

    monkeypatch.setattr(Orchestrator, "_run", broken)
    with pytest.raises(Exception) as caught:
        await Orchestrator(None, [])(None)  # type: ignore[arg-type]
    assert isinstance(caught.value, Permanent) is (error in FOR_GOOD)
