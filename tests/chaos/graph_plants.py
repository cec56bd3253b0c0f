"""Defects that the row of killed graphs must find, planted into the SDK of the processes that take part."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable
from typing import Any


def other_keys() -> None:
    """Executions are not known again."""
    from langgraph_nolag.graph.remote import execution, key

    def other(**facts: Any) -> key.Identity:
        return dataclasses.replace(key.identity(**facts), key=secrets.token_hex(20))

    vars(execution).update(identity=other)


def no_input() -> None:
    """What a run was asked to do is not in the room."""
    from langgraph_nolag.graph.runs.request import Request

    real = Request.pack
    Request.pack = lambda self, codec: real(dataclasses.replace(self, input=None), codec)  # type: ignore[method-assign]


def no_ledger() -> None:
    """Effects are done without a look into the ledger."""
    from langgraph_nolag.patterns.effect import Ledger

    async def run(self: Any, do: Any) -> Any:
        result = do()
        await self._link.acall("effect.put", None, **self._entry, body=b"\xa6paid 3")
        return result

    Ledger.run = run  # type: ignore[method-assign]


def nothing_unseen() -> None:
    """What was streamed does not go with the outcome."""
    from langgraph_nolag.graph.remote.unseen import Unseen

    Unseen.frames = lambda self: []  # type: ignore[method-assign]


PLANTS: dict[str, Callable[[], None]] = {plant.__name__: plant for plant in (other_keys, no_input, no_ledger, nothing_unseen)}
