"""Fixtures of pytest; the only part of `langgraph_nolag.testing` that needs it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from ..local import LocalBroker

if TYPE_CHECKING:
    from .loopback_worker import Loopback


@pytest.fixture
def local_broker() -> Iterator[LocalBroker]:
    """A broker of the test's own, in memory."""
    with LocalBroker() as broker:
        yield broker


@pytest.fixture
def loopback(local_broker: LocalBroker) -> Iterator[Loopback]:
    """Distributes graphs over a room of the test's own, whose only worker is this process."""
    from .loopback_worker import Loopback

    with Loopback(local_broker.room("loopback")) as loopback:
        yield loopback
