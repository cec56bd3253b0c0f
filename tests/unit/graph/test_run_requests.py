"""What a run was asked to do, as it goes through the room; and what of it is left to do for who takes it up."""

from __future__ import annotations

import datetime as dt
import functools
import warnings
from dataclasses import dataclass
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langgraph.types import Command, Interrupt, Send
from pydantic import BaseModel

from langgraph_nolag.client.body import decode, encode
from langgraph_nolag.errors import NotDecodable, NotEncodable
from langgraph_nolag.graph.errors import NoLagWarning
from langgraph_nolag.graph.runs.beginning import _with_answers
from langgraph_nolag.graph.runs.request import Request, plain_config
from langgraph_nolag.graph.serde.codec import Codec
from langgraph_nolag.graph.serde.trust import Trust
from langgraph_nolag.patterns.plain import plain
from langgraph_nolag.patterns.runs import _asked
from langgraph_nolag.patterns.threads import look, thread_key, thread_of

CODEC = Codec(Trust())


def test_a_request_comes_back_as_it_was() -> None:
    config: Any = {"tags": ["x"], "recursion_limit": 7, "configurable": {"user": "ana", "checkpoint_id": "c1"}}
    command = Command(resume={"a": 1}, goto=[Send("n", {"x": (1, 2)})])
    asked = Request(
        "g@1",
        "t",
        command,
        config,
        context=HumanMessage("hi"),
        modes=["values"],
        pools={"n": ["gpu"]},
        local=["m"],
        whole=["s"],
        timeouts=[9.0, 2.0],
    )
    assert Request.unpack(CODEC, asked.pack(CODEC)) == asked
    onward = Request.unpack(CODEC, asked.onward().pack(CODEC))
    assert (onward.input, onward.config["configurable"], onward.pools) == (None, {"user": "ana"}, {"n": ["gpu"]})


def test_an_input_that_can_not_cross_is_left_out_and_said() -> None:
    with pytest.warns(NoLagWarning, match="input is lost"):
        body = Request("g@1", "t", {"f": lambda: None}).pack(CODEC)
    assert Request.unpack(CODEC, body).input is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Request("g@1", "t", None, {"configurable": {"client": object()}}).pack(CODEC)


@pytest.mark.parametrize("body", [b"", encode([1]), encode({"v": 99, "graph": "g"}), encode({"v": 1, "graph": 3})])
def test_what_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(NotDecodable):
        Request.unpack(CODEC, body)


def test_what_is_asked_for_without_a_graph_is_plain() -> None:
    config = {"configurable": {"thread_id": 5, "user": "ana", "__secret": object()}, "callbacks": [object()], "tags": ["x"]}
    thread, body = _asked("g", {"messages": [HumanMessage("hi")]}, config, None, {"durability": "sync"}, "values", True)
    request = Request.unpack(CODEC, body)
    assert (thread, request.thread, request.modes, request.subgraphs) == ("5", "5", ["values"], True)
    assert request.config == {"tags": ["x"], "configurable": {"user": "ana"}}
    assert (request.input["messages"][0]["type"], request.input["messages"][0]["content"]) == ("human", "hi")
    _, body = _asked("g", Command(resume="yes", update={"a": 1}, goto=[Send("n", 1), "m"]), None, None, {}, "values", False)
    assert Request.unpack(CODEC, body).input == Command(resume="yes", update={"a": 1}, goto=[Send("n", 1), "m"])
    for update in ([("log", ["a"]), ("log", ("b",))], [["log", "a"]], []):
        _, body = _asked("g", Command(update=update), None, None, {}, "values", False)
        assert Request.unpack(CODEC, body).input.update == ([("log", ["a"]), ("log", ["b"])] if len(update) == 2 else update)


class Asked(BaseModel):
    n: int = 0
    name: str | None = None
    nick: str | None = "nick"
    inside: Any = None


def test_what_nobody_set_in_a_model_says_nothing_about_the_state() -> None:
    given = Asked(n=1, nick=None, inside=Asked())
    inside = {"n": 0, "name": None, "nick": "nick", "inside": None}
    for input in (given, Command(update=given)):
        _, body = _asked("g", input, None, None, {}, "values", False)
        asked = Request.unpack(CODEC, body).input
        update = asked.update if isinstance(asked, Command) else asked
        assert update == {"n": 1, "nick": None, "inside": inside}
        assert [*update] == [name for name, _ in Command(update=given)._update_as_tuples()]


def test_what_means_something_in_one_process_only_stays_there() -> None:
    conf = {"thread_id": "t", "checkpoint_ns": "", "checkpoint_id": "c", "__pregel_x": object(), "user": "ana"}
    assert plain_config({"configurable": conf, "callbacks": [], "tags": ["x"]}) == {
        "tags": ["x"],
        "configurable": {"checkpoint_id": "c", "user": "ana"},
    }


@pytest.mark.parametrize(
    ("command", "left", "applied", "expected"),
    [
        (Command(resume={"a": 1}), {"a": 1}, False, Command(resume={"a": 1})),
        (Command(resume={"a": 1, "b": 2}), {"b": 2}, True, Command(resume={"b": 2})),
        (Command(resume={"a": 1}), {}, True, None),
        (Command(resume={"a": 1}), {}, False, None),
        (Command(resume={"a": 1}, update={"x": 1}), {"a": 1}, True, Command(resume={"a": 1})),
        (Command(resume={"a": 1}, update={"x": 1}), {}, False, Command(update={"x": 1})),
    ],
)
def test_only_what_no_node_has_stored_is_answered_again(command: Any, left: Any, applied: bool, expected: Any) -> None:
    assert _with_answers(command, left, applied) == expected


@dataclass
class Point:
    x: int
    y: Any = None


def test_plain_values() -> None:
    naive = dt.datetime(2026, 1, 2)
    value = {
        "point": Point(1, {3}),
        2: (naive, naive.replace(tzinfo=dt.UTC)),
        "interrupt": Interrupt("why?", id="i1"),
        "big": 2**70,
        "f": len,
    }
    shown = plain(value)
    assert shown["point"] == {"x": 1, "y": [3]}
    assert shown[2] == ["2026-01-02T00:00:00", naive.replace(tzinfo=dt.UTC)]
    assert (shown["interrupt"]["value"], shown["interrupt"]["id"], shown["big"]) == ("why?", "i1", str(2**70))
    assert decode(encode(shown)) == shown
    deep: Any = []
    for _ in range(1000):
        deep = [deep]
    encode(plain(deep))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (2**70, "more than 64 bits"),
        (10**5000, "more than 64 bits"),
        (int, "<class 'int'>"),
        (dt.datetime(2020, 1, 1), "without a time zone"),
        (functools.reduce(lambda inner, _: [inner], range(210), "deep"), "nested deeper"),
    ],
    ids=["wide", "endless", "class", "datetime", "deep"],
)
def test_an_input_without_a_plain_form_is_refused(value: Any, said: str) -> None:
    with pytest.raises(NotEncodable, match=said):
        _asked("g", {"value": value}, None, None, {}, "values", False)


@pytest.mark.parametrize("thread", ["t-1", "a b/ü", "x" * 200])
def test_threads_are_shown_by_their_key(thread: str) -> None:
    assert thread_of(thread_key(thread)) == thread


@pytest.mark.parametrize("thread", ["", "a*b", "line\nbreak", "x" * 201, "~x"])
def test_threads_that_no_name_can_show_have_a_key_of_their_own(thread: str) -> None:
    key = thread_key(thread)
    assert thread_of(key) is None
    assert (len(key) < 100, key.isprintable(), "*" in key) == (True, True, False)
    assert key != thread_key(thread + "x")


def test_one_cause_brings_one_look() -> None:
    assert look("g@1", "t", "a")["task"] == look("g@1", "t", "a")["task"] != look("g@1", "t", "b")["task"]
    request = Request.unpack(CODEC, look("g@1", "t", "a")["body"])
    assert (request.look, request.thread, request.input) == (True, "t", None)
