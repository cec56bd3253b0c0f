"""`parity(module)`: the test that plays every case of a module here and over workers, and finds no difference."""

from __future__ import annotations

import difflib
import pprint
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from langgraph_nolag import LocalBroker, NoLagSaver, distribute

from .case import Case
from .catalogue import ROOM, graph_names
from .play import Player


def parity(module: ModuleType) -> Callable[..., Any]:
    names = graph_names(module)
    plays = [pytest.param(case, how, id=f"{case.name}-{how}".replace(" ", "_")) for case in module.CASES for how in case.how]

    @pytest.mark.filterwarnings("ignore:durability=")
    @pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # of `ToolRuntime`, in process too
    @pytest.mark.parametrize(("case", "how"), plays)
    async def test(case: Case, how: str, broker: LocalBroker, workers: Any, dispatched: list[str]) -> None:
        room = broker.room(ROOM)
        here = await Player(case, _with(case, case.graph, InMemorySaver), how).play()
        assert not dispatched
        remote = distribute(case.graph, room, name=names[id(case.graph)], **case.distribution)
        there = await Player(case, _with(case, remote, lambda: NoLagSaver(room)), how).play()
        assert case.remote in (bool(dispatched), None)
        assert here == there, difference(here, there)

    return test


def _with(case: Case, graph: Any, saver: Callable[[], Any]) -> Any:
    attributes = {name: make() for name, make in case.attributes.items()}
    return graph.copy({**attributes, "checkpointer": saver()} if case.saver else attributes)


def difference(here: Any, there: Any) -> str:
    """What to look at first."""
    lines = list(
        difflib.unified_diff(
            pprint.pformat(here, width=160).splitlines(), pprint.pformat(there, width=160).splitlines(), "here", "there", n=2
        )
    )
    return "\n" + "\n".join(lines[:120])
