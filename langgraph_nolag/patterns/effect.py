"""One effect of a task on the world outside: asked for, done, recorded."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from ..client.body import decode, encode
from ..client.callables import check_callable
from ..client.io import wait_on
from ..client.offer import Assigned
from ..errors import BadRequest, MessageTooLarge, NoLagError, NotEncodable, Overloaded, Permanent

_doing: ContextVar[tuple[Ledger, ...]] = ContextVar("nolag_effects", default=())
"""The effects that are being done here, one inside the other."""


class Ledger:
    """An entry of a task's effect ledger. See `HandedTask.effect`."""

    def __init__(self, assigned: Assigned, key: str) -> None:
        self._link = assigned.offer.link
        self._key = key
        self._entry: dict[str, Any] = {"task": assigned.task, "token": assigned.token, "key": key}
        self._turn = asyncio.Lock()  # of this attempt's own calls: the broker knows the attempt, and lets all of them do it
        self._turn_of_threads = threading.RLock()

    async def run(self, do: Callable[[], Any]) -> Any:
        self._check(do)
        async with self._turn:
            found = await self._link.acall("effect.get", **self._entry)
            if found["found"]:
                return _value(found)
            with self._being_done():
                result = do()
                if inspect.isawaitable(result):
                    result = await result
            try:
                body = encode(result)
                put = await self._link.acall("effect.put", None, **self._entry, body=body)  # it is done: to give up would do it again
            except (NotEncodable, MessageTooLarge, Overloaded) as error:
                raise self._lost(error) from error
        return decode(body) if put["recorded"] else _value(put)

    def run_blocking(self, do: Callable[[], Any], loop: asyncio.AbstractEventLoop) -> Any:
        """On a thread; what is async runs on the loop."""
        self._check(do)
        with self._turn_of_threads:
            found = self._link.call("effect.get", **self._entry)
            if found["found"]:
                return _value(found)
            with self._being_done():
                result = do()
                if inspect.isawaitable(result):
                    result = wait_on(loop, result)
            try:
                body = encode(result)
                put = self._link.call("effect.put", None, **self._entry, body=body)
            except (NotEncodable, MessageTooLarge, Overloaded) as error:
                raise self._lost(error) from error
        return decode(body) if put["recorded"] else _value(put)

    def _check(self, do: Callable[[], Any]) -> None:
        check_callable(do, "do")
        if self in _doing.get():  # it would wait for itself
            raise BadRequest(f"the effect {self._key!r} is asked for while it is being done: give what is inside it a key of its own")

    @contextmanager
    def _being_done(self) -> Iterator[None]:
        token = _doing.set((*_doing.get(), self))
        try:
            yield
        finally:
            _doing.reset(token)

    def _lost(self, error: NoLagError) -> Permanent:
        return Permanent(f"the effect {self._key!r} is done, but its result can't be recorded: {error}")


def _value(answer: Mapping[str, Any]) -> Any:
    return decode(answer["body"], answer.get("ct"))
