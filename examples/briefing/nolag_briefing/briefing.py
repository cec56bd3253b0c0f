"""What is passed around between the agents, and how it looks as Markdown. Plain dicts: they cross processes as they are."""

from __future__ import annotations

from typing import TypedDict


class SubQuestion(TypedDict):
    """`topic` are the words to search for; `heading` names the part of the documents to look in, "" for all."""

    index: int
    text: str
    topic: str
    heading: str


class Quotation(TypedDict):
    """`text` is what is printed; `source` the sentences it was taken from, as the researcher found them."""

    document: str
    text: str
    source: str


class Finding(TypedDict):
    """What research found for one sub-question, best first."""

    index: int
    quotations: list[Quotation]


class Section(TypedDict):
    question: str
    quotations: list[Quotation]


class Remark(TypedDict):
    """A quotation that the reviewer sends back, and why."""

    section: int
    quotation: int
    reason: str


NOTHING_FOUND = "Nothing was found in the documents."


def to_markdown(question: str, sections: list[Section]) -> str:
    """The briefing. Every quotation is a block quote, line for line as in its document, followed by the document's name."""
    parts = [f"# {question}"]
    for section in sections:
        parts.append(f"## {section['question']}")
        for quotation in section["quotations"]:
            parts.append("\n".join(f"> {line}" for line in quotation["text"].split("\n")))
            parts.append(f"— {quotation['document']}")
        if not section["quotations"]:
            parts.append(NOTHING_FOUND)
    return "\n\n".join(parts) + "\n"
