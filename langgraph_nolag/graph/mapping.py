"""Between a graph's state and what a pattern carries: functions of the state, or names of its keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Source = str | Callable[[Any], Any] | None
"""Where a value comes from: a key of the state, a function of it, or (None) the whole state."""
Target = str | Callable[[Any], Any] | None
"""Where a value goes: a key of the state, a function that makes the update of it, or (None) it is the update."""


def read(state: Any, source: Source) -> Any:
    """Raises KeyError, naming the keys there are, for a key that the state does not have."""
    if source is None:
        return dict(state) if isinstance(state, Mapping) else vars(state)
    if callable(source):
        return source(state)
    if isinstance(state, Mapping):
        if source not in state:
            raise KeyError(f"the state has no key {source!r}; it has {', '.join(map(str, state)) or 'none'}")
        return state[source]
    return getattr(state, source)


def update(value: Any, target: Target, what: str) -> Any:
    """The state's update.

    Args:
        what: what the value is, for the error.

    Raises:
        TypeError: there is no target, and the value is not an update.
    """
    if target is None:
        if value is None or isinstance(value, Mapping):
            return value
        raise TypeError(f"{what} is a {type(value).__name__}, which is no update of the state: say where it goes, with the name of a key")
    return target(value) if callable(target) else {target: value}
