"""For the tests of those who build on us.

- `local_broker`, `eventually`: real brokers that start in milliseconds, and waiting with a bound.
- `Loopback`, `loopback`: graphs over a room with this process as the worker, so that a test may make them inside a function.
- `langgraph_nolag.testing.pytest_langgraph`: a plugin that runs existing tests of graphs that way.
- `langgraph_nolag.testing.history`, `.checker`: what clients did and what came of it, and whether that keeps our promises.
- `langgraph_nolag.testing.simulation`: the broker's own server on a clock that skips the waiting, with faults from a seed.

In a `conftest.py`: `from langgraph_nolag.testing import local_broker, loopback` (or `pytest_plugins = ["langgraph_nolag.testing"]`). Only
fixtures and the plugin need pytest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .waiting import eventually as eventually

if TYPE_CHECKING:
    from .fixtures import local_broker as local_broker
    from .fixtures import loopback as loopback
    from .loopback_worker import Loopback as Loopback

__all__ = ["Loopback", "eventually", "local_broker", "loopback"]


def __getattr__(name: str) -> Any:
    if name in ("local_broker", "loopback"):
        from . import fixtures

        return getattr(fixtures, name)
    if name == "Loopback":
        from .loopback_worker import Loopback

        return Loopback
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})  # pytest finds the fixture of a plugin by its name here
