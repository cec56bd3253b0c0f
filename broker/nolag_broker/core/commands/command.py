"""What every command has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(slots=True, kw_only=True)
class Command:
    """One request. `resent`: this may have been applied before. `done`: all requests of the instance below it were answered."""

    op: ClassVar[str]
    once: ClassVar[bool] = False  # a second run would change the room again: answers are kept to be given again
    resent: bool = False
    done: int = 0
