"""Gates in graphs that run here."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send, interrupt
from pydantic import ValidationError

from langgraph_nolag import (
    AlreadyDecided,
    DecisionTimeout,
    LocalBroker,
    NoLagSaver,
    NotAuthorized,
    NotEncodable,
    await_decisions,
    gate,
    wait_decisions,
)
from langgraph_nolag.graph.errors import NothingToDecide, NotSupported

from .conftest import Person

ARGS = {"amount": 100, "to": "Ana"}
People = Callable[..., Person]


class State(TypedDict, total=False):
    log: Annotated[list[Any], operator.add]


def outcome(decision: Any) -> tuple[bool, str, Any, str | None]:
    return decision.approved, decision.type, decision.args, decision.message


def graph_of(*nodes: Callable[..., Any], saver: Any) -> Any:
    builder = StateGraph(State)
    names = [START, *(node.__name__ for node in nodes), END]
    for node in nodes:
        builder.add_node(node.__name__, node)
    for edge in pairwise(names):
        builder.add_edge(*edge)
    return builder.compile(checkpointer=saver)


def paying(broker: LocalBroker, **options: Any) -> Any:
    def pay(state: State) -> State:
        return {"log": [outcome(gate("pay", ARGS, **options))]}

    return graph_of(pay, saver=NoLagSaver(broker.room("bank")))


def thread(name: str = "t") -> Any:
    return {"configurable": {"thread_id": name}}


EVERYTHING = ("approve", "edit", "reject", "respond")
EDITED = {"amount": 5, "to": "Ana"}
FORMATS = [
    ({"decisions": [{"type": "approve"}]}, (True, "approve", ARGS, None)),
    ({"decisions": [{"type": "edit", "edited_action": {"name": "pay", "args": EDITED}}]}, (True, "edit", EDITED, None)),
    ({"decisions": [{"type": "reject", "message": "no"}]}, (False, "reject", None, "no")),
    ({"decisions": [{"type": "respond", "message": "ask Bo"}]}, (False, "respond", None, "ask Bo")),
    ({"type": "approve"}, (True, "approve", ARGS, None)),
    ([{"type": "accept", "args": {"action": "pay", "args": {"amount": "100", "to": "Ana"}}}], (True, "approve", ARGS, None)),
    ([{"type": "edit", "args": {"action": "pay", "args": EDITED}}], (True, "edit", EDITED, None)),
    ([{"type": "response", "args": "later"}], (False, "respond", None, "later")),
    ([{"type": "ignore", "args": None}], (False, "reject", None, None)),
    ("approve", (False, "respond", None, "approve")),
]


@pytest.mark.parametrize("by_id", [False, True], ids=["plain", "by id"])
@pytest.mark.parametrize(("answer", "wanted"), FORMATS, ids=[str(row[0])[:40] for row in FORMATS])
def test_every_format_answers_it(broker: LocalBroker, answer: Any, wanted: Any, by_id: bool) -> None:
    graph = paying(broker, allow=EVERYTHING)
    (waiting,) = graph.invoke({"log": []}, thread())["__interrupt__"]
    assert waiting.value["action_requests"][0]["args"] == ARGS
    assert waiting.response_schema is not None
    assert graph.invoke(Command(resume={waiting.id: answer} if by_id else answer), thread())["log"] == [wanted]
    assert graph.get_state(thread()).next == ()


@pytest.mark.parametrize("allow", [["approve"], ["approve", "reject"], ["edit", "respond"]], ids=",".join)
@pytest.mark.parametrize(
    "answer", ["sure", True, {"type": "approve"}, {"type": "yes"}, {"type": "edit", "args": {}}, {"decisions": []}], ids=str
)
def test_what_is_not_allowed_leaves_it_answerable(broker: LocalBroker, person: People, answer: Any, allow: Sequence[str]) -> None:
    graph = paying(broker, allow=allow)
    graph.invoke({"log": []}, thread())
    kind = answer.get("type") if isinstance(answer, dict) else None
    if kind in allow or (answer == "sure" and {"respond", "reject"} & set(allow)):
        assert graph.invoke(Command(resume=answer), thread())["log"][0][1] in allow
        return
    with pytest.raises(ValidationError):
        graph.invoke(Command(resume=answer), thread())
    assert [each["votes"] for each in person("ana").pending()] == [[]]
    good = {"type": "approve"} if "approve" in allow else {"type": "edit", "args": {"amount": 1}}
    assert graph.invoke(Command(resume=good), thread())["log"][0][0] is True


def test_a_decision_in_the_room_resumes_the_thread(broker: LocalBroker, person: People) -> None:
    graph = paying(broker, description="Pay Ana", approvers="role:finance")
    graph.invoke({"log": []}, thread())
    ana = person("ana", roles=("finance",))
    (asked,) = ana.pending()
    assert (asked["action"], asked["description"], asked["thread"], asked["approvers"]) == ("pay", "Pay Ana", "t", ["role:finance"])
    with pytest.raises(NotAuthorized):
        person("bo").decide("approve")
    ana.decide("edit", args=EDITED, message="less", by="Ana Maria")
    result = graph.invoke(wait_decisions(graph, thread(), 10), thread())
    assert result["log"] == [(True, "edit", EDITED, "less")]


async def test_async_node_and_graph(broker: LocalBroker, person: People) -> None:
    async def pay(state: State) -> State:
        decision = gate("pay", ARGS)
        return {"log": [(decision.approved, decision.by, decision.roles)]}

    graph = graph_of(pay, saver=NoLagSaver(broker.room("bank")))
    await graph.ainvoke({"log": []}, thread())
    person("ana", roles=("finance", "boss")).decide("approve")
    command = await await_decisions(graph, thread(), timeout=10)
    assert (await graph.ainvoke(command, thread()))["log"] == [(True, "ana", ("boss", "finance"))]


def test_who_comes_late(broker: LocalBroker, person: People) -> None:
    """The first decision stands. A late answer never makes happen what it did not say."""
    graph = paying(broker)
    for name, first, late in (("a", "approve", {"type": "reject"}), ("b", "edit", {"type": "approve"}), ("c", "approve", "oh no")):
        graph.invoke({"log": []}, thread(name))
        person("ana").decide(first, args=EDITED if first == "edit" else None)
        with pytest.raises(AlreadyDecided):
            graph.invoke(Command(resume=late), thread(name))
        assert graph.invoke(wait_decisions(graph, thread(name), 10), thread(name))["log"][0][:2] == (True, first)
    for name, first, late in (("d", "reject", {"type": "approve"}), ("e", "approve", {"type": "approve"})):
        graph.invoke({"log": []}, thread(name))
        person("ana").decide(first)
        assert graph.invoke(Command(resume=late), thread(name))["log"][0][:2] == (first == "approve", first)


def test_a_quorum_of_two(broker: LocalBroker, person: People) -> None:
    """A plain answer is one vote of whoever runs the graph; the node asks again, and never counts it twice."""
    graph = paying(broker, quorum=2)
    graph.invoke({"log": []}, thread())
    (again,) = graph.invoke(Command(resume={"type": "approve"}), thread())["__interrupt__"]
    (asked,) = person("ana").pending()
    assert [vote["actor"] for vote in asked["votes"]] == ["local"]
    (again,) = graph.invoke(Command(resume={again.id: {"type": "approve"}}), thread())["__interrupt__"]  # the same actor once more
    assert len(person("ana").pending()[0]["votes"]) == 1
    person("ana").decide("approve")
    assert graph.invoke(wait_decisions(graph, thread(), 10), thread())["log"] == [(True, "approve", ARGS, None)]


def test_two_orchestrators_make_a_quorum(broker: LocalBroker) -> None:
    def of(actor: str) -> Any:
        def pay(state: State) -> State:
            return {"log": [outcome(gate("pay", ARGS, quorum=2, approvers=["ana", "bo"]))]}

        return graph_of(pay, saver=NoLagSaver(f"{broker.url}/bank", token=broker.token(actor)))

    of("ana").invoke({"log": []}, thread())
    assert "__interrupt__" in of("ana").invoke(Command(resume={"type": "approve"}), thread())
    with pytest.raises(NotAuthorized):
        of("eve").invoke(Command(resume={"type": "approve"}), thread())
    assert of("bo").invoke(Command(resume={"type": "approve"}), thread())["log"] == [(True, "approve", ARGS, None)]


def test_a_vote_on_a_gate_is_passed_on(broker: LocalBroker, person: People) -> None:
    """To whoever runs the graph, who then answers for both."""
    graph = paying(broker, approvers=["ana"])
    graph.invoke({"log": []}, thread())
    with pytest.raises(NotAuthorized):
        graph.invoke(Command(resume={"type": "approve"}), thread())
    (asked,) = person("ana").pending()
    person("ana").link.call("approval.delegate", approval=asked["approval"], to="local")
    assert graph.invoke(Command(resume={"type": "approve"}), thread())["log"] == [(True, "approve", ARGS, None)]


def test_one_reject_ends_it(broker: LocalBroker, person: People) -> None:
    graph = paying(broker, quorum=3)
    graph.invoke({"log": []}, thread())
    person("ana").decide("approve")
    assert graph.invoke(Command(resume={"type": "reject"}), thread())["log"] == [(False, "reject", None, None)]


def test_expiry_rejects(broker: LocalBroker) -> None:
    graph = paying(broker, expires=0.05, allow=["approve"])
    graph.invoke({"log": []}, thread())
    assert graph.invoke(wait_decisions(graph, thread(), 10), thread())["log"] == [(False, "reject", None, None)]


def test_several_gates_and_interrupts_in_one_node(broker: LocalBroker, person: People) -> None:
    """Each answer reaches the call it was given for, however often the node runs."""
    runs = 0

    def work(state: State) -> State:
        nonlocal runs
        runs += 1
        got: list[Any] = [interrupt("name?")]
        got.append(gate("first", {"n": 1}, quorum=2).approved)
        got.append(interrupt("colour?"))
        got.append(gate("second", {"n": 2}).type)
        got.append(interrupt("size?"))
        return {"log": got}

    graph = graph_of(work, saver=NoLagSaver(broker.room("bank")))
    graph.invoke({"log": []}, thread())
    (now,) = graph.invoke(Command(resume="Bo"), thread())["__interrupt__"]
    assert now.value["name"] == "first"
    (now,) = graph.invoke(Command(resume={now.id: {"type": "approve"}}), thread())["__interrupt__"]
    assert now.value["name"] == "first"
    person("ana").decide("approve")
    (now,) = graph.invoke(wait_decisions(graph, thread(), 10), thread())["__interrupt__"]
    assert now.value == "colour?"
    (now,) = graph.invoke(Command(resume="red"), thread())["__interrupt__"]
    assert now.value["name"] == "second"
    with pytest.raises(ValidationError):
        graph.invoke(Command(resume={"type": "maybe"}), thread())
    person("ana").decide("reject")
    (now,) = graph.invoke(wait_decisions(graph, thread(), 10), thread())["__interrupt__"]
    assert now.value == "size?"
    assert graph.invoke(Command(resume="XL"), thread())["log"] == ["Bo", True, "red", "reject", "XL"]
    assert runs == 8


@pytest.mark.parametrize("own_saver", [True, False], ids=["our saver", "another saver"])
def test_an_answer_is_never_used_twice(broker: LocalBroker, person: People, own_saver: bool) -> None:
    """LangGraph keeps an answer that was given without an id, and hands it to the next interrupt of a later run."""

    def work(state: State) -> State:
        return {"log": [gate("first", quorum=2, room=broker.room("bank")).approved, gate("second", room=broker.room("bank")).approved]}

    graph = graph_of(work, saver=NoLagSaver(broker.room("bank")) if own_saver else InMemorySaver())
    graph.invoke({"log": []}, thread())
    graph.invoke(Command(resume={"type": "approve"}), thread())
    person("ana").decide("approve")
    (waiting,) = graph.invoke(wait_decisions(graph, thread(), 10, room=broker.room("bank")), thread())["__interrupt__"]
    assert waiting.value["name"] == "second"
    if own_saver:
        (waiting,) = graph.invoke(None, thread())["__interrupt__"]
        assert waiting.value["name"] == "second"
    person("ana").decide("reject")
    assert graph.invoke(wait_decisions(graph, thread(), 10, room=broker.room("bank")), thread())["log"] == [True, False]


def test_an_answer_from_outside_a_sub_graph_is_never_used_twice(broker: LocalBroker) -> None:
    inner = StateGraph(State)
    inner.add_node("work", lambda state: {"log": [interrupt("one"), gate("two").approved]})
    inner.add_edge(START, "work")
    builder = StateGraph(State)
    builder.add_node("inner", inner.compile())
    builder.add_edge(START, "inner")
    graph = builder.compile(checkpointer=NoLagSaver(broker.room("bank")))
    graph.invoke({"log": []}, thread())
    for again in (Command(resume={"type": "approve"}), None, None):
        (waiting,) = graph.invoke(again, thread())["__interrupt__"]
        assert waiting.value["name"] == "two"
    assert graph.invoke(Command(resume={"type": "approve"}), thread())["log"] == [{"type": "approve"}, True]


def test_gates_of_parallel_nodes(broker: LocalBroker, person: People) -> None:
    def pay(task: Any) -> State:
        return {"log": [(task["to"], gate("pay", {"to": task["to"]}).approved)]}

    builder = StateGraph(State)
    builder.add_node("pay", pay)
    builder.add_node("ask", lambda state: {"log": [interrupt("plain")]})
    builder.add_conditional_edges(START, lambda state: [Send("pay", {"to": name}) for name in ("Ana", "Bo", "Cy")] + ["ask"])
    graph = builder.compile(checkpointer=NoLagSaver(broker.room("bank")))
    graph.invoke({"log": []}, thread())
    boss = person("boss")
    asked = {each["approval"]: each for each in boss.pending()}
    assert len(asked) == 3
    first, second, third = asked
    boss.decide("approve", first)
    boss.decide("reject", second)
    command = wait_decisions(graph, thread(), 10)
    seen = set()
    while "__interrupt__" in (result := graph.invoke(command, thread())):
        waiting = graph.get_state(thread()).interrupts
        seen.add(len(waiting))
        if len(waiting) > 2:
            command = wait_decisions(graph, thread(), 10)
        elif len(waiting) == 2:
            boss.decide("approve", third)
            command = wait_decisions(graph, thread(), 10)
        else:
            (last,) = waiting
            assert last.value == "plain"
            command = Command(resume={last.id: "answered"})
    assert seen <= {3, 2, 1}
    assert sorted(entry[1] for entry in result["log"] if entry[0] in ("Ana", "Bo", "Cy")) == [False, True, True]
    assert "answered" in result["log"]


def test_in_a_sub_graph(broker: LocalBroker, person: People) -> None:
    def pay(state: State) -> State:
        return {"log": [gate("pay", ARGS).approved]}

    inner = StateGraph(State)
    inner.add_node("pay", pay)
    inner.add_edge(START, "pay")
    builder = StateGraph(State)
    builder.add_node("inner", inner.compile())
    builder.add_edge(START, "inner")
    graph = builder.compile(checkpointer=NoLagSaver(broker.room("bank")))
    graph.invoke({"log": []}, thread())
    person("ana").decide("approve")
    assert graph.invoke(wait_decisions(graph, thread(), 10), thread())["log"] == [True]


def test_a_vote_before_a_crash_counts_once(broker: LocalBroker, person: People) -> None:
    """The node dies after the vote and before its answer is stored; it runs again with the same answer."""
    dies = [True]

    def pay(state: State) -> State:
        decision = gate("pay", ARGS, quorum=2)
        return {"log": [decision.approved]}

    class Dying(NoLagSaver):
        def put_writes(self, config: Any, writes: Any, task_id: str, task_path: str = "") -> None:
            if any(channel == "__resume__" for channel, _ in writes) and "pay" in task_path and dies.pop():
                raise ConnectionError("power cut")
            super().put_writes(config, writes, task_id, task_path)

    graph = graph_of(pay, saver=Dying(broker.room("bank")))
    graph.invoke({"log": []}, thread())
    with pytest.raises(ConnectionError):
        graph.invoke(Command(resume={"type": "approve"}), thread())
    assert len(person("ana").pending()[0]["votes"]) == 1
    dies.append(False)
    assert "__interrupt__" in graph.invoke(Command(resume={"type": "approve"}), thread())
    assert len(person("ana").pending()[0]["votes"]) == 1
    person("ana").decide("approve")
    dies.append(False)
    assert graph.invoke(wait_decisions(graph, thread(), 10), thread())["log"] == [True]


def test_what_people_see_is_what_is_done(broker: LocalBroker, person: People) -> None:
    """A node that makes up other arguments when it runs again acts on those that were shown."""
    runs = iter(range(100))

    def pay(state: State) -> State:
        return {"log": [gate("pay", {"amount": next(runs)}, quorum=2).args]}

    graph = graph_of(pay, saver=NoLagSaver(broker.room("bank")))
    (waiting,) = graph.invoke({"log": []}, thread())["__interrupt__"]
    assert waiting.value["args"] == {"amount": 0}
    (waiting,) = graph.invoke(Command(resume={"type": "approve"}), thread())["__interrupt__"]
    assert waiting.value["args"] == waiting.value["action_request"]["args"] == {"amount": 0}
    person("ana").decide("approve")
    assert graph.invoke(wait_decisions(graph, thread(), 10), thread())["log"] == [{"amount": 0}]


def test_threads_do_not_share_gates(broker: LocalBroker, person: People) -> None:
    """A copied thread has the same task ids; its gate is its own."""
    graph = paying(broker)
    graph.invoke({"log": []}, thread("one"))
    graph.checkpointer.copy_thread("one", "two")
    graph.invoke(None, thread("two"))
    one, two = person("ana").pending()
    assert {one["thread"], two["thread"]} == {"one", "two"}
    person("ana").decide("approve", one["approval"])
    with pytest.raises(DecisionTimeout):
        wait_decisions(graph, thread("two"), 0.05)
    with pytest.raises(ValidationError, match="waits for approval"):
        graph.invoke(Command(resume={"nolag_decision": one["approval"]}), thread("two"))
    with pytest.raises(ValidationError, match="not decided"):
        graph.invoke(Command(resume={"nolag_decision": two["approval"]}), thread("two"))
    assert graph.invoke(wait_decisions(graph, thread("one"), 10), thread("one"))["log"] == [(True, "approve", ARGS, None)]


async def test_nothing_to_decide(broker: LocalBroker) -> None:
    graph = graph_of(lambda state: {"log": [interrupt("plain")]}, saver=NoLagSaver(broker.room("bank")))
    with pytest.raises(NothingToDecide, match="'t'"):
        await await_decisions(graph, thread(), timeout=5)
    await graph.ainvoke({"log": []}, thread())
    with pytest.raises(NothingToDecide):
        wait_decisions(graph, thread(), 5)


def test_another_room_and_another_saver(broker: LocalBroker, person: People) -> None:
    def pay(state: State) -> State:
        return {"log": [gate("pay", ARGS, room=broker.room("board")).approved]}

    graph = graph_of(pay, saver=InMemorySaver())
    graph.invoke({"log": []}, thread())
    assert person("ana").pending() == []
    person("ana", room="board").decide("approve")
    with pytest.raises(NotSupported, match="room"):
        wait_decisions(graph, thread(), 5)
    assert graph.invoke(wait_decisions(graph, thread(), 10, room=broker.room("board")), thread())["log"] == [True]


def test_where_it_can_not_wait(broker: LocalBroker, person: People) -> None:
    with pytest.raises(NotSupported, match="checkpointer"):
        gate("pay", ARGS, room=broker.room("bank"))
    with pytest.raises(NotSupported, match="checkpointer"):
        graph_of(lambda state: {"log": [gate("pay", ARGS, room=broker.room("bank"))]}, saver=None).invoke({"log": []})
    with pytest.raises(NotSupported, match="checkpointer"):  # nobody could resume what people decide
        graph_of(lambda state: {"log": [gate("pay", ARGS, room=broker.room("bank"))]}, saver=None).invoke({"log": []}, thread())
    assert person("ana").pending() == []
    with pytest.raises(NotSupported, match="no room is known"):
        graph_of(lambda state: {"log": [gate("pay", ARGS)]}, saver=InMemorySaver()).invoke({"log": []}, thread())
    bad: list[tuple[Any, type[Exception]]] = [({"allow": []}, ValueError), ({"allow": ["maybe"]}, ValueError)]
    for options, error in bad:
        with pytest.raises(error):
            paying(broker, **options).invoke({"log": []}, thread("bad"))
    with pytest.raises(NotEncodable, match="machine"):
        graph_of(lambda state: {"log": [gate("pay", {"machine": object()})]}, saver=NoLagSaver(broker.room("bank"))).invoke(
            {"log": []}, thread("x")
        )
