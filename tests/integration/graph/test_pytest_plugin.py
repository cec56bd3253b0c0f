"""The plugin that runs existing tests over a broker."""

import subprocess
import sys
from pathlib import Path

TESTS = """
import operator
from typing import Annotated, TypedDict

import pytest
from langgraph.graph import START, StateGraph
from langgraph_nolag.graph.context import current


@pytest.mark.parametrize("number", [1, 2])
def test_local_graph(number):
    class State(TypedDict):
        log: Annotated[list, operator.add]

    def node(state: State) -> State:
        return {"log": [number, current() is not None and current().remote]}

    graph = StateGraph(State).add_node(node).add_edge(START, "node").compile()
    assert graph.invoke({"log": []}) == {"log": [number, True]}


def test_without_a_graph():
    pass
"""


def test_existing_tests_run_over_a_broker(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "langgraph_nolag.testing.pytest_langgraph", "-p", "no:cacheprovider"]
    ran = subprocess.run([*command, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout
    assert "3 passed" in ran.stdout
    assert "2 graphs were distributed; a worker ran 2 bodies of their nodes, in 2 tests" in ran.stdout


def test_one_test_that_ran_there_is_counted_as_one(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "langgraph_nolag.testing.pytest_langgraph", "-p", "no:cacheprovider", "-k", "1"]
    ran = subprocess.run([*command, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "1 graphs were distributed; a worker ran 1 bodies of their nodes, in 1 tests" in ran.stdout, ran.stdout
