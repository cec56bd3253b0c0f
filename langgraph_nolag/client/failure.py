"""An error as the protocol has it: the name of its class, and a text that can be sent whatever the error says."""

from __future__ import annotations

from typing import Final

from ..errors import BadRequest

MAX_TEXT: Final = 8192  # characters that the broker keeps of it


def failure(error: BaseException) -> dict[str, str]:
    """Raises `BadRequest` for what is no exception."""
    if not isinstance(error, BaseException):
        raise BadRequest(f"an error is an exception, not {error!r}", detail={"field": "error"})
    return {"type": sendable(type(error).__name__), "message": sendable(text_of(error))}


def text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # a user's __str__ must not hide the error itself
        return f"<no text: {type(broken).__name__}>"


def sendable(text: str) -> str:
    """Cut to what is kept; lone surrogates, as a model's broken JSON brings them, have no UTF-8 and are escaped."""
    return text[:MAX_TEXT].encode("utf-8", "backslashreplace").decode()[:MAX_TEXT]
