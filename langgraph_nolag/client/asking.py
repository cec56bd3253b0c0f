"""The forms of a request: a future, blocking, awaited, several together. All of them are `ask`, which tells a callback."""

from __future__ import annotations

import asyncio
import concurrent.futures
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from .io import hand_back, settle, settle_blocking

if TYPE_CHECKING:
    from ..errors import NoLagError
    from .io import IoThread
    from .requests import Answer, OnAnswer

REQUEST_TIMEOUT: Final = 30.0  # seconds


class Asking(ABC):
    """Whom requests are made of. Its own: how one is framed, and how it is asked.

    Args of every form:
        op: an operation of the protocol.
        within: seconds until there must be an answer; None: for ever.
        patient: another request follows as a rule: this one leaves with it, or a millisecond later at the latest.
        fields: the operation's.

    Attributes:
        io: the thread that it lives on.
    """

    io: IoThread

    @abstractmethod
    def frame(self, op: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The frame of a request."""

    @abstractmethod
    def ask(self, frame: dict[str, Any], on_answer: OnAnswer, timeout: float | None, /, *, patient: bool = False) -> None:
        """Send a request; `on_answer` is told once, on the I/O thread."""

    def request(
        self, op: str, within: float | None = REQUEST_TIMEOUT, *, patient: bool = False, **fields: Any
    ) -> concurrent.futures.Future[Answer]:
        """Send a request; never blocks. The future holds the answer or the typed error.

        Raises:
            BufferFull: nothing was sent.
        """
        future: concurrent.futures.Future[Answer] = concurrent.futures.Future()
        self.ask(self.frame(op, fields), lambda answer, error: settle_blocking(future, answer, error), within, patient=patient)
        return future

    def call(self, op: str, within: float | None = REQUEST_TIMEOUT, *, patient: bool = False, **fields: Any) -> Answer:
        """Send a request and block for its answer.

        Raises:
            WrongThread: on the I/O thread.
            NoLagError: the refusal, `RequestTimeout`, `Disconnected`, `BufferFull`.
        """
        self.io.check_may_block()
        return self.request(op, within, patient=patient, **fields).result()

    async def acall(self, op: str, within: float | None = REQUEST_TIMEOUT, **fields: Any) -> Answer:
        """Send a request and await its answer, from any loop. Raises as `call` does."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self.ask(self.frame(op, fields), lambda answer, error: hand_back(loop, settle, future, answer, error), within)
        return await future

    async def acall_all(
        self, requests: Sequence[tuple[str, Mapping[str, Any]]], within: float | None = REQUEST_TIMEOUT, *, patient: bool = False
    ) -> list[Answer]:
        """Send requests together, each an operation and its fields, and await all answers: the caller's loop is woken once. Raises the
        first refusal."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Answer]] = loop.create_future()
        answers: dict[int, Answer] = {}

        def answered(place: int, answer: Answer | None, error: NoLagError | None) -> None:
            if answer is not None:
                answers[place] = answer
            if error is not None or len(answers) == len(requests):
                hand_back(loop, settle, future, None if error else [answers[each] for each in range(len(requests))], error)

        for place, (op, fields) in enumerate(requests):
            self.ask(self.frame(op, fields), partial(answered, place), within, patient=patient)
        return await future if requests else []
