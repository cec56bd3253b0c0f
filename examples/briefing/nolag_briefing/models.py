"""The same agents with a language model, through LangChain's `init_chat_model`.

A model may shorten or invent; the review compares every quotation with its document, and what does not stand there
comes back. Replies are plain lines, so that any chat model will do.
"""

from __future__ import annotations

import re
from typing import Any

from .agents import MAX_SUB_QUESTIONS, PASSAGES_READ, QUOTATIONS_A_SECTION
from .briefing import Finding, Quotation, Remark, Section, SubQuestion
from .desk import Desk

_BULLET = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s*")
_NUMBERED = re.compile(r"^\s*\[?(\d+)\]?[:.)]?\s*(.+)$")


class ModelError(RuntimeError):
    """The model can't be had; the message says what to do."""


def load_model(name: str) -> Any:
    """A chat model by `provider:name`.

    Raises:
        ModelError: LangChain or the provider's package is not installed, the name is unknown, or a key is missing.
    """
    try:
        from langchain.chat_models import init_chat_model
    except ImportError:
        raise ModelError(
            "a model needs the package langchain and the one of its provider, for example: pip install langchain langchain-openai"
        ) from None
    try:
        return init_chat_model(name)
    except Exception as error:  # every provider raises its own
        reason = " ".join(str(error).split())
        raise ModelError(f"the model {name!r} can't be used: {reason}") from None


class ModelAgents:
    """Agents that ask `model`, a LangChain chat model."""

    def __init__(self, model: Any) -> None:
        self._model = model

    async def plan(self, question: str, desk: Desk) -> list[SubQuestion]:
        headings = dict.fromkeys(f"{s['document']}: {s['heading']}" for s in await desk.search(question, limit=20))
        lines = await self._ask(
            f"A briefing must answer: {question}\nIt is written from documents with these parts:\n"
            + "\n".join(headings)
            + f"\nWrite three to {MAX_SUB_QUESTIONS} sub-questions that together answer it, one a line, nothing else."
        )
        asked = [_BULLET.sub("", line) for line in lines][:MAX_SUB_QUESTIONS] or [question]
        return [{"index": i, "text": text, "topic": text, "heading": ""} for i, text in enumerate(asked)]

    async def research(self, sub_question: SubQuestion, desk: Desk) -> list[Quotation]:
        sources = await desk.search(sub_question["topic"], limit=PASSAGES_READ)
        if not sources:
            return []
        await desk.note("research.reading", index=sub_question["index"], documents=[source["document"] for source in sources])
        lines = await self._ask(
            f"Question: {sub_question['text']}\n\n"
            + "\n\n".join(f"[{i}] {source['text']}" for i, source in enumerate(sources, start=1))
            + "\n\nCopy up to three sentences that answer it, word for word, line breaks as spaces, best first, one a line, each after"
            " the number of its passage: [2] The sentence. Write nothing else; nothing at all where no passage answers."
        )
        found: list[Quotation] = []
        for line in lines:
            match = _NUMBERED.match(line)
            if match and 1 <= int(match[1]) <= len(sources):
                source = sources[int(match[1]) - 1]
                text = _as_printed(match[2].strip(), source["text"])
                found.append({"document": source["document"], "text": text, "source": text})
        return found

    async def draft(
        self, plan: list[SubQuestion], findings: list[Finding], previous: list[Section], remarks: list[Remark]
    ) -> list[Section]:
        """The first version takes the best two of each; what comes back is left out, and the next best takes its place."""
        if not previous:
            by_index = {finding["index"]: finding["quotations"] for finding in findings}
            chosen = [by_index.get(sub_question["index"], [])[:QUOTATIONS_A_SECTION] for sub_question in plan]
            order = await self._order(plan)
            return [{"question": plan[i]["text"], "quotations": chosen[i]} for i in order]
        spare = {q["text"]: finding["quotations"] for finding in findings for q in finding["quotations"]}
        returned = {(remark["section"], remark["quotation"]) for remark in remarks}
        sections: list[Section] = []
        for s, section in enumerate(previous):
            kept = [q for i, q in enumerate(section["quotations"]) if (s, i) not in returned]
            if section["quotations"]:
                tried = [q["text"] for q in section["quotations"]]
                rest = [q for q in spare.get(tried[0], []) if q["text"] not in tried]
                kept += rest[: len(section["quotations"]) - len(kept)]
            sections.append({"question": section["question"], "quotations": kept})
        return sections

    async def _order(self, plan: list[SubQuestion]) -> list[int]:
        """The order in which the sections read best; as planned, where the model gives no order of all of them."""
        lines = await self._ask(
            "In which order should a briefing answer these questions?\n"
            + "\n".join(f"{i}. {sub_question['text']}" for i, sub_question in enumerate(plan, start=1))
            + "\nReply with their numbers only, on one line."
        )
        order = [int(number) - 1 for number in re.findall(r"\d+", " ".join(lines))]
        return order if sorted(order) == list(range(len(plan))) else list(range(len(plan)))

    async def _ask(self, prompt: str) -> list[str]:
        reply = await self._model.ainvoke(prompt)
        return [line.strip() for line in reply.text.splitlines() if line.strip()]


def _as_printed(sentence: str, passage: str) -> str:
    """The sentence with the line breaks of its passage; as the model wrote it, where it does not stand there."""
    pattern = r"\s+".join(re.escape(word) for word in sentence.split())
    match = re.search(pattern, passage)
    return match[0] if match else sentence
