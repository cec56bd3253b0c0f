"""A graph that sends 200 pieces of work out at once, each of which only takes time."""

from __future__ import annotations

import asyncio
import operator
from typing import Annotated, TypedDict

from langchain_core.runnables import RunnableLambda
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from langgraph_nolag import Worker

PIECES = 200
TAKES = 0.05  # seconds a piece
WORKERS, SLOTS = 2, 10
IDEAL = PIECES * TAKES / (WORKERS * SLOTS)  # seconds


class State(TypedDict):
    found: Annotated[list[int], operator.add]


class Piece(TypedDict):
    number: int


def _spread(state: State) -> list[Send]:
    return [Send("work", {"number": number}) for number in range(PIECES)]


async def _work(piece: Piece) -> State:
    await asyncio.sleep(TAKES)
    return {"found": [piece["number"]]}


def _work_blocking(piece: Piece) -> State:
    import time

    time.sleep(TAKES)
    return {"found": [piece["number"]]}


def build() -> StateGraph[State]:
    builder = StateGraph(State)
    builder.add_node("work", RunnableLambda(_work_blocking, _work))
    builder.add_conditional_edges(START, _spread, ["work"])
    builder.add_edge("work", END)
    return builder


graph = build().compile()
app = Worker(room="fan", concurrency=SLOTS)
app.graph(graph)
