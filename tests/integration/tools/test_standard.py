"""LangChain's own suite for tools, on proxies of tools that another process serves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.tools import BaseTool
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests

from langgraph_nolag import LocalBroker, remote_tools


@pytest.fixture(scope="module")
def room() -> Iterator[Any]:
    with LocalBroker() as broker:
        (worker,) = broker.spawn_worker("served:app")
        worker.wait_ready()
        yield broker.room("desk")


class Remote:
    """The suite asks for the tool as a property; it is there once the worker is."""

    name = ""
    params: dict[str, Any]
    found: BaseTool

    @pytest.fixture(autouse=True)
    def _find(self, room: Any) -> None:
        self.found = next(tool for tool in remote_tools(room) if tool.name == self.name)

    @property
    def tool_constructor(self) -> BaseTool:
        return self.found

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return self.params


class TestMultiplyUnit(Remote, ToolsUnitTests):
    name, params = "multiply", {"a": 6, "b": 7}


class TestMultiply(Remote, ToolsIntegrationTests):
    name, params = "multiply", {"a": 6}


class TestFetchUnit(Remote, ToolsUnitTests):
    name, params = "fetch", {"url": "u"}


class TestFetch(Remote, ToolsIntegrationTests):
    name, params = "fetch", {"url": "u"}


class TestRuntimeUnit(Remote, ToolsUnitTests):
    name, params = "read_aloud", {"text": "one two"}


class TestRuntime(Remote, ToolsIntegrationTests):
    name, params = "read_aloud", {"text": "one two"}
