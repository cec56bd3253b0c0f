"""Matching: right against a plain search, and no dearer when much waits or many stand by.

Cost is counted in instructions, not in time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nolag_broker.core.limits import Limits
from nolag_broker.core.members import Member, Session
from nolag_broker.core.tasks.matching import IN_HAND, Market, Offer
from nolag_broker.core.tasks.task import Task

from .conftest import Driver


def steps_of(work: Callable[[], Any]) -> int:
    """How many instructions of Python run: loops count, whatever they call."""
    counted = 0

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal counted
        frame.f_trace_opcodes = True
        counted += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return counted


def round_trip(driver: Any, planner: Any, worker: Any, task: str, **fields: Any) -> int:
    """What one whole task costs: dispatch and claim, completion, acknowledgement."""

    def work() -> None:
        planner.dispatch(task, **fields)
        worker.complete({"task": task, "token": driver.room.seq})
        planner.say("task.ack", tasks=[task])

    return steps_of(work)


def backlog(driver: Any, planner: Any, count: int, **fields: Any) -> None:
    for number in range(count):
        planner.say("task.dispatch", task=f"waiting-{number}", type="draft", body=b"", follow=False, **fields)


@pytest.fixture
def alone(make_driver: Any) -> int:
    """What a task costs where nothing waits and one worker stands by."""
    driver = make_driver()
    planner, worker = driver.agent("planner"), driver.worker("worker", "draft", capabilities=["a"])
    round_trip(driver, planner, worker, "warm", capabilities=["a"])
    return round_trip(driver, planner, worker, "measured", capabilities=["a"])


@pytest.fixture(scope="module")
def crowd() -> Driver:
    """A room where 101,000 tasks wait for a rare capability, and 999 agents for other work."""
    driver = Driver(Limits(backlog=200_000))
    backlog(driver, driver.agent("dispatcher"), 101_000, capabilities=["rare"])
    for number in range(999):
        driver.worker(f"agent-{number}", "review", capabilities=["a"])
    return driver


def test_a_claim_costs_the_same_with_100_000_tasks_waiting_and_1_000_agents(crowd: Driver, alone: int) -> None:
    planner, worker = crowd.agent("planner"), crowd.worker("worker", "draft", capabilities=["a"])
    round_trip(crowd, planner, worker, "warm", capabilities=["a"])
    assert round_trip(crowd, planner, worker, "measured", capabilities=["a"]) <= alone * 1.2


def test_a_freed_slot_costs_the_same_with_100_000_tasks_waiting_for_it(make_driver: Any, crowd: Driver) -> None:
    quiet = make_driver()
    backlog(quiet, quiet.agent("dispatcher"), 10, capabilities=["rare"])
    costs = []
    for driver, others in ((quiet, 1), (crowd, 999)):
        for number in range(others):
            driver.worker(f"rare-{number}", "draft", capabilities=["rare"])
        worker = driver.worker("rare", "draft", capabilities=["rare"])
        worker.complete(worker.push("task"))
        task = worker.push("task")
        costs.append(steps_of(lambda worker=worker, task=task: worker.complete(task)))
        assert worker.push("task")
    assert costs[1] <= costs[0] * 1.2


def test_what_a_rate_lets_through_costs_the_same_with_10_000_parked_behind_it(make_driver: Any) -> None:
    costs = []
    for waiting in (10, 10_000):
        driver = make_driver()
        planner, worker = driver.agent("planner"), driver.worker("worker", "draft", slots=3)
        backlog(driver, planner, waiting, rate_key="k", rate_limit=[1, 5])
        worker.complete(worker.push("task"))
        driver.now, driver.wall = driver.now + 5.1, driver.wall + 5.1
        costs.append(steps_of(lambda driver=driver: driver.room.tick(driver.env)))
        driver.flush()
        assert worker.push("task")["task"] == "waiting-1"
        costs.append(steps_of(lambda planner=planner: planner.dispatch("one more", rate_key="k", rate_limit=[1, 5])))
    assert costs[2] <= costs[0] * 1.2
    assert costs[3] <= costs[1] * 1.2


@pytest.mark.parametrize("shared", [[], ["gpu"]], ids=["nothing in common", "one capability shared by all"])
def test_1_000_distinct_capability_sets(make_driver: Any, alone: int, shared: list[str]) -> None:
    driver = make_driver()
    planner = driver.agent("planner")
    for number in range(1000):
        fields = {"task": f"waiting-{number}", "type": "draft", "body": b"", "follow": False}
        planner.say("task.dispatch", capabilities=[*shared, f"skill-{number}", "nobody"], **fields)
    workers = [driver.worker(f"agent-{n}", "draft", capabilities=[*shared, f"skill-{n}"]) for n in range(1000)]
    wanted = [*shared, "skill-500"]
    round_trip(driver, planner, workers[500], "warm", capabilities=wanted)
    assert round_trip(driver, planner, workers[500], "measured", capabilities=wanted) <= alone * 1.3


def test_timers_of_tasks_that_ended_do_not_pile_up(driver: Any, planner: Any, writer: Any) -> None:
    for number in range(500):
        planner.dispatch(f"t{number}", timeout=3600, follow=False)
        writer.complete(writer.push("task"))
    assert len(driver.room.wall) == 0
    assert len(driver.room.wall._heap) < 200


def test_cancelled_tasks_do_not_pile_up(driver: Any, planner: Any) -> None:
    planner.dispatch("stays", priority=-1)
    planner.dispatch("lane", priority=-1, concurrency_key="k")
    for number in range(500):
        for task, fields in ((f"a{number}", {}), (f"b{number}", {"concurrency_key": "k"})):
            planner.dispatch(task, follow=False, **fields)
            planner.ask("task.cancel", task=task)
    (queue,) = driver.room.tasks.market._queues.values()
    assert len(queue.heap) < 300
    assert len(driver.room.tasks._lanes["k"].line._heap) < 200
    assert driver.worker("writer", "draft").push("task")["task"] == "stays"


# ------------------------------------------------------------------------------------------ against a plain search

names = st.sampled_from(["a", "b", "c"])
sets = st.frozensets(names, max_size=3)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("task"), names, sets, st.integers(0, 2)),
        st.tuples(st.just("offer"), st.none() | st.frozensets(names, min_size=1, max_size=2), sets, st.integers(1, 4)),
        st.tuples(st.just("remove"), st.integers(0, 30)),
        st.tuples(st.just("close"), st.integers(0, 30)),
        st.tuples(st.just("find"), st.integers(0, 30)),
        st.tuples(st.just("best"), st.integers(0, 30)),
    ),
    max_size=40,
)


def admits(offer: Offer, task: Task) -> bool:
    types = offer.profile.types
    return (types is None or task.type in types) and task.capabilities <= offer.profile.capabilities


def plain_task(seq: int, type: str, capabilities: frozenset[str], priority: int) -> Task:
    task = Task(None)
    task.seq, task.id, task.kind, task.type = seq, str(seq), "handoff", type
    task.capabilities, task.priority, task.queue, task.lane = capabilities, priority, None, None
    task.size = (0, IN_HAND // 3, IN_HAND)[seq % 3]
    return task


@settings(max_examples=300, deadline=None)
@given(steps)
def test_against_a_plain_search(steps: list[tuple[Any, ...]]) -> None:
    market, waiting, offers = Market(), [], []
    slots_of: dict[Offer, int] = {}
    held: dict[Offer, list[Task]] = {}
    for seq, (what, *details) in enumerate(steps):
        if what == "task":
            waiting.append(plain_task(seq, *details))
            market.add(waiting[-1])
        elif what == "offer":
            types, capabilities, slots = details
            worker = Member("worker", "", 0, 0.0)
            offers.append(Offer(Session(""), seq, worker, market.profile("handoff", types, capabilities), slots))
            slots_of[offers[-1]], held[offers[-1]] = slots, []
            market.open(offers[-1])
        elif what == "remove" and waiting:
            market.remove(waiting.pop(details[0] % len(waiting)))
        elif what == "close" and offers:
            market.close(offers.pop(details[0] % len(offers)))
        elif what == "find" and waiting:
            task = waiting[details[0] % len(waiting)]
            free = [
                offer
                for offer in offers
                if len(held[offer]) < slots_of[offer] and sum(task.size for task in held[offer]) < IN_HAND and admits(offer, task)
            ]
            found = market.find(task)
            assert (found in free) if free else found is None
            if found is not None:
                assert len(held[found]) == found.used == min(offer.used for offer in free)
                waiting.remove(task)
                market.remove(task)
                market.occupy(found, task.size)
                held[found].append(task)
        elif what == "best" and offers:
            offer = offers[details[0] % len(offers)]
            able = [task for task in waiting if admits(offer, task)]
            assert market.best(offer.profile) is min(able, key=lambda task: task.rank, default=None)
            if held[offer]:
                market.vacate(offer, held[offer].pop(details[0] % len(held[offer])).size)
