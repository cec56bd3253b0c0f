"""The documents a briefing is written from, cut into passages and ranked.

A passage is one paragraph of prose, kept exactly as it stands in its document, line breaks included: what is quoted
from it can be checked word for word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

SUFFIXES = (".md", ".markdown", ".txt", ".rst")
_BLANK_LINES = re.compile(r"\n[ \t]*\n")
_UNDERLINE = re.compile(r"^([=*\-~^#\"'+])\1{2,}$")
_MARKDOWN_HEADING = re.compile(r"^#{1,6} +(.+?) *#*$")
_NOT_PROSE = re.compile(r"::=|>>>|^\s*(?:[-*+•>|#]|\d+[.)]|\[\d+\]|\.\. )|\.{4}", re.MULTILINE)
_SENTENCE_END = re.compile(r"(?<!e\.g)(?<!i\.e)(?<!etc)(?<!cf)(?<!vs)[.!?][\"”’)\]]*(?=\s+[\"“‘(*_`]*[A-ZÀ-Þ0-9])")
_WORD = re.compile(r"\w+")
_COMMON = (
    "a about an and any are as at be been being but by can could did do does each for from had has have how i if in into is it its"
    " may might more most must no nor not of on or our say says should so some such than that the their them then there these they"
    " this those to too us use used uses using was we were what when where which while who whom why will with would you your"
)
_STOP_WORDS = frozenset(_COMMON.split())


class CorpusError(ValueError):
    """The documents can't be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Passage:
    """One paragraph. `text` is a slice of its document; `heading` is the nearest one above it."""

    document: str
    heading: str
    text: str


def python_reference() -> dict[str, str]:
    """The Python language reference, as it ships inside every interpreter: topic -> text."""
    from pydoc_data.topics import topics

    return {f"{name}": str(text) for name, text in sorted(topics.items())}


def read_folder(folder: Path) -> dict[str, str]:
    """Every Markdown and text file of a folder and its sub-folders: path inside it -> text.

    Raises:
        CorpusError: there is no such folder, nothing to read in it, or a file that is not UTF-8 text.
    """
    if not folder.is_dir():
        raise CorpusError(f"{folder} is not a folder; name one with Markdown or text files")
    documents = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES and path.is_file():
            try:
                documents[path.relative_to(folder).as_posix()] = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise CorpusError(f"{path} can't be read as UTF-8 text: {error}") from None
    if not documents:
        raise CorpusError(f"{folder} holds no document; files must end in {', '.join(SUFFIXES)}")
    return documents


def words(text: str) -> list[str]:
    """The words that carry meaning, in lower case, a plural as its singular."""
    found = (word.lower() for word in _WORD.findall(text))
    return [_singular(word) for word in found if word not in _STOP_WORDS and (len(word) > 1 or word.isdigit())]


def _singular(word: str) -> str:
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def sentences(text: str) -> list[str]:
    """The sentences of a paragraph, each a slice of it."""
    start, found = 0, []
    for match in _SENTENCE_END.finditer(text):
        found.append(text[start : match.end()].strip())
        start = match.end()
    found.append(text[start:].strip())
    return [sentence for sentence in found if sentence]


def passages(document: str, text: str) -> Iterator[Passage]:
    """The prose of one document; headings, code, grammar, lists and tables are left out."""
    heading, fenced = document, False
    for paragraph in _BLANK_LINES.split(text):
        block = paragraph.strip("\n")
        fences = block.count("```")
        if fences or fenced:
            fenced ^= fences % 2 == 1
            continue
        lines = block.split("\n")
        if (title := _heading(lines)) is not None:
            heading = title
        elif _is_prose(block, lines):
            yield Passage(document, heading, block.strip())


def _heading(lines: list[str]) -> str | None:
    if len(lines) >= 2 and _UNDERLINE.match(lines[1].strip()):
        return lines[0].strip()
    if match := _MARKDOWN_HEADING.match(lines[0]):
        return match[1]
    return None


def _is_prose(block: str, lines: list[str]) -> bool:
    text = block.strip()
    ends_well = text.endswith((".", "!", "?", ".”", '."', ".)"))
    odd = text[0].islower() or _NOT_PROSE.search(block) or _is_code(lines) or _is_definition(lines)
    return ends_well and len(text.split()) >= 8 and not odd


def _is_definition(lines: list[str]) -> bool:
    """A term, and indented under it what it means: the two are no sentence."""
    return len(lines) > 1 and _indent(lines[1]) > _indent(lines[0])


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _is_code(lines: list[str]) -> bool:
    """Markdown's indented code: four spaces or more on every line. (Three are the body of a definition.)"""
    return all(line.startswith(("    ", "\t")) for line in lines)


class Corpus:
    """Documents and the index over their passages."""

    def __init__(self, documents: dict[str, str]) -> None:
        """Raises `CorpusError` when no document holds a paragraph of prose."""
        self.documents = documents
        # the reference repeats whole sections in longer documents: the shortest document that has a passage is the one to name
        unique: dict[str, Passage] = {}
        for name in sorted(documents, key=lambda name: (len(documents[name]), name)):
            for passage in passages(name, documents[name]):
                unique.setdefault(" ".join(passage.text.split()), passage)
        self.passages = list(unique.values())
        if not self.passages:
            raise CorpusError("the documents hold no paragraph to quote from; they must have sentences, not only lists and code")

    @classmethod
    def load(cls, folder: str | None) -> Corpus:
        """The documents of a folder, or the Python reference."""
        return cls(read_folder(Path(folder)) if folder else python_reference())

    @cached_property
    def _index(self) -> Any:
        import bm25s

        index = bm25s.BM25()
        index.index([words(f"{p.document} {p.heading} {p.text}") for p in self.passages], show_progress=False)
        return index

    def search(self, query: str, limit: int = 5) -> list[tuple[Passage, float]]:
        """The passages that answer a query best, with their scores; none that shares no word with it."""
        tokens = [word for word in words(query) if word in self._index.vocab_dict]
        if not tokens:
            return []
        scores = self._index.get_scores(tokens)
        # ties in the order of the documents: the same question gives the same briefing
        ranked = sorted(range(len(self.passages)), key=lambda i: (-round(float(scores[i]), 4), i))
        return [(self.passages[i], float(scores[i])) for i in ranked[:limit] if scores[i] > 0]
