"""`interrupt()` in all its places, and static breakpoints."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from langgraph.func import task
from langgraph.graph import START, StateGraph
from langgraph.pregel import _retry
from langgraph.runtime import Runtime
from langgraph.types import Command, RetryPolicy, Send, interrupt
from pydantic import BaseModel, BeforeValidator

from ..case import ASYNC, Answers, Run, Update, case
from .build import State, beside, chain, single


def before(state: State) -> State:
    return {"log": ["before"]}


def after(state: State) -> State:
    return {"log": ["after"]}


def ask(state: State) -> State:
    return {"log": [interrupt("well?")]}


def ask_twice(state: State) -> State:
    first = interrupt({"q": 1})
    second = interrupt({"q": 2, "first": first})
    return {"log": [first, second]}


async def aask_twice(state: State) -> State:
    first = interrupt({"q": 1})
    await asyncio.sleep(0)
    second = interrupt({"q": 2, "first": first})
    return {"log": [first, second]}


def ask_in_a_loop(state: State) -> State:
    answers = []
    while not answers or answers[-1] != "stop":
        answers.append(interrupt(f"number {len(answers)}"))
    return {"log": answers}


def ask_a(state: State) -> State:
    return {"log": ["a " + interrupt("a?")]}


def ask_b(state: State) -> State:
    return {"log": ["b " + interrupt("b?")]}


async def aask_a(state: State) -> State:
    return {"log": ["a " + interrupt("a?")]}


async def aask_b(state: State) -> State:
    return {"log": ["b " + interrupt("b?")]}


def no_question(state: State) -> State:
    return {"log": ["no question"]}


def swallows(state: State) -> State:
    try:
        answer = interrupt("swallowed?")
    except Exception as error:  # a GraphInterrupt is an Exception: a body may catch it, in process too
        return {"log": [type(error).__name__]}
    return {"log": [answer]}


def ask_from_part(state: dict[str, Any]) -> State:
    return {"log": [(state["i"], interrupt(f"part {state['i']}?"))]}


asking = chain(before, ask, after).compile()
asking_twice = chain(ask_twice, after).compile()
aasking_twice = chain(aask_twice, after).compile()
asking_on = chain(ask_in_a_loop).compile()
parallel = beside(ask_a, ask_b, no_question).compile()
aparallel = beside(aask_a, aask_b).compile()
swallowing = chain(swallows).compile()

parts_builder = StateGraph(State)
parts_builder.add_node("part", ask_from_part)
parts_builder.add_conditional_edges(START, lambda state: [Send("part", {"i": i}) for i in range(3)], ["part"])
parts = parts_builder.compile()

# --- answers that must fit ------------------------------------------------------------------------------------


class Age(BaseModel):
    age: int


def ask_age(state: State) -> State:
    return {"anything": interrupt("age?", response_schema=Age)}


def normalised(value: Any) -> Any:
    return {"age": value} if isinstance(value, int) else value


def ask_any_age(state: State) -> State:
    name = interrupt("name?")
    age = interrupt("age?", response_schema=Annotated[Age, BeforeValidator(normalised)])
    return {"log": [name, age.age]}


validated = chain(ask_age, after).compile()
normalising = chain(ask_any_age).compile()

# --- answers that a retried node has taken --------------------------------------------------------------------

KEEPS_ANSWERS = hasattr(_retry, "_reset_interrupt_counter")  # older releases ask again what a failed try had asked
RETRIED = RetryPolicy(initial_interval=0.001, jitter=False, retry_on=ConnectionError)


def _fails_first(runtime: Runtime[Any]) -> None:
    assert runtime.execution_info is not None
    if runtime.execution_info.node_attempt == 1:
        raise ConnectionError("once")


def ask_and_fail(state: State, runtime: Runtime[Any]) -> State:
    first = interrupt("first?")
    second = interrupt("second?")
    _fails_first(runtime)
    return {"log": [first, second]}


def ask_fail_and_ask(state: State, runtime: Runtime[Any]) -> State:
    first = interrupt("first?")
    _fails_first(runtime)
    return {"log": [first, interrupt("second?")]}


async def aask_and_fail(state: State, runtime: Runtime[Any]) -> State:
    return ask_and_fail(state, runtime)


@task(retry_policy=RETRIED)
def asking_task(runtime: Runtime[Any]) -> Any:
    answer = interrupt("first?")
    _fails_first(runtime)
    return answer


def call_asking_task(state: State) -> State:
    return {"log": [asking_task().result()]}


retried = single(ask_and_fail, retry_policy=RETRIED).compile()
aretried = single(aask_and_fail, retry_policy=RETRIED).compile()
retried_between = single(ask_fail_and_ask, retry_policy=RETRIED).compile()
retried_inside = chain(("sub", single(ask_and_fail, retry_policy=RETRIED).compile()), after).compile()
retried_task = chain(call_asking_task).compile()

# --- breakpoints ----------------------------------------------------------------------------------------------

stops_before = chain(before, ("middle", no_question), after).compile(interrupt_before=["middle"])
stops_after = chain(before, ("middle", no_question), after).compile(interrupt_after=["before"])
stops_everywhere = chain(before, after).compile(interrupt_before="*")
plain = chain(before, ("middle", no_question), after).compile()

CASES = [
    case("one interrupt", asking, {"x": 1}, Command(resume="fine")),
    case("an interrupt without saver", asking, {"x": 1}, saver=False),
    case("two interrupts in a node", asking_twice, {"x": 1}, Command(resume="A"), Command(resume={"deep": ("B",)})),
    case("two interrupts in an async node", aasking_twice, {"x": 1}, Command(resume="A"), Command(resume="B"), how=ASYNC),
    case("interrupts in a loop", asking_on, {"x": 1}, Command(resume="go"), Command(resume="go on"), Command(resume="stop")),
    case("answers that are false", asking_twice, {"x": 1}, Command(resume=0), Command(resume="")),
    case("None as an answer", asking, {"x": 1}, Command(resume=None)),
    case("asking again without an answer", asking, {"x": 1}, None, Command(resume="fine")),
    case("new input instead of an answer", asking, {"x": 1}, {"x": 2}, Command(resume="fine")),
    case("an answer together with an update", asking, {"x": 1}, Command(resume="fine", update={"x": 5, "log": ["with it"]})),
    case("parallel, one resume map", parallel, {"x": 1}, Answers({"a?": "A", "b?": "B"}), ordered=False),
    case("parallel, one answer after the other", parallel, {"x": 1}, Answers({"b?": "B", "a?": "A"}), ordered=False),
    case("parallel async, one resume map", aparallel, {"x": 1}, Answers({"a?": "A", "b?": "B"}), how=ASYNC, ordered=False),
    case("parallel, an answer for nobody", parallel, {"x": 1}, Command(resume="whose?"), ordered=False),
    case("parts that ask", parts, {"x": 1}, Answers({f"part {i}?": i * 10 for i in range(3)}), ordered=False),
    case("swallowed interrupt", swallowing, {"x": 1}),
    case("resume of a thread that does not wait", plain, {"x": 1}, Command(resume="?")),
    case("resume of a thread that never ran", plain, Command(resume="?")),
    case("response schema", validated, {"x": 1}, Command(resume={"age": 3})),
    case("an answer that does not fit, then one that does", validated, {"x": 1}, Command(resume={"age": "zz"}), Command(resume={"age": 4})),
    case("an answer that is normalised", normalising, {"x": 1}, Command(resume="Ana"), Command(resume="no"), Command(resume=44)),
    case("breakpoint before a node", stops_before, {"x": 1}, None),
    case("breakpoint after a node", stops_after, {"x": 1}, None),
    case("breakpoints everywhere", stops_everywhere, {"x": 1}, None, None),
    case("breakpoint of one run", plain, Run({"x": 1}, {"interrupt_before": ["after"]}), Run(None, {"interrupt_after": ["after"]}), None),
    case("update at a breakpoint", stops_before, {"x": 1}, Update({"log": ["edited"]}), None),
    case("update while it waits", asking, {"x": 1}, Update({"log": ["edited"]}), None, Command(resume="fine")),
    case("update instead of the node that waits", asking, {"x": 1}, Update({"log": ["for you"]}, as_node="ask"), None),
]

ONE_BY_ONE = ({"x": 1}, Command(resume="A"), Command(resume="B"))
if KEEPS_ANSWERS:
    CASES += [
        case("answers of a node that is tried again", retried, *ONE_BY_ONE),
        case("answers of an async node that is tried again", aretried, *ONE_BY_ONE, how=ASYNC),
        case("an answer, another try and a question", retried_between, *ONE_BY_ONE),
        case("answers of a node in a sub-graph that is tried again", retried_inside, *ONE_BY_ONE),
        case("answers of a node in a whole sub-graph that is tried again", retried_inside, *ONE_BY_ONE, distribution={"whole": ["sub"]}),
        case("an answer of a task that is tried again", retried_task, {"x": 1}, Command(resume="A")),
    ]
