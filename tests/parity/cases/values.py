"""State of every kind, and the values in it."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import decimal
import enum
import functools
import operator
import uuid
from typing import Annotated, Any, NamedTuple

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, RemoveMessage, SystemMessage, ToolMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.channels import EphemeralValue, UntrackedValue
from langgraph.graph import MessagesState, add_messages
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.managed import IsLastStep, RemainingSteps
from langgraph.types import Overwrite
from pydantic import BaseModel, Field, field_validator
from typing_extensions import TypedDict

from ..case import ASYNC, case
from .build import State, beside, chain, single

# --- nodes of every kind ------------------------------------------------------------------------------------


def plus_one(state: State) -> State:
    return {"x": state["x"] + 1, "log": ["plus one"]}


async def times_ten(state: State) -> State:
    await asyncio.sleep(0)
    return {"x": state["x"] * 10, "log": ["times ten"]}


def nothing(state: State) -> None:
    return None


def empty(state: State) -> State:
    return {}


class Adder:
    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, state: State) -> State:
        return {"x": state["x"] + self.number}


class Both:
    def sync(self, state: State) -> State:
        return {"log": ["method"]}


def added(state: State, *, number: int) -> State:
    return {"x": state["x"] + number}


def doubled(state: State) -> State:
    return {"x": state["x"] * 2}


def said(state: State, config: RunnableConfig) -> State:
    conf, metadata = config["configurable"], config["metadata"]
    return {
        "log": [
            conf.get("user"),
            sorted(config["tags"]),
            metadata.get("from"),
            metadata["langgraph_node"],
            metadata["langgraph_step"],
            list(metadata["langgraph_triggers"]),
            metadata["langgraph_path"],
            config["recursion_limit"],
            config.get("run_name"),
            config.get("max_concurrency"),
        ]
    }


sync_chain = chain(plus_one, ("again", plus_one)).compile()
async_chain = chain(times_ten, ("again", times_ten)).compile()
mixed_chain = chain(plus_one, times_ten).compile()
silent = chain(nothing, empty).compile()
callables = chain(("adder", Adder(3)), ("partial", functools.partial(added, number=4)), ("method", Both().sync)).compile()
runnable = chain(("sequence", RunnableLambda(doubled) | RunnableLambda(plus_one))).compile()
configured = chain(said).compile(name="configured")
bound = configured.with_config(tags=["bound"], configurable={"user": "bo"})
side_by_side = beside(
    plus_one, doubled, schema=TypedDict("Sum", {"x": Annotated[int, operator.add], "log": Annotated[list, operator.add]})
).compile()

# --- values -------------------------------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    HIGH = 3


class Point(NamedTuple):
    x: int
    y: int


@dataclasses.dataclass
class Box:
    size: int = 0
    name: str = "box"
    corner: Point = dataclasses.field(default_factory=lambda: Point(0, 0))


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    size: int = 0


class Inner(BaseModel):
    messages: list[AnyMessage] = Field(default_factory=list)
    when: dt.date = dt.date(2024, 2, 29)


VALUES: dict[str, Any] = {
    "nested": {"t": (1, ("a", 2.5)), "k": {5: 6, (1, 2): 3}, "none": None, "yes": True},
    "sets": [{3, 4}, frozenset("ab")],
    "classes": [Colour.RED, Level.HIGH, Point(1, 2), Box(7), Frozen(2)],
    "models": [Inner(messages=[AIMessage("in", id="i1")]), Document("text", metadata={"page": 1})],
    "times": [dt.datetime(2024, 1, 2, 3, 4, 5, 6), dt.datetime(2024, 1, 2, tzinfo=dt.UTC), dt.date(2024, 1, 2), dt.timedelta(1, 2, 3)],
    "numbers": [2**60, -(2**60), 1e300, float("inf"), decimal.Decimal("1.10")],
    "texts": ["ü\u0000\ud800", b"\x00\xff", uuid.UUID(int=7), "", "x" * 100_000],
    "classes themselves": [Box, Colour],
}


def give_values(state: State) -> State:
    return {
        "anything": {name: value for name, value in VALUES.items() if name in ("nested", "sets", "classes", "models", "times", "numbers")}
    }


def tell_values(state: State) -> State:
    return {"log": [repr(state["anything"][name]) for name in ("nested", "classes", "models", "times", "numbers")]}


def give_texts(state: State) -> State:
    return {"anything": ["ü\u0000", b"\x00\xff", uuid.UUID(int=7), "", "x" * 100_000]}


rich = chain(give_values, tell_values).compile()
texts = chain(give_texts, ("told", lambda state: {"log": [repr(state["anything"])[-60:]]})).compile()

# --- schemas ------------------------------------------------------------------------------------------------


class Model(BaseModel):
    n: int = 0
    messages: Annotated[list[AnyMessage], add_messages] = Field(default_factory=list)
    inner: Inner | None = None

    @field_validator("n")
    @classmethod
    def small(cls, n: int) -> int:
        if n > 1000:
            raise ValueError("too large")
        return n


def model_out(state: Model) -> dict[str, Any]:
    call = {"name": "t", "args": {"q": 1}, "id": "c1", "type": "tool_call"}
    return {
        "n": state.n + 1,
        "messages": [AIMessage("hi", id="a1", tool_calls=[call])],
        "inner": Inner(messages=[AIMessage("in", id="i1", tool_calls=[call])]),
    }


def model_in(state: Model) -> Model:
    assert state.inner is not None
    return Model(
        n=state.n + 1, messages=[HumanMessage(f"{type(state.inner.messages[0]).__name__} {sorted(state.model_fields_set)}", id="h1")]
    )


class OnlyN(TypedDict):
    n: int


class Extra(TypedDict):
    hidden: str


@dataclasses.dataclass
class NBox:
    n: int = 0


class NModel(BaseModel):
    n: int


def private_view(state: OnlyN) -> dict[str, Any]:
    return {"n": state["n"] + 100, "hidden": f"saw {sorted(state)}"}


def sees_hidden(state: Extra) -> dict[str, Any]:
    return {"n": len(state["hidden"])}


def n_box(state: NBox) -> dict[str, Any]:
    return {"n": state.n + 10}


def n_model(state: NModel) -> dict[str, Any]:
    return {"n": state.n + 1}


pydantic_state = chain(model_out, model_in, schema=Model).compile()
views_builder = chain(model_out, ("private", private_view), ("sees", sees_hidden), ("box", n_box), ("model", n_model), schema=Model)
views = views_builder.compile()
too_large = chain(("large", lambda state: {"n": 5000}), model_in, schema=Model).compile()


def grow(state: Box) -> Box:
    return Box(size=state.size + 1, name=state.name + "!")


def grow_dict(state: Box) -> dict[str, Any]:
    return {"corner": Point(state.size, 1)}


dataclass_state = chain(grow, grow_dict, schema=Box).compile()


class In(TypedDict):
    question: str


class Out(TypedDict):
    answer: str


class Whole(In, Out):
    notes: str


def think(state: In) -> dict[str, str]:
    return {"notes": state["question"].upper()}


def reply(state: Whole) -> Out:
    return {"answer": state["notes"] + "!"}


in_and_out = chain(think, reply, schema=Whole, input_schema=In, output_schema=Out).compile()


class Special(TypedDict):
    x: int
    fleeting: Annotated[int, EphemeralValue(int)]
    untracked: Annotated[dict[str, Any], UntrackedValue(dict)]
    log: Annotated[list[Any], operator.add]
    last: IsLastStep
    left: RemainingSteps


def special_out(state: Special) -> dict[str, Any]:
    return {"fleeting": 7, "untracked": {"only": ("here", 1)}, "log": [state["last"], state["left"]]}


def special_in(state: Special) -> dict[str, Any]:
    return {"log": [state.get("fleeting"), state.get("untracked"), state["left"]]}


special = chain(special_out, special_in, ("later", special_in), schema=Special).compile()


def overwrites(state: State) -> dict[str, Any]:
    return {"log": Overwrite(["only this"])}


overwriting = chain(plus_one, overwrites).compile()


def larger(a: int, b: int) -> int:
    return max(a, b)


class Reducers(TypedDict):
    most: Annotated[int, larger]
    joined: Annotated[dict[str, int], operator.or_]


def reduce_one(state: Reducers) -> dict[str, Any]:
    return {"most": 5, "joined": {"a": 1}}


def reduce_two(state: Reducers) -> dict[str, Any]:
    return {"most": 3, "joined": {"b": 2}}


reducers = chain(reduce_one, reduce_two, schema=Reducers).compile()

# --- messages -----------------------------------------------------------------------------------------------


def talk(state: MessagesState) -> dict[str, Any]:
    call = {"name": "t", "args": {"q": [1, {"a": None}]}, "id": "c1", "type": "tool_call"}
    return {
        "messages": [
            SystemMessage("be kind", id="s1"),
            AIMessage("", id="a1", tool_calls=[call], usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}),
            ToolMessage("4", id="t1", tool_call_id="c1", artifact={"raw": (4,)}, status="error"),
            AIMessage([{"type": "text", "text": "four"}], id="a2", response_metadata={"model": "m"}),
        ]
    }


def revise(state: MessagesState) -> dict[str, Any]:
    return {"messages": [RemoveMessage("s1"), AIMessage("FOUR", id="a2"), ("user", "thanks")]}


def forget(state: MessagesState) -> dict[str, Any]:
    return {"messages": [RemoveMessage(REMOVE_ALL_MESSAGES), HumanMessage(f"{len(state['messages'])} before", id="h9")]}


talking = chain(talk, revise, forget, schema=MessagesState).compile()

# --- what can't be --------------------------------------------------------------------------------------------


def wrong_type(state: State) -> Any:
    return 7


def unknown_key(state: State) -> Any:
    return {"x": 1, "not there": 2}


def twice(state: State) -> State:
    return {"x": 1}


def twice_too(state: State) -> State:
    return {"x": 2}


wrong = chain(wrong_type).compile()
unknown = chain(unknown_key).compile()
conflicting = beside(twice, twice_too).compile()
with_metadata = single(said, metadata={"from": "the node"}).compile()

CASES = [
    case("chain", sync_chain, {"x": 1}),
    case("chain without saver", sync_chain, {"x": 1}, saver=False),
    case("async chain", async_chain, {"x": 1}, how=ASYNC),
    case("mixed chain", mixed_chain, {"x": 1}, {"x": 5}, how=ASYNC),
    case("async node called synchronously", mixed_chain, {"x": 1}, how=("sync",)),
    case("nodes that return nothing", silent, {"x": 1}),
    case("objects, partials and methods as nodes", callables, {"x": 1}),
    case("a runnable sequence as a node", runnable, {"x": 1}),
    case(
        "configuration",
        configured,
        {"x": 1},
        config={"tags": ["T"], "metadata": {"from": "here"}, "configurable": {"user": "ana"}, "run_name": "mine", "recursion_limit": 9},
    ),
    case("configuration bound to the graph", bound, {"x": 1}),
    case("metadata of a node", with_metadata, {"x": 1}, config={"max_concurrency": 3}),
    case("side by side", side_by_side, {"x": 1}, ordered=False),
    case("values of every type", rich, {"x": 1}),
    case("texts and bytes", texts, {"x": 1}),
    case("pydantic state", pydantic_state, {"n": 1}),
    case("input as a model", pydantic_state, Model(n=5)),
    case("input that does not validate", pydantic_state, {"n": "no number"}, remote=False),
    case("state that does not validate", too_large, {"n": 1}),
    case("per-node input", views, {"n": 1}),
    case("dataclass state", dataclass_state, {"size": 1}),
    case("dataclass as input", dataclass_state, Box(4, "b")),
    case("input and output schema", in_and_out, {"question": "why"}),
    case("ephemeral, untracked and managed values", special, {"x": 1}),
    case("overwrite", overwriting, {"x": 1, "log": ["before"]}),
    case("reducers", reducers, {"most": 1, "joined": {}}, {"most": 9}),
    case("messages", talking, {"messages": [HumanMessage("2+2?", id="h1")]}),
    case("a node that returns no update", wrong, {"x": 1}),
    case("a key that is not in the state", unknown, {"x": 1}),
    case("two writers of one value", conflicting, {"x": 1}, ordered=False),
    case("empty input", sync_chain, {}),
    case("nothing to run", sync_chain, None, remote=False),
]
