"""What a tool returns: a model is shown the same of it, wherever the tool runs."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import served
from langchain_core.documents import Document
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, tool
from pydantic import BaseModel

from langgraph_nolag import LocalBroker, Room, connect
from langgraph_nolag.client.body import decode, encode
from langgraph_nolag.errors import NoLagError


@dataclass
class Weather:
    degrees: float


class Answer(BaseModel):
    text: str


class Colour(enum.Enum):
    RED = "r"


class Named(enum.StrEnum):
    RED = "r"


class Number(enum.IntEnum):
    ONE = 1


class Point(NamedTuple):
    x: int
    y: int


class Own:
    def __str__(self) -> str:
        return "one's own"


class Model:
    def model_dump(self) -> Any:
        raise RuntimeError("out of reach")


class Map(dict[str, Any]):
    """A map, and yet not one."""


DATE, BLOCK = dt.datetime(2026, 11, 21, 12), {"type": "text", "text": "a"}
ZONED = DATE.replace(tzinfo=dt.timezone(dt.timedelta(hours=2)))
VALUES: dict[str, Any] = {
    "text": "tea",
    "umlauts": {"täglich": "Tee ☕"},
    "number": 5,
    "large number": 2**70,
    "float": 1.5,
    "not a number": float("nan"),
    "truth": True,
    "nothing": None,
    "bytes": b"tea",
    "byte array": bytearray(b"tea"),
    "tuple": (1, 2),
    "nothing in a list": [],
    "texts": ["a", "b"],
    "blocks": [BLOCK, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}],
    "blocks in a tuple": (BLOCK, "b"),
    "blocks with bytes": [{**BLOCK, "bytes": b"tea"}],
    "no blocks": [{"type": "tea"}],
    "map": {"a": [1, None]},
    "numbers as keys": {1: "a", False: "b", 1.5: "c", None: "d"},
    "tuples as keys": {(1, 2): 3},
    "bytes in a map": {"b": b"tea"},
    "bytes and tuples": {"b": b"tea", "t": (1, 2)},
    "set": {1, 2},
    "set in a map": {"s": {1, 2}},
    "data class": Weather(3.5),
    "data class in a list": [Weather(3.5)],
    "model": Answer(text="a"),
    "model in a map": {"m": Answer(text="a")},
    "enum": Colour.RED,
    "enum of texts": Named.RED,
    "enum of texts in a map": {"e": Named.RED},
    "enum of numbers": Number.ONE,
    "named tuple": Point(1, 2),
    "named tuple in a map": {"p": Point(1, 2), "b": b""},
    "map of a class": Map(a=1),
    "map of a class, with bytes": Map(a=b""),
    "time": DATE,
    "time in Greenwich": DATE.replace(tzinfo=dt.UTC),
    "time elsewhere": ZONED,
    "time in a map": {"t": ZONED},
    "date": DATE.date(),
    "id": uuid.UUID(int=5),
    "decimal": decimal.Decimal("1.50"),
    "exception": ValueError("no"),
    "class": Weather,
    "range": range(3),
    "object": Own(),
    "object in a map": {"o": Weather(1.0), "n": [1]},
}


@tool
def give(what: str) -> Any:
    """Give a value."""
    return VALUES[what]


@tool
def handled(what: str) -> Any:
    """Give a value; such a tool is called as by a model."""
    return VALUES[what]


handled.handle_tool_error = True


def called(what: str) -> Any:
    """Give a value, by a function."""
    return VALUES[what]


DOCUMENT = Document("tea", metadata={"page": 1})
BESIDE: dict[str, tuple[Any, Any]] = {
    "plain": ({"bytes": b"tea", 1.5: [None]}, {"bytes": b"tea", 1.5: [None]}),
    "documents": ([DOCUMENT], [{"id": None, "metadata": {"page": 1}, "page_content": "tea", "type": "Document"}]),
    "data class": (Weather(3.5), {"degrees": 3.5}),
    "tuples as keys": ({(1, 2): DATE.date()}, {"(1, 2)": "2026-11-21"}),
    "object": (Own(), None),
    "object inside": ({"own": [Own()]}, None),
    "model that can't be told": (Model(), None),
}


@tool(response_format="content_and_artifact")
def beside(what: str) -> tuple[str, Any]:
    """Give a value beside the content."""
    return what, BESIDE[what][0]


@pytest.fixture(scope="module")
def broker() -> Iterator[LocalBroker]:
    with LocalBroker() as broker:
        yield broker


@pytest.fixture
async def room(broker: LocalBroker) -> AsyncIterator[Room]:
    async with connect(broker.url, token=broker.token("server")) as client:
        room = await client.join("desk")
        async with room.tools.serve([give, handled, called, beside]):
            yield room


async def proxies(room: Room, *names: str) -> list[BaseTool]:
    return [each for each in await room.tools.list() if each.name in names]


@pytest.mark.parametrize("what", VALUES)
async def test_a_model_is_shown_the_same(room: Room, invoke: Callable[..., Any], what: str) -> None:
    here = await invoke(give, {"type": "tool_call", "id": "c", "name": "give", "args": {"what": what}})
    for proxy in await proxies(room, "give", "handled", "called"):
        there = await invoke(proxy, {"type": "tool_call", "id": "c", "name": proxy.name, "args": {"what": what}})
        assert isinstance(there, ToolMessage)
        assert (there.content, there.status) == (here.content, "success"), proxy.name


@pytest.mark.parametrize("what", VALUES)
async def test_code_is_given_what_is_plain(room: Room, what: str) -> None:
    try:
        plain = decode(encode(VALUES[what]))
    except NoLagError:
        return
    assert str(await room.tools.invoke("give", {"what": what})) == str(plain)


@pytest.mark.parametrize("what", BESIDE)
async def test_an_artifact_is_carried_or_kept_with_a_word(
    room: Room, invoke: Callable[..., Any], what: str, caplog: pytest.LogCaptureFixture
) -> None:
    given, expected = BESIDE[what]
    (proxy,) = await proxies(room, "beside")
    for call in ("first", "second"):
        answer = await invoke(proxy, {"type": "tool_call", "id": call, "name": "beside", "args": {"what": what}})
        assert (answer.content, answer.artifact, answer.status) == (what, expected, "success")
    said = [record.getMessage() for record in caplog.records if "stays in this process" in record.getMessage()]
    assert len(said) == (expected is None), "once is enough"
    assert all(f"artifact of tool 'beside' ({type(given).__name__})" in line for line in said)


async def test_a_tool_sees_what_the_model_calls_its_call(agent: Callable[..., Any], invoke: Callable[..., Any]) -> None:
    room = await agent("server")
    async with room.tools.serve([served.own_calls]):
        (there,) = await room.tools.list()
        tool_call = {"type": "tool_call", "id": "call-1", "name": "own_calls", "args": {}}
        assert (await invoke(there, tool_call)).content == ["call-1", "call-1"]
        assert len(set(await invoke(there, {}))) == 1  # of a call that nobody named: what the room calls it
