"""For the tests of those who build on us.

- `local_broker`, `eventually`: real brokers that start in milliseconds, and waiting with a bound.
- `langgraph_nolag.testing.history`, `.checker`: what clients did and what came of it, and whether that keeps our promises.
- `langgraph_nolag.testing.simulation`: the broker's own server on a clock that skips the waiting, with faults from a seed.

In a `conftest.py`: `from langgraph_nolag.testing import local_broker` (or `pytest_plugins = ["langgraph_nolag.testing"]`). Only this
fixture needs pytest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .waiting import eventually as eventually

if TYPE_CHECKING:
    from .fixtures import local_broker as local_broker

__all__ = ["eventually", "local_broker"]


def __getattr__(name: str) -> Any:
    if name == "local_broker":
        from .fixtures import local_broker

        return local_broker
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})  # pytest finds the fixture of a plugin by its name here
