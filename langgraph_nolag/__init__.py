"""The coordination layer for multi-agent systems written with LangGraph.

Names are loaded on first use: importing this package costs neither LangGraph nor the broker.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client.rooms import RoomHandle, open_room
    from .client.subscription import Gap
    from .errors import (
        AccessDenied,
        ActorAmbiguous,
        ActorMismatch,
        AlreadyDecided,
        ApprovalNotFound,
        BadRequest,
        BlobDamaged,
        BlobNotFound,
        BrokerDefect,
        BrokerUnreachable,
        BufferFull,
        Busy,
        DecisionTimeout,
        Disconnected,
        KeyConflict,
        MessageTooLarge,
        NoLagError,
        NotAuthenticated,
        NotAuthorized,
        NotDecodable,
        NotEncodable,
        NotJoined,
        NotSupported,
        Overloaded,
        PeerNotFound,
        Permanent,
        Refused,
        RequestTimeout,
        RevisionConflict,
        RoomNotFound,
        ScheduleNotFound,
        StaleLease,
        StorageFailed,
        StreamAborted,
        StreamEnded,
        StreamFailed,
        StreamNotFound,
        SubscriptionConflict,
        TaskCancelled,
        TaskFailed,
        TaskFinished,
        TaskNotFound,
        TaskTimeout,
        ToolFailed,
        ToolNotFound,
        Unavailable,
        UnknownOperation,
        WrongThread,
    )
    from .graph.agents import room_agent
    from .graph.callbacks import ObserveCallbackHandler
    from .graph.checkpoint import NoLagSaver
    from .graph.distribute import distribute
    from .graph.errors import RunFenced
    from .graph.gate import gate
    from .graph.gates.decisions import await_decisions, wait_decisions
    from .graph.handoff_tool import handoff_tool
    from .graph.store import NoLagStore
    from .graph.tools import remote_tools
    from .graph.tools_live import live_tools
    from .graph.worker import Worker
    from .local import LocalBroker
    from .patterns.agent import Client, connect
    from .patterns.room import Room
    from .patterns.streams import Rewind, StreamGap
    from .patterns.terms import Retry
    from .patterns.tool_serving import tool_progress

__version__ = "0.1.0"

_WHERE = {
    "Client": "patterns.agent",
    "Gap": "client.subscription",
    "LocalBroker": "local",
    "NoLagSaver": "graph.checkpoint",
    "NoLagStore": "graph.store",
    "ObserveCallbackHandler": "graph.callbacks",
    "Retry": "patterns.terms",
    "Rewind": "patterns.streams",
    "Room": "patterns.room",
    "RoomHandle": "client.rooms",
    "RunFenced": "graph.errors",
    "StreamGap": "patterns.streams",
    "Worker": "graph.worker",
    "await_decisions": "graph.gates.decisions",
    "connect": "patterns.agent",
    "distribute": "graph.distribute",
    "gate": "graph.gate",
    "handoff_tool": "graph.handoff_tool",
    "live_tools": "graph.tools_live",
    "open_room": "client.rooms",
    "remote_tools": "graph.tools",
    "room_agent": "graph.agents",
    "tool_progress": "patterns.tool_serving",
    "wait_decisions": "graph.gates.decisions",
}

__all__ = [
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


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_WHERE.get(name, 'errors')}", __name__), name)
    globals()[name] = value  # the next look-up does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
