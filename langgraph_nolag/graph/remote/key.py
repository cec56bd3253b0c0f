"""Names for graphs and for executions of their nodes: the same in every process, and after every crash.

A graph is `name@fingerprint`. The fingerprint covers what two versions must share to exchange work: nodes, the fields
of their schemas, edges. So a task reaches only workers that have this version of this graph.

An execution is LangGraph's `task_id`, a hash of checkpoint, namespace, step, name and path; it holds no thread and no
answer. So the key is made of graph, thread, task_id and the answers to interrupts that this execution was given.
The input is determined by them (the checkpoint is in the task_id) and is not part of it: the same input looks a
little different once a checkpoint has carried it, and must still attach.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import warnings
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from .._compat import Pregel, node_function
from ..errors import NoLagWarning
from ..serde.codec import Codec
from ..serde.trust import is_framework, schemas_of
from .nodes_of import bodies, body_of

DEFAULT_NAME = "LangGraph"  # what LangGraph calls a graph that has no name


def graph_name(graph: Pregel[Any, Any, Any, Any], name: str | None = None) -> str:
    """`name@fingerprint`. Without a name of its own a graph is called by the module of its first node."""
    if name is None:
        name = graph.name if graph.name != DEFAULT_NAME else _module(graph)
    return f"{name}@{fingerprint(graph)}"


def public_name(graph: Pregel[Any, Any, Any, Any], name: str | None) -> str:
    """`graph_name`, with a warning where another graph of the room could have the same: prompts and models are in no fingerprint."""
    called = graph_name(graph, name)
    if name is None and called.startswith(f"{DEFAULT_NAME}@"):
        warnings.warn(
            f"workers know this graph as {called}, and so any other without a name that has the same nodes and tools, whatever its prompt "
            'and model: each would get the other\'s work. Give it a name of its own, create_agent(..., name="...") or compile(name="..."), '
            "or the same name= in distribute() and in Worker.graph()",
            NoLagWarning,
            stacklevel=3,
        )
    return called


def _module(graph: Pregel[Any, Any, Any, Any]) -> str:
    modules = [str(getattr(node_function(body), "__module__", "")) for _, body in bodies(graph)]
    return next((module for module in modules if module and not is_framework(module)), DEFAULT_NAME)


def fingerprint(graph: Pregel[Any, Any, Any, Any]) -> str:
    """Twelve hex digits over the graph's structure; nothing of it depends on addresses, paths or hash seeds."""
    return hashlib.sha256(json.dumps(_structure(graph), sort_keys=True).encode()).hexdigest()[:12]


def _structure(graph: Pregel[Any, Any, Any, Any]) -> dict[str, Any]:
    nodes = {
        name: {
            "reads": sorted(node.channels) if isinstance(node.channels, list) else node.channels,
            "graph": _structure(body) if isinstance(body := body_of(node), Pregel) else None,
            "tools": sorted(getattr(body_of(node), "tools_by_name", ())),
        }
        for name, node in graph.nodes.items()
    }
    structure: dict[str, Any] = {"nodes": nodes, "schemas": sorted(_fields(schema) for schema in schemas_of(graph))}
    builder = getattr(graph, "builder", None)
    if builder is None:
        structure["edges"] = {name: sorted(node.triggers) for name, node in graph.nodes.items()}
        return structure
    structure["edges"] = sorted(list(edge) for edge in builder.edges)
    structure["joins"] = sorted([sorted(sources), target] for sources, target in builder.waiting_edges)
    structure["branches"] = sorted(
        [source, name, sorted(map(str, (branch.ends or {}).values()))]
        for source, branches in builder.branches.items()
        for name, branch in branches.items()
    )
    return structure


def _fields(schema: type) -> list[str]:
    """The field names of a TypedDict, dataclass or model, inherited ones too."""
    return sorted({name for base in schema.__mro__ for name in inspect.get_annotations(base)})


@dataclass(frozen=True, slots=True)
class Identity:
    """How the broker recognises one execution of one node.

    Attributes:
        key: idempotency key; the same execution with the same answers attaches to what runs or is done.
        slot: one live execution each; one with other answers replaces it.
        group: what is forgotten when the run has stored all results.
        digest: compared when the key is used again, instead of the body: see the module's text.
    """

    key: str
    slot: str
    group: str
    digest: str


def identity(*, graph: str, node: str, thread: str, group: str, task_id: str, answers: Collection[Any], codec: Codec) -> Identity:
    """The identity of an execution in a thread.

    Args:
        graph: `name@fingerprint`.
        node: path of the node.
        group: of the run.
        answers: resume values that are for this execution, and no others: who goes on with its run may have more of those.
    """
    parts = [graph, thread, task_id, codec.digest(list(answers))]
    return Identity(key=_hash(parts), slot=_hash([thread, task_id]), group=group, digest=_hash([graph, node]))


def group_of(graph: str, thread: str, namespace: str) -> str:
    """Under which the room keeps the results of the runs of a graph in a thread, at the root or in another run's node."""
    return f"run-{_hash([graph, thread, namespace])}"


def _hash(parts: list[str]) -> str:
    """Names in the room are short and printable; threads and nodes may be called anything."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:40]
