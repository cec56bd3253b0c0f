"""The functional API: an entrypoint's body stays where it is invoked, and each `@task` that it calls runs on a worker.

LangGraph schedules, retries, caches and stores a task in its own loop, with the entrypoint; only the function runs
elsewhere. A body that waited on a worker for its tasks would hold a slot that they may need, so it does not go there.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.config import get_config

from .._compat import CONFIG_KEY_CALL, is_async_callable, patch_configurable, tasks_in
from .called import INJECTED
from .proxy import LocalNode, RemoteNode
from .tasks import TASKS, task_bodies


class CallingNode(LocalNode):
    """Runs an entrypoint's body here, and the tasks that it calls on workers. A task that no worker could import runs here too."""

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        with self._calling(config) as config:
            return super().invoke(input, config, **kwargs)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        with self._calling(config) as config:
            return await super().ainvoke(input, config, **kwargs)

    @contextmanager
    def _calling(self, config: RunnableConfig | None) -> Iterator[RunnableConfig | None]:
        """The configuration under which tasks that are called inside the block go to workers."""
        call = (config or {}).get("configurable", {}).get(CONFIG_KEY_CALL)
        if config is None or call is None:
            yield config
            return

        def elsewhere(function: Callable[..., Any], input: Any, **options: Any) -> Any:
            return call(self._remote(function), input, **options)

        config = patch_configurable(config, {CONFIG_KEY_CALL: elsewhere})
        token = var_child_runnable_config.set(config)
        try:
            yield config
        finally:
            var_child_runnable_config.reset(token)

    def _remote(self, function: Callable[..., Any]) -> Callable[..., Any]:
        reference = _reference(function)
        if reference is None:
            return function
        node = RemoteNode(replace(self.place, node=f"{self.place.node}/{TASKS}"), task_bodies(self.body))

        def run(*args: Any, **named: Any) -> Any:
            return node.invoke([reference, list(args), named], get_config())

        async def arun(*args: Any, **named: Any) -> Any:
            return await node.ainvoke([reference, list(args), named], get_config())

        return _like(function, arun if is_async_callable(function) else run)


def _like(function: Callable[..., Any], stand_in: Callable[..., Any]) -> Callable[..., Any]:
    """Looks like the function, but for the parameters that LangGraph fills in: those are filled in on the worker."""
    for name in ("__name__", "__qualname__", "__module__", "__doc__"):
        setattr(stand_in, name, getattr(function, name, None))
    signature = inspect.signature(function)
    stand_in.__signature__ = signature.replace(parameters=[part for name, part in signature.parameters.items() if name not in INJECTED])  # type: ignore[attr-defined]
    return stand_in


def _reference(function: Callable[..., Any]) -> str | None:
    """How workers find the function of a task; None: they can't."""
    module = str(getattr(function, "__module__", ""))
    name = next((name for name, known in tasks_in(sys.modules.get(module)).items() if known is function), None)
    return None if name is None or module == "__main__" else f"{module}:{name}"
