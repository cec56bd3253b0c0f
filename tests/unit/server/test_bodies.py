from __future__ import annotations

import tracemalloc

import pytest

from nolag_broker.server.bodies import BodyCache


@pytest.mark.parametrize("size", [2, 500, 20_000])
def test_the_cache_costs_what_it_may(size: int) -> None:
    """Small bodies too: of those, what an entry costs beside its body is nearly all."""
    limit = 4 << 20
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        cache = BodyCache(limit)
        for seq in range(1000, 41_000):
            cache.put("room", seq, seq.to_bytes(2, "big") + bytes(size - 2))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert cache.get("room", 40_999) is not None
    assert after - before < 1.1 * limit
