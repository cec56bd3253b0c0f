"""Fields of the requests that the server answers itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def field(frame: dict[str, Any], name: str, read: Callable[[Any, str], Any], default: Any) -> Any:
    """The field as `read` takes it; absent: the default. Raises `Refusal` (`bad_request`)."""
    value = frame.get(name)
    return default if value is None else read(value, name)
