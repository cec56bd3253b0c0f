"""The tasks of the functional API, as a worker runs them."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, Final

from langchain_core.runnables import Runnable, RunnableConfig

from .._compat import node_function, task_runnable, tasks_in
from ..errors import NotImportable

TASKS: Final = "tasks"
"""The path of an entrypoint's tasks, below it."""


class TaskBodies(Runnable[Any, Any]):
    """On a worker: runs the task that an input names. Only functions that are declared as tasks at the top of a module that this
    process has imported."""

    def __init__(self, module: str) -> None:
        self.__module__ = module  # of the entrypoint: what a graph is called by

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        reference, args, named = input
        return task_runnable(_declared(reference)).invoke((args, named), config)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        reference, args, named = input
        return await task_runnable(_declared(reference)).ainvoke((args, named), config)


@functools.cache
def task_bodies(entrypoint: Runnable[Any, Any]) -> TaskBodies:
    """Those of one entrypoint, the same each time."""
    return TaskBodies(str(getattr(node_function(entrypoint), "__module__", "")))


def _declared(reference: str) -> Callable[..., Any]:
    module, _, name = reference.partition(":")
    found = tasks_in(sys.modules.get(module)).get(name)
    if found is None:
        raise NotImportable(f"{reference} is not a task at the top level of a module that this worker has imported")
    return found
