from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from nolag_broker.server.writer import Outbox


class Spoken:
    """In a writer's place."""

    def __init__(self, flush: Callable[[], object]) -> None:
        self.flush = flush


@pytest.mark.sources
async def test_who_spoke_last_is_written_first_and_each_is_written_once() -> None:
    outbox, written = Outbox(), []

    def answer() -> None:
        written.append("replied")
        outbox.add(cast(Any, Spoken(lambda: written.append("spoke while others were written"))))

    outbox.add(cast(Any, Spoken(lambda: written.append("replied first"))))
    outbox.add(cast(Any, Spoken(answer)))
    outbox.add(cast(Any, Spoken(lambda: written.append("pushed"))))
    assert written == []
    await asyncio.sleep(0)
    assert written == ["pushed", "replied", "spoke while others were written", "replied first"]
    await asyncio.sleep(0)
    assert len(written) == 4


@pytest.mark.sources
async def test_one_that_fails_keeps_nobody_else_from_being_written() -> None:
    outbox, written, told = Outbox(), [], []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
    outbox.add(cast(Any, Spoken(lambda: written.append("good"))))
    outbox.add(cast(Any, Spoken(lambda: 1 / 0)))
    for _ in range(2):
        await asyncio.sleep(0)
    assert written == ["good"]
    assert [type(error) for error in told] == [ZeroDivisionError]
