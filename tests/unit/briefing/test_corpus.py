from __future__ import annotations

from pathlib import Path

import pytest

from nolag_briefing.corpus import Corpus, CorpusError, passages, python_reference, read_folder, sentences, words


def test_passages_are_prose_as_it_stands_in_the_document() -> None:
    text = """Title
*****

First paragraph of the text, it
goes over two lines.

   stmt ::= "try" ":" suite and more words than eight of them here.

* a list item that is long enough to be taken for a paragraph.

    indented_code(that, is, long, enough, to, be, a, paragraph, x).

Smaller
=======

   Indented prose belongs to a definition, and may
   be quoted as it stands.
"""
    found = list(passages("doc", text))
    assert [passage.heading for passage in found] == ["Title", "Smaller"]
    assert all(passage.text in text for passage in found)
    assert found[1].text.endswith("may\n   be quoted as it stands.")


def test_fenced_code_is_left_out_however_long() -> None:
    fenced = "```python\nprint('This looks like a sentence of ten words.')\n\nThis is inside of the fence, and not a paragraph.\n```"
    text = f"# A\n\n{fenced}\n\nThis one is outside of the fence, and a paragraph.\n"
    assert [passage.text for passage in passages("doc", text)] == ["This one is outside of the fence, and a paragraph."]


def test_a_term_with_its_definition_is_no_sentence() -> None:
    text = '"_*"\n   Not imported by the statement that imports all the names there are.\n'
    assert list(passages("doc", text)) == []


def test_sentences_are_slices_and_abbreviations_do_not_end_them() -> None:
    text = "It takes one (e.g. A thing).  Does it?\nYes. And so on, i.e. Always."
    found = sentences(text)
    assert found == ["It takes one (e.g. A thing).", "Does it?", "Yes.", "And so on, i.e. Always."]
    assert all(sentence in text for sentence in found)


def test_words_leave_out_what_carries_no_meaning_and_know_plurals() -> None:
    assert words("How does it use the Exceptions of this class?") == ["exception", "class"]


def test_the_reference_answers_and_every_passage_stands_in_its_document() -> None:
    corpus = Corpus(python_reference())
    assert all(passage.text in corpus.documents[passage.document] for passage in corpus.passages)
    best, score = corpus.search("exception handlers of the try statement", limit=1)[0]
    assert score > 0
    assert best.document in ("try", "exceptions")


def test_the_same_question_gets_the_same_answers_in_the_same_order() -> None:
    first, second = (Corpus(python_reference()).search("context managers", limit=20) for _ in range(2))
    assert first == second
    assert [score for _, score in first] == sorted((score for _, score in first), reverse=True)


def test_a_passage_that_stands_in_two_documents_is_named_by_the_smaller() -> None:
    paragraph = "Tea is made by pouring hot water over the leaves of the plant."
    corpus = Corpus(
        {"everything": paragraph + "\n\n" + "Coffee is made from roasted beans that were ground before that.", "tea": paragraph}
    )
    assert [passage.document for passage, _ in corpus.search("leaves of tea")] == ["tea"]


def test_a_question_without_a_known_word_finds_nothing() -> None:
    assert Corpus(python_reference()).search("zygomatic quux") == []


def test_a_folder_is_read_with_its_subfolders_and_names_within_it(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.md").write_text("One.")
    (tmp_path / "two.txt").write_bytes(b"Two.\r\nLines.")
    (tmp_path / "three.pdf").write_bytes(b"%PDF")
    assert read_folder(tmp_path) == {"a/one.md": "One.", "two.txt": "Two.\nLines."}


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "is not a folder"), ({}, "holds no document"), ({"a.md": b"\xff\xfe\x00"}, "UTF-8"), ({"a.md": b"- a list"}, "no paragraph")],
)
def test_a_folder_that_will_not_do_is_refused_in_clear_words(content: dict[str, bytes] | None, words: str, tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    if content is not None:
        folder.mkdir()
        for name, data in content.items():
            (folder / name).write_bytes(data)
    with pytest.raises(CorpusError, match=words):
        Corpus.load(str(folder))
