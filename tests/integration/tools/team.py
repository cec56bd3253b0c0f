"""Agents that worker processes serve, with models that do as the messages say; imported by tests and workers."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import interrupt
from langgraph_swarm import create_swarm
from models import ToldModel, calling

from langgraph_nolag import Worker, handoff_tool, room_agent


@tool
def count_words(text: str) -> int:
    """Count words."""
    get_stream_writer()({"counting": text})
    return len(text.split())


def edit(messages: list[BaseMessage], bound: list[str]) -> AIMessage:
    """Counts the words of what the person said; hands back to `writer` where it is asked to."""
    asked = next(str(message.content) for message in messages if isinstance(message, HumanMessage))
    if messages[-1].type != "tool" or str(messages[-1].name).startswith("transfer_to_"):
        return calling(("count_words", {"text": asked}))
    if "back" in asked:
        return calling(("transfer_to_writer", {}))
    return AIMessage(f"edited in {os.getpid()}: {messages[-1].content} words; heard {len(messages)}")


editor = create_agent(ToldModel(reply=edit), [count_words, handoff_tool("writer")], name="editor")


def ask(state: MessagesState) -> dict[str, Any]:
    answer = interrupt({"question": f"print {state['messages'][0].content}?"})
    return {"messages": [AIMessage(f"printed: {answer}", name="printer")]}


builder = StateGraph(MessagesState)
builder.add_node("ask", ask)
builder.add_edge(START, "ask")
printer = builder.compile(name="printer")


def fail(state: MessagesState) -> dict[str, Any]:
    raise ConnectionError("no paper")


failing = StateGraph(MessagesState)
failing.add_node("fail", fail)
failing.add_edge(START, "fail")


class Trip(MessagesState):
    folder: str


def begin(state: Trip) -> dict[str, Any]:
    (Path(state["folder"]) / f"begun-{os.getpid()}").touch()
    return {"messages": [AIMessage(f"begun by {os.getpid()}", id="begun")]}


def end(state: Trip) -> dict[str, Any]:
    """Holds on until the file `go` is there."""
    folder = Path(state["folder"])
    (folder / f"ending-{os.getpid()}").touch()
    deadline = time.monotonic() + 30
    while not (folder / "go").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return {"messages": [AIMessage(f"ended by {os.getpid()}", id="ended")]}


trip = StateGraph(Trip)
trip.add_node("begin", begin)
trip.add_node("end", end)
trip.add_edge(START, "begin")
trip.add_edge("begin", "end")


def write(messages: list[BaseMessage], bound: list[str]) -> AIMessage:
    """Hands over to `editor`; has the last word when it is handed back to."""
    if str(messages[-1].name).startswith("transfer_to_writer"):
        return AIMessage(f"written, after {len(messages)}", name="writer")
    return calling(("transfer_to_editor", {}))


writer = create_agent(ToldModel(reply=write), [handoff_tool("editor")], name="writer")
desk = create_swarm([writer, room_agent("editor")], default_active_agent="writer").compile(name="swarm")

app = Worker(room="desk", concurrency=4)
app.graph(desk)
app.agent(trip.compile(name="traveller"))
app.agent(editor)
app.agent(printer)
app.agent(failing.compile(), name="copier")
