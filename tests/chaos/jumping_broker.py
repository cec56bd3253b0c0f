"""A broker whose wall clock is set an hour forward by SIGUSR1, and an hour back by SIGUSR2."""

from __future__ import annotations

import signal
import sys
import time
from typing import Any

HOUR = 3600.0

_true = time.time
_ahead = 0.0


def _set(number: int, frame: Any) -> None:
    global _ahead
    _ahead += HOUR if number == signal.SIGUSR1 else -HOUR


signal.signal(signal.SIGUSR1, _set)
signal.signal(signal.SIGUSR2, _set)
time.time = lambda: _true() + _ahead

from nolag_broker.__main__ import main  # noqa: E402 - the clock is there before whoever asks it

sys.exit(main())
