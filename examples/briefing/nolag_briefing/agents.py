"""The agents without a model: planning, reading and drafting by rule, the same answer every time.

They are modest but honest: they extract, they don't invent. `models.py` has the same agents with a language model.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterator
from typing import Protocol

from .briefing import Finding, Quotation, Remark, Section, SubQuestion
from .corpus import sentences, words
from .desk import Desk, Source

MAX_SUB_QUESTIONS = 6
SEARCH_LIMIT = 20
PASSAGES_READ = 5
QUOTATIONS_A_SECTION = 2
_LONG = 60  # words in a quotation
_SHORT = 12  # one this short takes the next sentence with it

_LIST_SEPARATOR = re.compile(r"\s*,\s*(?:and|or)\s+|\s*,\s*|\s+(?:and|or)\s+")
_FORMS = (
    # "How does | assignment | work"
    (re.compile(r"^(how (?:do|does)) (.+) (work)$", re.IGNORECASE), "{} {{}} {}?"),
    # "How does Python handle | exceptions": question word, auxiliary, who, verb
    (re.compile(r"^((?:how|why|when|where|what) (?:do|does|did|can|could|should|will|would) \S+ \S+) (.+)$", re.IGNORECASE), "{} {{}}?"),
    # "What are | decorators"
    (re.compile(r"^((?:what|who) (?:is|are)) (?!the difference)(.+)$", re.IGNORECASE), "{} {{}}?"),
    # "Explain | decorators"
    (re.compile(r"^(explain|describe) (.+)$", re.IGNORECASE), "{} {{}}."),
)
_POINTER = re.compile(
    r"^(?:see|for (?:more|full|further|details)|additional information|note:|changed in|added in|deprecated)\b"
    r"|(?:as\s+follows|following)\.$",
    re.IGNORECASE,
)
_GENERIC = frozenset({"statement", "clause", "expression", "section", "type", "object", "introduction", "overview", "note", "example"})
_ASIDE = re.compile(r"\s+\([^()]+\)")


class Agents(Protocol):
    """The members of the team that think. What they return is checked by the review, whoever they are."""

    async def plan(self, question: str, desk: Desk) -> list[SubQuestion]:
        """The sub-questions that a briefing must answer."""

    async def research(self, sub_question: SubQuestion, desk: Desk) -> list[Quotation]:
        """Quotations that answer one of them, best first."""

    async def draft(
        self, plan: list[SubQuestion], findings: list[Finding], previous: list[Section], remarks: list[Remark]
    ) -> list[Section]:
        """The sections of the briefing; with remarks, a new version of the previous ones."""


class RuleAgents:
    """Agents by rule.

    Args:
        pace: seconds a researcher takes over each passage. The rules are done at once; with a pace people can follow the work.
    """

    def __init__(self, pace: float = 0.0) -> None:
        self._pace = pace

    async def plan(self, question: str, desk: Desk) -> list[SubQuestion]:
        """One sub-question for each thing the question lists, then the parts of the documents that say most about each."""
        template, items = split_question(question)
        asked = [(template.format(item), item) for item in items]
        followed_up: list[tuple[str, str, str]] = []
        covered = set(words(question))
        for _, item in asked:
            room = (MAX_SUB_QUESTIONS - len(asked)) // len(asked)
            for heading in _headings(await desk.search(item, limit=SEARCH_LIMIT), set(words(item)), covered, room):
                covered |= set(words(heading))
                subject = item if len(items) > 1 else "this"
                followed_up.append((f"What does “{_plain(heading)}” say about {subject}?", f"{heading} {item}", heading))
        everything = ([(text, item, "") for text, item in asked] + followed_up)[:MAX_SUB_QUESTIONS]
        return [{"index": i, "text": text, "topic": topic, "heading": heading} for i, (text, topic, heading) in enumerate(everything)]

    async def research(self, sub_question: SubQuestion, desk: Desk) -> list[Quotation]:
        """From each of the best passages the sentence that has most of the words asked for."""
        wanted = set(words(sub_question["topic"]))
        found: list[tuple[float, Quotation]] = []
        sources = await self._look_up(sub_question, desk)
        for number, source in enumerate(sources, start=1):
            await desk.note("research.reading", index=sub_question["index"], document=source["document"], passage=number, of=len(sources))
            await asyncio.sleep(self._pace)
            if best := _best_quotation(source["text"], wanted):
                matched = len(wanted & set(words(best)))
                found.append((matched * source["score"], {"document": source["document"], "text": best, "source": best}))
        found.sort(key=lambda pair: -pair[0])  # stable: equals stay in the order of the search
        return [quotation for _, quotation in found]

    async def _look_up(self, sub_question: SubQuestion, desk: Desk) -> list[Source]:
        sources = await desk.search(sub_question["topic"], limit=SEARCH_LIMIT)
        under = [source for source in sources if source["heading"] == sub_question["heading"]]
        return (under or sources)[:PASSAGES_READ]

    async def draft(
        self, plan: list[SubQuestion], findings: list[Finding], previous: list[Section], remarks: list[Remark]
    ) -> list[Section]:
        """The best quotations of each sub-question, none twice, with asides in brackets left out to keep them short. What the
        reviewer does not find in its document is quoted in full the next time."""
        await asyncio.sleep(self._pace * 4)
        if previous:
            return _revised(previous, remarks)
        used: set[str] = set()
        sections: list[Section] = []
        by_index = {finding["index"]: finding["quotations"] for finding in findings}
        for sub_question in plan:
            chosen: list[Quotation] = []
            for quotation in by_index.get(sub_question["index"], []):
                if quotation["source"] not in used and len(chosen) < QUOTATIONS_A_SECTION:
                    used.add(quotation["source"])
                    chosen.append({**quotation, "text": _ASIDE.sub("", quotation["source"])})
            sections.append({"question": sub_question["text"], "quotations": chosen})
        return sections


def split_question(question: str) -> tuple[str, list[str]]:
    """What is asked of what: "How does Python handle a, b and c?" -> ("How does Python handle {}?", ["a", "b", "c"])."""
    text = " ".join(question.replace("{", "").replace("}", "").split()).rstrip("?.! ")
    for pattern, template in _FORMS:
        if match := pattern.match(text):
            *parts, listed = [match[1], match[3], match[2]] if pattern.groups == 3 else [match[1], match[2]]
            if items := [item for item in _LIST_SEPARATOR.split(listed) if words(item)]:  # none in "How do we deploy, and why?"
                return template.format(*parts), items
    return f"{text}?", [text]


def _headings(sources: list[Source], wanted: set[str], covered: set[str], limit: int) -> Iterator[str]:
    """Headings of the sources that bring something not yet covered, those with several passages first. What stands under the
    headings of the best sources answers the question itself already."""
    taken = {source["heading"] for source in sources[:QUOTATIONS_A_SECTION]}
    telling = [source["heading"] for source in sources if wanted <= set(words(source["text"])) and source["heading"] not in taken]
    counts = Counter(telling)
    seen, found = set(covered), 0
    for heading in sorted(counts, key=lambda heading: counts[heading] < QUOTATIONS_A_SECTION):
        new = set(words(heading)) - _GENERIC - seen
        if found < limit and new and len(heading) <= 60:
            seen |= new
            found += 1
            yield heading


def _plain(heading: str) -> str:
    return heading.replace('"', "")


def _best_quotation(passage: str, wanted: set[str]) -> str | None:
    """The sentence with most of the wanted words, a short one with its successor; the first of equals. Pointers to other places
    answer nothing."""
    candidates = [s for s in sentences(passage) if not _POINTER.search(s)]
    best, best_count = None, 0
    for sentence in candidates:
        count = len(wanted & set(words(sentence)))
        if count > best_count and 6 <= len(sentence.split()) <= _LONG:
            best, best_count = sentence, count
    if best is None:
        return None
    start = passage.index(best)
    end = start + len(best)
    if len(best.split()) <= _SHORT:
        rest = sentences(passage[end:])
        if rest and rest[0] in candidates and len(rest[0].split()) <= _LONG - _SHORT:
            end = passage.index(rest[0], end) + len(rest[0])
    return passage[start:end]


def _revised(previous: list[Section], remarks: list[Remark]) -> list[Section]:
    returned = {(remark["section"], remark["quotation"]) for remark in remarks}
    return [
        {
            "question": section["question"],
            "quotations": [{**q, "text": q["source"]} if (s, i) in returned else q for i, q in enumerate(section["quotations"])],
        }
        for s, section in enumerate(previous)
    ]
