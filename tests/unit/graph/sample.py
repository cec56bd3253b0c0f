"""Classes and graphs that the unit tests of the graph layer look at."""

from __future__ import annotations

import dataclasses
import enum
from typing import Annotated, Any, NamedTuple

from langgraph.graph import START, StateGraph
from pydantic import BaseModel, PrivateAttr
from typing_extensions import TypedDict


class Colour(enum.Enum):
    RED = "r"


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: Any


@dataclasses.dataclass(frozen=True)
class Frozen:
    name: str
    inside: Any = None

    def __post_init__(self) -> None:
        RAN.append("Frozen.__post_init__")


@dataclasses.dataclass(slots=True)
class Slotted:
    value: Any


class Leaf(BaseModel):
    n: int
    _secret: int = PrivateAttr(default=0)


class Tree(BaseModel):
    model_config = {"extra": "allow"}
    leaf: Any = None
    other: int = 5


class Broken(Exception):
    def __init__(self, number: int, *, extra: Any) -> None:
        super().__init__(f"number {number}")
        RAN.append("Broken.__init__")
        self.number = number
        self.extra = extra


RAN: list[str] = []  # constructors and hooks that ran


class State(TypedDict, total=False):
    x: int
    tree: Tree
    colours: list[Colour]
    either: Annotated[Frozen | None, "note"]


def one(state: State) -> State:
    return {"x": 1}


def two(state: State) -> State:
    return {"x": 2}


def build(*, edge: bool = True, name: str | None = None, schema: Any = State) -> Any:
    builder = StateGraph(schema)
    builder.add_node(one)
    builder.add_node(two)
    builder.add_edge(START, "one")
    if edge:
        builder.add_edge("one", "two")
    return builder.compile(name=name) if name else builder.compile()


graph = build()
