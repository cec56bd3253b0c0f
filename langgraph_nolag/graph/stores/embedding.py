"""Which texts of an item are embedded, and vectors as bytes. The embeddings are the user's; the broker compares what they give."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from langgraph.store.base import IndexConfig, ensure_embeddings, get_text_at_path, tokenize_path

Vector = Sequence[float]
Vectors = Mapping[str, Vector]
"""Of texts that were embedded."""


class Index:
    """An index configuration of LangGraph's, read once.

    Args:
        config: `dims`, `embed` and `fields`, as LangGraph's other stores take it.

    Raises:
        ValueError: it names no number of dimensions, or no embeddings.
    """

    def __init__(self, config: IndexConfig) -> None:
        if not config.get("embed") or not config.get("dims"):
            raise ValueError("index= needs 'dims', the length of the vectors, and 'embed', what makes them")
        self.dims = config["dims"]
        self.embeddings = ensure_embeddings(config["embed"])
        self._fields = list(config.get("fields") or ["$"])

    def texts(self, value: Mapping[str, Any], fields: Literal[False] | Sequence[str] | None) -> list[str]:
        """What is embedded of an item's value.

        Args:
            fields: False: nothing; paths; None: those of the configuration.
        """
        if fields is False:
            return []
        paths = self._fields if fields is None else fields
        return [text for path in paths for text in get_text_at_path(dict(value), path if path == "$" else tokenize_path(path))]

    def embed(self, texts: Sequence[str], queries: Sequence[str]) -> tuple[Vectors, Vectors]:
        """The vectors of texts and of queries. Raises what the embeddings raise."""
        documents = _paired(texts, self.embeddings.embed_documents(list(texts))) if texts else {}
        return documents, {query: self.embeddings.embed_query(query) for query in queries}

    async def aembed(self, texts: Sequence[str], queries: Sequence[str]) -> tuple[Vectors, Vectors]:
        """See `embed`."""
        documents = _paired(texts, await self.embeddings.aembed_documents(list(texts))) if texts else {}
        return documents, {query: await self.embeddings.aembed_query(query) for query in queries}

    def pack(self, vectors: Iterable[Vector]) -> list[Any]:
        """Vectors as the protocol has them: 32-bit floats, little endian.

        Raises:
            ValueError: one has another length than the configuration says.
        """
        packed = array("f")
        for vector in vectors:
            if len(vector) != self.dims:
                raise ValueError(f"the embeddings gave a vector of {len(vector)} numbers where index= says dims={self.dims}")
            packed.extend(map(float, vector))
        if sys.byteorder == "big":
            packed.byteswap()
        return [self.dims, packed.tobytes()]


def _paired(texts: Sequence[str], vectors: Any) -> Vectors:
    """Raises: ValueError: not one vector for each text."""
    if not isinstance(vectors, Sequence) or len(vectors) != len(texts):
        given = f"{len(vectors)} vectors" if isinstance(vectors, Sequence) else f"a {type(vectors).__name__}"
        raise ValueError(f"the embeddings gave {given} for {len(texts)} texts")
    return dict(zip(texts, vectors, strict=True))
