"""Exceptions that cross processes: with their class, their arguments, their cause and where they came from."""

from __future__ import annotations

import os
import socket
import traceback
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from ..errors import RemoteNodeError
from .trust import Trust

REMOTE: Final = "Remote traceback"  # how the note begins that says where an exception came from
MAX_TRACEBACK: Final = 32_768  # characters; its end says most
_WHERE: Final = f"process {os.getpid()} on {socket.gethostname()}"


def describe(error: BaseException, trust: Trust) -> dict[str, Any]:
    """What `rebuild` needs, to be encoded laxly: an exception may hold anything."""
    facts: dict[str, Any] = {
        "class": trust.exception_name(type(error)),
        "args": list(_arguments(error)),
        "attributes": {name: value for name, value in getattr(error, "__dict__", {}).items() if name != "__notes__"},
        "notes": list(getattr(error, "__notes__", ())),
        "text": _text(error),
        "traceback": "".join(traceback.format_exception(error))[-MAX_TRACEBACK:],
        "where": _WHERE,
        "cause": error.__cause__,
    }
    if isinstance(error, ValidationError):
        facts["title"] = error.title
        facts["lines"] = error.errors(include_url=False)
    return facts


def _arguments(error: BaseException) -> tuple[Any, ...]:
    """What the class is made from; an OSError does not keep its file names in `args`."""
    return error.__reduce__()[1] if isinstance(error, OSError) else error.args  # type: ignore[return-value]


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # a user's __str__ must not hide the error itself
        return f"<no text: {type(broken).__name__}>"


def rebuild(facts: dict[str, Any], trust: Trust) -> BaseException:
    """The exception again, with the remote traceback as a note.

    Its constructor is not run (unless it is one of Python's own). A class that this process does not know becomes a
    `RemoteNodeError` that names it.
    """
    error = _instance(facts, trust)
    for note in facts["notes"]:
        error.add_note(str(note))
    error.add_note(f"{REMOTE} ({facts['where']}):\n{facts['traceback']}")
    if isinstance(facts["cause"], BaseException):
        error.__cause__ = facts["cause"]
    return error


def _instance(facts: dict[str, Any], trust: Trust) -> BaseException:
    ref, args = facts["class"], facts["args"]
    cls = trust.exception(ref)
    if cls is None or not issubclass(cls, BaseException):
        return RemoteNodeError(error_type=ref, error_message=facts["text"])
    try:
        if cls is ValidationError:
            error: BaseException = ValidationError.from_exception_data(facts["title"], [_line(line) for line in facts["lines"]])
        elif cls.__module__ == "builtins":
            error = cls(*args)
        else:
            native: Any = next(base for base in cls.__mro__ if base.__module__ == "builtins")
            error = native.__new__(cls, *args)
            if not isinstance(error, OSError):
                error.args = tuple(args)
        for name, value in facts["attributes"].items():
            setattr(error, name, value)
    except Exception as broken:
        failed = RemoteNodeError(error_type=ref, error_message=facts["text"])
        failed.add_note(f"{ref} could not be rebuilt: {type(broken).__name__}: {broken}")
        return failed
    return error


def _line(line: dict[str, Any]) -> InitErrorDetails:
    details = InitErrorDetails(type=line["type"], loc=tuple(line["loc"]), input=line["input"])
    if line.get("ctx"):
        details["ctx"] = line["ctx"]
    try:
        ValidationError.from_exception_data("", [details])
    except (KeyError, TypeError, ValueError):  # not one of pydantic's own kinds: keep its words
        words = line["msg"].replace("{", "{{").replace("}", "}}")
        return InitErrorDetails(type=PydanticCustomError(line["type"], words), loc=details["loc"], input=details["input"])
    return details
