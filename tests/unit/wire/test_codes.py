"""Codes are what clients are written against: the table and PROTOCOL.md say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nolag_broker.wire.codes import CLOSES, CODES, Refusal

PROTOCOL = (Path(__file__).parents[3] / "broker" / "PROTOCOL.md").read_text(encoding="utf-8")


def documented() -> dict[str, bool]:
    """The table under "Errors": each code, and whether it says `yes` to retrying."""
    table = PROTOCOL.split("### Errors", 1)[1].split("Close codes:", 1)[0]
    rows = [row.split("|") for row in table.splitlines() if row.startswith("| `")]
    return {code: cells[2].strip() == "yes" for cells in rows for code in re.findall(r"`(\w+)`", cells[1])}


def test_every_code_is_documented_and_nothing_else() -> None:
    assert documented() == {code.name: code.retryable for code in CODES.values()}


def test_every_close_code_is_documented() -> None:
    sentence = PROTOCOL.split("Close codes:", 1)[1].split("## The room's log", 1)[0]
    listed, away = sentence.split("Do not come back")
    assert {int(code) for code in re.findall(r"\b(\d{4})\b", listed)} == set(CLOSES)
    assert {int(code) for code in re.findall(r"\b(\d{4})\b", away)} >= {code for code, close in CLOSES.items() if not close.reconnect}
    assert not CLOSES.keys() & {1000, 1001}


def test_a_refusal_says_on_the_wire_what_it_is() -> None:
    refusal = Refusal("overloaded", "too much", detail={"limit": 3})
    assert refusal.to_wire() == {
        "code": "overloaded",
        "message": "too much",
        "retryable": True,
        "maybe_applied": False,
        "detail": {"limit": 3},
    }


def test_a_refusal_with_an_unknown_code_is_a_defect() -> None:
    with pytest.raises(KeyError):
        Refusal("no_such_code", "…")
