"""Operations of LangGraph's as requests to the room: all that read, together, and then all that write, in one commit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from langgraph.store.base import GetOp, ListNamespacesOp, Op, PutOp, Result, SearchOp

from ...client.body import encode
from ..saver.steps import Request, Steps, chunks
from .embedding import Index, Vectors
from .items import encode_value, found_of, item_of

GETS: Final = 100  # items asked for in one request
SEARCHES: Final = 50  # requests under way at once
PAGE: Final = 1000  # items that one search gives
PUTS: Final = 1000  # items written in one commit,
BYTES: Final = 4 << 20  # and what they may have together

Path = tuple[str, ...]


class Batch:
    """Some operations.

    Args:
        index: how texts are embedded; None: not at all.

    Raises:
        ValueError: an operation that LangGraph does not have, or a negative limit.
        NotEncodable: a value that is not plain.
    """

    def __init__(self, ops: Iterable[Op], index: Index | None) -> None:
        self.writing = False  # it has all it reads; what is asked from now on changes things
        self._ops = list(ops)
        self._index = index
        self._puts: dict[Path, PutOp] = {}  # of several of an item the last one counts
        for op in self._ops:
            if isinstance(op, PutOp):
                self._puts[(*op.namespace, op.key)] = op
            elif isinstance(op, SearchOp | ListNamespacesOp):
                if op.limit < 0 or op.offset < 0:
                    raise ValueError("limit and offset count from 0")
            elif not isinstance(op, GetOp):
                raise ValueError(f"the store has no operation {type(op).__name__}")
        self._bodies = {path: encode_value(op.value) for path, op in self._puts.items() if op.value is not None}

    @property
    def texts(self) -> tuple[list[str], list[str]]:
        """What is to be embedded: of items, and of queries."""
        if self._index is None:
            return [], []
        texts = [text for op in self._puts.values() for text in self._texts(op)]
        queries = [op.query for op in self._ops if isinstance(op, SearchOp) and op.query]
        return list(dict.fromkeys(texts)), list(dict.fromkeys(queries))

    def _texts(self, op: PutOp) -> list[str]:
        return [] if op.value is None or self._index is None else self._index.texts(op.value, op.index)

    def steps(self, documents: Vectors, queries: Vectors) -> Steps[list[Result]]:
        """Carry it out. What reads sees nothing of what the same batch writes."""
        results: list[Result] = [None] * len(self._ops)
        reads = [*self._gets(), *self._searches(queries), *self._lists()]
        for part in chunks(reads, SEARCHES):
            answers = yield [request for _, request in part]
            for (places, (op, _)), answer in zip(part, answers, strict=True):
                if op == "store.get":
                    for place, told in zip(places, answer["items"], strict=True):
                        results[place] = None if told is None else item_of(told)
                elif op == "store.search":
                    results[places[0]] = [*(results[places[0]] or []), *map(found_of, answer["items"])]  # type: ignore[misc]
                else:
                    results[places[0]] = self._listed(self._ops[places[0]], answer["namespaces"])
        self.writing = True
        for request in self._writes(documents):
            yield [request]
        return results

    def _gets(self) -> Iterator[tuple[Sequence[int], Request]]:
        for refresh in (True, False):
            gets = [(place, op) for place, op in enumerate(self._ops) if isinstance(op, GetOp) and op.namespace]  # without one is nothing
            wanted = [(place, op) for place, op in gets if bool(op.refresh_ttl) is refresh]
            for part in chunks(wanted, GETS):
                fields = {"paths": [[*op.namespace, op.key] for _, op in part], "refresh": refresh}
                yield [place for place, _ in part], ("store.get", fields)

    def _searches(self, queries: Vectors) -> Iterator[tuple[Sequence[int], Request]]:
        for place, op in enumerate(self._ops):
            if not isinstance(op, SearchOp):
                continue
            fields: dict[str, Any] = {"prefix": list(op.namespace_prefix), "refresh": bool(op.refresh_ttl)}
            if op.filter:
                fields["filter"] = encode(op.filter)
            if op.query and self._index is not None:
                fields["vector"] = self._index.pack([queries[op.query]])
            for start in range(0, max(op.limit, 1), PAGE):
                page = {"limit": min(PAGE, op.limit - start), "offset": op.offset + start}
                yield [place], ("store.search", {**fields, **page})

    def _lists(self) -> Iterator[tuple[Sequence[int], Request]]:
        for place, op in enumerate(self._ops):
            if isinstance(op, ListNamespacesOp):
                conditions = [[condition.match_type, list(condition.path)] for condition in op.match_conditions or ()]
                some = {"depth": op.max_depth, "limit": op.limit, "offset": op.offset}
                any = {"depth": 1, "limit": 1, "offset": 0}
                yield [place], ("store.namespaces", {"conditions": conditions, **(any if op.max_depth == 0 else some)})

    @staticmethod
    def _listed(op: Any, names: Sequence[Sequence[str]]) -> list[Path]:
        """Of no depth there is one namespace, if there are any."""
        found = [tuple(name)[: op.max_depth] for name in names]
        return found[op.offset : op.offset + op.limit] if op.max_depth == 0 else found

    def _writes(self, documents: Vectors) -> Iterator[Request]:
        puts: list[list[Any]] = []
        deletes: list[list[Any]] = []
        size = 0
        for path, op in self._puts.items():
            if op.value is None:
                deletes.append([list(path)])
            else:
                puts.append([list(path), self._bodies[path], self._terms(op, documents)])
                size += len(self._bodies[path])
            if len(puts) + len(deletes) == PUTS or size >= BYTES:
                yield write(puts, deletes)
                puts, deletes, size = [], [], 0
        if puts or deletes:
            yield write(puts, deletes)

    def _terms(self, op: PutOp, documents: Vectors) -> dict[str, Any]:
        texts = self._texts(op)
        vectors = [documents[text] for text in texts]
        return terms(op.ttl, self._index.pack(vectors) if vectors and self._index is not None else None)


def terms(ttl: float | None, vectors: list[Any] | None, expected: int | None = None) -> dict[str, Any]:
    """How an item is put.

    Args:
        ttl: minutes.
        expected: the revision that it must have; 0: none.
    """
    given: Mapping[str, Any] = {"ttl": None if ttl is None else ttl * 60.0, "vectors": vectors, "expected": expected}
    return {name: value for name, value in given.items() if value is not None}


def write(puts: Sequence[Any], deletes: Sequence[Any]) -> Request:
    return "store.write", {"puts": list(puts), "deletes": list(deletes)}
