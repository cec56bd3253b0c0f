"""The trees at the top of the two modules of errors show what there is, and each error says what happened."""

from __future__ import annotations

import re
from types import ModuleType

import pytest

from langgraph_nolag import errors
from langgraph_nolag.graph import errors as graph_errors


def defined(module: ModuleType) -> dict[str, type]:
    classes = {name: value for name, value in vars(module).items() if isinstance(value, type) and issubclass(value, Exception)}
    return {name: value for name, value in classes.items() if value.__module__ == module.__name__}


@pytest.mark.parametrize("module", [errors, graph_errors])
def test_the_tree_shows_every_error_and_no_other(module: ModuleType) -> None:
    tree = [line.split(" ..")[0] for line in str(module.__doc__).splitlines() if line.startswith("    ")]
    drawn = {name for line in tree for name in re.findall(r"\b[A-Z]\w+", line)}
    assert defined(module).keys() <= drawn
    assert drawn <= defined(errors).keys() | defined(graph_errors).keys()


@pytest.mark.parametrize("error", [*defined(errors).values(), *defined(graph_errors).values()], ids=lambda error: error.__name__)
def test_every_error_says_what_happened(error: type) -> None:
    assert vars(error)["__doc__"], f"{error.__name__} has no docstring of its own"
