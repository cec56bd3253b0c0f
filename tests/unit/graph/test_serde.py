"""Values cross unchanged, what can't cross is named, and nothing that a payload names is executed."""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import fractions
import ipaddress
import pathlib
import re
import sys
import threading
import uuid
import zoneinfo
from collections import ChainMap, Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any, Literal, Optional

import msgpack
import pydantic
import pydantic_core
import pytest
import sample
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langgraph.errors import ParentCommand
from langgraph.store.base import GetOp, Item, PutOp
from langgraph.types import Command, Interrupt, Overwrite, Send
from pydantic import (
    AnyUrl,
    BaseModel,
    FileUrl,
    HttpUrl,
    NameEmail,
    PostgresDsn,
    RedisDsn,
    Secret,
    SecretBytes,
    SecretStr,
    TypeAdapter,
    ValidationError,
)

from langgraph_nolag.errors import NotDecodable, NotEncodable
from langgraph_nolag.graph.errors import NotImportable, RemoteNodeError, UntrustedType
from langgraph_nolag.graph.serde.codec import Codec
from langgraph_nolag.graph.serde.scalars import SCALARS
from langgraph_nolag.graph.serde.trust import Trust, trust_of
from langgraph_nolag.patterns.plain import plain as plain_form

codec = Codec(trust_of(sample.graph))
stranger = Codec(Trust())


def again(value: Any) -> Any:
    return codec.decode(codec.encode(value))


def same(value: Any, other: Any) -> None:
    assert type(other) is type(value)
    assert other == value


VALUES = [
    None,
    True,
    "a\ud800b",
    b"bytes",
    2**80,
    -(2**80),
    1.5,
    (1, ("two", [3, (4,)])),
    {1, 2},
    frozenset("ab"),
    deque([1, (2,)], maxlen=3),
    {(1, 2): "tuple key", 3: "int key", None: 4},
    OrderedDict(b=1, a=(2,)),
    Counter("aab"),
    defaultdict(list, a=[1]),
    defaultdict(None, a=1),
    complex(1, 2),
    range(1, 9, 2),
    dt.datetime(2026, 1, 2, 3, 4, 5, 6),
    dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
    dt.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
    dt.date(2026, 1, 2),
    dt.time(1, 2, tzinfo=dt.timezone(dt.timedelta(hours=2))),
    dt.timedelta(days=-1, microseconds=5),
    dt.timezone(dt.timedelta(hours=1)),
    zoneinfo.ZoneInfo("Europe/Berlin"),
    uuid.UUID(int=7),
    decimal.Decimal("1.50"),
    fractions.Fraction(2**70, 3),
    pathlib.PosixPath("/a/b"),
    pathlib.PurePosixPath("/a/b"),
    pathlib.PureWindowsPath("c:/a"),
    re.compile("a+", re.IGNORECASE),
    ipaddress.ip_address("::1"),
    ipaddress.ip_network("10.0.0.0/8"),
    SecretStr("s"),
    SecretBytes(b"s"),
    Secret((1, 2)),
    NameEmail("Ana", "ana@example.org"),
    HttpUrl("http://a.org/b?c=d#e"),
    AnyUrl("x:y"),
    FileUrl("file:///a"),
    PostgresDsn("postgres://ana:secret@h1:1,h2:2/db"),
    RedisDsn("redis://h"),
    pydantic_core.Url("http://a.org"),
    pydantic_core.MultiHostUrl("http://a.org,b.org"),
    sample.Colour.RED,
    sample.Access.READ | sample.Access.WRITE,
    sample.Point(1, (2,)),
    sample.Frozen("f", inside=[sample.Slotted((1,))]),
    sample.Tree(leaf=sample.Leaf(n=1), extra_field=(1, 2)),
    HumanMessage("hi", id="h"),
    AIMessage("", id="a", tool_calls=[{"name": "t", "args": {"q": (1,)}, "id": "c", "type": "tool_call"}]),
    AIMessageChunk("part", id="a"),
    ToolMessage("done", tool_call_id="c", artifact={"raw": (1,)}),
    LLMResult(generations=[[ChatGeneration(message=AIMessage("x"))]]),
    Send("node", {"x": (1,)}),
    Command(goto=[Send("n", 1), "m"], update={"k": (1,)}, graph=Command.PARENT),
    Interrupt(value={"q": (1,)}, id="i", response_schema={"title": "T"}),
    Overwrite([1]),
    GetOp(("ns", "sub"), "k"),
    PutOp(("ns",), "k", {"v": 1}),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_round_trip(value: Any) -> None:
    same(value, again(value))


def test_models_keep_what_equality_does_not_see() -> None:
    leaf = sample.Leaf(n=1)
    leaf._secret = 7
    assert leaf.double == 2
    copy = again(sample.Tree(leaf=leaf, more=(1,)))  # type: ignore[call-arg]
    assert copy.leaf._secret == 7
    assert copy.leaf.__dict__ == {"n": 1, "double": 2}
    assert copy.model_fields_set == {"leaf", "more"}
    assert copy.model_extra == {"more": (1,)}


def test_data_classes_keep_what_is_no_field() -> None:
    parsed = sample.Parsed("a b", upper=True)
    parsed.later = {1}  # type: ignore[attr-defined]
    assert parsed.count == 2
    sample.RAN.clear()
    copy = again(parsed)
    assert vars(copy) == {"text": "a b", "seen": [], "words": ("A", "B"), "later": {1}, "count": 2}
    assert (copy.count, copy.default, sample.RAN) == (2, 3, [])


def test_data_classes_keep_what_is_in_slots() -> None:
    value = sample.InSlots(1)
    value.hide((2,))
    copy = again(value)
    assert (copy.x, copy.hidden(), hasattr(copy, "never_set")) == (1, (2,), False)
    assert again(sample.Digested("abc")).size == 3


def test_generic_data_classes() -> None:
    same(sample.Pair[int](1), again(sample.Pair[int](1)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: sample.NamedBox(held=sample.Colour.RED),
        lambda: sample.NamedOption(held="a"),
        lambda: sample.Box[float](held=1.5),
        lambda: sample.Box[sample.Box[sample.Point]](held=sample.Box[sample.Point](held=sample.Point(1, 2))),
        lambda: sample.Box[dict[str, tuple[int, ...]]](held={"a": (1,)}),
        lambda: sample.Box[Optional[decimal.Decimal]](held=None),  # noqa: UP045 - another class than the next
        lambda: sample.Box[decimal.Decimal | None](held=None),
        lambda: sample.Both[Any, HttpUrl](held=(1,), other=HttpUrl("http://a.org")),
    ],
)
def test_generic_models_made_inside_a_function(make: Callable[[], Any]) -> None:
    value = make()
    same(value, again(value))
    assert again(type(value)) is type(value)


def test_generic_models_that_no_other_process_could_make() -> None:
    class Local(BaseModel):
        pass

    with pytest.raises(NotImportable, match=r"the class .*Local is defined inside a function"):
        codec.encode(sample.Box[Local](held=Local()))
    with pytest.raises(NotEncodable, match=re.escape("sample:Box[Literal['b']] is a generic model with parameters")):
        codec.encode(sample.Box[Literal["b"]](held="b"))
    with pytest.raises(UntrustedType, match=r"sample:Box .* allow=\[Box\]"):
        stranger.encode(sample.Box[int](held=1))


@pytest.mark.parametrize(
    "ref",
    [
        ["os:system", ["int"]],
        ["sample:Box", ["os:system"]],
        ["sample:Box", [["os:system", ["int"]]]],
        ["sample:Box", [["list", ["antigravity:x"]]]],
        ["sample:Box", ["eval"]],
        ["sample:Box", []],
        ["sample:Box", ["int", "int"]],
        ["sample:Box", [["int", ["int"]]]],
        ["sample:Box", [["UnionType", []]]],
        ["sample:Leaf", ["int"]],
        ["sample:Pair", ["int"]],
        ["sample:Frozen", ["int"]],
        ["list", ["int"]],
        [],
        [[], []],
    ],
    ids=str,
)
def test_parts_of_a_payload_are_classes_of_the_graph(ref: Any) -> None:
    with pytest.raises((UntrustedType, NotDecodable)):
        codec.decode(named(ref, {"__dict__": {}, "__pydantic_fields_set__": []}))


def test_what_an_object_holds_beside_its_fields_is_not_lost_in_silence() -> None:
    parsed = sample.Parsed("a")
    parsed.lock = threading.Lock()  # type: ignore[attr-defined]
    with pytest.raises(NotEncodable, match=re.escape("value[0].lock: a _thread.lock has no form")):
        codec.encode([parsed])
    leaf = sample.Leaf(n=1)
    leaf._secret = threading.Lock()
    with pytest.raises(NotEncodable, match=re.escape("value.leaf._secret: a _thread.lock has no form")):
        codec.encode(sample.Tree(leaf=leaf))


def test_store_items() -> None:
    now = dt.datetime.now(dt.UTC)
    copy = again(Item(value={"a": (1,)}, key="k", namespace=("n",), created_at=now, updated_at=now))
    assert (copy.value, copy.key, copy.namespace, copy.created_at) == ({"a": (1,)}, "k", ("n",), now)


def test_subclasses_of_plain_types_are_what_they_hold() -> None:
    class Name(str):
        pass

    class Names(OrderedDict[str, int]):
        pass

    assert type(again(Names(a=1))) is dict
    assert type(again(defaultdict(lambda: 1, a=2))) is dict
    assert again(ChainMap({"a": 1}, {"b": 2})) == {"a": 1, "b": 2}
    assert type(again(Name("x"))) is str


def test_maps_go_on_making_what_is_missing() -> None:
    copy = again({"count": Counter("aab"), "lists": defaultdict(list, {(1,): [1]})})
    assert copy["count"]["z"] == 0
    assert copy["lists"]["new"] == []
    assert list(again(OrderedDict.fromkeys("cab"))) == list("cab")


@pytest.mark.parametrize(
    "plain", [["defaultdict", {}, "eval"], ["dict", {}, None], ["Counter", 3, None], ["OrderedDict", {}], ["defaultdict", {}, ["list"]]]
)
def test_a_payload_can_not_name_another_map_or_factory(plain: list[Any]) -> None:
    with pytest.raises(NotDecodable):
        codec.decode(bytes(msgpack.packb(msgpack.ExtType(8, msgpack.packb(plain)))))


def test_models_with_addresses() -> None:
    tree = sample.Tree(leaf=[HttpUrl("http://a.org")], other=2)
    same(tree, again(tree))


def test_every_url_of_pydantic_has_a_form() -> None:
    own = {cls for cls in vars(pydantic.networks).values() if isinstance(cls, type) and cls.__name__.endswith(("Url", "Dsn"))}
    assert len({cls for cls in own if not cls.__name__.startswith("_")} - SCALARS.keys()) == 0
    assert len(own) > 15


def test_a_url_that_its_text_does_not_tell_is_refused() -> None:
    class Own(HttpUrl):
        pass

    with pytest.raises(NotEncodable, match=r"value\['url'\]: .*Own is not one of pydantic's own"):
        codec.encode({"url": Own("http://a.org")})


@pytest.mark.parametrize(
    "plain", [["HttpUrl", "ftp://a.org"], ["HttpUrl", {"a": 1}], ["os:system", "true"], ["PostgresDsn", 3], ["fraction", [1, 0]]]
)
def test_a_payload_can_not_name_another_scalar(plain: list[Any]) -> None:
    with pytest.raises(NotDecodable):
        codec.decode(bytes(msgpack.packb(msgpack.ExtType(4, msgpack.packb(plain)))))


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=20,
)


@given(plain)
def test_any_plain_value_crosses(value: Any) -> None:
    copy = again(value)
    assert copy == value
    assert repr(copy) == repr(value)  # 1 == True == 1.0, and a tuple is no list


# --- exceptions ---------------------------------------------------------------------------------------------


def test_exception_of_the_graph_is_rebuilt_without_its_constructor() -> None:
    try:
        raise sample.Broken(7, extra=(1,)) from KeyError("k")
    except sample.Broken as error:
        error.add_note("a note")
        data = codec.encode(error)
    sample.RAN.clear()
    copy = codec.decode(data)
    assert sample.RAN == []
    assert type(copy) is sample.Broken
    assert (str(copy), copy.number, copy.extra) == ("number 7", 7, (1,))
    assert isinstance(copy.__cause__, KeyError)
    assert copy.__notes__[0] == "a note"
    assert "raise sample.Broken" in copy.__notes__[1]


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x", 1),
        KeyError("k"),
        FileNotFoundError(2, "no", "f"),
        UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"),
        StopIteration(3),
        SystemExit(4),
    ],
    ids=lambda error: type(error).__name__,
)
def test_own_exceptions_of_python(error: BaseException) -> None:
    copy = again(error)
    assert type(copy) is type(error)
    assert (copy.args, str(copy)) == (error.args, str(error))


def test_exception_group() -> None:
    copy = again(ExceptionGroup("two", [ValueError(1), sample.Broken(2, extra=None)]))
    assert [type(inner) for inner in copy.exceptions] == [ValueError, sample.Broken]


def test_validation_error() -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(sample.Leaf).validate_python({"n": "zz"})
    copy = again(caught.value)
    assert isinstance(copy, ValidationError)
    assert copy.errors(include_url=False) == caught.value.errors(include_url=False)


def test_parent_command() -> None:
    copy = again(ParentCommand(Command(goto="x", graph=Command.PARENT)))
    assert copy.args[0] == Command(goto="x", graph=Command.PARENT)


def test_exception_that_nobody_here_knows() -> None:
    class Local(ValueError):
        pass

    copy = again(Local("words"))
    assert isinstance(copy, RemoteNodeError)
    assert copy.error_message == "words"
    assert copy.error_type.endswith("Local")


def test_exception_with_a_broken_text() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert "no text" in again(Mute()).error_message


def test_exception_keeps_what_can_cross() -> None:
    error = ValueError(threading.Lock(), "words")
    assert again(error).args[1] == "words"
    assert "lock" in again(error).args[0]


# --- refusals -----------------------------------------------------------------------------------------------


def test_path_to_what_can_not_cross() -> None:
    value = {"a": [1, sample.Frozen("f", inside={"b": (threading.Lock(),)})]}
    with pytest.raises(NotEncodable, match=re.escape("input['a'][1].inside['b'][0]: a _thread.lock has no form")):
        codec.encode(value, where="input")


def test_lax_encoding_shows_what_can_not_cross() -> None:
    copy = codec.decode(codec.encode({"a": threading.Lock(), "b": (1,)}, lax=True))
    assert "lock" in copy["a"]
    assert copy["b"] == (1,)


def test_value_that_holds_itself() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(NotEncodable):
        codec.encode(value)


def tree(depth: int, parent: sample.Branch | None = None, name: str = "root") -> sample.Branch:
    made = sample.Branch(name, parent)
    made.children = [tree(depth - 1, made, each) for each in "ab"] if depth else []
    return made


def test_parts_that_know_what_they_are_part_of() -> None:
    root = tree(8)
    assert plain_form(root)["children"][0]["parent"] == "(Branch again)"
    with pytest.raises(NotEncodable, match="holds itself"):
        codec.encode(root)
    copy = codec.decode(codec.encode([root, "beside"], lax=True))
    assert copy[1] == "beside"
    assert [child.name for child in copy[0].children] == ["a", "b"]
    assert copy[0].children[0].parent == "<Branch again>"


def test_a_net_where_each_holds_each() -> None:
    net = [sample.Branch(str(number)) for number in range(40)]
    for one in net:
        one.children = net
    copy = codec.decode(codec.encode(net[0], lax=True))
    assert copy.children[0] == "<Branch again>"
    assert copy.children[1].children[1] == "<Branch again>"
    assert len(plain_form(net[0])["children"]) == 40


def test_a_part_that_is_there_twice() -> None:
    part = sample.Branch("part")
    copy = codec.decode(codec.encode(sample.Branch("root", None, [part, part]), lax=True))
    assert copy.children == [part, part]


def test_lax_encoding_of_what_is_nested_too_deep() -> None:
    leaf = root = sample.Branch("root")
    for _ in range(2 * sys.getrecursionlimit()):
        leaf.children = [sample.Branch(), sample.Branch()]
        leaf = leaf.children[0]
    assert "nested too deep" in str(codec.encode([root], lax=True))


def test_sender_refuses_what_the_receiver_would() -> None:
    with pytest.raises(UntrustedType, match=r"value\[0\]: sample:Frozen .* allow=\[Frozen\]"):
        stranger.encode([sample.Frozen("x")])


def test_class_inside_a_function() -> None:
    import dataclasses

    @dataclasses.dataclass
    class Local:
        x: int = 0

    with pytest.raises(NotImportable, match="inside a function"):
        codec.encode(Local())


def named(ref: str, fields: Any = None) -> bytes:
    """What a hostile process would send: an object of a class of its choice."""
    return bytes(msgpack.packb(msgpack.ExtType(3, msgpack.packb([ref, fields]))))


@pytest.mark.parametrize(
    "ref",
    [
        "os:system",
        "subprocess:Popen",
        "builtins:eval",
        "sample:RAN",
        "sample:dataclasses.dataclass",
        "sample:nothing",
        "sample:Broken",
        "antigravity:x",
        "",
        ":",
        3,
    ],
)
def test_payload_can_not_name_other_classes(ref: Any, capsys: pytest.CaptureFixture[str]) -> None:
    import sys

    before = set(sys.modules)
    with pytest.raises((UntrustedType, NotDecodable)):
        codec.decode(named(ref, {"args": ["touch canary"]}))
    assert "antigravity" not in set(sys.modules) - before
    assert str(codec.decode(named(ref), lax=True)).startswith("<")


def test_allowed_classes_are_filled_in_without_running_them() -> None:
    data = codec.encode(sample.Frozen("f"))
    sample.RAN.clear()
    assert codec.decode(data).name == "f"
    assert sample.RAN == []


def test_attributes_of_a_payload_run_nothing() -> None:
    sample.RAN.clear()
    copy = codec.decode(named("sample:Parsed", {"text": "a", "watched": 1, "__class__": "x", "__setattr__": "y"}))
    assert type(copy) is sample.Parsed
    assert (copy.text, copy.watched, sample.RAN) == ("a", None, [])
    with pytest.raises(NotDecodable):
        codec.decode(named("sample:Parsed", {1: 2}))
    with pytest.raises(NotDecodable, match="InSlots has no y; do both sides run the same version"):
        codec.decode(named("sample:InSlots", {"x": 1, "y": 2}))


def test_exception_of_a_payload_is_not_imported() -> None:
    facts = {
        "class": "wsgiref.handlers:Nothing",
        "args": [],
        "attributes": {},
        "notes": [],
        "text": "t",
        "traceback": "",
        "where": "",
        "cause": None,
    }
    copy = codec.decode(bytes(msgpack.packb(msgpack.ExtType(5, msgpack.packb(facts)))))
    assert isinstance(copy, RemoteNodeError)


def test_exception_of_a_payload_must_be_one() -> None:
    facts = {
        "class": "subprocess:Popen",
        "args": ["ls"],
        "attributes": {},
        "notes": [],
        "text": "t",
        "traceback": "",
        "where": "",
        "cause": None,
    }
    assert isinstance(codec.decode(bytes(msgpack.packb(msgpack.ExtType(5, msgpack.packb(facts))))), RemoteNodeError)


@given(st.binary(max_size=200))
def test_garbage_is_refused_with_a_typed_error(data: bytes) -> None:
    for payload in (data, *(bytes(msgpack.packb(msgpack.ExtType(kind, data))) for kind in range(1, 10))):
        with contextlib.suppress(NotDecodable, UntrustedType, NotImportable):
            codec.decode(payload)


# --- digests ------------------------------------------------------------------------------------------------


def test_digest_takes_tuples_for_lists_as_a_checkpoint_does() -> None:
    assert codec.digest({"a": (1, 2)}) == codec.digest({"a": [1, 2]})
    assert codec.digest([1]) != codec.digest([2])


def test_digest_does_not_depend_on_the_order_of_sets() -> None:
    words = [f"word{number}" for number in range(50)]
    other = set()
    for word in reversed(words):
        other.add(word)
    assert codec.digest(set(words)) == codec.digest(other)
