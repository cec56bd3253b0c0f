"""The team as a LangGraph graph: plan, research each sub-question, draft, review, ask a person, publish.

An ordinary LangGraph module. It runs in one process as it stands; what spreads it over worker processes is
worker.py and orchestrator.py. The one thing borrowed is `gate`.
"""

from __future__ import annotations

import operator
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send

from langgraph_nolag import gate

from .agents import Agents
from .briefing import Finding, Remark, Section, SubQuestion, to_markdown
from .desk import Desk

MAX_ROUNDS = 3  # drafts; what has no source after the last one is struck out


class State(TypedDict, total=False):
    """`question` and `out` (a file) are the input."""

    question: str
    out: str
    plan: list[SubQuestion]
    findings: Annotated[list[Finding], operator.add]
    sections: list[Section]
    remarks: list[Remark]
    round: int
    text: str
    approved: bool
    published: str


class Research(TypedDict):
    """What one research gets."""

    sub_question: SubQuestion


def build(agents: Agents, desk: Desk) -> StateGraph[State, None, State, State]:
    """The graph, not yet compiled: who runs it chooses the checkpointer."""

    async def plan(state: State) -> dict[str, Any]:
        await desk.note("plan.started", question=state["question"])
        sub_questions = await agents.plan(state["question"], desk)
        await desk.share("plan", {"question": state["question"], "sub_questions": [q["text"] for q in sub_questions]})
        await desk.note("plan.finished", sub_questions=len(sub_questions))
        return {"plan": sub_questions, "round": 0}

    def assign(state: State) -> list[Send]:
        return [Send("research", {"sub_question": sub_question}) for sub_question in state["plan"]]

    async def research(state: Research) -> dict[str, Any]:
        index = state["sub_question"]["index"]
        await desk.note("research.started", index=index, question=state["sub_question"]["text"])
        quotations = await agents.research(state["sub_question"], desk)
        await desk.share(f"findings/{index}", [{"document": q["document"], "text": q["text"]} for q in quotations])
        await desk.note("research.finished", index=index, quotations=len(quotations))
        return {"findings": [{"index": index, "quotations": quotations}]}

    async def draft(state: State) -> dict[str, Any]:
        version = state["round"] + 1
        await desk.note("draft.started", version=version)
        sections = await agents.draft(state["plan"], state["findings"], state.get("sections", []), state.get("remarks", []))
        await desk.note("draft.finished", version=version, quotations=sum(len(s["quotations"]) for s in sections))
        return {"sections": sections, "round": version}

    async def review(state: State) -> Command[Literal["draft", "ask"]]:
        version = state["round"]
        await desk.note("review.started", version=version)
        remarks = await unsourced(state["sections"], desk)
        await desk.note("review.finished", version=version, sent_back=len(remarks), reasons=[r["reason"] for r in remarks])
        if remarks and version < MAX_ROUNDS:
            return Command(goto="draft", update={"remarks": remarks})
        sections = struck_out(state["sections"], remarks)
        return Command(goto="ask", update={"sections": sections, "remarks": [], "text": to_markdown(state["question"], sections)})

    def ask(state: State) -> dict[str, Any]:
        decision = gate("publish", {"question": state["question"], "text": state["text"]}, allow=["approve", "edit", "reject"])
        if not decision.approved:
            return {"approved": False}
        return {"approved": True, "text": decision.args["text"]}

    async def publish(state: State) -> dict[str, Any]:
        await desk.note("publish.started", out=state["out"])
        write_whole(Path(state["out"]), state["text"])
        await desk.note("publish.finished", out=state["out"])
        return {"published": state["out"]}

    builder: StateGraph[State, None, State, State] = StateGraph(State)
    builder.add_node("plan", plan)
    builder.add_node("research", research, input_schema=Research)
    builder.add_node("draft", draft)
    builder.add_node("review", review)
    builder.add_node("ask", ask)
    builder.add_node("publish", publish)
    builder.add_edge(START, "plan")
    builder.add_conditional_edges("plan", assign, ["research"])
    builder.add_edge("research", "draft")
    builder.add_edge("draft", "review")
    builder.add_conditional_edges("ask", lambda state: "publish" if state["approved"] else END, ["publish", END])
    builder.add_edge("publish", END)
    return builder


async def unsourced(sections: list[Section], desk: Desk) -> list[Remark]:
    """Every quotation that does not stand word for word in the document it names."""
    names = {quotation["document"] for section in sections for quotation in section["quotations"]}
    documents = {name: await desk.read(name) for name in sorted(names)}
    remarks: list[Remark] = []
    for s, section in enumerate(sections):
        for q, quotation in enumerate(section["quotations"]):
            document = documents[quotation["document"]]
            if document is None:
                remarks.append({"section": s, "quotation": q, "reason": f"there is no document {quotation['document']}"})
            elif not quotation["text"] or quotation["text"] not in document:
                remarks.append({"section": s, "quotation": q, "reason": f"not word for word in {quotation['document']}"})
    return remarks


def struck_out(sections: list[Section], remarks: list[Remark]) -> list[Section]:
    gone = {(remark["section"], remark["quotation"]) for remark in remarks}
    kept = [[q for i, q in enumerate(section["quotations"]) if (s, i) not in gone] for s, section in enumerate(sections)]
    return [{"question": section["question"], "quotations": quotations} for section, quotations in zip(sections, kept, strict=True)]


def write_whole(path: Path, text: str) -> None:
    """The whole file or the old one: a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
