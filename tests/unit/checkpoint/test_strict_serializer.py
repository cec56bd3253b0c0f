"""What a checkpoint may bring back to life."""

from __future__ import annotations

import dataclasses
import enum
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import ormsgpack
import pydantic
import pytest
from langchain_core.messages import AIMessage
from langgraph.types import Send

from langgraph_nolag.errors import NotDecodable
from langgraph_nolag.graph.errors import UntrustedType
from langgraph_nolag.graph.serde.strict import StrictSerializer


@dataclasses.dataclass
class Plan:
    steps: list[str]


class Model(pydantic.BaseModel):
    plan: Plan


class Account(pydantic.BaseModel):
    key: pydantic.SecretStr
    raw: pydantic.SecretBytes
    pin: pydantic.Secret[int]


class Colour(enum.Enum):
    RED = "red"


T = TypeVar("T")


class Box(pydantic.BaseModel, Generic[T]):
    held: T


Named = Box[str]


class Hidden(pydantic.SecretStr):
    """A user's own."""


class Point(NamedTuple):
    x: int


class Machine:
    """Not a data type."""

    def __init__(self, part: str) -> None:
        self.part = part


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"x",
        {"a": [1, 2.5, None]},
        AIMessage("hi", id="1"),
        Plan(["a"]),
        Model(plan=Plan(["a"])),
        Colour.RED,
        Point(1),
        {1, 2},
        Send("n", {"a": 1}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_data_comes_back_as_it_was(value: Any) -> None:
    serializer = StrictSerializer()
    restored = serializer.loads_typed(serializer.dumps_typed(value))
    assert restored == value
    assert type(restored) is type(value)


def call(module: str, name: str, argument: Any) -> tuple[str, bytes]:
    """Bytes that ask LangGraph's serializer to call `module.name(argument)`."""
    return "msgpack", ormsgpack.packb(ormsgpack.Ext(0, ormsgpack.packb((module, name, argument))))


def test_code_is_not_run(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    for payload in (
        call("os", "system", f"touch {canary}"),
        call("subprocess", "getoutput", f"touch {canary}"),
        call("os", "mkdir", str(canary)),
    ):
        with pytest.raises(UntrustedType):
            StrictSerializer().loads_typed(payload)
    assert not canary.exists()


def test_nothing_is_imported() -> None:
    code = (
        "import sys, ormsgpack\n"
        "from langgraph_nolag.graph.serde.strict import StrictSerializer\n"
        "from langgraph_nolag.graph.errors import UntrustedType\n"
        "assert 'antigravity' not in sys.modules\n"
        "try:\n"
        "    StrictSerializer().loads_typed(('msgpack', ormsgpack.packb(ormsgpack.Ext(0, ormsgpack.packb(('antigravity', 'fly', 1))))))\n"
        "except UntrustedType as error:\n"
        "    assert 'antigravity.fly' in str(error)\n"
        "else:\n"
        "    raise SystemExit('not refused')\n"
        "assert 'antigravity' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


class Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_encodings_that_name_code_are_never_read(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    constructor = {"lc": 2, "type": "constructor", "id": ["os", "mkdir"], "args": [str(canary)]}
    for encoding, data in (("pickle", pickle.dumps(Touch(canary))), ("json", json.dumps(constructor).encode()), ("anything", b"")):
        with pytest.raises(UntrustedType, match=encoding) as raised:
            StrictSerializer().loads_typed((encoding, data))
        assert raised.value.code == "untrusted_type"
    assert not canary.exists()


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x91", b"\x91" * 100_000, ormsgpack.packb({"a": [1]})[:-1]])
def test_damaged_bytes_are_a_typed_error(data: bytes) -> None:
    with pytest.raises(NotDecodable):
        StrictSerializer().loads_typed(("msgpack", data))


def test_other_classes_only_when_named() -> None:
    payload = call(Machine.__module__, "Machine", "x")
    sys.modules.setdefault(Machine.__module__, sys.modules[__name__])
    with pytest.raises(UntrustedType, match="Machine"):
        StrictSerializer().loads_typed(payload)
    named = StrictSerializer([Machine])
    assert named.loads_typed(payload).part == "x"
    assert isinstance(named.loads_typed(named.dumps_typed(Plan(["a"]))), Plan)


def test_with_a_schema_only_what_it_names() -> None:
    known, other = StrictSerializer().dumps_typed(Plan(["a"])), StrictSerializer().dumps_typed(Colour.RED)
    module = Plan.__module__
    for serializer in (
        StrictSerializer().with_msgpack_allowlist([(module, "Plan")]),
        StrictSerializer().within(lambda reference: reference == f"{module}:Plan"),
        StrictSerializer([Plan]).within(lambda reference: False),
    ):
        assert serializer.loads_typed(known) == Plan(["a"])
        assert serializer.loads_typed(serializer.dumps_typed(AIMessage("hi", id="1"))) == AIMessage("hi", id="1")
        with pytest.raises(UntrustedType, match="Colour"):
            serializer.loads_typed(other)


def test_secrets_of_a_model_are_read_whatever_the_schema_names() -> None:
    account = Account(key="k", raw=b"r", pin=7)  # type: ignore[arg-type]
    module = Account.__module__
    for serializer in (
        StrictSerializer(),
        StrictSerializer().with_msgpack_allowlist([(module, "Account")]),
        StrictSerializer().within(lambda reference: reference == f"{module}:Account"),
    ):
        assert serializer.loads_typed(serializer.dumps_typed(account)) == account


def test_a_secret_of_ones_own_must_be_named() -> None:
    secret = StrictSerializer().dumps_typed(Hidden("s"))
    assert StrictSerializer().loads_typed(secret) == Hidden("s")
    with pytest.raises(UntrustedType, match="Hidden"):
        StrictSerializer().within(lambda reference: False).loads_typed(secret)


def test_a_generic_model_has_to_be_made_where_a_module_is_imported() -> None:
    serializer = StrictSerializer()
    assert serializer.loads_typed(serializer.dumps_typed(Named(held="a"))) == Named(held="a")
    with pytest.raises(UntrustedType, match=r"Box\[int\], a generic model .* make it at the top level of a module"):
        serializer.loads_typed(serializer.dumps_typed(Box[int](held=1)))


def test_a_refusal_is_not_remembered() -> None:
    serializer = StrictSerializer()
    with pytest.raises(UntrustedType):
        serializer.loads_typed(call("os", "system", "true"))
    assert serializer.loads_typed(serializer.dumps_typed([1])) == [1]
