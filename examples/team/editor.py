"""The editor, an agent on a worker process. It shortens a draft with a tool of the room, and hands the conversation back to the writer.

In a shell of its own: `langgraph-nolag worker editor:app`
"""

from __future__ import annotations

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage
from model import RuleModel, call

from langgraph_nolag import Worker, handoff_tool, live_tools, tool_progress

FILLERS = ("really ", "very ", ", of course")


def rule(messages: list[BaseMessage]) -> AIMessage:
    if messages[-1].name == "shorten":
        return call("transfer_to_writer")
    draft = next(message for message in reversed(messages) if message.name == "writer")
    return call("shorten", text=str(draft.content))


app = Worker(room="newsroom")
app.agent(create_agent(RuleModel(rule=rule), [handoff_tool("writer")], middleware=[live_tools()], name="editor"))


@app.tool
def shorten(text: str) -> str:
    """Strike out the words that say nothing."""
    for filler in FILLERS:
        if filler in text:
            text = text.replace(filler, "")
            tool_progress(f"struck out {filler.strip(' ,')!r}")
    return text
