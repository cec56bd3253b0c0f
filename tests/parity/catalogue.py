"""Which modules hold cases, and what their graphs are called: the same in the tests and in their workers."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Final

from langgraph.pregel import Pregel

ROOM: Final = "parity"
MODULES: Final = (
    *("values", "control", "interrupts", "subgraphs", "runtime", "streams", "policies"),
    *("agents", "history", "functional", "cancellation"),
)


def module_of(name: str) -> ModuleType:
    return importlib.import_module(f"parity.cases.{name}")


def graph_names(module: ModuleType) -> dict[int, str]:
    """Names of a module's graphs, by identity."""
    found: dict[int, str] = {}
    for variable, value in vars(module).items():
        if isinstance(value, Pregel):
            found.setdefault(id(value), f"{module.__name__.rpartition('.')[2]}.{variable}")
    return found
