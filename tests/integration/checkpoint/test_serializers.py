"""What a saver may be given to write with, and what it does with what others wrote."""

from __future__ import annotations

import contextlib
import dataclasses
import pickle
from pathlib import Path
from typing import Any, TypedDict

import msgpack
import ormsgpack
import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.conformance.report import CapabilityResult as Outside
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import START, StateGraph

from langgraph_nolag import LocalBroker, NoLagSaver, NotDecodable, distribute
from langgraph_nolag.graph.errors import UntrustedType
from langgraph_nolag.graph.saver import keys
from langgraph_nolag.graph.saver.record import Stored, StoredWrite

CONFIG: RunnableConfig = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}


@dataclasses.dataclass
class Known:
    text: str


class State(TypedDict, total=False):
    known: Known
    anything: Any


def put(saver: NoLagSaver, **values: Any) -> RunnableConfig:
    versions: Any = dict.fromkeys(values, "1.1")
    made: Any = {**empty_checkpoint(), "channel_values": values, "channel_versions": versions}
    where = saver.put(CONFIG, made, {"source": "loop", "step": 0, "parents": {}}, versions)
    saver.put_writes(where, list(values.items()), "task")
    return where


def echo(state: State) -> State:
    return {}


def graph(**options: Any) -> Any:
    return StateGraph(State).add_node("echo", echo).add_edge(START, "echo").compile(**options)


# --- hostile ---


def calling(code: int, *parts: Any) -> tuple[str, bytes]:
    return "msgpack", ormsgpack.packb(ormsgpack.Ext(code, ormsgpack.packb(parts)))


class Running:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return Path.touch, (self.canary,)


def hostile(canary: Path) -> list[tuple[str, bytes]]:
    shell = f"touch {canary}"
    return [
        calling(0, "os", "system", shell),
        calling(1, "subprocess", "getoutput", [shell]),
        calling(2, "subprocess", "run", {"args": shell, "shell": True}),
        calling(3, "pathlib", "Path", str(canary), "touch"),
        calling(5, "subprocess", "Popen", {"args": shell, "shell": True}, "model_validate_json"),
        ("pickle", pickle.dumps(Running(canary))),
        ("json", b'{"lc": 2, "type": "constructor", "id": ["os", "system"], "args": ["%b"]}' % shell.encode()),
        ("msgpack", b"\xc1"),
    ]


def places(where: RunnableConfig) -> Any:
    """Where a payload can be put, as whoever may write records can do."""
    id = where["configurable"]["checkpoint_id"]
    good = JsonPlusSerializer().dumps_typed({})

    def of(payload: tuple[str, bytes]) -> dict[str, bytes]:
        return {
            keys.value("t", "", "x", "1.1"): msgpack.packb(payload),
            keys.write("t", "", id, "task", 0): StoredWrite("task", "", 0, "x", payload).pack(),
            keys.checkpoint("t", "", id): Stored(None, {}, payload, good).pack(),
        }

    return of


async def test_a_hostile_payload_is_never_run(broker: LocalBroker, tmp_path: Path) -> None:
    """In a channel's value, a pending write or the checkpoint itself, in every encoding, also under an encrypting serializer."""
    canary = tmp_path / "canary"
    for serde in (None, EncryptedSerializer.from_pycryptodome_aes(key=b"k" * 16)):
        saver = NoLagSaver(broker.room(f"hostile-{serde is None}"), serde=serde)
        place = places(put(saver, x=1))
        sound = {key: (await saver.link.acall("record.read", keys=[key]))["bodies"][0] for key in place(("null", b""))}
        for payload in hostile(canary):
            for key, body in place(payload).items():
                await saver.link.acall("record.write", puts=[[key, body, False]], deletes=[], delete_prefixes=[])
                if payload == calling(3, "pathlib", "Path", str(canary), "touch"):  # of methods LangGraph calls none: data stays data
                    with contextlib.suppress(NotDecodable):
                        saver.get_tuple(CONFIG)
                    with contextlib.suppress(NotDecodable):
                        list(saver.list(CONFIG))
                else:
                    with pytest.raises((UntrustedType, NotDecodable)):
                        saver.get_tuple(CONFIG)
                    with pytest.raises((UntrustedType, NotDecodable)):
                        [found async for found in saver.alist(CONFIG)]
                assert not canary.exists()
                await saver.link.acall("record.write", puts=[[key, sound[key], False]], deletes=[], delete_prefixes=[])
        found = await saver.aget_tuple(CONFIG)  # the saver is none the worse for it
        assert found is not None
        assert found.checkpoint["channel_values"] == {"x": 1}


@pytest.mark.parametrize("body", [b"", b"\xc1", msgpack.packb(7), msgpack.packb([99, None, {}, "", b"", "", b""]), msgpack.packb([1])])
def test_damaged_records_are_a_typed_error(broker: LocalBroker, body: bytes) -> None:
    saver = NoLagSaver(broker.room("damaged"))
    where = put(saver, x=1)
    for key in places(where)(("null", b"")):
        saver.link.call("record.write", puts=[[key, body, False]], deletes=[], delete_prefixes=[])
        with pytest.raises(NotDecodable):
            saver.get_tuple(where)
        saver.delete_thread("t")
        put_again = saver.put(CONFIG, {**empty_checkpoint(), "id": where["configurable"]["checkpoint_id"]}, {}, {})
        assert saver.get_tuple(put_again) is not None


# --- whom a graph trusts ---


def test_a_distributed_graph_trusts_what_its_schema_names(broker: LocalBroker) -> None:
    room = broker.room("trust")
    saver = NoLagSaver(room)
    plain = graph(checkpointer=saver)
    config: RunnableConfig = {"configurable": {"thread_id": "t"}}
    plain.invoke({"known": Known("a"), "anything": Outside(tests_passed=1)}, config)
    assert plain.get_state(config).values == {"known": Known("a"), "anything": Outside(tests_passed=1)}
    for used in (saver, NoLagSaver(room, serde=EncryptedSerializer.from_pycryptodome_aes(key=b"k" * 16))):
        local = ["echo"]
        with pytest.raises(UntrustedType, match="CapabilityResult"):
            distribute(graph(), room, local=local, checkpointer=used).get_state(config)
        with pytest.raises(UntrustedType, match="CapabilityResult"):
            distribute(graph(checkpointer=used), room, local=local).get_state(config)
        told = distribute(graph(), room, local=local, checkpointer=used, allow=[Outside])
        assert told.get_state(config).values["anything"] == Outside(tests_passed=1)
    assert plain.get_state(config).values["anything"] == Outside(tests_passed=1)  # the saver itself is as it was


# --- encrypted ---


@pytest.mark.parametrize("inner", [None, JsonPlusSerializer()])
async def test_encrypted(tmp_path: Path, inner: Any) -> None:
    """Nothing of a value is in what the broker stores, and large ones come back too."""
    serde = EncryptedSerializer.from_pycryptodome_aes(key=b"0123456789abcdef", **({"serde": inner} if inner else {}))
    secret = "the-secret-of-this-test" * 10_000
    with LocalBroker(tmp_path) as broker:
        saver = NoLagSaver(broker.room("r"), serde=serde)
        where = put(saver, secret=secret, known=Known(secret))
        found = await saver.aget_tuple(where)
        assert found is not None
        assert found.checkpoint["channel_values"] == {"secret": secret, "known": Known(secret)}
        assert found.pending_writes == [("task", "secret", secret), ("task", "known", Known(secret))]
        history = saver.get_delta_channel_history(config=where, channels=["secret"])
        assert history == {"secret": {"writes": []}}
        with pytest.raises(UntrustedType):
            NoLagSaver(broker.room("r")).get_tuple(where)
    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir() if file.is_file())
    assert b"checkpoint/t/" in stored
    assert b"the-secret-of" not in stored


class Custom(JsonPlusSerializer):
    """Somebody's own: used as it is."""


def test_a_serializer_of_ones_own_is_left_alone(broker: LocalBroker) -> None:
    own = Custom()
    encrypted = EncryptedSerializer.from_pycryptodome_aes(key=b"k" * 16, serde=own)
    assert NoLagSaver(broker.room("own"), serde=own).serde is own
    assert NoLagSaver(broker.room("own"), serde=encrypted).serde is encrypted
    made = distribute(graph(), broker.room("own"), local=["echo"], checkpointer=NoLagSaver(broker.room("own"), serde=own))
    assert made.checkpointer.serde is own  # type: ignore[union-attr]
