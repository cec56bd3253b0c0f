"""Which room code in a node speaks to, when nobody names one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langgraph.config import get_config

from ..client.rooms import open_room
from ._compat import CONFIG_KEY_CHECKPOINTER
from .checkpoint import NoLagSaver
from .context import NodeContext, current
from .errors import NotSupported

if TYPE_CHECKING:
    from ..client.link import RoomLink


def node_room(room: Any = None) -> tuple[RoomLink, NodeContext | None]:
    """The room to use in the node that runs now: the named one, that of the distributed graph, or that of its `NoLagSaver`.

    Returns:
        The link, and the context of the node where the room is its own.

    Raises:
        NotSupported: outside a node, in a graph without a checkpointer, or where no room is known; says what to do.
    """
    try:
        configurable = get_config().get("configurable", {})
    except RuntimeError:
        configurable = {}
    if configurable.get("thread_id") is None:
        raise NotSupported(
            "this waits and resumes with a thread: call it in a node of a graph that has a checkpointer, run with a thread_id"
        )
    context = current()
    if room is not None:
        link = open_room(room)
        if context is None or (link.room, link.connection.url) != (context.link.room, context.link.connection.url):
            return link, None
    if context is not None:
        return context.link, context
    saver = configurable.get(CONFIG_KEY_CHECKPOINTER)
    if isinstance(saver, NoLagSaver):
        return saver.link, None
    raise NotSupported("no room is known here: pass room=, distribute the graph, or compile it with a NoLagSaver")
