"""The writer, who runs the team: it drafts, hands over to the editor in another process, and has the last word.

python writer.py        starts a broker and the editor's worker by itself
"""

from __future__ import annotations

import os
from typing import Any

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langgraph.graph import START, MessagesState, StateGraph
from model import RuleModel, call

from langgraph_nolag import LocalBroker, NoLagSaver, distribute, handoff_tool, room_agent


def rule(messages: list[BaseMessage]) -> AIMessage:
    last = messages[-1]
    if last.type == "human":
        draft = f"{str(last.content).capitalize()} is really a very good drink, of course with milk."
        return AIMessage(draft, tool_calls=call("transfer_to_editor").tool_calls)
    shortened = next(message for message in reversed(messages) if message.name == "shorten")
    return AIMessage(f"Final: {shortened.content}")


def team(room: Any) -> Any:
    """Two agents that hand over to each other. One is here, the other wherever the room has it."""
    builder = StateGraph(MessagesState)
    builder.add_node("writer", create_agent(RuleModel(rule=rule), [handoff_tool("editor")], name="writer"), destinations=("editor",))
    builder.add_node("editor", room_agent("editor", room), destinations=("writer",))
    builder.add_edge(START, "writer")
    return distribute(builder.compile(name="team"), room, local=["writer"], checkpointer=NoLagSaver(room))


def main() -> None:
    with LocalBroker() as broker:
        (worker,) = broker.spawn_worker("editor:app")
        worker.wait_ready()
        print(f"the writer is process {os.getpid()}, the editor process {worker.pid}")
        config: Any = {"configurable": {"thread_id": "tea"}}
        given = {"messages": [HumanMessage("tea")]}
        shown: set[str] = set()
        streamed = team(broker.room("newsroom")).stream(given, config, stream_mode=["values", "custom"], subgraphs=True, durability="sync")
        for inside, mode, chunk in streamed:
            if mode == "custom":  # what a tool says while it runs, three processes away
                print(f"   … {chunk}")
            if mode == "custom" or inside:
                continue
            for message in chunk["messages"]:
                if message.id not in shown:
                    shown.add(message.id)
                    calls = " ".join(f"[{wanted['name']}]" for wanted in getattr(message, "tool_calls", ()))
                    print(f"{message.name or 'you'}: {' '.join(filter(None, (message.content, calls)))}")


if __name__ == "__main__":
    main()
