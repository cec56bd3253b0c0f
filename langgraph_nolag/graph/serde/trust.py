"""Which classes a payload may name.

Nodes exchange values with other processes, so a payload decides what is built on the other side. It may name only
classes that the graph itself uses: those in its schemas, those defined in the modules that its nodes, their tools and its
schemas come from, an agent's `response_format`, LangChain's messages and LangGraph's own types, and what the user adds.
Even these are filled in without running their constructors.
"""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Iterable
from enum import Enum
from types import ModuleType
from typing import Any, Final, get_args, get_type_hints
from weakref import WeakKeyDictionary

from langchain_core.runnables import Runnable
from pydantic import BaseModel
from typing_extensions import is_typeddict

from ...errors import NoLagError
from .._compat import Pregel, collect_allowlist_from_schemas, has_body, node_function, response_schema
from ..errors import NotImportable, UntrustedType
from ..remote.nodes_of import body_of
from . import generics

LIBRARIES: Final = (
    "langchain_core.agents",
    "langchain_core.documents",
    "langchain_core.messages",
    "langchain_core.outputs",
    "langchain_core.prompt_values",
    "langgraph.callbacks",
    "langgraph.checkpoint.base",
    "langgraph.checkpoint.serde.types",
    "langgraph.errors",
    "langgraph.runtime",
    "langgraph.store.base",
    "langgraph.types",
)
"""Packages whose data classes are always allowed."""


def reference(cls: type) -> str:
    """How a class is named on the wire: `module:qualified.name`."""
    return f"{cls.__module__}:{cls.__qualname__}"


class Trust:
    """The allow-list of one graph.

    Args:
        classes: single classes, as `module:name`.
        modules: modules whose classes are all allowed.
    """

    def __init__(self, classes: Iterable[str] = (), modules: Iterable[str] = ()) -> None:
        self.classes = frozenset(classes)
        self.modules = frozenset(modules)
        self._known: dict[str, type] = {}
        self._generics: WeakKeyDictionary[type, Any] = WeakKeyDictionary()  # pydantic makes and forgets them as they are used

    def allows(self, ref: str) -> bool:
        module = ref.partition(":")[0]
        if ref in self.classes or module in self.modules:
            return True
        return any(module == library or module.startswith(library + ".") for library in LIBRARIES)

    def check(self, cls: type) -> Any:
        """The reference of a class about to be sent: a text, or the parts of a generic model with parameters.

        Raises:
            NotImportable: the other side could not import it.
            UntrustedType: the other side would refuse it.
            NotEncodable: a generic model that the other side could not put together.
        """
        ref = reference(cls)
        if "[" in ref and generics.parts(cls) is not None:
            return self._check_generic(cls, ref)
        if ref in self._known:
            return ref
        if is_local(cls):
            raise NotImportable(unimportable(f"the class {cls.__qualname__}", cls))
        if not self.allows(ref):
            raise UntrustedType(
                f"{ref} is not among the classes of this graph: annotate it in the state, or name it in allow=[{cls.__name__}] of "
                "distribute() and of Worker.graph()"
            )
        self._known[ref] = cls
        return ref

    def _check_generic(self, cls: type, ref: str) -> Any:
        """By its parts, which every process has; by its name, which only those have where it was made, if the parts have none."""
        if (described := self._generics.get(cls)) is None:
            try:
                described = generics.describe(cls, self.check)
                if self.load(described) is not cls:
                    raise generics.unnamed(cls)
            except NoLagError:
                if not self.allows(ref) or lookup(sys.modules[cls.__module__], cls.__qualname__) is not cls:
                    raise
                described = ref
            self._generics[cls] = described
        return described

    def exception_name(self, cls: type[BaseException]) -> str:
        """How the class of an exception is named; every one may be."""
        return reference(cls)

    def exception(self, ref: str) -> type | None:
        """The class of an exception, if it is of this graph or known in this process."""
        return self.load(ref) if self.allows(ref) and "<locals>" not in ref else loaded_exception(ref)

    def load(self, ref: Any) -> type:
        """The class that a payload names.

        Raises:
            UntrustedType: not on the list, or not what it says it is. Nothing was imported then.
            NotDecodable: parts of what is no generic model.
        """
        if isinstance(ref, list):
            return generics.rebuild(ref, self.load)
        known = self._known.get(ref) if isinstance(ref, str) else None
        if known is not None:
            return known
        if not isinstance(ref, str) or not self.allows(ref):
            raise UntrustedType(f"a payload names {str(ref)[:200]!r}, which this graph does not use; nothing of it was imported or run")
        module, _, name = ref.partition(":")
        try:
            cls = lookup(importlib.import_module(module), name)
        except ImportError as error:
            raise NotImportable(f"{ref} can't be imported in this process: {error}") from error
        if cls is None:
            raise UntrustedType(f"{ref} is not a class of that module in this process; do both sides run the same version of it?")
        self._known[ref] = cls
        return cls


def lookup(module: ModuleType, name: str) -> type | None:
    """The class that `module` itself defines under `name`: not one that it only imported."""
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if isinstance(found, type) and reference(found) == f"{module.__name__}:{name}":
        return found
    return None


def loaded_exception(ref: str) -> type[BaseException] | None:
    """An exception class that this process has already imported; never imports anything for a payload's sake."""
    module, _, name = ref.partition(":")
    cls = lookup(sys.modules[module], name) if module in sys.modules else None
    return cls if cls is not None and issubclass(cls, BaseException) else None


def is_local(cls: type) -> bool:
    """Whether no other process could import this class."""
    return cls.__module__ == "__main__" or "<locals>" in cls.__qualname__


def unimportable(what: str, thing: Any) -> str:
    where = "in __main__" if getattr(thing, "__module__", None) == "__main__" else "inside a function"
    return f"{what} is defined {where}, where no worker can import it: move it to the top level of a module that workers import"


def trust_of(graph: Pregel[Any, Any, Any, Any], allow: Iterable[type] = ()) -> Trust:
    """The allow-list of a graph and its sub-graphs, plus `allow`."""
    classes = {reference(cls) for cls in allow}
    modules: set[str] = set()
    for one in graphs_of(graph):
        for schema in schemas_of(one):
            modules.add(schema.__module__)
        used = collect_allowlist_from_schemas(schemas=schemas_of(one), channels=dict(one.channels))
        classes.update(":".join(entry[:2]) for entry in used)
        for node in one.nodes.values():
            if has_body(node):
                body = body_of(node)
                modules.update(_modules_of(body))
                classes.update(reference(cls) for cls in values_of(response_schema(body)))
    return Trust(classes, {name for name in modules if _is_users(name)})


def _modules_of(body: Runnable[Any, Any]) -> set[str]:
    """Where a body comes from, and, of one that calls tools, where those do."""
    parts = [node_function(body)]
    for tool in getattr(body, "tools_by_name", {}).values():
        parts += [type(tool), tool.args_schema, getattr(tool, "func", None), getattr(tool, "coroutine", None)]
    return {str(getattr(part, "__module__", "")) for part in parts}


def _is_users(module: str) -> bool:
    """Modules of the interpreter and of the framework hold more than data: only their listed classes are allowed."""
    top = module.partition(".")[0]
    return top not in sys.stdlib_module_names and top not in ("", "pydantic") and not is_framework(module)


def is_framework(module: str) -> bool:
    return module.partition(".")[0] in ("langchain", "langchain_core", "langgraph", "langgraph_nolag")


def graphs_of(graph: Pregel[Any, Any, Any, Any]) -> list[Pregel[Any, Any, Any, Any]]:
    """The graph and all graphs that are its nodes."""
    found = [graph]
    for node in graph.nodes.values():
        for sub in (node.bound, *node.subgraphs):
            if isinstance(sub, Pregel) and sub not in found:
                found.extend(one for one in graphs_of(sub) if one not in found)
    return found


def schemas_of(graph: Pregel[Any, Any, Any, Any]) -> list[type]:
    """Every schema that the graph declares: state, input, output, nodes' inputs, context."""
    builder = getattr(graph, "builder", None)
    declared: list[Any] = list(builder.schemas) if builder is not None else []
    if builder is not None:
        declared += [spec.input_schema for spec in builder.nodes.values()]
    declared.append(graph.context_schema)
    return list(dict.fromkeys(schema for schema in declared if isinstance(schema, type)))


def values_of(schema: Any) -> list[type]:
    """The classes whose instances a schema, or a union of some, puts on the wire: itself, unless it is a TypedDict, and what its fields
    hold."""
    found: list[type] = []

    def visit(annotation: Any) -> None:
        if isinstance(annotation, type):
            if annotation in found or not is_rebuilt(annotation):
                hints = _hints(annotation) if is_typeddict(annotation) and annotation not in seen else {}
                seen.add(annotation)
            else:
                found.append(annotation)
                hints = _hints(annotation)
            for hint in hints.values():
                visit(hint)
        for argument in get_args(annotation):
            visit(argument)

    seen: set[Any] = set()
    visit(schema)
    return found


def _hints(cls: type) -> dict[str, Any]:
    try:
        return get_type_hints(cls, include_extras=True)
    except Exception:  # a name that exists for the type checker only
        return {}


def is_rebuilt(cls: type) -> bool:
    """Whether instances of this class are rebuilt from their fields on the other side."""
    if dataclasses.is_dataclass(cls) or issubclass(cls, (BaseModel, Enum)):
        return True
    return issubclass(cls, tuple) and hasattr(cls, "_fields")
