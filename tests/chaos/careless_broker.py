"""A broker that does not sync its commits: the control of row 2, which must lose what it acknowledged."""

from __future__ import annotations

import sqlite3
import sys
from functools import partial
from typing import Any

from nolag_broker.__main__ import main


class Careless(sqlite3.Connection):
    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
        return super().execute(sql.replace("synchronous = FULL", "synchronous = NORMAL"), *arguments)


sqlite3.connect = partial(sqlite3.connect, factory=Careless)  # type: ignore[assignment]
sys.exit(main())
