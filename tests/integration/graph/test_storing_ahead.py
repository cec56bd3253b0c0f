"""Checkpoints with `durability="sync"`: in the room before any body begins that comes after them, and waited for only where the room's
order does not see to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import remote_graphs as graphs
from langgraph.cache.memory import InMemoryCache

from langgraph_nolag import LocalBroker, NoLagSaver, distribute
from langgraph_nolag.client.connection import Connection
from langgraph_nolag.client.sender import Sender
from langgraph_nolag.errors import NotAuthorized

Frame = dict[str, Any]
A_WHILE = 0.3  # seconds
REFUSED = {"code": "not_authorized", "message": "no more", "retryable": False, "maybe_applied": False, "detail": {}}


class Answers:
    """The answers to the checkpoints of graphs, on their way here.

    Attributes:
        ahead: of so many checkpoints the answers come only when a task was sent behind them.
        hold: the next answer waits a while, and those behind it.
        change: makes another answer of one.
        told: how many came.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = self.told = 0
        self.hold = False
        self.change: Callable[[Frame], Frame] = lambda frame: frame
        self._alone: set[int] = set()
        self._held: list[tuple[Connection, Frame]] = []
        self._answer, request = Connection._on_answer, Sender.send_request
        answers = self

        def on_answer(self: Connection, frame: Frame) -> None:
            pending = self._unanswered.get(frame["id"])
            if pending is None or not _is_checkpoint(pending.frame):
                answers._answer(self, frame)
            elif frame["id"] in answers._alone:
                answers._held.append((self, frame))
            elif answers.hold or answers._held:
                answers._held.append((self, frame))
                if answers.hold:
                    answers.hold = False
                    asyncio.get_running_loop().call_later(A_WHILE, answers.let_through)
            else:
                answers._tell(self, frame)

        def send_request(self: Sender, pending: Any) -> None:
            if answers.ahead and _is_checkpoint(pending.frame):
                answers.ahead -= 1
                answers._alone.add(pending.id)
            request(self, pending)
            if pending.frame["op"] == "task.dispatch":
                answers._alone.clear()
                answers.let_through()

        monkeypatch.setattr(Connection, "_on_answer", on_answer)
        monkeypatch.setattr(Sender, "send_request", send_request)

    def let_through(self) -> None:
        """On the I/O thread."""
        held, self._held = self._held, []
        for connection, frame in held:
            self._tell(connection, frame)

    def _tell(self, connection: Connection, frame: Frame) -> None:
        self.told += 1
        self._answer(connection, self.change(frame))


def _is_checkpoint(frame: Frame) -> bool:
    return frame["op"] == "record.write" and any(key.split("/")[2:3] == ["c"] for key, *_ in frame["puts"] if key.startswith("checkpoint/"))


async def _invoke(how: str, graph: Any, thread: Any) -> Any:
    if how == "ainvoke":
        return await graph.ainvoke({"x": 1}, thread, durability="sync")
    return graph.invoke({"x": 1}, thread, durability="sync")


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    return Answers(monkeypatch)


def remote(broker: LocalBroker, **options: Any) -> Any:
    room = broker.room("graphs")
    return distribute(graphs.sync_chain, room, name="sync_chain", checkpointer=NoLagSaver(room), **options)


@pytest.mark.usefixtures("workers")
@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
async def test_a_task_goes_out_behind_its_checkpoint_and_does_not_wait_for_it(
    broker: LocalBroker, thread: Any, answers: Answers, how: str
) -> None:
    graph = remote(broker)
    answers.ahead = 3  # of the input, of what is made of it, and of the first node
    assert (await _invoke(how, graph, thread))["x"] == 4
    assert (answers.ahead, answers.told) == (0, 4)
    assert [state.values.get("x") for state in graph.get_state_history(thread)] == [4, 2, 1, None]


@pytest.mark.usefixtures("workers")
@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
async def test_a_body_in_this_process_begins_when_its_checkpoint_is_stored(
    broker: LocalBroker, thread: Any, answers: Answers, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    told = []

    def double(state: Any) -> Any:
        told.append(answers.told)
        return {"x": state["x"] * 2}

    graph = remote(broker, local=["double"])
    monkeypatch.setattr(graph.nodes["double"].bound.body, "func", double)
    monkeypatch.setattr(graph.nodes["double"].bound.body, "afunc", None)

    def hold(frame: Frame) -> Frame:  # the one of the node before it
        if answers.told == 2:
            answers.hold = True
        return frame

    answers.change = hold
    assert (await _invoke(how, graph, thread))["x"] == 4
    assert told == [3]
    assert not answers.hold


@pytest.mark.usefixtures("workers")
@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
@pytest.mark.parametrize("number", [1, 2, 3, 4])
async def test_a_checkpoint_that_is_refused_ends_the_run(broker: LocalBroker, thread: Any, answers: Answers, how: str, number: int) -> None:
    graph = remote(broker)
    answers.change = lambda frame: {"id": frame["id"], "err": REFUSED} if answers.told == number else frame
    with pytest.raises(NotAuthorized, match="no more"):
        await _invoke(how, graph, thread)
    answers.change = lambda frame: frame
    assert (await _invoke(how, graph, thread))["x"] == 4


@pytest.mark.usefixtures("workers")
@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
@pytest.mark.parametrize("number", [1, 2, 3])
async def test_any_of_several_that_is_refused_ends_the_run(
    broker: LocalBroker, thread: Any, answers: Answers, how: str, number: int
) -> None:
    """The result of the node is known: no body stands between the checkpoints, all are on their way at the end."""
    room = broker.room("graphs")
    graph = distribute(graphs.cached, room, name="cached", checkpointer=NoLagSaver(room)).copy({"cache": InMemoryCache()})
    await _invoke(how, graph, {"configurable": {"thread_id": "another"}})
    answers.told, answers.hold = 0, True
    answers.change = lambda frame: {"id": frame["id"], "err": REFUSED} if answers.told == number else frame
    with pytest.raises(NotAuthorized, match="no more"):
        await _invoke(how, graph, thread)


@pytest.mark.usefixtures("workers")
async def test_a_run_is_over_when_its_last_checkpoint_is_stored(broker: LocalBroker, thread: Any, answers: Answers) -> None:
    graph = remote(broker)

    def hold(frame: Frame) -> Frame:
        if answers.told == 3:
            answers.hold = True
        return frame

    answers.change = hold
    assert (await graph.ainvoke({"x": 1}, thread, durability="sync"))["x"] == 4
    assert answers.told == 4
