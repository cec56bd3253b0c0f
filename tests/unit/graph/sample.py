"""Classes and graphs that the unit tests of the graph layer look at."""

from __future__ import annotations

import dataclasses
import enum
import functools
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

from langgraph.graph import START, StateGraph
from pydantic import BaseModel, PrivateAttr
from typing_extensions import TypedDict

T = TypeVar("T")
U = TypeVar("U")


class Colour(enum.Enum):
    RED = "r"


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: Any


@dataclasses.dataclass
class Branch:
    name: str = ""
    parent: Branch | None = None
    children: list[Branch] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Frozen:
    name: str
    inside: Any = None

    def __post_init__(self) -> None:
        RAN.append("Frozen.__post_init__")


@dataclasses.dataclass(slots=True)
class Slotted:
    value: Any


class Kept:
    __slots__ = ("__hidden", "never_set")

    def hide(self, value: Any) -> None:
        self.__hidden = value

    def hidden(self) -> Any:
        return self.__hidden


@dataclasses.dataclass(slots=True)
class InSlots(Kept):
    x: int


@dataclasses.dataclass
class Parsed:
    text: str
    upper: dataclasses.InitVar[bool] = False
    seen: list[str] = dataclasses.field(init=False, default_factory=list)
    default: int = dataclasses.field(init=False, default=3)

    def __post_init__(self, upper: bool) -> None:
        self.words = tuple(self.text.upper().split() if upper else self.text.split())

    @functools.cached_property
    def count(self) -> int:
        RAN.append("Parsed.count")
        return len(self.words)

    @property
    def watched(self) -> Any:
        return None

    @watched.setter
    def watched(self, value: Any) -> None:
        RAN.append("Parsed.watched")


@dataclasses.dataclass(frozen=True)
class Digested(Frozen):
    def __post_init__(self) -> None:
        object.__setattr__(self, "size", len(self.name))


@dataclasses.dataclass
class Pair(Generic[T]):
    left: T


class Box(BaseModel, Generic[T]):
    held: T


class Both(Box[T], Generic[T, U]):
    other: U


NamedBox = Box[Colour]
NamedOption = Box[Literal["a"]]  # whose parameter has no name


class Leaf(BaseModel):
    n: int
    _secret: Any = PrivateAttr(default=0)

    @functools.cached_property
    def double(self) -> int:
        return 2 * self.n


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
