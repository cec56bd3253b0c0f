"""The orchestrator's end of a remote body's channel: answers its calls.

A call that stands in the way of the body's thread is answered on a thread of ours, never on an event loop: the loop may
be the very one that waits for the body. Any other is answered where the node runs.
"""

from __future__ import annotations

import concurrent.futures
import functools
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .._compat import CONFIG_KEY_CHECKPOINTER, CONFIG_KEY_READ, CONFIG_KEY_RUN, CONFIG_KEY_RUNTIME, CONFIG_KEY_SCRATCHPAD
from .channel import ANSWER, HELLO

if TYPE_CHECKING:
    from .place import Place

ITEM_METHODS = frozenset(("read_item", "write_item"))  # of a store that compares and sets
SAVER_METHODS = frozenset(("get_tuple", "list", "put", "put_writes", "get_delta_channel_history"))


@functools.cache
def answering_threads() -> concurrent.futures.ThreadPoolExecutor:
    """Threads for blocking answers, shared by the process. No answer waits for another one."""
    return concurrent.futures.ThreadPoolExecutor(16, thread_name_prefix="nolag-answer")


class Answers:
    """The calls of one execution, each carried out once however often it is asked.

    Args:
        conf: the `configurable` that the node was called with.
        nonce: ours; a call meant for an orchestrator before us is not carried out, but asked for again.
    """

    def __init__(self, place: Place, conf: Mapping[str, Any], nonce: str) -> None:
        self._codec = place.codec
        self._link = place.link
        self._conf = conf
        self._nonce = nonce
        self._attempt = 0
        self._greeted = False
        self._taken: list[Any] = []  # the answer to whichever interrupt asks first, once it was asked for
        self._taking = threading.Lock()
        self._sent: dict[int, bytes | None] = {}  # by the call's id; None: being answered

    def sort(self, attempt: int, frame: bytes) -> tuple[tuple[int, str, bytes] | None, bytes | None]:
        """What to do with a call: carry it out, tell the worker something, or nothing. On the I/O thread only."""
        if attempt != self._attempt:
            self._attempt, self._greeted = attempt, False
        nonce, number, oldest, repeated, what, args = self._codec.decode(frame[1:])
        if nonce != self._nonce:
            if self._greeted and not repeated:
                return None, None
            self._greeted = True
            return None, HELLO + self._codec.encode(self._nonce)
        for known in [known for known in tuple(self._sent) if known < oldest]:
            del self._sent[known]
        if number in self._sent:
            return None, self._sent[number]
        self._sent[number] = None
        return (number, what, args), None

    def answered(self, number: int, ok: bool, value: Any) -> bytes:
        """The frame of an answer."""
        try:
            frame = ANSWER + self._codec.encode([number, ok, value], where="an answer to the node")
        except Exception as error:  # the body must hear of it, or it waits for ever
            frame = ANSWER + self._codec.encode([number, False, error])
        if number in self._sent:
            self._sent[number] = frame
        return frame

    def carry_out(self, number: int, what: str, args: bytes) -> bytes:
        """Answer a call, blocking."""
        try:
            return self.answered(number, True, self._do(what, self._codec.decode(args)))
        except Exception as error:
            return self.answered(number, False, error)

    async def acarry_out(self, number: int, what: str, args: bytes) -> bytes:
        """Answer a call on the node's event loop."""
        try:
            return self.answered(number, True, await self._ado(what, self._codec.decode(args)))
        except Exception as error:
            return self.answered(number, False, error)

    def _do(self, what: str, args: list[Any]) -> Any:
        if what == "null":
            return self._shared_answer()
        if what == "read":
            return self._conf[CONFIG_KEY_READ](*args)
        if what == "store":
            return self._conf[CONFIG_KEY_RUNTIME].store.batch(args[0])
        if what in ITEM_METHODS:
            return tuple(getattr(self._conf[CONFIG_KEY_RUNTIME].store, what)(*args))
        if what == "vote":
            return self._link.call("approval.decide", **args[0]) if self._may_vote(args) else None
        name, positional, named = self._under_lease(self._saver_call(what, args))
        result = getattr(self._conf[CONFIG_KEY_CHECKPOINTER], name)(*positional, **named)
        return list(result) if name == "list" else result

    async def _ado(self, what: str, args: list[Any]) -> Any:
        if what == "vote":
            return await self._link.acall("approval.decide", **args[0]) if self._may_vote(args) else None
        if what == "store":
            return await self._conf[CONFIG_KEY_RUNTIME].store.abatch(args[0])
        if what in ITEM_METHODS:
            return tuple(await getattr(self._conf[CONFIG_KEY_RUNTIME].store, "a" + what)(*args))
        if what != "saver":
            return self._do(what, args)
        name, positional, named = self._under_lease(self._saver_call(what, args))
        method = getattr(self._conf[CONFIG_KEY_CHECKPOINTER], "a" + name)
        if name == "list":
            return [found async for found in method(*positional, **named)]
        return await method(*positional, **named)

    def _may_vote(self, args: list[Any]) -> bool:
        _, new = args
        run = self._conf.get(CONFIG_KEY_RUN)
        return not new or run is None or run.lease is None or run.lease.may_vote()

    def _under_lease(self, call: tuple[str, list[Any], dict[str, Any]]) -> tuple[str, list[Any], dict[str, Any]]:
        """The configuration came without what means something here only: what the body writes is written by the run it belongs to."""
        name, positional, named = call
        if name in ("put", "put_writes") and positional and (run := self._conf.get(CONFIG_KEY_RUN)) is not None:
            config, *others = positional
            positional = [{**config, "configurable": {**config["configurable"], CONFIG_KEY_RUN: run}}, *others]
        return name, positional, named

    def _shared_answer(self) -> Any:
        """Taken once for this execution: an attempt that died with it leaves it to the next one."""
        with self._taking:
            if not self._taken:
                self._taken.append(self._conf[CONFIG_KEY_SCRATCHPAD].get_null_resume(True))
            return self._taken[0]

    @staticmethod
    def _saver_call(what: str, args: list[Any]) -> tuple[str, list[Any], dict[str, Any]]:
        if what != "saver" or args[0] not in SAVER_METHODS:
            raise ValueError(f"a node may not call {what} {args[:1]}")
        return args[0], args[1], args[2]
