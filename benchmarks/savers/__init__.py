"""Checkpointers that are measured beside each other: one module each."""

from __future__ import annotations

from .base import SaverContender
from .nolag import NoLagSavers
from .postgres import Postgres
from .sqlite import Sqlite

SAVERS: dict[str, SaverContender] = {"nolag": NoLagSavers(), "sqlite": Sqlite(), "postgres": Postgres()}
