"""Every row, by its number."""

from __future__ import annotations

from . import broker_kills, power_cut, storage_errors, worker_kills
from .trial import Row

ROWS: dict[int, Row] = {row.number: row for module in (broker_kills, power_cut, storage_errors, worker_kills) for row in module.ROWS}
