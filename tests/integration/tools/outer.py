"""A graph around an agent of the room, and a process that runs it: `python outer.py ROOM-ADDRESS TOKEN FOLDER`."""

from __future__ import annotations

import sys
from typing import Any

from langchain_core.messages import HumanMessage
from langgraph.graph import START, StateGraph
from team import Trip

from langgraph_nolag import NoLagSaver, distribute, open_room, room_agent

THREAD: Any = {"configurable": {"thread_id": "trip"}}


def outer(room: Any) -> Any:
    builder = StateGraph(Trip)
    builder.add_node("traveller", room_agent("traveller", state_schema=Trip))
    builder.add_edge(START, "traveller")
    return distribute(builder.compile(name="outer"), room, checkpointer=NoLagSaver(room))


if __name__ == "__main__":
    address, token, folder = sys.argv[1:]
    outer(open_room(address, token=token)).invoke({"messages": [HumanMessage("go")], "folder": folder}, THREAD, durability="sync")
