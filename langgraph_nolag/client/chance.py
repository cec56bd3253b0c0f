"""Chance of our own: what we do in the background must not change the numbers of a program that has seeded `random`."""

from __future__ import annotations

from random import Random
from typing import Final

CHANCE: Final = Random()  # noqa: S311 - for pauses, not for secrets
