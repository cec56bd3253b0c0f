from __future__ import annotations

from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel

from nolag_briefing.agents import MAX_SUB_QUESTIONS, RuleAgents, split_question
from nolag_briefing.briefing import NOTHING_FOUND, Section, to_markdown
from nolag_briefing.corpus import Corpus, python_reference
from nolag_briefing.desk import InProcessDesk
from nolag_briefing.graph import build, struck_out, unsourced
from nolag_briefing.models import ModelAgents, ModelError, load_model
from nolag_briefing.settings import QUESTION


@pytest.fixture(scope="module")
def reference() -> Corpus:
    return Corpus(python_reference())


@pytest.mark.parametrize(
    ("question", "template", "items"),
    [
        ("How does Python handle big ints, classes and modules?", "How does Python handle {}?", ["big ints", "classes", "modules"]),
        ("How do we deploy, and why?", "How do we deploy, and why?", ["How do we deploy, and why"]),
        ("how do modules and classes work", "how do {} work?", ["modules", "classes"]),
        ("What are decorators, or what else?", "What are {}?", ["decorators", "what else"]),
        ("Explain the import system", "Explain {}.", ["the import system"]),
        ("Is {} safe?", "Is safe?", ["Is safe"]),
    ],
)
def test_a_question_is_taken_apart_where_it_lists_things(question: str, template: str, items: list[str]) -> None:
    assert split_question(question) == (template, items)


async def run_to_the_gate(corpus: Corpus, agents: Any, question: str = QUESTION) -> tuple[dict[str, Any], InProcessDesk]:
    desk = InProcessDesk(corpus)
    graph = build(agents, desk).compile(interrupt_before=["ask"])
    return await graph.ainvoke({"question": question, "out": "nowhere.md"}), desk


async def test_the_whole_team_in_one_process(reference: Corpus) -> None:
    state, desk = await run_to_the_gate(reference, RuleAgents())
    assert 3 <= len(state["plan"]) <= MAX_SUB_QUESTIONS
    assert [finding["index"] for finding in state["findings"]] == list(range(len(state["plan"])))
    assert set(desk.board) == {"plan"} | {f"findings/{i}" for i in range(len(state["plan"]))}
    quotations = [q for section in state["sections"] for q in section["quotations"]]
    assert len(quotations) >= len(state["plan"])
    assert all(q["text"] in reference.documents[q["document"]] for q in quotations)
    assert len({q["text"] for q in quotations}) == len(quotations)


async def test_the_default_question_gives_the_review_something_to_send_back(reference: Corpus) -> None:
    state, desk = await run_to_the_gate(reference, RuleAgents())
    reviews = [facts for step, facts in desk.notes if step == "review.finished"]
    assert reviews[0]["sent_back"] > 0
    assert reviews[-1]["sent_back"] == 0
    assert state["round"] == len(reviews) == 2


async def test_the_same_question_gives_the_same_briefing(reference: Corpus) -> None:
    first, second = [(await run_to_the_gate(reference, RuleAgents()))[0]["text"] for _ in range(2)]
    assert first == second


async def test_what_the_documents_do_not_say_is_said_to_be_missing(reference: Corpus) -> None:
    state, _ = await run_to_the_gate(reference, RuleAgents(), "How does zygomatic quux work?")
    assert NOTHING_FOUND in state["text"]


async def test_the_review_finds_whatever_is_not_word_for_word(reference: Corpus) -> None:
    text = reference.passages[0].text
    document = reference.passages[0].document
    wrong = [text.replace(" ", "  ", 1), text.upper(), ""]
    sections: list[Section] = [
        {"question": "?", "quotations": [{"document": document, "text": t, "source": t} for t in [text, *wrong]]},
        {"question": "!", "quotations": [{"document": "no such document", "text": text, "source": text}]},
    ]
    remarks = await unsourced(sections, InProcessDesk(reference))
    assert [(remark["section"], remark["quotation"]) for remark in remarks] == [(0, 1), (0, 2), (0, 3), (1, 0)]
    assert [len(section["quotations"]) for section in struck_out(sections, remarks)] == [1, 0]


def test_a_quotation_keeps_the_lines_of_its_document() -> None:
    sections: list[Section] = [
        {"question": "Why?", "quotations": [{"document": "a/b.md", "text": "One\n   two.", "source": "One\n   two."}]}
    ]
    assert to_markdown("Q?", sections) == "# Q?\n\n## Why?\n\n> One\n>    two.\n\n— a/b.md\n"


async def test_a_model_that_invents_is_sent_back_and_in_the_end_struck_out(reference: Corpus) -> None:
    question = "When does the try statement run its handlers?"
    best, _ = reference.search(question, limit=1)[0]
    true = " ".join(best.text.split())
    replies = [
        question,  # the plan
        f"[1] {true}\n[2] The handlers run on Tuesdays only.\n[99] Out of range.\nnot numbered at all",  # the research
        "1",  # the order of the draft
    ]
    state, desk = await run_to_the_gate(reference, ModelAgents(FakeListChatModel(responses=replies)), question)
    quotations = [q["text"] for section in state["sections"] for q in section["quotations"]]
    assert quotations == [best.text]
    assert [facts["sent_back"] for step, facts in desk.notes if step == "review.finished"] == [1, 0]


def test_a_model_that_can_not_be_had_is_one_clear_sentence() -> None:
    with pytest.raises(ModelError, match="nobody:nothing"):
        load_model("nobody:nothing")
