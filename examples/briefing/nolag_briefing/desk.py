"""What the agents have at hand: a search over the documents, the documents, a board to share on, a log of what they do.

The graph and the agents know this interface only. `InProcessDesk` serves a run in one process; `RoomDesk`
(room_desk.py) serves the same run spread over worker processes.
"""

from __future__ import annotations

from typing import Any, Protocol, TypedDict

from .corpus import Corpus


class Source(TypedDict):
    """A passage found for a query. `text` stands word for word in `document`."""

    document: str
    heading: str
    text: str
    score: float


class Desk(Protocol):
    async def search(self, query: str, limit: int) -> list[Source]:
        """The passages that answer the query best, best first."""

    async def read(self, document: str) -> str | None:
        """A whole document; None when there is none of this name."""

    async def share(self, key: str, value: Any) -> None:
        """Put something where everybody on the team sees it."""

    async def note(self, step: str, **facts: Any) -> None:
        """Say what is being done."""


def find_sources(corpus: Corpus, query: str, limit: int) -> list[Source]:
    return [
        {"document": passage.document, "heading": passage.heading, "text": passage.text, "score": round(score, 4)}
        for passage, score in corpus.search(query, limit)
    ]


class InProcessDesk:
    """Everything in this process; `board` and `notes` keep what was shared and said."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        self.board: dict[str, Any] = {}
        self.notes: list[tuple[str, dict[str, Any]]] = []

    async def search(self, query: str, limit: int) -> list[Source]:
        return find_sources(self.corpus, query, limit)

    async def read(self, document: str) -> str | None:
        return self.corpus.documents.get(document)

    async def share(self, key: str, value: Any) -> None:
        self.board[key] = value

    async def note(self, step: str, **facts: Any) -> None:
        self.notes.append((step, facts))
