"""Time travel, forks, `update_state`."""

from __future__ import annotations

from langgraph.types import Command, StateUpdate, interrupt

from ..case import BackTo, Supersteps, Update, case
from .build import State, beside, chain


def one(state: State) -> State:
    return {"x": state["x"] + 1, "log": ["one"]}


def two(state: State) -> State:
    return {"x": state["x"] * 10, "log": ["two"]}


def three(state: State) -> State:
    return {"log": [f"three {state['x']}"]}


def ask(state: State) -> State:
    return {"log": [interrupt("well?")]}


steps = chain(one, two, three).compile()
asking = chain(one, ask, three).compile()
sides = beside(two, three).compile()
IMPORTED = Supersteps([[StateUpdate({"x": 1, "log": ["in"]}, "__input__")], [StateUpdate({"x": 5}, "one")]])
TOGETHER = Supersteps([[StateUpdate({"x": 5}, "two"), StateUpdate({"log": ["b"]}, "three")], [StateUpdate({"log": ["c"]}, "three")]])

CASES = [
    case("several runs of a thread", steps, {"x": 1}, {"x": 2}, {"x": 3}),
    case("replay", steps, {"x": 1}, BackTo("two"), None),
    case("replay of the whole", steps, {"x": 1}, BackTo("one"), None),
    case("replay with new input", steps, {"x": 1}, BackTo("two"), {"x": 7}),
    case("replay twice", steps, {"x": 1}, BackTo("three"), None, BackTo("three"), None),
    case("fork", steps, {"x": 1}, BackTo("two"), Update({"x": 5}), None),
    case("fork as another node", steps, {"x": 1}, BackTo("three"), Update({"x": 5}, as_node="one"), None),
    case("update at the end", steps, {"x": 1}, Update({"x": 50}), None),
    case("update before anything", steps, Update({"x": 5}, as_node="one"), None),
    case("update that goes on", steps, {"x": 1}, Update({"x": 5}, as_node="two"), None),
    case("update of a key that is not there", steps, {"x": 1}, Update({"not there": 5}, as_node="two"), None),
    case("a thread that is brought along", steps, IMPORTED, None),
    case("updates of several nodes together", sides, {"x": 1}, TOGETHER, None, ordered=False),
    case("updates at a question", asking, {"x": 1}, Supersteps([[StateUpdate({"log": ["for you"]}, "ask")]]), None),
    case("replay of an answered question", asking, {"x": 1}, Command(resume="first"), BackTo("ask"), None, Command(resume="second")),
    case("answering a question of the past", asking, {"x": 1}, Command(resume="first"), BackTo("ask"), Command(resume="second")),
    case("replay before a question", asking, {"x": 1}, Command(resume="first"), BackTo("one"), None, Command(resume="second")),
    case("fork before a question", asking, {"x": 1}, BackTo("ask"), Update({"log": ["forked"]}), None, Command(resume="yes")),
]
