"""What a gate shows, and which answers it takes."""

from __future__ import annotations

from itertools import chain, combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_nolag.graph.gates.formats import DECISIONS, approval_of, check_allow, normalise, published

ALLOWS = [list(names) for names in chain.from_iterable(combinations(DECISIONS, size) for size in range(1, 5))]
EDITED = {"amount": 5}

# name, answer, the decision it means; None: not a decision in any format
ANSWERS: list[tuple[str, Any, dict[str, Any] | None]] = [
    ("middleware approve", {"decisions": [{"type": "approve"}]}, {"type": "approve"}),
    (
        "middleware edit",
        {"decisions": [{"type": "edit", "edited_action": {"name": "pay", "args": EDITED}}]},
        {"type": "edit", "args": EDITED},
    ),
    ("middleware reject", {"decisions": [{"type": "reject", "message": "no"}]}, {"type": "reject", "message": "no"}),
    ("middleware respond", {"decisions": [{"type": "respond", "message": "later"}]}, {"type": "respond", "message": "later"}),
    ("one call approve", {"type": "approve"}, {"type": "approve"}),
    ("one call edit", {"type": "edit", "edited_action": {"name": "pay", "args": EDITED}}, {"type": "edit", "args": EDITED}),
    ("plain edit", {"type": "edit", "args": EDITED}, {"type": "edit", "args": EDITED}),
    ("plain edit with words", {"type": "edit", "args": EDITED, "message": "less"}, {"type": "edit", "args": EDITED, "message": "less"}),
    ("plain reject", {"type": "reject"}, {"type": "reject"}),
    ("inbox accept", [{"type": "accept", "args": None}], {"type": "approve"}),
    ("inbox accept, arguments as strings", [{"type": "accept", "args": {"action": "pay", "args": {"amount": "100"}}}], {"type": "approve"}),
    ("inbox accept without its list", {"type": "accept"}, {"type": "approve"}),
    ("inbox edit", [{"type": "edit", "args": {"action": "pay", "args": EDITED}}], {"type": "edit", "args": EDITED}),
    ("inbox response", [{"type": "response", "args": "not today"}], {"type": "respond", "message": "not today"}),
    ("inbox ignore", [{"type": "ignore", "args": None}], {"type": "reject"}),
    ("inbox ignore, request sent back", [{"type": "ignore", "args": {"action": "pay", "args": {}}}], {"type": "reject"}),
    ("free text", "yes, go ahead", {"type": "respond", "message": "yes, go ahead"}),
    ("free text that says approve", "approve", {"type": "respond", "message": "approve"}),
    ("no decision", {"decisions": []}, None),
    ("two decisions", {"decisions": [{"type": "approve"}, {"type": "approve"}]}, None),
    ("true", True, None),
    ("none", None, None),
    ("empty", {}, None),
    ("unknown type", {"type": "yes"}, None),
    ("type is no text", {"type": ["approve"]}, None),
    ("approved flag", {"approved": True}, None),
    ("edit without arguments", {"type": "edit"}, None),
    ("edit of another action", {"type": "edit", "edited_action": {"name": "refund", "args": EDITED}}, None),
    ("edit whose names are no text", {"type": "edit", "args": {1: 2}}, None),
    ("words are no text", {"type": "respond", "message": {"a": 1}}, None),
]


def expected(meaning: dict[str, Any] | None, allow: list[str]) -> dict[str, Any] | None:
    """What the answer comes to under an allow-list: words that may not respond reject; everything else is refused."""
    if meaning is None or meaning["type"] in allow:
        return meaning
    if meaning["type"] == "respond" and "reject" in allow:
        return {**meaning, "type": "reject"}
    return None


@pytest.mark.parametrize("allow", ALLOWS, ids=",".join)
@pytest.mark.parametrize(("answer", "meaning"), [row[1:] for row in ANSWERS], ids=[row[0] for row in ANSWERS])
def test_every_answer_under_every_allow_list(answer: Any, meaning: dict[str, Any] | None, allow: list[str]) -> None:
    wanted = expected(meaning, allow)
    if wanted is None:
        with pytest.raises(ValueError, match=r"\w"):
            normalise(answer, "pay", allow)
    else:
        assert normalise(answer, "pay", allow) == wanted


def test_a_response_without_words() -> None:
    with pytest.raises(ValueError, match="needs a message"):
        normalise({"type": "respond"}, "pay", ["respond", "reject"])
    assert normalise({"type": "respond"}, "pay", ["approve", "reject"]) == {"type": "reject", "message": ""}


def test_the_marker_of_a_decision_in_the_room() -> None:
    assert normalise({"nolag_decision": "a1"}, "pay", ["reject"]) == {"nolag_decision": "a1"}
    for forged in ({"nolag_decision": "a1", "type": "approve"}, {"nolag_decision": 1}):
        with pytest.raises(ValueError, match="approval"):
            normalise(forged, "pay", ["approve"])


def test_arguments_that_look_like_an_inboxs_request() -> None:
    """An action whose own arguments are called `name` and `args` can be edited all the same."""
    assert normalise({"type": "edit", "args": {"name": "x", "args": [1]}}, "run", ["edit"]) == {
        "type": "edit",
        "args": {"name": "x", "args": [1]},
    }


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12) | st.sampled_from([*DECISIONS, "accept", "response", "ignore"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "args", "decisions", "message", "edited_action", "name", "action"]), inner, max_size=4)
    ),
    max_leaves=8,
)


def approves(answer: Any) -> bool:
    while isinstance(answer, dict) and "decisions" in answer:
        answer = answer["decisions"]
        break
    if isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]
    return isinstance(answer, dict) and answer.get("type") in ("approve", "accept")


@given(answer=json_like, allow=st.sampled_from(ALLOWS))
def test_only_an_explicit_approval_approves(answer: Any, allow: list[str]) -> None:
    try:
        decision = normalise(answer, "pay", allow)
    except ValueError:
        return
    assert decision["type"] in allow
    assert (decision["type"] == "approve") <= approves(answer)


def test_a_gate_speaks_every_format() -> None:
    value = published("a1", "bank", "pay", {"amount": 100}, ("approve", "reject"), "Pay Ana")
    assert (value["type"], value["name"], value["args"], value["description"]) == ("tool_approval", "pay", {"amount": 100}, "Pay Ana")
    assert value["action_requests"] == [{"name": "pay", "args": {"amount": 100}, "arguments": {"amount": 100}, "description": "Pay Ana"}]
    assert value["review_configs"] == [{"action_name": "pay", "allowed_decisions": ["approve", "reject"]}]
    assert value["action_request"] == {"action": "pay", "args": {"amount": 100}}
    assert value["config"] == {"allow_accept": True, "allow_edit": False, "allow_respond": False, "allow_ignore": True}
    assert approval_of(value) == "a1"


@pytest.mark.parametrize("value", [None, "plain", {}, {"nolag": None}, {"nolag": {"approval": 3}}, {"action_requests": []}])
def test_other_interrupts_are_no_gates(value: Any) -> None:
    assert approval_of(value) is None


@pytest.mark.parametrize(("allow", "words"), [([], "empty"), ("approve", "'approve'"), (["approve", "maybe"], "'maybe'")])
def test_a_wrong_allow_list_is_named(allow: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_allow(allow)
