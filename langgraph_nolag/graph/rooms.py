"""Which room the code in a node speaks to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langgraph.config import get_config

from ..client.rooms import open_room
from ._compat import CONFIG_KEY_CHECKPOINTER
from .checkpoint import NoLagSaver
from .context import current
from .errors import NotSupported

if TYPE_CHECKING:
    from ..client.link import RoomLink


def room_of(graph: Any, room: Any = None) -> RoomLink:
    """The named room, else the one that a graph is distributed over, else that of its `NoLagSaver`.

    Raises:
        NotSupported: no room is known; says what to do.
    """
    if room is not None:
        return open_room(room)
    distribution, saver = getattr(graph, "distribution", None), getattr(graph, "checkpointer", None)
    if distribution is not None:
        link: RoomLink = distribution.link
        return link
    if isinstance(saver, NoLagSaver):
        return saver.link
    raise NotSupported("no room is known here: pass room=, distribute the graph, or compile it with a NoLagSaver")


def room_here(room: Any = None) -> RoomLink:
    """The named room, else that of the distributed graph, else that of the graph's `NoLagSaver`.

    In a node of a distributed graph, its room is always spoken to as the worker does: with the worker's token, on the worker's connection.

    Raises:
        NotSupported: no room is known; says what to do.
    """
    context = current()
    if room is not None:
        link = open_room(room)
        same = context is not None and (link.room, link.connection.url) == (context.link.room, context.link.connection.url)
        return context.link if same and context is not None else link
    if context is not None:
        return context.link
    try:
        saver = get_config().get("configurable", {}).get(CONFIG_KEY_CHECKPOINTER)
    except RuntimeError:  # not in a node
        saver = None
    if isinstance(saver, NoLagSaver):
        return saver.link
    raise NotSupported("no room is known here: pass room=, distribute the graph, or compile it with a NoLagSaver")
