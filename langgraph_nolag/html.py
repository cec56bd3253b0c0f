"""What notebooks show. Everything is escaped: names come from whoever is in the room."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

_COLUMNS = ("room", "events", "agents", "tasks", "approvals waiting")


def broker_html(title: str, rooms: Iterable[Mapping[str, Any]]) -> str:
    """A broker and its rooms, each as `room.info` tells it."""
    rows = [_cells("td", _facts(room)) for room in rooms]
    if not rows:
        return f"<b>{escape(title)}</b><br>no rooms yet"
    return f"<b>{escape(title)}</b><table>{_cells('th', _COLUMNS)}{''.join(rows)}</table>"


def _facts(room: Mapping[str, Any]) -> tuple[str, ...]:
    tasks = ", ".join(f"{count} {state}" for state, count in sorted(room["tasks"].items()) if count)
    return str(room["name"]), str(room["seq"]), str(room["members"]), tasks or "none", str(room["approvals"])


def _cells(tag: str, texts: Iterable[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(text)}</{tag}>' for text in texts)}</tr>"
