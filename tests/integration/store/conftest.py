from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from langgraph_nolag import LocalBroker


@pytest.fixture(params=["memory", "sqlite"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocalBroker]:
    with LocalBroker(path=tmp_path / "data" if request.param == "sqlite" else None) as broker:
        yield broker
