"""The pattern grammar, against an oracle that is too slow to ship and too simple to be wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nolag_broker.wire.codes import Refusal
from nolag_broker.wire.topics import MAX_LENGTH, check_name, check_pattern, matches, matches_any, segments


def oracle(pattern: str, name: str) -> bool:
    """The grammar as DESIGN says it, tried in every way there is."""

    def text(part: str, word: str) -> bool:
        if not part:
            return not word
        if part[0] == "*":
            return any(text(part[1:], word[i:]) for i in range(len(word) + 1))
        return bool(word) and part[0] == word[0] and text(part[1:], word[1:])

    def walk(parts: list[str], words: list[str]) -> bool:
        if not parts:
            return not words
        if parts[0] == "**":
            return any(walk(parts[1:], words[i:]) for i in range(len(words) + 1))
        return bool(words) and text(parts[0], words[0]) and walk(parts[1:], words[1:])

    def split(value: str) -> list[str]:
        return value.replace("/", ".").split(".")

    return walk(split(pattern), split(name))


separators = st.sampled_from("./")
words = st.text("ab[?]!-", max_size=3)  # what file-name globs would take for syntax is among them
parts = st.one_of(st.sampled_from(["*", "**", "a*", "*b", "a*b", "*a*"]), words)


@st.composite
def joined(draw: st.DrawFn, items: st.SearchStrategy[str]) -> str:
    chosen = draw(st.lists(items, min_size=1, max_size=5))
    value = chosen[0]
    for item in chosen[1:]:
        value += draw(separators) + item
    return value


@given(pattern=joined(parts), name=joined(words))
def test_a_pattern_matches_what_the_oracle_says(pattern: str, name: str) -> None:
    assert matches(pattern, name) == oracle(pattern, name)


@given(name=joined(words), data=st.data())
def test_a_pattern_made_from_a_name_matches_it(name: str, data: st.DataObject) -> None:
    """Hits are rare among random pairs, so they are made: segments become wildcards, runs of segments become `**`."""
    pattern: list[str] = []
    for word in segments(name):
        choice = data.draw(st.sampled_from(["keep", "star", "cut", "many"]))
        if choice == "many":
            pattern.append("**")
        elif choice == "cut":
            pattern.append(word[:1] + "*")
        else:
            pattern.append("*" if choice == "star" else word)
    assert matches(".".join(pattern), name)
    assert oracle(".".join(pattern), name)


@given(name=joined(words))
def test_both_separators_are_the_same(name: str) -> None:
    assert matches(name, name.replace(".", "/"))
    assert matches(name.replace("/", "."), name)


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("a.**", "a", True),
        ("a.**", "ab", False),
        ("**.z", "z", True),
        ("**", "anything/at.all", True),
        ("a.*", "a.b", True),
        ("a.*", "a.b.c", False),
        ("a.*", "a", False),
        ("draft*", "drafted", True),
        ("draft*", "draft.started", False),
        ("a.?", "a.b", False),
        ("a.[b]", "a.b", False),
        ("a.[b]*", "a.[b]c", True),
        ("A", "a", False),
    ],
)
def test_the_grammar_by_example(pattern: str, name: str, expected: bool) -> None:
    assert matches(pattern, name) is expected


def test_a_hostile_pattern_costs_little() -> None:
    """With naive backtracking either of these would not end in a lifetime."""
    assert not matches(".".join(["**", "a"] * 85), ".".join(["a"] * 200) + ".b")
    assert not matches("*a" * 250, "a" * 500 + "b")


def test_matches_any_is_false_for_none() -> None:
    assert not matches_any((), "a")
    assert matches_any(("b", "a"), "a")


@pytest.mark.parametrize("name", ["", "a" * (MAX_LENGTH + 1), "a.*", "a\nb", "a\x00", "a\u202eb"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(Refusal) as refused:
        check_name(name, "topic")
    assert refused.value.code == "bad_request"
    assert "topic" in refused.value.message


@pytest.mark.parametrize("pattern", ["", "a" * (MAX_LENGTH + 1), "a**", "a.**b.c", "***", "a\tb"])
def test_a_pattern_that_is_none_is_refused(pattern: str) -> None:
    with pytest.raises(Refusal) as refused:
        check_pattern(pattern)
    assert refused.value.code == "bad_request"


@given(name=joined(words).filter(bool))
def test_every_name_is_a_pattern_for_itself(name: str) -> None:
    assert check_pattern(check_name(name)) == name
    assert matches(name, name)
