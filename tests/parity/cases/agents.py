"""`create_agent` with tools and middleware, and `ToolNode`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any

from langchain.agents import AgentState, create_agent
from langchain.agents.middleware import AgentMiddleware, HumanInTheLoopMiddleware, ModelRequest, ToolCallLimitMiddleware, before_model
from langchain.agents.structured_output import ToolStrategy
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import InjectedToolCallId, tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedState, InjectedStore, ToolNode, ToolRuntime, tools_condition
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command, interrupt
from pydantic import BaseModel, Field

from ..case import ASYNC, Events, case


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
async def aadd(a: int, b: int) -> int:
    """Add two numbers, slowly."""
    return a + b


@tool
def ask_human(question: str, runtime: ToolRuntime) -> str:
    """Ask somebody."""
    return f"{interrupt(question)} after {len(runtime.state['messages'])}"


@tool
def how_many(state: Annotated[dict[str, Any], InjectedState], call: Annotated[str, InjectedToolCallId]) -> str:
    """Count the messages."""
    return f"{len(state['messages'])} messages for {call}"


@tool
def remember(fact: str, store: Annotated[BaseStore, InjectedStore()]) -> str:
    """Remember a fact."""
    store.put(("facts",), fact, {"fact": fact})
    return f"{len(store.search(('facts',)))} facts"


@tool
def tell_runtime(runtime: ToolRuntime) -> str:
    """Tell what a tool can see."""
    runtime.stream_writer("from a tool")
    info = runtime.execution_info
    return f"{runtime.tool_call_id} {runtime.context} {runtime.store is not None} {info is not None} {sorted(runtime.state)}"


@tool
def rename(name: str, runtime: ToolRuntime) -> Command[Any]:
    """Change the state."""
    return Command(update={"name": name, "messages": [ToolMessage(f"now {name}", tool_call_id=runtime.tool_call_id)]})


@tool
def fails(a: int) -> str:
    """Fail."""
    raise ValueError(f"no {a}")


@tool
def counts(to: int, runtime: ToolRuntime) -> int:
    """Count, aloud."""
    for number in range(to):
        runtime.emit_output_delta({"at": number})
    return to


@tool
async def acounts(to: int, runtime: ToolRuntime) -> int:
    """Count, aloud and asynchronously."""
    for number in range(to):
        runtime.emit_output_delta({"at": number})
    return to


class Row(BaseModel):
    a: int


@tool(response_format="content_and_artifact")
def rows(a: int) -> tuple[str, Row]:
    """Look a row up."""
    return "one row", Row(a=a)


@tool(return_direct=True)
def final(text: str) -> str:
    """Say the last word."""
    return text.upper()


def call(name: str, id: str, /, **args: Any) -> dict[str, Any]:
    return {"name": name, "args": args, "id": id, "type": "tool_call"}


class Scripted(GenericFakeChatModel):
    """Calls the tools it was made with, once, then sums up what they said."""

    calls: list[Any] = Field(default_factory=list)

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        said = sorted(str(message.content) for message in messages if isinstance(message, ToolMessage))
        message = AIMessage("done " + ", ".join(said), id="m2") if said else AIMessage("", id="m1", tool_calls=self.calls)
        return ChatResult(generations=[ChatGeneration(message=message)])


def scripted(*calls: dict[str, Any]) -> Scripted:
    return Scripted(messages=iter([]), disable_streaming=True, calls=list(calls))


class Named(AgentState):
    name: str


class Unit(BaseModel):
    name: str


class Answer(BaseModel):
    total: int
    unit: Unit | None = None


@dataclasses.dataclass
class Excuse:
    why: str


@dataclasses.dataclass
class Context:
    user: str


class Loud(AgentMiddleware):
    """Hooks of every kind."""

    def before_agent(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        runtime.stream_writer("before agent")
        return None

    def before_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        runtime.stream_writer(f"before model {len(state['messages'])}")
        return None

    def wrap_model_call(self, request: ModelRequest, handler: Callable[..., Any]) -> Any:
        return handler(request.override(system_prompt="be loud"))

    async def awrap_model_call(self, request: ModelRequest, handler: Callable[..., Any]) -> Any:
        return await handler(request.override(system_prompt="be loud"))

    def wrap_tool_call(self, request: Any, handler: Callable[..., Any]) -> Any:
        return handler(request.override(tool_call={**request.tool_call, "args": {"a": 10, "b": 20}}))

    async def awrap_tool_call(self, request: Any, handler: Callable[..., Any]) -> Any:
        return await handler(request.override(tool_call={**request.tool_call, "args": {"a": 10, "b": 20}}))

    def after_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        runtime.stream_writer("after model")
        return None

    def after_agent(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        return {"messages": [AIMessage("bye", id="m3")]}


@before_model(can_jump_to=["end"])
def gives_up(state: Any, runtime: Any) -> dict[str, Any]:
    return {"messages": [AIMessage("no", id="m4")], "jump_to": "end"}


adding = create_agent(scripted(call("add", "c1", a=1, b=2)), [add])
aadding = create_agent(scripted(call("aadd", "c1", a=1, b=2)), [aadd])
several = create_agent(scripted(call("add", "c1", a=1, b=2), call("how_many", "c2"), call("add", "c3", a=5, b=5)), [add, how_many])
asking = create_agent(scripted(call("ask_human", "c2", question="ok?")), [ask_human])
remembering = create_agent(scripted(call("remember", "c1", fact="tea")), [remember])
telling = create_agent(scripted(call("tell_runtime", "c1")), [tell_runtime], context_schema=Context)
renaming = create_agent(scripted(call("rename", "c1", name="Bo")), [rename], state_schema=Named)
failing = create_agent(scripted(call("fails", "c1", a=1)), [fails])
unknown = create_agent(scripted(call("nobody", "c1")), [add])
invalid = create_agent(scripted(call("add", "c1", a="one")), [add])
counting = create_agent(scripted(call("counts", "c1", to=3)), [counts])
acounting = create_agent(scripted(call("acounts", "c1", to=3)), [acounts])
direct = create_agent(scripted(call("final", "c1", text="end")), [final])
careful = create_agent(scripted(call("add", "c1", a=1, b=2)), [add], middleware=[HumanInTheLoopMiddleware(interrupt_on={"add": True})])
loud = create_agent(scripted(call("add", "c1", a=1, b=2)), [add], middleware=[Loud()])
resigning = create_agent(scripted(call("add", "c1", a=1, b=2)), [add], middleware=[gives_up])
limited = create_agent(scripted(call("add", "c1", a=1, b=2)), [add], middleware=[ToolCallLimitMiddleware(run_limit=0)])
prompted = create_agent(scripted(call("add", "c1", a=1, b=2)), [add], system_prompt="be kind", name="kind")
looking_up = create_agent(scripted(call("rows", "c1", a=3)), [rows])
answering = create_agent(scripted(call("Answer", "c1", total=3, unit={"name": "m"})), [], response_format=ToolStrategy(Answer))
excusing = create_agent(scripted(call("Excuse", "c1", why="ill")), [add], response_format=ToolStrategy(Answer | Excuse))


def think(state: MessagesState) -> dict[str, Any]:
    return {"messages": [scripted(call("add", "c1", a=1, b=2), call("how_many", "c2")).invoke(state["messages"])]}


tool_builder = StateGraph(MessagesState)
tool_builder.add_node("think", think)
tool_builder.add_node("tools", ToolNode([add, how_many]))
tool_builder.add_edge(START, "think")
tool_builder.add_conditional_edges("think", tools_condition)
tool_builder.add_edge("tools", "think")
tool_node = tool_builder.compile()

team_builder = StateGraph(MessagesState)
team_builder.add_node("adder", create_agent(scripted(call("add", "c1", a=1, b=2)), [add], name="adder"))
team_builder.add_edge(START, "adder")
team = team_builder.compile()

Q = {"messages": [("user", "q")]}
STORE = {"attributes": {"store": InMemoryStore}}

CASES = [
    case("agent", adding, Q),
    case("agent with an async tool", aadding, Q, how=ASYNC),
    case("agent with several tools", several, Q, ordered=False),
    case("agent whose tool asks", asking, Q, Command(resume="YES")),
    case("agent whose tool uses the store", remembering, Q, **STORE),
    case("agent whose tool sees the runtime", telling, Q, options={"context": lambda: Context("ana")}, **STORE),
    case("agent whose tool changes the state", renaming, Q),
    case("agent whose tool fails", failing, Q),
    case("agent that calls an unknown tool", unknown, Q),
    case("agent with arguments that do not fit", invalid, Q),
    case("agent whose tool streams", counting, Q),
    case("agent whose async tool streams", acounting, Q, how=ASYNC),
    case("agent whose tool streams to nobody", counting, Q, modes=("updates",)),
    case("agent whose tool ends it", direct, Q),
    case("agent that waits for people", careful, Q, Command(resume={"decisions": [{"type": "approve"}]})),
    case(
        "agent that is corrected by people",
        careful,
        Q,
        Command(resume={"decisions": [{"type": "edit", "edited_action": {"name": "add", "args": {"a": 40, "b": 2}}}]}),
    ),
    case("agent that is refused by people", careful, Q, Command(resume={"decisions": [{"type": "reject", "message": "no"}]})),
    case("agent with hooks", loud, Q),
    case("agent that jumps to its end", resigning, Q),
    case("agent with a limit", limited, Q),
    case("agent with a prompt and a name", prompted, Q),
    case("agent whose tool gives an artifact", looking_up, Q),
    case("agent that answers in a form", answering, Q),
    case("agent that answers in one of two forms", excusing, Q),
    case("agent in a team", team, Q),
    case("ToolNode", tool_node, Q, ordered=False),
    case("events of an agent", adding, Events(Q), how=ASYNC),
]
