"""Graphs and executions are called the same in every process, and differently where they differ."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sample
from typing_extensions import TypedDict

from langgraph_nolag.graph.remote.key import fingerprint, graph_name, group_of, identity
from langgraph_nolag.graph.serde.codec import Codec
from langgraph_nolag.graph.serde.trust import Trust, reference, trust_of, values_of

HERE = Path(__file__).parent


def test_fingerprint_is_the_same_in_every_process() -> None:
    code = "import sample; from langgraph_nolag.graph.remote.key import graph_name; print(graph_name(sample.graph))"
    names = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(HERE)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert names == {graph_name(sample.graph)}


class Other(TypedDict, total=False):
    x: int
    tree: int
    colours: int
    renamed: int


def test_fingerprint_covers_edges_and_fields() -> None:
    assert fingerprint(sample.build()) == fingerprint(sample.build())
    assert fingerprint(sample.build(edge=False)) != fingerprint(sample.build())
    assert fingerprint(sample.build(schema=Other)) != fingerprint(sample.build())


def test_names() -> None:
    assert graph_name(sample.build()).startswith("sample@")
    assert graph_name(sample.build(name="mine")).startswith("mine@")
    assert graph_name(sample.build(name="mine"), "given").startswith("given@")


def key(**changes: Any) -> Any:
    fields: dict[str, Any] = {"graph": "g@1", "node": "n", "thread": "t", "group": "run", "task_id": "id", "answers": [[], None]}
    return identity(**{**fields, **changes}, codec=Codec(Trust()))


def test_same_execution_same_key() -> None:
    assert key() == key()


@pytest.mark.parametrize(
    "change", [{"graph": "g@2"}, {"thread": "u"}, {"task_id": "other"}, {"answers": [["A"], None]}, {"answers": [[], "A"]}]
)
def test_key_covers_graph_thread_execution_and_answers(change: dict[str, Any]) -> None:
    assert key(**change).key != key().key


def test_slot_is_the_execution_whatever_the_answers() -> None:
    assert key(answers=[["A"], None]).slot == key().slot
    assert key(thread="u").slot != key().slot  # a copied thread has the same task ids


def test_answers_that_a_checkpoint_changed_a_little() -> None:
    assert key(answers=[[("a", 1)], None]) == key(answers=[[["a", 1]], None])


def test_groups_of_runs() -> None:
    assert group_of("g", "t", "") == group_of("g", "t", "")
    assert len({group_of("g", "t", ""), group_of("g", "t", "ns"), group_of("g", "u", ""), group_of("h", "t", "")}) == 4


def test_trust_comes_from_the_schemas() -> None:
    assert {cls.__name__ for cls in values_of(sample.State)} >= {"Tree", "Colour", "Frozen"}
    trust = trust_of(sample.graph)
    assert trust.allows(reference(sample.Slotted))  # of a module that the graph's nodes are in
    assert not trust.allows("os:stat_result")
    assert trust_of(sample.graph, allow=[Path]).allows(reference(Path))
