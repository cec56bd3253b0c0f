"""Every row, by its number."""

from __future__ import annotations

from importlib import import_module

from .trial import Row

FAMILIES = (
    "backups",
    "blocking",
    "broker_kills",
    "clock_jumps",
    "contention",
    "damage",
    "graph_kills",
    "lost_replies",
    "overload",
    "poison",
    "power_cut",
    "resuming",
    "storage_errors",
    "worker_kills",
)
_rows: list[Row] = [row for family in FAMILIES for row in import_module(f".{family}", __package__).ROWS]
ROWS: dict[int, Row] = {row.number: row for row in sorted(_rows, key=lambda row: row.number)}
