from __future__ import annotations

import asyncio
from typing import Any

import pytest

from langgraph_nolag.client.requests import Allowance, Answer, Unanswered
from langgraph_nolag.errors import BufferFull, Disconnected, NoLagError, RequestTimeout


class Told:
    def __init__(self) -> None:
        self.answers: list[tuple[Answer | None, NoLagError | None]] = []
        self.event = asyncio.Event()

    def __call__(self, answer: Answer | None, error: NoLagError | None) -> None:
        self.answers.append((answer, error))
        self.event.set()


def table(limit: int = 1000) -> tuple[Unanswered, Allowance]:
    allowance = Allowance(limit)
    return Unanswered(asyncio.get_running_loop(), allowance, lambda: None), allowance


def request(unanswered: Unanswered, told: Told, timeout: float | None = 30.0, **more: Any) -> int:
    return unanswered.add({"op": "x"}, told, timeout, 10, **more).id


async def test_ids_rise_and_the_oldest_unanswered_is_known() -> None:
    unanswered, _ = table()
    told = Told()
    first, second = request(unanswered, told), request(unanswered, told)
    assert (first, second, unanswered.oldest()) == (1, 2, 1)
    unanswered.answer(first, Answer({"a": 1}, 5, "e"), None)
    assert unanswered.oldest() == 2
    unanswered.answer(second, None, Disconnected("x"))
    assert unanswered.oldest() == 3
    assert told.answers[0][0] == {"a": 1}
    assert isinstance(told.answers[1][1], Disconnected)


async def test_a_second_answer_is_ignored() -> None:
    unanswered, _ = table()
    told = Told()
    id = request(unanswered, told)
    unanswered.answer(id, Answer({}), None)
    unanswered.answer(id, Answer({}), None)
    assert len(told.answers) == 1


async def test_each_request_meets_its_own_deadline_with_one_timer() -> None:
    unanswered, _ = table()
    slow, quick, none = Told(), Told(), Told()
    request(unanswered, slow, 30.0)
    request(unanswered, quick, 0.01)
    request(unanswered, none, None)
    await asyncio.wait_for(quick.event.wait(), 5)
    error = quick.answers[0][1]
    assert isinstance(error, RequestTimeout)
    assert not error.maybe_applied  # it was never sent
    assert (slow.answers, none.answers) == ([], [])
    unanswered.close()


async def test_a_timeout_after_sending_says_maybe_applied() -> None:
    unanswered, _ = table()
    told = Told()
    request(unanswered, told, 0.01)
    next(iter(unanswered)).sent = True
    await asyncio.wait_for(told.event.wait(), 5)
    error = told.answers[0][1]
    assert error is not None
    assert error.maybe_applied
    assert error.retryable
    unanswered.close()


async def test_what_a_session_began_with_goes_with_it_untold() -> None:
    unanswered, _ = table()
    told = Told()
    request(unanswered, told, None, restores=True)
    kept = request(unanswered, told)
    unanswered.drop_restores()
    assert [pending.id for pending in unanswered] == [kept]
    assert told.answers == []
    unanswered.close()


async def test_bytes_are_given_back_with_the_answer() -> None:
    unanswered, allowance = table(limit=15)
    allowance.take(10)
    id = request(unanswered, Told())
    with pytest.raises(BufferFull) as caught:
        allowance.take(10)
    assert caught.value.retryable
    allowance.take(10, insist=True)
    allowance.give_back(10)
    unanswered.answer(id, Answer({}), None)
    allowance.take(15)
    unanswered.close()


async def test_one_request_larger_than_the_allowance_may_go_alone() -> None:
    allowance = Allowance(10)
    allowance.take(100)
    with pytest.raises(BufferFull):
        allowance.take(1)


async def test_the_time_of_a_request_begins_again_when_its_values_move() -> None:
    unanswered, _ = table()
    late, told = Told(), Told()
    moving = unanswered.add({"op": "x"}, told, 0.05, 0)
    waiting = unanswered.add({"op": "x"}, told, None, 0)
    request(unanswered, late, 0.06)
    moving.timeout = 30.0  # so that a busy machine makes no difference
    unanswered.moved(moving)
    unanswered.moved(waiting)
    assert waiting.deadline == float("inf")
    await asyncio.wait_for(late.event.wait(), 10)
    assert isinstance(late.answers[0][1], RequestTimeout)
    assert not told.answers
    unanswered.close()
