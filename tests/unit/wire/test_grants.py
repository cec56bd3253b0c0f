"""Grants: deny by default, and never wider than written."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nolag_broker.wire.codes import Refusal
from nolag_broker.wire.grants import ALL_BUT_ADMIN, MAX_ANSWERS, VERBS, Grants
from nolag_broker.wire.topics import matches

ROOMS = ["newsroom", "newsroom/eu", "lab"]
TOPICS = ["notes", "notes/today", "draft.started", "inbox/ana"]

claims = st.lists(
    st.fixed_dictionaries(
        {
            "room": st.sampled_from(["newsroom", "newsroom/*", "news*", "**", "lab"]),
            "topics": st.lists(st.sampled_from(["notes", "notes/**", "*", "**", "draft.*", "inbox/ana"]), max_size=3),
            "verbs": st.lists(st.sampled_from(VERBS), max_size=4),
        }
    ),
    max_size=4,
)


@given(claims)
def test_exactly_what_some_grant_says_is_allowed(granted: list[dict[str, Any]]) -> None:
    grants = Grants.parse(granted)
    for verb, room, resource in product(VERBS, ROOMS, TOPICS):
        expected = any(
            matches(claim["room"], room)
            and any(matches(topic, resource) for topic in claim["topics"])
            and (verb in claim["verbs"] or "admin" in claim["verbs"])
            for claim in granted
        )
        assert grants.allows(verb, room, resource) is expected


@given(claims)
def test_grants_survive_the_wire(granted: list[dict[str, Any]]) -> None:
    grants = Grants.parse(granted)
    again = Grants.parse(grants.to_wire())
    assert again.to_wire() == grants.to_wire()
    assert all(again.allows(verb, room, topic) == grants.allows(verb, room, topic) for verb, room, topic in product(VERBS, ROOMS, TOPICS))


def test_no_grant_allows_nothing() -> None:
    grants = Grants.parse([])
    assert not any(grants.allows(verb, "newsroom", "notes") for verb in VERBS)
    assert not grants.touches("newsroom")
    assert not grants.is_admin("newsroom")


def test_absent_topics_and_verbs_mean_all_but_admin() -> None:
    grants = Grants.parse([{"room": "newsroom"}])
    assert [verb for verb in VERBS if grants.allows(verb, "newsroom", "any/thing")] == list(ALL_BUT_ADMIN)
    assert not grants.allows("publish", "lab", "any/thing")


def test_admin_of_a_few_topics_is_not_admin_of_the_room() -> None:
    assert not Grants.parse([{"room": "newsroom", "topics": ["notes"], "verbs": ["admin"]}]).is_admin("newsroom")
    assert Grants.parse([{"room": "news*", "verbs": ["admin"]}]).is_admin("newsroom")


def test_many_questions_are_answered_as_few_are() -> None:
    """More than are remembered, twice over: an answer never comes from another question."""
    grants = Grants.parse([{"room": "*", "topics": ["even.**"], "verbs": ["publish"]}])
    for number in [*range(MAX_ANSWERS + 10), *range(MAX_ANSWERS + 10)]:
        topic = f"{'odd' if number % 2 else 'even'}.{number}"
        assert grants.allows("publish", "newsroom", topic) is (number % 2 == 0)
        assert not grants.allows("subscribe", "newsroom", topic)


@pytest.mark.parametrize(
    "claim",
    [
        None,
        "newsroom",
        {"room": "newsroom"},
        [None],
        [{}],
        [{"room": 7}],
        [{"room": ""}],
        [{"room": "a**"}],
        [{"room": "newsroom", "topics": "notes"}],
        [{"room": "newsroom", "topics": [1]}],
        [{"room": "newsroom", "topics": ["a**b"]}],
        [{"room": "newsroom", "verbs": "publish"}],
        [{"room": "newsroom", "verbs": ["publish", "fly"]}],
        [{"room": "newsroom", "verbs": [["publish"]]}],
        [{"room": "newsroom", "verb": ["subscribe"]}],  # else it would be all verbs,
        [{"room": "newsroom", "topic": ["notes/**"]}],  # or all topics
        [{"room": "newsroom", "verbs": ["subscribe"], 7: "x", None: "y"}],
    ],
)
def test_what_is_no_list_of_grants_is_refused(claim: Any) -> None:
    with pytest.raises(Refusal) as refused:
        Grants.parse(claim)
    assert refused.value.code == "bad_request"
