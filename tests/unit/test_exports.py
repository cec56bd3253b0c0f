"""What `langgraph_nolag` offers by name: a change here is a change for users."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import langgraph_nolag
from langgraph_nolag import errors

NAMES = [
    "AccessDenied",
    "ActorAmbiguous",
    "ActorMismatch",
    "AlreadyDecided",
    "ApprovalNotFound",
    "BadRequest",
    "BlobDamaged",
    "BlobNotFound",
    "BrokerDefect",
    "BrokerUnreachable",
    "BufferFull",
    "Busy",
    "Client",
    "DecisionTimeout",
    "Disconnected",
    "Gap",
    "KeyConflict",
    "LocalBroker",
    "MessageTooLarge",
    "NoLagError",
    "NoLagSaver",
    "NoLagStore",
    "NotAuthenticated",
    "NotAuthorized",
    "NotDecodable",
    "NotEncodable",
    "NotJoined",
    "NotSupported",
    "ObserveCallbackHandler",
    "Overloaded",
    "PeerNotFound",
    "Permanent",
    "Refused",
    "RequestTimeout",
    "Retry",
    "RevisionConflict",
    "Rewind",
    "Room",
    "RoomHandle",
    "RoomNotFound",
    "RunFenced",
    "ScheduleNotFound",
    "StaleLease",
    "StorageFailed",
    "StreamAborted",
    "StreamEnded",
    "StreamFailed",
    "StreamGap",
    "StreamNotFound",
    "SubscriptionConflict",
    "TaskCancelled",
    "TaskFailed",
    "TaskFinished",
    "TaskNotFound",
    "TaskTimeout",
    "ToolFailed",
    "ToolNotFound",
    "Unavailable",
    "UnknownOperation",
    "Worker",
    "WrongThread",
    "await_decisions",
    "connect",
    "distribute",
    "gate",
    "handoff_tool",
    "live_tools",
    "open_room",
    "remote_tools",
    "room_agent",
    "tool_progress",
    "wait_decisions",
]


def test_the_public_names_are_these() -> None:
    assert sorted(langgraph_nolag.__all__) == sorted(NAMES)


def test_each_name_is_where_it_is_said_to_be() -> None:
    for name in NAMES:
        assert getattr(langgraph_nolag, name) is not None
        assert name in dir(langgraph_nolag)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="NoSuchThing"):
        langgraph_nolag.NoSuchThing  # type: ignore[attr-defined]  # noqa: B018


def test_every_error_is_exported_and_derives_from_the_root() -> None:
    here = [value for value in vars(errors).values() if getattr(value, "__module__", "") == errors.__name__]
    defined = {value.__name__ for value in here if isinstance(value, type) and issubclass(value, Exception)}
    assert defined <= set(NAMES)
    for name in defined:
        error = getattr(errors, name)
        assert issubclass(error, errors.NoLagError)
        assert isinstance(error.code, str)
        assert isinstance(error.retryable, bool)
        assert isinstance(error.maybe_applied, bool)


def test_every_code_of_the_protocol_has_its_error() -> None:
    codes = importlib.import_module("nolag_broker.wire.codes").CODES
    for code in codes.values():
        if code.name == "bad_frame":  # the connection is closed instead
            continue
        error = errors.from_wire({"code": code.name, "message": "m", "retryable": code.retryable, "maybe_applied": False, "detail": {}})
        assert type(error) is not errors.Refused, code.name
        assert (error.code, type(error).retryable) == (code.name, code.retryable)


def test_importing_loads_neither_langgraph_nor_the_transport_nor_the_broker() -> None:
    heavy = ["langgraph", "langchain_core", "websockets", "nolag_broker.server", "asyncio", "pydantic", "structlog"]
    program = f"import sys, langgraph_nolag; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_connecting_loads_neither_langgraph_nor_langchain_nor_the_broker() -> None:
    heavy = ["langgraph", "langchain_core", "nolag_broker.server", "nolag_broker.core", "nolag_broker.engine"]
    program = f"import sys; from langgraph_nolag import connect; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip() == "[]"
