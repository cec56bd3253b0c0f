"""The three workers of the team, each in a process of its own:

    langgraph-nolag worker nolag_briefing.worker:librarian
    langgraph-nolag worker nolag_briefing.worker:writer
    langgraph-nolag worker nolag_briefing.worker:reviewer

All of them research. The librarian has the documents, and serves two tools over them to whoever is in the room.
"""

from __future__ import annotations

from functools import cache

from langchain_core.tools import tool

from langgraph_nolag import Worker

from .corpus import Corpus
from .desk import Source, find_sources
from .graph import build
from .room_desk import RoomDesk, room_address
from .settings import ROOM, Settings

settings = Settings.from_environment()
graph = build(settings.agents(), RoomDesk(room_address(ROOM))).compile(name="briefing")


@cache
def corpus() -> Corpus:
    return Corpus.load(settings.docs or None)


@tool
def search_passages(query: str, limit: int = 5) -> list[Source]:
    """The passages of the documents that answer a query best, best first, with document, heading and score."""
    return find_sources(corpus(), query, limit)


@tool
def read_document(name: str) -> str | None:
    """The whole text of a document, word for word; nothing where there is none of that name."""
    return corpus().documents.get(name)


librarian = Worker(room=ROOM, capabilities=["research", "library"], concurrency=1)
librarian.graph(graph, nodes=["research"])
librarian.tool(search_passages)
librarian.tool(read_document)

writer = Worker(room=ROOM, capabilities=["research", "writing"], concurrency=1)
writer.graph(graph, nodes=["research", "draft"])

reviewer = Worker(room=ROOM, capabilities=["research", "reviewing"], concurrency=1)
reviewer.graph(graph, nodes=["research", "review"])
