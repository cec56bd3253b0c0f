"""Why a node waits, in words: who is there, and what they serve instead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

SHOWN: Final = 3  # workers that are named
GRAPHS: Final = 200  # that a worker says it serves; a bound, as what others are told of it has one


def served(graphs: Iterable[str]) -> dict[str, Any]:
    """What a worker tells the room of itself.

    Args:
        graphs: as `name@fingerprint`.
    """
    return {"graphs": sorted(set(graphs))[:GRAPHS]}


def why(graph: str, node: str, room: str, capabilities: Sequence[str], members: Iterable[Mapping[str, Any]]) -> str:
    """One line for people.

    Args:
        graph: `name@fingerprint` that is wanted.
        members: who is in the room.
    """
    needed = f" and has {', '.join(capabilities)}" if capabilities else ""
    line = f"node {node!r} waits: no worker in room {room} that is free serves {graph}{needed}"
    name = graph.partition("@")[0]
    there: dict[str, list[str]] = {}  # by version: who serves it
    for member in members:
        told = member["metadata"].get("graphs")
        for each in told if member["online"] and isinstance(told, list) else ():
            if isinstance(each, str) and each.partition("@")[0] == name:
                there.setdefault(each, []).append(member["actor"])
    if "@" not in graph:
        return line
    if graph in there:
        return f"{line}; {_some(there[graph])} would, and is busy, or lacks a capability or this node"
    if there:
        others = "; ".join(f"{_some(actors)} serves {version}, another version" for version, actors in sorted(there.items())[:SHOWN])
        return f"{line}; {others}: start a worker with this version of the graph"
    return f"{line} yet; one that is starting takes it, otherwise start one, with app.graph(...)"


def _some(actors: Sequence[str]) -> str:
    more = f" and {len(actors) - SHOWN} more" if len(actors) > SHOWN else ""
    return ", ".join(actors[:SHOWN]) + more
