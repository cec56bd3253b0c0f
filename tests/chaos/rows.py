"""Every row, by its number."""

from __future__ import annotations

from . import (
    backups,
    blocking,
    broker_kills,
    clock_jumps,
    contention,
    damage,
    lost_replies,
    overload,
    poison,
    power_cut,
    resuming,
    storage_errors,
    worker_kills,
)
from .trial import Row

MODULES = (
    backups,
    blocking,
    broker_kills,
    clock_jumps,
    contention,
    damage,
    lost_replies,
    overload,
    poison,
    power_cut,
    resuming,
    storage_errors,
    worker_kills,
)
ROWS: dict[int, Row] = {row.number: row for row in sorted((row for module in MODULES for row in module.ROWS), key=lambda row: row.number)}
