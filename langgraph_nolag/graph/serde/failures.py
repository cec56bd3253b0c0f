"""Exceptions that cross processes: with their class, their arguments, their cause and where they came from."""

from __future__ import annotations

import builtins
import os
import socket
import traceback
from collections.abc import Callable, Collection
from contextlib import suppress
from types import MemberDescriptorType
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from ...client.failure import text_of
from ..errors import RemoteNodeError
from . import exchange
from .trust import Trust

REMOTE: Final = "Remote traceback"  # how the note begins that says where an exception came from
MAX_TRACEBACK: Final = 32_768  # characters; its end says most
_KNOWN_BY: Final[dict[str, type]] = {
    name: cls
    for name, cls in vars(builtins).items()
    if isinstance(cls, type)
    and issubclass(cls, Exception)
    and not issubclass(cls, (BaseExceptionGroup, Warning, StopIteration, StopAsyncIteration))
    and cls is not Exception
}
"""Python's own exceptions that another class may be one of, by their names. Those that end loops mean something to whoever runs them."""
_STAYS: Final[Collection[Any]] = (AttributeError.obj, BaseExceptionGroup.message, BaseExceptionGroup.exceptions)
"""Not carried: what an attribute was missed on may be anything, with secrets in it (pickle leaves it out, too); a group makes its own."""
_WHERE: Final = f"process {os.getpid()} on {socket.gethostname()}"


def describe(error: BaseException, trust: Trust, carried: Callable[[Any], Any]) -> dict[str, Any]:
    """What `rebuild` needs, to be encoded laxly: an exception may hold anything.

    Args:
        carried: a value in a form in which it comes back as what it is, or None. An attribute that does not stays behind, and is named: a
            text in its place would be met by whoever looks into it.
    """
    attributes = _attributes(error)
    exchanged = {name: plain for name, value in attributes.items() if (plain := exchange.describe(value)) is not None}
    own = {name: carried(value) for name, value in attributes.items() if name not in exchanged}
    left = {name: type(attributes[name]).__qualname__ for name, form in own.items() if form is None}
    facts: dict[str, Any] = {
        "class": trust.exception_name(type(error)),
        "bases": _bases(type(error)),
        "args": list(_arguments(error)),
        "attributes": {name: form for name, form in own.items() if form is not None},
        "exchanged": exchanged,
        "left": left,
        "notes": list(getattr(error, "__notes__", ())),
        "text": text_of(error),
        "traceback": "".join(traceback.format_exception(error))[-MAX_TRACEBACK:],
        "where": _WHERE,
        "cause": error.__cause__,
    }
    if isinstance(error, ValidationError):
        facts["title"] = error.title
        facts["lines"] = error.errors(include_url=False)
    return facts


def _bases(cls: type[BaseException]) -> list[str]:
    """Python's own exceptions that it is one of, the nearest first: what a handler elsewhere can know it by."""
    return [base.__name__ for base in cls.__mro__ if base.__name__ in _KNOWN_BY and base.__module__ == "builtins"]


def _attributes(error: BaseException) -> dict[str, Any]:
    """What it holds besides its arguments: in its dictionary, in slots, and as Python's own classes do (`ImportError.name`)."""
    held: dict[str, Any] = {}
    named = {name: part for cls in reversed(type(error).__mro__) for name, part in vars(cls).items()}  # a property may hide a slot
    for name, part in named.items():
        if isinstance(part, MemberDescriptorType) and part not in _STAYS and not name.startswith("__"):
            with suppress(AttributeError):  # a slot that was never set
                value = part.__get__(error)
                if value is not None or part.__objclass__.__module__ != "builtins":  # set to None, a file name would be shown
                    held[name] = value
    return held | {name: value for name, value in getattr(error, "__dict__", {}).items() if name != "__notes__"}


def _arguments(error: BaseException) -> tuple[Any, ...]:
    """What the class is made from; an OSError does not keep its file names in `args`."""
    return error.__reduce__()[1] if isinstance(error, OSError) else error.args  # type: ignore[return-value]


def rebuild(facts: dict[str, Any], trust: Trust) -> BaseException:
    """The exception again, with the remote traceback as a note.

    Its constructor is not run (unless it is one of Python's own). A class that this process does not know becomes a
    `RemoteNodeError` that names it, and that is a `ValueError`, say, where that class is one.
    """
    error = _instance(facts, trust)
    for note in facts["notes"]:
        error.add_note(str(note))
    for name, kind in facts.get("left", {}).items():
        error.add_note(f"its attribute {name!r}, a {kind}, stayed in the process where it was raised")
    error.add_note(f"{REMOTE} ({facts['where']}):\n{facts['traceback']}")
    if isinstance(facts["cause"], BaseException):
        error.__cause__ = facts["cause"]
    return error


def _instance(facts: dict[str, Any], trust: Trust) -> BaseException:
    ref, args = facts["class"], facts["args"]
    cls = trust.exception(ref)
    if cls is None or not issubclass(cls, BaseException):
        return _stand_in(facts)
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
            if name != "name_from" or not isinstance(error, ImportError):  # whoever prints the error would import what its `name` says
                setattr(error, name, value)
        for name, value in facts.get("exchanged", {}).items():
            setattr(error, name, exchange.rebuild(value))
    except Exception as broken:
        failed = _stand_in(facts)
        failed.add_note(f"{ref} could not be rebuilt: {type(broken).__name__}: {broken}")
        return failed
    return error


def _stand_in(facts: dict[str, Any]) -> RemoteNodeError:
    """For an exception whose class can't be had: retry policies and handlers still know it by what it is one of."""
    bases: list[type] = []
    for name in facts.get("bases", ()):
        if name in _KNOWN_BY and not any(issubclass(known, _KNOWN_BY[name]) for known in bases):
            bases.append(_KNOWN_BY[name])
    # Its text is the message given. Some of Python's exceptions build theirs from attributes, which were never set here.
    cls: Any = type("RemoteNodeError", (RemoteNodeError, *bases), {"__module__": RemoteNodeError.__module__, "__str__": Exception.__str__})
    error: RemoteNodeError = (cls if bases else RemoteNodeError)(error_type=facts["class"], error_message=facts["text"])
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
