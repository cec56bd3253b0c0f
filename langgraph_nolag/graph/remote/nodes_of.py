"""The bodies of a graph and its sub-graphs, by path."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from langchain_core.runnables import Runnable

from .._compat import Pregel, PregelNode, has_body, is_entrypoint
from ..errors import NotSupported
from .tasks import TASKS, task_bodies


class StandIn(Runnable[Any, Any]):
    """What a distributed graph has in the place of a node's body.

    Attributes:
        body: the node's own.
    """

    body: Runnable[Any, Any]


class Resident(Runnable[Any, Any]):
    """A node's body that stays where the graph is invoked: what it does is done by others already."""


def body_of(node: PregelNode) -> Runnable[Any, Any]:
    """The node's own body, in a graph that is distributed already too."""
    return node.bound.body if isinstance(node.bound, StandIn) else node.bound


def calls_tasks(graph: Any) -> bool:
    """Whether its bodies stay where it is invoked, and the tasks that they call go to workers: a function under `@entrypoint`."""
    return is_entrypoint(graph)


def bodies(graph: Pregel[Any, Any, Any, Any], prefix: str = "") -> Iterator[tuple[str, Runnable[Any, Any]]]:
    """Every body that can run elsewhere: the nodes, and the nodes of graphs that are nodes, as `outer/inner`."""
    for name, node in graph.nodes.items():
        if not has_body(node):
            continue
        body = body_of(node)
        if isinstance(body, Pregel):
            yield from bodies(body, f"{prefix}{name}/")
        elif is_entrypoint(graph):
            yield f"{prefix}{name}/{TASKS}", task_bodies(body)
        else:
            yield prefix + name, body


def wholes(graph: Pregel[Any, Any, Any, Any], prefix: str = "") -> Iterator[tuple[str, Pregel[Any, Any, Any, Any]]]:
    """Every graph that is a node, which can run elsewhere as a whole."""
    for name, node in graph.nodes.items():
        if isinstance(sub := body_of(node), Pregel):
            yield prefix + name, sub
            yield from wholes(sub, f"{prefix}{name}/")


def under(path: str, names: Collection[str]) -> str | None:
    """The longest of `names` that is the path or leads to it."""
    found = [name for name in names if path == name or path.startswith(name + "/")]
    return max(found, key=len, default=None)


def check_names(graph: Pregel[Any, Any, Any, Any], names: Collection[str], what: str) -> None:
    """Raises: ValueError: for a name that is no node of the graph; lists those that are."""
    known = [path for path, _ in bodies(graph)]
    for name in names:
        if not any(under(path, [name]) for path in known):
            raise ValueError(f"{what} names {name!r}, which is no node of this graph; its nodes are {', '.join(known)}")


def check_whole(
    graph: Pregel[Any, Any, Any, Any], whole: Collection[str], pools: Collection[str] = (), local: Collection[str] = ()
) -> None:
    """Raises:
    ValueError: a name is no sub-graph of the graph, or what is in it is to be somewhere else.
    NotSupported: a sub-graph has a node that only runs where the graph is invoked.
    """
    known = dict(wholes(graph))
    for name in whole:
        if name not in known:
            raise ValueError(f"whole= names {name!r}, which is no sub-graph of this graph; its sub-graphs are {', '.join(known) or 'none'}")
        inside = (each for each in (*pools, *local, *whole) if each != name and under(each, [name]))
        if (elsewhere := under(name, local) or next(inside, None)) is not None:
            raise ValueError(f"whole= names {name!r}, which runs on one worker with all that is in it: {elsewhere!r} can't be elsewhere")
        for path, body in bodies(known[name], f"{name}/"):
            if isinstance(body, Resident):
                raise NotSupported(
                    f"{name!r} can't run whole on a worker: its node {path!r} asks an agent of the room, from where the graph is invoked"
                )
