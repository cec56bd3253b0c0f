"""The graph that is run while everything around it is killed: a chain, a fan-out, tasks called in a body, a sub-graph run whole, questions,
a gate, a tool, an effect.

Ordinary LangGraph. Each execution of a body, a tool or an effect leaves a line in a file, which no crash takes back.
"""

from __future__ import annotations

import asyncio
import operator
import os
import time
from pathlib import Path
from typing import Annotated, Any

from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.config import get_stream_writer
from langgraph.func import task
from langgraph.graph import START, StateGraph, add_messages
from langgraph.types import Send, interrupt
from typing_extensions import TypedDict

from langgraph_nolag import gate
from langgraph_nolag.nodes import handoff_node, tools_node

NAME = "story"
WHOLE = ["chapter"]  # sub-graphs that run on one worker
WORDS = ("near", "far")
PARTS = 3
CHUNKS = 4  # that each body that streams writes


class Story(TypedDict, total=False):
    folder: str
    log: Annotated[list[Any], operator.add]
    messages: Annotated[list[AnyMessage], add_messages]
    pages: list[str]
    receipt: Any


class Chapter(TypedDict, total=False):
    folder: str
    pages: Annotated[list[str], operator.add]


class Part(TypedDict):
    number: int
    folder: str


def ran(folder: str, what: str) -> None:
    """One line for one execution; a line is written whole or not at all."""
    file = os.open(Path(folder) / "ran", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, f"{what} {os.getpid()}\n".encode())
    finally:
        os.close(file)


def first(state: Story) -> Story:
    ran(state["folder"], "first")
    return {"log": ["first"]}


def tell(state: Story) -> Story:
    ran(state["folder"], "tell")
    write = get_stream_writer()
    for number in range(CHUNKS):
        write(["tell", os.getpid(), number])
        time.sleep(0.002)
    return {"log": ["tell"]}


async def atell(state: Story) -> Story:
    ran(state["folder"], "tell")
    write = get_stream_writer()
    for number in range(CHUNKS):
        write(["tell", os.getpid(), number])
        await asyncio.sleep(0.002)
    return {"log": ["tell"]}


def part(state: Part) -> Story:
    name = f"part {state['number']}"
    ran(state["folder"], name.replace(" ", ""))
    write = get_stream_writer()
    for number in range(CHUNKS):
        write([name, os.getpid(), number])
        time.sleep(0.002)
    return {"log": [name]}


def gather(state: Story) -> Story:
    ran(state["folder"], "gather")
    return {"log": [f"{len([entry for entry in state['log'] if entry.startswith('part')])} parts"]}


@task
def look(word: str, folder: str) -> str:
    ran(folder, word)
    return f"looked {word}"


def study(state: Story) -> Story:
    ran(state["folder"], "study")
    looking = [look(word, state["folder"]) for word in WORDS]
    return {"log": [each.result() for each in looking]}


def opens(state: Chapter) -> Chapter:
    ran(state["folder"], "opens")
    return {"pages": ["it opens"]}


def closes(state: Chapter) -> Chapter:
    ran(state["folder"], "closes")
    return {"pages": ["it closes"]}


def ask(state: Story) -> Story:
    """Two questions, one after the other."""
    ran(state["folder"], "ask")
    return {"log": [interrupt("who?"), interrupt("when?")]}


def left(state: Story) -> Story:
    ran(state["folder"], "left")
    return {"log": [interrupt("left?")]}


def right(state: Story) -> Story:
    ran(state["folder"], "right")
    return {"log": [interrupt("right?")]}


def release(state: Story) -> Story:
    ran(state["folder"], "release")
    decision = gate("release", {"text": "the story"}, allow=["approve", "reject"])
    return {"log": [f"released: {decision.approved}"]}


def call(state: Story) -> Story:
    ran(state["folder"], "call")
    asked = {"name": "price", "args": {"item": "tea", "folder": state["folder"]}, "id": "call-1", "type": "tool_call"}
    return {"messages": [AIMessage("", id="message-1", tool_calls=[asked])]}


def last(state: Story) -> Story:
    ran(state["folder"], "last")
    return {"log": [str(state["messages"][-1].content), state["receipt"]]}


@tool
def price(item: str, folder: str) -> str:
    """What something costs."""
    ran(folder, "price")
    return f"{item} costs 3"


async def charge(task: Any) -> Any:
    """A handler of handed-off tasks, with an effect on the world outside."""
    folder = task.payload
    ran(folder, "charge")

    def pay() -> str:
        ran(folder, "pay")
        return "paid 3"

    return await task.effect("pay", pay)


BODIES = (
    *("first", "tell", *(f"part{number}" for number in range(PARTS)), "gather", "study", *WORDS, "opens", "closes"),
    *("ask", "left", "right", "release"),
    *("call", "price", "charge", "last"),
)
ASKING = {"ask": 3, "left": 2, "right": 2, "release": 2}  # a body that asks begins anew with every answer
ASKED_BY = {"who?": "ask", "when?": "ask", "left?": "left", "right?": "right", "release": "release"}
CALLING = "study"  # a body that calls tasks
TASK_OF = {  # where a body is not called as its task
    **{f"part{number}": "part" for number in range(PARTS)},
    **dict.fromkeys(WORDS, "look"),
    **dict.fromkeys(("opens", "closes"), "chapter"),
}
ANSWERS: dict[str, Any] = {
    "who?": "Ana",
    "when?": "today",
    "left?": "to the left",
    "right?": "to the right",
    "release": {"type": "approve"},
}


def _chapter() -> Any:
    builder = StateGraph(Chapter)
    builder.add_node(opens)
    builder.add_node(closes)
    builder.add_edge(START, "opens")
    builder.add_edge("opens", "closes")
    return builder.compile()


def _story() -> Any:
    builder = StateGraph(Story)
    builder.add_node("chapter", _chapter())
    for node in (first, gather, study, ask, left, right, release, call, last):
        builder.add_node(node)
    builder.add_node("tell", RunnableLambda(tell, atell))
    builder.add_node("part", part)
    builder.add_node("tools", tools_node())
    builder.add_node("charge", handoff_node(None, "charge", payload="folder", result="receipt", max_attempts=5))
    builder.add_edge(START, "first")
    builder.add_edge("first", "tell")
    builder.add_conditional_edges(
        "tell", lambda state: [Send("part", {"number": number, "folder": state["folder"]}) for number in range(PARTS)], ["part"]
    )
    builder.add_edge("part", "gather")
    builder.add_edge("gather", "study")
    builder.add_edge("study", "chapter")
    builder.add_edge("chapter", "ask")
    builder.add_edge("ask", "left")
    builder.add_edge("ask", "right")
    builder.add_edge(["left", "right"], "release")
    builder.add_edge("release", "call")
    builder.add_edge("call", "tools")
    builder.add_edge("tools", "charge")
    builder.add_edge("charge", "last")
    return builder.compile()


graph = _story()
