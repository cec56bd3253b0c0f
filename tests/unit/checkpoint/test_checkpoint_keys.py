"""Where checkpoints lie: names of any shape, in the order of time."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from langgraph.checkpoint.base.id import uuid6

from langgraph_nolag.graph.saver import keys

texts = st.text(max_size=24) | st.text(alphabet="/|:%*. \0\n\udc80é漢-", max_size=8)


@given(texts)
def test_any_text_is_one_printable_segment_and_comes_back(text: str) -> None:
    segment = keys.segment(text)
    assert segment
    assert segment.isprintable()
    assert not set(segment) & set("/*")
    assert keys.text(segment) == text


@given(st.lists(texts, min_size=2, max_size=2, unique=True))
def test_two_texts_are_never_one_segment(pair: list[str]) -> None:
    assert keys.segment(pair[0]) != keys.segment(pair[1])


@given(
    st.lists(st.text(alphabet=st.characters(exclude_characters="%/*", exclude_categories=["C", "Z"]), min_size=1), min_size=2, max_size=5)
)
def test_segments_sort_as_the_texts_do(names: list[str]) -> None:
    assert sorted(names, key=lambda name: keys.segment(name).encode()) == sorted(names)


def test_checkpoint_ids_sort_by_time() -> None:
    ids = [str(uuid6(clock_seq=step)) for step in range(-2, 50)]
    stored = [keys.checkpoint("t", "ns", checkpoint_id) for checkpoint_id in ids]
    assert sorted(stored, key=str.encode) == stored


@given(texts, texts, texts)
def test_names_of_a_checkpoint(thread: str, ns: str, checkpoint_id: str) -> None:
    key = keys.checkpoint(thread, ns, checkpoint_id)
    assert keys.names(key) == keys.parse_checkpoint(key) == (thread, ns, checkpoint_id)
    assert keys.parse_checkpoint(keys.value(thread, ns, "c", 1)) is None
    assert keys.parse_checkpoint(keys.write(thread, ns, checkpoint_id, "task", -1)) is None


@given(st.lists(st.tuples(texts, texts, texts), min_size=2, max_size=2, unique=True))
def test_no_prefix_holds_what_belongs_to_another(pair: list[Any]) -> None:
    (thread, ns, checkpoint_id), other = pair
    theirs = [keys.write(*other, "task", 0), keys.value(*other[:2], "c", 1), keys.checkpoint(*other)]
    if thread != other[0]:
        assert not any(key.startswith(keys.thread(thread)) for key in theirs)
    if (thread, ns) != other[:2]:
        assert not any(key.startswith((keys.checkpoints(thread, ns), keys.values(thread, ns))) for key in theirs)
    assert not any(key.startswith(keys.writes(thread, ns, checkpoint_id)) for key in theirs)
