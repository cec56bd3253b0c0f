"""Why a broker can't start: one line for people, no traceback."""

from __future__ import annotations


class CannotStart(Exception):
    """The message says what is in the way and what to do."""
