"""Two orchestrators on one thread: the older one is refused whatever it still has to say."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from runs_helpers import Start, config, ran, wait_until

from langgraph_nolag import RunFenced, StaleLease
from langgraph_nolag.client.link import RoomLink

pytestmark = pytest.mark.usefixtures("nodes")


class Invoked(threading.Thread):
    """A graph that is invoked beside the test."""

    def __init__(self, graph: Any, input: Any, thread: str) -> None:
        super().__init__(daemon=True)
        self.outcome: Any = None
        self._call = lambda: graph.invoke(input, config(thread), durability="sync")
        self.start()

    def run(self) -> None:
        try:
            self.outcome = self._call()
        except BaseException as error:
            self.outcome = error

    def ended(self) -> Any:
        self.join(30)
        assert not self.is_alive()
        return self.outcome


def test_who_goes_on_with_a_thread_fences_who_ran_it(graph: Any, start: Start, thread: str, tmp_path: Path) -> None:
    file = tmp_path / "runs"
    older = Invoked(graph("chain"), {"file": str(file)}, thread)
    wait_until(lambda: ran(file) == ["first", "long"], "the node runs")
    newer = start("orchestrator", "chain", thread, "null")
    error = older.ended()
    assert isinstance(error, RunFenced)
    assert isinstance(error, StaleLease)
    assert error.detail["thread"] == thread
    file.with_suffix(".go").touch()
    assert newer.finish() == ["first", "long", "last"]
    assert ran(file) == ["first", "long", "last"], "the body that ran was found, not run again"


def test_new_input_ends_what_the_older_run_began(graph: Any, start: Start, link: RoomLink, thread: str, tmp_path: Path) -> None:
    file, other = tmp_path / "runs", tmp_path / "other"
    older = Invoked(graph("chain"), {"file": str(file)}, thread)
    wait_until(lambda: ran(file) == ["first", "long"], "the node runs")
    other.with_suffix(".go").touch()
    newer = start("orchestrator", "chain", thread, f'{{"file": "{other}"}}')
    assert isinstance(older.ended(), RunFenced)
    assert newer.finish() == ["first", "first", "long", "last"]
    assert ran(other) == ["first", "long", "last"]
    history = list(graph("chain").get_state_history(config(thread)))
    parents = {state.config["configurable"]["checkpoint_id"]: state.parent_config for state in history}
    assert sum(parent is None for parent in parents.values()) == 1, "one line of checkpoints, without a branch"
    assert len({str(parent) for parent in parents.values()}) == len(parents)


def test_an_orchestrator_that_does_not_hear_of_it_is_refused(graph: Any, link: RoomLink, thread: str, tmp_path: Path) -> None:
    """As one that was paused: its checkpoint comes when the thread is another's."""
    file = tmp_path / "runs"
    file.with_suffix(".go").touch()
    chunks = graph("chain").stream({"file": str(file)}, config(thread), durability="sync", stream_mode="updates")
    assert next(chunks) == {"first": {"log": ["first"]}}
    key = f"thread/{thread}"
    begun = link.call("task.begin", task=link.new_id(), type="chain", kind="run", body=b"", concurrency_key=key)
    with pytest.raises(RunFenced):
        list(chunks)
    assert ran(file) == ["first"]
    link.call("task.complete", task=begun["task"], token=begun["token"], body=b"")
    assert graph("chain").invoke(None, config(thread), durability="sync")["log"] == ["first", "long", "last"]
    assert ran(file) == ["first", "long", "last"]
