"""Fixtures of pytest; the only part of `langgraph_nolag.testing` that needs it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..local import LocalBroker


@pytest.fixture
def local_broker() -> Iterator[LocalBroker]:
    """A broker of the test's own, in memory."""
    with LocalBroker() as broker:
        yield broker
